"""How the app is served: to whom, under which names and addresses. A real server: tests/security/test_serving.py."""

from __future__ import annotations

import base64
import hashlib
import re
import stat
import time
import webbrowser
from pathlib import Path

import pytest
from streamlit.file_util import get_static_dir

from k2t_core.errors import K2TError
from k2t_core.serving.gate import Token
from k2t_core.serving.server import Door, Serving, chosen_token, policy

TOKEN = Token("a/token&of a test")


@pytest.mark.parametrize(
    ("host", "names", "shared"),
    [
        ("127.0.0.1", (), False),
        ("localhost", (), False),
        ("::1", (), False),
        ("127.0.0.2", (), False),
        ("127.0.0.1", ("LOCALHOST",), False),
        ("127.0.0.1", ("k2t.example.org",), True),
        ("0.0.0.0", ("localhost",), True),
        ("::", (), True),
        ("192.168.1.5", (), True),
        ("machine.example.org", (), True),
    ],
)
def test_a_server_that_others_reach_is_shared(host, names, shared):
    assert Serving(host, names).is_shared == shared


def test_the_names_are_those_of_loopback_and_what_the_owner_adds():
    assert Serving().hosts == ["localhost", "127.0.0.1", "::1", "127.0.0.1"]
    assert "192.168.1.5" in Serving("192.168.1.5").hosts and "k2t" in Serving(names=("k2t",)).hosts
    assert Serving("0.0.0.0", ("k2t",)).hosts[-1] == "k2t"
    for everywhere in ("0.0.0.0", "::", "[::]"):
        with pytest.raises(K2TError, match="--allow-host NAME"):
            Serving(everywhere).hosts  # noqa: B018


def test_the_addresses_hold_the_token():
    query = "/?token=a%2Ftoken%26of%20a%20test"
    assert Serving(token=TOKEN).addresses(8501) == [f"http://127.0.0.1:8501{query}"]
    assert Serving("::1", token=TOKEN).addresses(80) == [f"http://[::1]:80{query}"]
    found = Serving("0.0.0.0", ("k2t.example.org", "192.168.1.5"), token=TOKEN).addresses(8501)
    assert [address.split(":8501")[0] for address in found] == [
        "http://127.0.0.1",
        "http://k2t.example.org",
        "http://192.168.1.5",
    ]


def test_a_token_is_made_and_is_another_each_time():
    one, other = Serving().token, Serving().token
    assert one != other and len(one.value) >= 32


def test_a_token_of_ones_own_comes_from_the_environment_and_stays_there_no_longer(monkeypatch):
    assert chosen_token() is None
    monkeypatch.setenv("K2T_TOKEN", "sixteen letters!")
    assert chosen_token() == Token("sixteen letters!") and chosen_token() is None
    for short in ("", "fifteen letters"):
        monkeypatch.setenv("K2T_TOKEN", short)
        with pytest.raises(K2TError, match="16"):
            chosen_token()


def test_the_policy_names_the_scripts_of_this_streamlit():
    page = (Path(get_static_dir()) / "index.html").read_text(encoding="utf-8")
    inline = re.search(r"<script>(.*?)</script>", page, flags=re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    rules = dict(rule.split(" ", 1) for rule in policy().split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["script-src"] == f"'self' 'sha256-{digest}'"
    assert rules["connect-src"] == rules["worker-src"] == "'self'"


def test_the_browser_is_opened_by_a_file_that_only_its_user_reads(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    door = Door()
    door.open("http://127.0.0.1:1/?token=secret&a=b")
    while not opened:
        time.sleep(0.01)
    (file,) = tmp_path.iterdir()
    assert opened == [file.as_uri()] and "secret" not in file.name
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "url=http://127.0.0.1:1/?token=secret&amp;a=b" in file.read_text()
    door.close()
    door.close()
    assert not list(tmp_path.iterdir())
