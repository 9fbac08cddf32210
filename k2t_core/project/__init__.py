"""The session model: one project of one user, kept on disk. It knows nothing of Streamlit."""
