"""The app's script, which `k2t app` runs. Navigation and nothing else; each page is a file in pages/."""

import streamlit as st

from k2t_core.parsing import guard
from pages.parts.common import navigation, safety_net

guard()  # a page is parsed whenever it is drawn, in a thread of its own
st.session_state["started by app.py"] = True
page = navigation()
with safety_net():
    page.run()
