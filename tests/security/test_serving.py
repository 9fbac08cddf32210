"""Attacks on the app's server: `k2t app` in a process of its own, asked over real connections from this machine.

Whoever has neither the token nor the cookie gets nothing; a foreign name, page or frame gets nothing with them either.
"""

from __future__ import annotations

import base64
import http.server
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import CHROMIUM_OPTIONS, button, chromium, settled, to
from tests.served import ROOT, Server

# Every kind of route of Streamlit's server, and a page of the app.
ROUTES = [
    "/",
    "/mapping",
    "/_stcore/health",
    "/_stcore/host-config",
    "/_stcore/metrics",
    "/_stcore/script-health-check",
    "/_stcore/stream",
    "/_stcore/upload_file/session/file",
    "/_stcore/bidi-components/k2t.graph/graph.js",
    "/_stcore/agent/openapi.json",
    "/_stcore/agent/interact",
    "/_stcore/agent/mcp",
    "/component/any/index.html",
    "/media/0123456789abcdef.zip",
    "/app/static/file",
    "/auth/login",
    "/oauth2callback",
    "/static/js/index.js",
    "/favicon.png",
    "/manifest.json",
    "/nothing-of-the-kind",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """One user's own."""
    found = Server(tmp_path_factory.mktemp("server"), "--example", "dense")
    found.start()
    yield found
    found.stop()


def websocket(server: Server, *headers: str, host: str | None = None, path: str = "/_stcore/stream") -> int:
    """The status that a websocket's handshake is answered with: 101 where it is open."""
    lines = [
        f"GET {server.token.path}{path} HTTP/1.1",
        f"Host: {host or f'127.0.0.1:{server.port}'}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(secrets.token_bytes(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: streamlit",
        *headers,
    ]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(connection.recv(4096).split(b" ")[1])


def test_the_printed_address_is_the_way_in(server):
    said = server.log.read_text()
    assert f"http://127.0.0.1:{server.port}/?token={server.token.value}" in said
    status, headers, text = server.get(f"/?token={server.token.value}", under=False)
    name, value = re.match(r"(\w+)=(\w+)", headers["Set-Cookie"]).groups()
    assert status == 200 and (name, value) == ("k2t", server.token.cookie) and server.token.value not in text
    assert re.search('url=([^"]*)', text)[1] == f"{server.token.path}/"
    status, _, text = server.get("/", cookie=value)
    assert status == 200 and 'id="root"' in text


@pytest.mark.parametrize("route", ROUTES)
def test_no_route_answers_without_the_cookie(server, route):
    wrong = {"cookie": secrets.token_hex(32)}
    for under in (True, False):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            for known in ({}, wrong):
                status, headers, text = server.get(route, method=method, under=under, **known)
                assert status == 403 and "Set-Cookie" not in headers
                assert not text or text.startswith("k2t: open the address that `k2t app` printed")
    for query in ("token=", f"token={secrets.token_hex(24)}", f"token={server.token.cookie}"):
        assert server.get(f"{route}?{query}")[0] == 403


def test_the_routes_are_there_for_who_has_the_cookie(server):
    found = {route: server.get(route, cookie=server.token.cookie)[0] for route in ROUTES}
    assert found["/_stcore/health"] == found["/"] == found["/mapping"] == found["/favicon.png"] == 200
    assert 403 not in found.values()


def test_the_upload_endpoint_takes_nothing_from_strangers(server):
    for headers in ({}, {"X-Xsrftoken": "1"}, {"Origin": f"http://127.0.0.1:{server.port}"}):
        assert server.get("/_stcore/upload_file/a/b", method="PUT", **headers)[0] == 403
    # With the cookie it is Streamlit that answers, which asks for its own proof.
    status, _, text = server.get("/_stcore/upload_file/a/b", method="PUT", cookie=server.token.cookie)
    assert status in (400, 403) and "k2t:" not in text


def test_a_websocket_opens_for_the_apps_own_page_alone(server):
    own, cookie = f"Origin: http://127.0.0.1:{server.port}", f"Cookie: k2t={server.token.cookie}"
    assert websocket(server, own, cookie) == 101
    assert websocket(server, own) == 403
    assert websocket(server, own, f"Cookie: k2t={secrets.token_hex(32)}") == 403
    assert websocket(server, own, path=f"/_stcore/stream?token={server.token.value}") == 403
    assert websocket(server, cookie) == 403, "no Origin"
    for origin in (
        "http://evil.example",
        "null",
        f"http://127.0.0.1:{server.port + 1}",
        f"http://localhost:{server.port}",
        f"http://evil.example:{server.port}",
    ):
        assert websocket(server, f"Origin: {origin}", cookie) == 403


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0"])
def test_a_name_that_somebody_has_pointed_here_gets_nothing(server, name):
    """DNS rebinding: the page of evil.example asks its own name, which leads to this server: Host and Origin agree."""
    host = f"{name}:{server.port}"
    for cookie in (None, server.token.cookie):
        for route in ("/", "/_stcore/health", f"/?token={server.token.value}"):
            status, headers, text = server.get(route, cookie=cookie, Host=host, Origin=f"http://{host}")
            assert status == 403 and "Set-Cookie" not in headers and "does not answer to that name" in text
    known = f"Cookie: k2t={server.token.cookie}"
    assert websocket(server, f"Origin: http://{host}", known, host=host) == 403
    forwarded = {"X_Forwarded_Host": f"127.0.0.1:{server.port}", "Forwarded": "host=localhost"}
    assert server.get("/", cookie=server.token.cookie, Host=host, **forwarded)[0] == 403


def test_every_answer_forbids_framing_and_sniffing(server):
    known = server.token.cookie
    for route, cookie in (("/", None), ("/", known), ("/_stcore/health", known), ("/static/js/none.js", known)):
        _, headers, _ = server.get(route, cookie=cookie)
        assert headers.get_all("X-Frame-Options") == ["DENY"]
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert headers.get_all("Referrer-Policy") == ["no-referrer"]
        (policy,) = headers.get_all("Content-Security-Policy")
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe-eval" not in policy
        assert "Access-Control-Allow-Origin" not in headers


def test_the_token_is_not_seen_by_other_users_of_the_machine(server):
    """Every user may read the arguments of a process; its environment, where it comes from, only its own user may."""
    arguments = Path(f"/proc/{server.process.pid}/cmdline")
    if not arguments.exists():
        pytest.skip("no /proc here")
    assert server.token.value.encode() not in arguments.read_bytes()
    assert (arguments.with_name("environ").stat().st_mode & 0o077) == 0


def test_only_this_machine_is_listened_to(server):
    """Linux has the whole of 127.0.0.0/8 on loopback: what listens on every address answers on 127.0.0.2."""
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", server.port), timeout=5)


def test_streamlits_own_settings_do_not_open_it(tmp_path):
    """Neither variables nor a .streamlit/config.toml of the folder that somebody starts it in."""
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text(
        '[server]\naddress = "0.0.0.0"\nbaseUrlPath = ""\nenableCORS = false\nenableXsrfProtection = false\n'
    )
    found = Server(
        tmp_path,
        STREAMLIT_SERVER_ADDRESS="0.0.0.0",
        STREAMLIT_SERVER_BASE_URL_PATH="",
        STREAMLIT_SERVER_ENABLE_CORS="false",
        STREAMLIT_SERVER_ENABLE_AGENT_API="true",
    )
    try:
        found.start()
        test_only_this_machine_is_listened_to(found)
        assert found.get("/", under=False)[0] == found.get("/")[0] == 403
        assert (
            found.get("/_stcore/agent/openapi.json", cookie=found.token.cookie, Origin="http://evil.example")[0] == 403
        )
    finally:
        found.stop()


def test_streamlit_alone_shows_nothing_of_k2t(tmp_path):
    """`streamlit run app.py` has no gate; what it would serve says so and is nothing else."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom streamlit.testing.v1 import AppTest\n"
    script += f"app = AppTest.from_file({str(ROOT / 'app.py')!r}).run(timeout=60)\n"
    script += "print([e.value for e in app.error], len(app.button), len(app.exception))"
    environment = {name: value for name, value in os.environ.items() if name != "K2T_PERMISSIONS"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "['Start this app by `k2t app`.'] 0 0", done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--host", "0.0.0.0"], {}, "--allow-host NAME"),
        (["--host", "192.0.2.1"], {}, "192.0.2.1"),
        ([], {"K2T_TOKEN": "short"}, "K2T_TOKEN"),
        (["--port", "70000"], {}, "65535"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_exit_code_2(tmp_path, arguments, environment, words):
    command = [sys.executable, "-m", "k2t_core.cli", "app", "--no-browser", *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "K2T_HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_told(server, tmp_path):
    command = [sys.executable, "-m", "k2t_core.cli", "app", "--no-browser", "--port", str(server.port)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "K2T_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and f"{server.port}" in done.stderr and "token" not in done.stdout


# In a real browser


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    path = chromium()
    with sync_api.sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).is_file():
            if os.environ.get("K2T_BROWSER") != "required":
                pytest.skip("no Chromium")
        found = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        yield found
        found.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    found = context.new_page()
    found.set_default_timeout(180_000)
    yield found
    context.close()


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """A server on another port, as another user of the machine may run it: its address, and the cookies it was sent."""
    cookies: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            cookies.append(self.headers.get("Cookie", ""))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title><body>")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}/", cookies
        found.shutdown()


def enter(page, server: Server) -> None:
    page.goto(f"http://127.0.0.1:{server.port}/?token={server.token.value}")
    page.get_by_text("Every layer can be converted.").first.wait_for()
    settled(page)


@pytest.mark.browser
def test_the_token_is_gone_from_the_address_and_the_history(page, server):
    enter(page, server)
    assert page.url.startswith(server.address) and "token" not in page.url
    assert page.evaluate("document.referrer + document.cookie").find(server.token.value) == -1
    assert server.token.cookie not in page.evaluate("document.cookie"), "no script reads it"
    been = []
    while page.url != "about:blank":
        been.append(page.url)
        page.go_back(wait_until="commit")
    assert been and not any(server.token.value in url for url in been)


@pytest.mark.browser
def test_a_page_on_another_port_gets_nothing(page, server, elsewhere):
    """The browser has the cookie; the page knows where the app lies, which it cannot; it tries all that a page can."""
    enter(page, server)
    address, cookies = elsewhere
    other = page.context.new_page()
    other.goto(address)
    tried = other.evaluate(
        """async ([app, health, socket, script]) => {
            const answered = (address, options) =>
                fetch(address, {credentials: 'include', ...options}).then(() => 'answered', () => 'refused');
            const fetched = await answered(health, {});
            const blind = await answered(health, {mode: 'no-cors'});
            const sent = await answered(app + '_stcore/upload_file/a/b', {method: 'PUT', body: 'x'});
            const opened = await new Promise(done => {
                const one = new WebSocket(socket);
                one.onopen = () => done('open');
                one.onerror = () => done('refused');
            });
            const loaded = await new Promise(done => {
                const one = document.createElement('script');
                one.src = script;
                one.onload = () => done('ran');
                one.onerror = () => done('refused');
                document.body.append(one);
            });
            const pictured = await new Promise(done => {
                const one = new Image();
                one.onload = () => done('drawn');
                one.onerror = () => done('refused');
                one.src = app + 'favicon.png';
            });
            const framed = await new Promise(done => {
                const one = document.createElement('iframe');
                one.src = app;
                one.onload = () => done(one.contentDocument?.body.innerText || 'refused');
                document.body.append(one);
            });
            return {fetched, blind, sent, opened, loaded, pictured, framed};
        }""",
        [
            server.address,
            f"{server.address}_stcore/health",
            f"{server.address.replace('http', 'ws')}_stcore/stream",
            f"{server.address}_stcore/bidi-components/k2t.graph/graph.js",
        ],
    )
    assert tried == dict.fromkeys(tried, "refused")
    for frame in other.frames[1:]:
        assert frame.locator("#root").count() == 0
    # Nor is it handed the cookie, which the browser keeps for the host and not for the port.
    assert cookies and not any(server.token.cookie in cookie for cookie in cookies)
    # A window that it opens is not let in either.
    with other.expect_popup() as opening:
        other.evaluate("address => { window.open(address) }", server.address)
    opening.value.wait_for_load_state()
    assert "this request comes from another site" in opening.value.content()


@pytest.mark.browser
def test_every_page_works_under_the_policy(page, server):
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    enter(page, server)
    page.locator(".react-flow__node").first.wait_for()
    page.goto(re.sub(r"/(\?project=[^&]*).*", r"/mapping\1&layer=hidden", page.url))
    page.get_by_text("Replace by PyTorch code").click()
    page.get_by_role("textbox", name="PyTorch code").click()
    page.keyboard.type("torch.tanh(x")
    page.get_by_text("Not one Python expression").first.wait_for()
    page.keyboard.type(")")
    page.get_by_text("Nothing of it has run").first.wait_for()
    settled(page)
    button(page, "Check").click()
    page.get_by_text("Would differ").first.wait_for()
    settled(page)
    to(page, "Convert")
    button(page, "Convert").click()
    with page.expect_download() as download:
        page.get_by_text("All in a zip").click()
    assert Path(download.value.path()).read_bytes().startswith(b"PK")
    to(page, "Verify")
    button(page, "Verify").click()
    page.get_by_text("Both compute the same").first.wait_for()
    page.get_by_test_id("stPlotlyChart").first.wait_for()
    settled(page)
    to(page, "Learn")
    to(page, "Load")
    page.get_by_role("tab", name="Upload").click()
    page.locator("input[type=file]").first.set_input_files(
        {"name": "mine.keras", "mimeType": "application/zip", "buffer": b"not a model"}
    )
    page.get_by_text("mine.keras: not a Keras model").first.wait_for()
    # Streamlit finds its own place by asking below each part of the address.
    assert [text for text in wrong if "404 (Not Found)" not in text] == []


@pytest.mark.browser
def test_the_browser_is_opened_without_the_token_among_its_arguments(page, tmp_path):
    """$BROWSER writes down what it was given, as `ps` would show it; a real browser then follows that."""
    given = tmp_path / "given"
    script = tmp_path / "browser"
    script.write_text(f"#!{sys.executable}\nimport sys\nopen({str(given)!r}, 'w').write(sys.argv[1])\n")
    script.chmod(0o755)
    home = tmp_path / "user"
    home.mkdir()
    found = Server(
        tmp_path,
        "--browser",
        HOME=str(home),
        BROWSER=str(script),
        STREAMLIT_SERVER_HEADLESS="false",
    )
    try:
        found.start()
        for _ in range(300):
            if given.exists() and given.read_text():
                break
            time.sleep(0.1)
        address = given.read_text()
        assert address.startswith("file://") and found.token.value not in address
        assert [path.as_uri() for path in home.glob("k2t-open-*.html")] == [address]
        page.goto(address)
        page.get_by_text("Choose a model").first.wait_for()
        assert page.url.startswith(found.address) and "token" not in page.url
        assert not list(home.glob("k2t-open-*")), "the file is gone as soon as the browser has come"
    finally:
        found.stop()


# Served to others


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Server]:
    """Behind a proxy, say: it has a name for others, and its owner has turned nothing on."""
    found = Server(tmp_path_factory.mktemp("shared"), "--allow-host", "k2t.example")
    found.start()
    yield found
    found.stop()


def test_a_name_that_the_owner_adds_is_answered(shared):
    known = shared.token.cookie
    for host in ("k2t.example", "K2T.example:443", f"127.0.0.1:{shared.port}"):
        assert shared.get("/_stcore/health", cookie=known, Host=host)[0] == 200
        assert websocket(shared, f"Origin: https://{host}", f"Cookie: k2t={known}", host=host) == 101
    assert shared.get("/_stcore/health", cookie=known, Host="other.example")[0] == 403
    assert f"http://k2t.example:{shared.port}/?token=" in shared.log.read_text()


@pytest.mark.browser
def test_what_the_owner_has_not_turned_on_is_not_there_for_others(browser, shared, example):
    """Whatever they say of themselves: Host names this machine, as it does behind a tunnel or a careless proxy."""
    context = browser.new_context(storage_state={"cookies": [shared.cookie], "origins": []})
    page = context.new_page()
    page.set_default_timeout(180_000)
    page.goto(shared.address)
    page.get_by_role("tab", name="Upload").click()
    page.locator("input[type=file]").first.set_input_files(example("dense"))
    page.get_by_text("Every layer can be converted.").first.wait_for()
    settled(page)
    assert page.get_by_role("tab").all_inner_texts() == ["Bundled example", "Upload"]
    page.goto(re.sub(r"/(\?project=[^&]*).*", r"/mapping\1&layer=hidden", page.url))
    page.get_by_text("Overrule this mapping").wait_for()
    settled(page)
    assert page.get_by_text("Replace by PyTorch code").count() == 0
    page.goto(shared.address)  # a new visitor
    page.get_by_text("appear here").first.wait_for()
    settled(page)
    assert page.get_by_text("Continue where you left off").count() == 0
    context.close()


@pytest.mark.browser
def test_each_option_turns_one_thing_on(browser, tmp_path, example):
    found = Server(tmp_path, "--allow-host", "k2t.example", "--allow-snippets")
    found.start()
    context = browser.new_context(storage_state={"cookies": [found.cookie], "origins": []})
    try:
        page = context.new_page()
        page.set_default_timeout(180_000)
        page.goto(found.address)
        page.get_by_role("tab", name="Upload").click()
        assert page.get_by_role("tab", name="Path").count() == 0
        page.locator("input[type=file]").first.set_input_files(example("dense"))
        page.get_by_text("Every layer can be converted.").first.wait_for()
        settled(page)
        page.goto(re.sub(r"/(\?project=[^&]*).*", r"/mapping\1&layer=hidden", page.url))
        page.get_by_text("Replace by PyTorch code").wait_for()
    finally:
        context.close()
        found.stop()
