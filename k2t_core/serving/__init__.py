"""The app's server: who may reach it, and how Streamlit is started behind that."""
