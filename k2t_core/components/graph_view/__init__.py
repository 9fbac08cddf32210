"""Both models drawn together: `inspector.graph_data` says what there is to draw, `component` draws it in Streamlit."""
