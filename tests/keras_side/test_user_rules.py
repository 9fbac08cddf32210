"""A user's own rules and classes."""

from __future__ import annotations

import pytest

import k2t_core as k2t
from k2t_core.keras_side.user_rules import load_rules


def test_rules_file(tmp_path):
    (tmp_path / "broken_rules.py").write_text("raise KeyError('oops')")
    (tmp_path / "fine_rules.py").write_text("LOADED = []\n")
    (tmp_path / "json.py").write_text("")
    with pytest.raises(k2t.K2TError, match="no such file"):
        load_rules(tmp_path / "none.py")
    with pytest.raises(k2t.K2TError, match="broken_rules.py: KeyError: 'oops'"):
        load_rules(tmp_path / "broken_rules.py")
    with pytest.raises(k2t.K2TError, match="'json' is loaded already"):
        load_rules(tmp_path / "json.py")
    load_rules(tmp_path / "fine_rules.py")
    load_rules(tmp_path / "fine_rules.py")  # again: a page rerun
