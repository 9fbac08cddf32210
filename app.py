"""Start the app: `streamlit run app.py`, or `k2t app`. Navigation and nothing else; each page is a file in pages/."""

import os

# TensorFlow's start-up messages say nothing to a user. The reference is Keras on TensorFlow, whatever the user's own
# default.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import streamlit as st  # noqa: E402

from pages.parts.common import navigation, safety_net  # noqa: E402

st.session_state["started by app.py"] = True
page = navigation()
with safety_net():
    page.run()
