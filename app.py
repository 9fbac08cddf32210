"""The app's script, which `k2t app` runs. Navigation and nothing else; each page is a file in pages/."""

import streamlit as st

from pages.parts.common import navigation, safety_net

st.session_state["started by app.py"] = True
page = navigation()
with safety_net():
    page.run()
