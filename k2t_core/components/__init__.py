"""The Streamlit components, each with its npm build: the graph and the editor of PyTorch code."""
