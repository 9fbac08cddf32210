"""What the pages remember, and where."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import k2t_core as k2t
from k2t_core import cli
from k2t_core.project.settings import OF_THE_MODEL, SETTINGS, VERIFY, home, server_rules


@pytest.mark.parametrize("verify", [k2t.verify, cli.verify])
def test_a_verification_starts_from_the_same_numbers_everywhere(verify):
    given = {name: parameter.default for name, parameter in inspect.signature(verify).parameters.items()}
    assert {name: given[name] for name in VERIFY} == {name: SETTINGS[f"verify.{name}"] for name in VERIFY}


def test_what_speaks_of_the_model_is_a_setting():
    assert set(OF_THE_MODEL) <= set(SETTINGS)


def test_projects_lie_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("K2T_HOME", "~/somewhere")
    assert home() == Path.home() / "somewhere"
    monkeypatch.delenv("K2T_HOME")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home() == tmp_path / "k2t"
    monkeypatch.setattr("sys.platform", "darwin")
    assert home() == Path.home() / "Library" / "Caches" / "k2t"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert home() == tmp_path / "local" / "k2t"


def test_the_servers_rules_are_those_it_was_started_with(monkeypatch):
    monkeypatch.delenv("K2T_RULES", raising=False)
    assert server_rules() is None
    monkeypatch.setenv("K2T_RULES", "/my/rules.py")
    assert server_rules() == "/my/rules.py"
