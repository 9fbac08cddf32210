"""Both models drawn together: `inspector.graph_data` says what there is to draw, `component` is the Streamlit component that draws it."""
