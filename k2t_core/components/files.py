"""A Streamlit component whose script is a file that the app's own server hands to the browser.

One that is given as text would run from a blob:, which the app's Content-Security-Policy does not allow.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any


def component(name: str, folder: Path, script: str) -> Any:
    """The component of that name, "package.component"; its script lies in ``bundle/`` of the folder."""
    _register(name, folder)
    return _declared(name, script)


@cache  # of the process: Streamlit keeps the components of its server by name
def _declared(name: str, script: str) -> Any:
    import streamlit as st

    return st.components.v2.component(name, js=script)


def _register(name: str, folder: Path) -> None:
    """Tell Streamlit, whose registry is the process's, where the component's files lie.

    It looks for them in the pyproject.toml of installed packages only; a wheel has none, and a checkout need not be
    installed.
    """
    from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
    from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

    manager = get_bidi_component_manager()
    if manager.get_component_path(name) is None:
        package, short = name.split(".")
        manager.register_from_manifest(ComponentManifest(package, "1", [ComponentConfig(short, "bundle")]), folder)
