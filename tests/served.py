"""The app as its owner starts it, `k2t app` in a process of its own on a free port, and a browser that it lets in."""

from __future__ import annotations

import http.client
import os
import secrets
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from k2t_core.serving.gate import COOKIE, Token

ROOT = Path(__file__).resolve().parents[1]


class Server:
    """`k2t app`, with projects of its own in ``folder / "home"``.

    options: of the command; environment: beside the test's own. The port and the token stay the same after a new start.
    """

    def __init__(self, folder: Path, *options: str, **environment: str):
        self.folder, self.options, self.environment = folder, list(options), environment
        self.token = Token(secrets.token_hex(24))
        self.process: subprocess.Popen | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    @property
    def address(self) -> str:
        """Where the app lies, for whoever has the cookie."""
        return f"http://127.0.0.1:{self.port}{self.token.path}/"

    @property
    def log(self) -> Path:
        return self.folder / "k2t-app.log"

    def start(self, again: bool = False) -> str:
        """Its address; started where it does not run, or where it shall run anew on the same data."""
        if self.process is not None and not again:
            return self.address
        self.stop()
        command = [sys.executable, "-m", "k2t_core.cli", "app", "--port", str(self.port), "--no-browser", *self.options]
        # Its own folder as working directory: the app must find its settings wherever it is started.
        with open(self.log, "wb") as said:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
                    "K2T_HOME": str(self.folder / "home"),
                    "K2T_TOKEN": self.token.value,
                    **self.environment,
                },
                stdout=said,
                stderr=said,
            )
        for _ in range(600):
            try:
                if self.get("/_stcore/health", cookie=self.token.cookie)[0] == 200:
                    return self.address
            except OSError:
                pass
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise TimeoutError(self.log.read_text())

    def stop(self, kill: bool = False) -> None:
        """End it; ``kill``: at once, whatever it is doing."""
        if self.process is not None:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait(20)
            self.process = None

    def get(
        self, path: str = "/", *, method: str = "GET", cookie: str | None = None, under: bool = True, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, str]:
        """(status, headers, text) of a request. headers: with _ for -. under: whether below the app's own path."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if cookie is not None:
            sent["Cookie"] = f"{COOKIE}={cookie}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, (self.token.path if under else "") + path, headers=sent)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode(errors="replace")
        finally:
            connection.close()

    @property
    def cookie(self) -> dict[str, Any]:
        """The cookie that the token is traded for, as Playwright takes it."""
        return {
            "name": COOKIE,
            "value": self.token.cookie,
            "domain": "127.0.0.1",
            "path": self.token.path,
            "expires": -1,
            "httpOnly": True,
            "secure": False,
            "sameSite": "Strict",
        }


def admitted(browser: Any, server: Server) -> Any:
    """A Playwright browser, every context of which the server lets in."""
    state = {"cookies": [server.cookie], "origins": []}
    browser.new_context = partial(browser.new_context, storage_state=state)
    browser.new_page = partial(browser.new_page, storage_state=state)
    return browser
