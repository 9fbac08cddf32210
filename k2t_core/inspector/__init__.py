"""Everything that the pages and the command line draw, without Streamlit."""
