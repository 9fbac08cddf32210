"""Both models drawn together: `data` says what there is to draw, `component` is the Streamlit component that draws it."""
