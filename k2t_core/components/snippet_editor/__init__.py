"""The editor of PyTorch code on the Mapping page: a Streamlit component around CodeMirror."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from k2t_core.components.files import component


def editor() -> Any:
    """The component; its JavaScript is as `build.mjs` made it."""
    return component("k2t.snippet_editor", Path(__file__).parent, "editor.js")
