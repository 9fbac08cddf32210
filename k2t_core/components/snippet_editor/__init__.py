"""The editor of PyTorch code on the Mapping page: a Streamlit component around CodeMirror."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def script() -> str:
    """The component's JavaScript, as `build.mjs` made it."""
    return (Path(__file__).parent / "bundle" / "editor.js").read_text(encoding="utf-8")
