"""Streamlit's server behind the gate, as `k2t app` starts it.

Streamlit's own extension point is used: `st.App` is an ASGI application, and what the server runs is an `st.App` whose
calls go through `Gate`. Should a version of Streamlit ever run it otherwise, the server does not start.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import sys
import tempfile
import threading
import webbrowser
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import escape
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import streamlit as st
from streamlit.file_util import get_static_dir

from k2t_core.errors import K2TError
from k2t_core.serving.gate import LOOPBACK, Gate, Message, Receive, Send, Token, normal_host

SHORTEST = 16  # characters of a token that a user chooses
# What no configuration file or variable of Streamlit's may say otherwise.
FIXED = {
    "server.enableCORS": True,  # no other origin gets an answer that it could read
    "server.enableXsrfProtection": True,
    "server.enableStaticServing": False,
    "server.enableAgentApi": False,
    "global.developmentMode": False,
    "logger.hideWelcomeMessage": True,  # it prints the address without the token
}


@dataclass(frozen=True)
class Serving:
    """How the owner wants the app to be served.

    host: the address to listen on. names: further names that requests may be sent to. port: None takes the first free
    one.
    """

    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    port: int | None = None
    browser: bool = True
    token: Token = field(default_factory=lambda: Token(secrets.token_hex(24)))

    @property
    def is_shared(self) -> bool:
        """Whether others than the user of this machine are to reach it."""
        return not all(map(is_loopback, (self.host, *self.names)))

    @property
    def hosts(self) -> list[str]:
        """The names that requests may be sent to. Raises K2TError where it listens everywhere and has no name."""
        if not is_wildcard(self.host):
            return [*LOOPBACK, self.host, *self.names]
        if not self.names:
            raise K2TError(
                f"--host {self.host} listens on every address: say by --allow-host NAME what this server is called"
            )
        return [*LOOPBACK, *self.names]

    def addresses(self, port: int) -> list[str]:
        """Where the app is found, with the token: here first, then under the names for others."""
        first = "127.0.0.1" if is_wildcard(self.host) else self.host
        scheme = "https" if st.get_option("server.sslCertFile") else "http"
        return [
            f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}/?token={quote(self.token.value, safe='')}"
            for name in dict.fromkeys([first, *self.names])
        ]


def chosen_token() -> Token | None:
    """$K2T_TOKEN, for an address that stays the same. Not an option: every user sees the arguments of a process."""
    value = os.environ.pop("K2T_TOKEN", None)
    if value is not None and len(value) < SHORTEST:
        raise K2TError(f"K2T_TOKEN: give at least {SHORTEST} characters, or none to have a token made")
    return None if value is None else Token(value)


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine itself reaches an address or name."""
    address = as_address(host)
    return address.is_loopback if address is not None else normal_host(host) in LOOPBACK


def is_wildcard(host: str) -> bool:
    """Whether it stands for every address of the machine."""
    address = as_address(host)
    return address is not None and address.is_unspecified


def as_address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(normal_host(host))
    except ValueError:
        return None


def serve(script: Path, arguments: Sequence[str], serving: Serving) -> None:
    """Serve the app until it is stopped. ``arguments``: those that the script finds in sys.argv.

    Raises K2TError where it cannot listen as the owner wants.
    """
    sys.argv = [str(script), *arguments]  # beside which Streamlit looks for .streamlit/config.toml
    options: dict[str, Any] = {
        **FIXED,
        "server.address": serving.host,
        "server.baseUrlPath": serving.token.path,
    }
    if serving.port is not None:
        options["server.port"] = serving.port
    if headless := os.environ.get("STREAMLIT_SERVER_HEADLESS"):  # st.App does not look at Streamlit's variables
        options["server.headless"] = headless.lower() in ("true", "1")
    try:
        Guarded(script, serving).run(config=options)
    except KeyboardInterrupt:
        pass
    except OSError as error:
        raise K2TError(f"cannot listen on {serving.host}: {error.strerror or error}") from error
    except SystemExit as stopped:
        if stopped.code:
            raise K2TError("the app's server did not start; the lines above say why") from stopped


class Guarded(st.App):
    """Streamlit's application, every call of which goes through the gate."""

    def __init__(self, script: Path, serving: Serving):
        super().__init__(script, lifespan=self.opened)
        self.serving = serving
        self.door = Door()
        self.gate = Gate(super().__call__, serving.token, serving.hosts, policy(), self.door.close)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await self.gate(scope, receive, send)

    @asynccontextmanager
    async def opened(self, _: st.App) -> AsyncIterator[dict[str, Any]]:
        """While the server is up; its port is known by now."""
        if not self.gate.standing:
            raise RuntimeError("this version of Streamlit starts the app without k2t's gate; install the one k2t names")
        addresses = self.serving.addresses(st.get_option("server.port"))
        print("k2t is running at", *addresses, "Whoever has an address can use it. Ctrl+C ends it.", sep="\n  ")
        sys.stdout.flush()
        if self.serving.browser and not st.get_option("server.headless"):
            self.door.open(addresses[0])
        try:
            yield {}
        finally:
            self.door.close()


class Door:
    """Opens the browser by a file that leads on: every user of the machine sees the arguments of a browser's process.

    The file lies in the user's own folder and not among hidden or temporary ones, which a browser in a sandbox (a snap)
    may not read; it is gone as soon as the browser has come.
    """

    file: Path | None = None

    def open(self, address: str) -> None:
        handle, name = tempfile.mkstemp(prefix="k2t-open-", suffix=".html", dir=Path.home())  # for this user alone
        self.file = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(
                '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>k2t</title>'
                f'<meta http-equiv="refresh" content="0; url={escape(address)}">'
            )
        threading.Thread(target=webbrowser.open, args=(self.file.as_uri(),), daemon=True).start()

    def close(self) -> None:
        if self.file is not None:
            self.file.unlink(missing_ok=True)
            self.file = None


def policy() -> str:
    """The Content-Security-Policy of the pages: everything from this server, and no code but Streamlit's and k2t's.

    Scripts written into Streamlit's page are named by their hashes. What it cannot do without: styles written into
    pages, and fonts and pictures as data: addresses.
    """
    page = (Path(get_static_dir()) / "index.html").read_text(encoding="utf-8")
    inline = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in inline]
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' {' '.join(hashes)}",
            "worker-src 'self'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
