"""Start the app: `streamlit run app.py`, or `k2t app`. Navigation and nothing else; each page is a file in pages/."""

import os
from pathlib import Path

# TensorFlow's start-up messages say nothing to a user; the reference is Keras on TensorFlow, whatever the user's own default.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import streamlit as st  # noqa: E402

from pages.common import navigation  # noqa: E402

st.session_state["started by app.py"] = True
# A file of our own: Streamlit fetches icons it is given by name from a font server.
st.set_page_config(page_title="k2t: Keras to PyTorch", page_icon=str(Path(__file__).parent / "pages" / "icon.svg"), layout="wide")
st.html("<style>.stMainBlockContainer { padding: 4.5rem clamp(1rem, 4vw, 4rem) 3rem; }</style>")
navigation().run()
