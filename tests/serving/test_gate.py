"""The gate alone, around an application that says what it was asked."""

from __future__ import annotations

import asyncio
import re

import pytest

from k2t_core.serving.gate import COOKIE, NOTHING, Gate, Token, normal_host

TOKEN = Token("a token of a test, which is long")
BASE = TOKEN.path
HOST = (b"host", b"127.0.0.1:8501")
ORIGIN = (b"origin", b"http://127.0.0.1:8501")
KNOWN = (b"cookie", f"{COOKIE}={TOKEN.cookie}".encode())
POLICY = "default-src 'none'; script-src 'self'"


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        framed = [(b"X-Frame-Options", b"ALLOWALL"), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": framed})
        await send({"type": "http.response.body", "body": scope["path"].encode()})


def gate(*hosts: str, **more) -> Gate:
    return Gate(application, TOKEN, ["localhost", "127.0.0.1", "::1", *hosts], POLICY, **more)


def ask(
    *headers: tuple[bytes, bytes],
    path: str = f"{BASE}/",
    query: str = "",
    kind: str = "http",
    method: str = "GET",
    to=None,
):
    """(status, headers, text) of an HTTP request; of a websocket, whether it was accepted."""
    scope = {"type": kind, "path": path, "query_string": query.encode(), "headers": list(headers), "method": method}
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": f"{kind}.connect"}

    asyncio.run((to or gate())(scope, receive, send))
    if kind == "websocket":
        assert len(sent) == 1
        return sent[0]["type"] == "websocket.accept"
    start, body = sent
    names = [name.lower() for name, _ in start["headers"]]
    assert len(set(names)) == len(names), "a header twice"
    return start["status"], {n.lower().decode(): v.decode() for n, v in start["headers"]}, body["body"].decode()


def test_the_token_is_traded_for_a_cookie_and_leaves_the_address():
    status, headers, text = ask(HOST, path="/", query=f"token={TOKEN.value.replace(' ', '+')}&project=a%26b")
    assert status == 200 and headers["cache-control"] == "no-store" and headers["referrer-policy"] == "no-referrer"
    cookie = headers["set-cookie"]
    assert cookie == f"{COOKIE}={TOKEN.cookie}; Path={BASE}; HttpOnly; SameSite=Strict"
    assert re.search(r'content="0; url=([^"]*)"', text)[1] == f"{BASE}/?project=a%26b"
    assert TOKEN.value not in text and TOKEN.value.replace(" ", "+") not in text
    status, _, text = ask(HOST, KNOWN)
    assert (status, text) == (200, f"{BASE}/")


def test_it_goes_on_to_the_page_that_was_asked_for():
    def goes(path: str, query: str = "") -> str:
        text = ask(HOST, path=path, query=f"token={TOKEN.value}{query}")[2]
        return re.search(r'url=([^"]*)"', text)[1]

    assert goes("/mapping", "&layer=a/b&layer=c") == f"{BASE}/mapping?layer=a%2Fb&amp;layer=c"
    assert goes(f"{BASE}/mapping") == f"{BASE}/mapping"
    assert goes("//evil.example/") == f"{BASE}/evil.example", "never to another host"
    assert goes('/"><script>') == f"{BASE}/%22%3E%3Cscript%3E"


def test_a_cookie_that_is_sent_over_tls_is_not_sent_without():
    scope = {
        "type": "http",
        "scheme": "https",
        "path": "/",
        "query_string": f"token={TOKEN.value}".encode(),
        "headers": [HOST],
        "method": "GET",
    }
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(gate()(scope, None, send))
    assert dict(sent[0]["headers"])[b"set-cookie"].endswith(b"; Secure")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"cookie", f"{COOKIE}=".encode())],
        [(b"cookie", f"{COOKIE}={TOKEN.value}".encode())],
        [(b"cookie", f"other={TOKEN.cookie}".encode())],
        [(b"cookie", f"{COOKIE}={TOKEN.cookie[:-1]}".encode())],
        [(b"cookie", f"{COOKIE}=\xff\xe9".encode("latin-1"))],
        [(b"authorization", f"Bearer {TOKEN.cookie}".encode())],
    ],
)
def test_nothing_is_answered_without_token_or_cookie(headers):
    for path in ("/", f"{BASE}/", f"{BASE}/_stcore/health", f"{BASE}/media/x", f"{BASE}/static/js/index.js"):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            status, found, text = ask(HOST, *headers, path=path, method=method)
            assert status == 403 and "set-cookie" not in found and "token in it is the key" in text
    assert not ask(HOST, ORIGIN, *headers, path=f"{BASE}/_stcore/stream", kind="websocket")


@pytest.mark.parametrize("query", ["token=", "token=wrong", "token=%C3%A9", f"Token={TOKEN.value}", TOKEN.value])
def test_a_wrong_token_is_none(query):
    assert ask(HOST, query=query.replace(" ", "+"))[0] == 403


def test_the_token_opens_no_websocket_and_changes_nothing():
    query = f"token={TOKEN.value}"
    assert not ask(HOST, ORIGIN, query=query, kind="websocket")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(HOST, query=query, method=method)[0] == 403


def test_a_cookie_that_another_port_has_set_is_not_in_the_way():
    for other in ("first", ""):
        both = (b"cookie", f"{COOKIE}={other}; a=b;{COOKIE}={TOKEN.cookie}".encode())
        assert ask(HOST, both)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.example:8501",
        b"localhost.evil.example",
        b"127.0.0.1.evil.example",
        b"evil.example#127.0.0.1",
        b"evil.example@127.0.0.1",
        b"127.0.0.1@evil.example",
        b"127.0.0.2",
        b"localhost.",
        b"",
        b"\xff",
    ],
)
def test_another_host_is_refused_with_cookie_and_with_token(host):
    for named in ([(b"host", host)], [HOST, (b"host", host)], []):
        assert ask(*named, KNOWN)[0] == 403
        assert ask(*named, query=f"token={TOKEN.value}")[0] == 403
        origin = (b"origin", b"http://" + host)
        assert not ask(*named, origin, KNOWN, kind="websocket")


@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:9", b"127.0.0.1", b"[::1]:8501", b"[0:0::1]"])
def test_loopback_has_its_names(host):
    assert ask((b"host", host), KNOWN)[0] == 200
    assert ask((b"host", host), (b"origin", b"http://" + host), KNOWN, kind="websocket")


def test_more_names_can_be_added():
    named = gate("K2T.example.org")
    host = (b"host", b"k2t.example.org")
    assert ask(host, KNOWN, to=named)[0] == 200
    assert ask(host, (b"origin", b"https://k2t.example.org"), KNOWN, kind="websocket", to=named), "behind a proxy's TLS"
    assert ask((b"host", b"www.k2t.example.org"), KNOWN, to=named)[0] == 403
    assert normal_host("[FE80::0:1]") == "fe80::1"


@pytest.mark.parametrize(
    "origin",
    [
        b"http://127.0.0.1:9999",
        b"http://127.0.0.1",
        b"http://localhost:8501",
        b"http://evil.example",
        b"null",
        b"",
        b"file://127.0.0.1:8501",
        b"http://127.0.0.1:8501@evil.example",
        b"http://[::1",
        b"http://127.0.0.1:8501.evil.example",
    ],
)
def test_another_origin_is_refused(origin):
    assert not ask(HOST, KNOWN, (b"origin", origin), kind="websocket")
    assert not ask(HOST, KNOWN, ORIGIN, (b"origin", origin), kind="websocket")
    for method in ("GET", "PUT", "OPTIONS"):
        assert ask(HOST, KNOWN, (b"origin", origin), method=method)[0] == 403


def test_a_websocket_says_where_it_comes_from():
    assert ask(HOST, KNOWN, ORIGIN, kind="websocket")
    assert not ask(HOST, KNOWN, kind="websocket")


def test_a_page_on_another_port_has_the_cookie_sent_and_gets_nothing():
    for site in (b"same-site", b"cross-site"):
        assert ask(HOST, KNOWN, (b"sec-fetch-site", site))[0] == 403
    for site in (b"same-origin", b"none"):
        assert ask(HOST, KNOWN, (b"sec-fetch-site", site))[0] == 200
    # But a link, or the file that `k2t app` opens the browser with, may bring the token.
    assert ask(HOST, (b"sec-fetch-site", b"cross-site"), query=f"token={TOKEN.value}")[0] == 200


def test_every_answer_has_the_headers():
    for status, headers, _ in (ask(HOST), ask(HOST, KNOWN), ask(HOST, query=f"token={TOKEN.value}"), ask(KNOWN)):
        assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == headers["cross-origin-opener-policy"] == "same-origin"
        of_the_app = status == 200 and "set-cookie" not in headers
        assert headers["content-security-policy"] == (POLICY if of_the_app else NOTHING)


def test_a_file_that_somebody_made_is_not_run():
    policy = ask(HOST, KNOWN, path=f"{BASE}/media/report.html")[1]["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")


def test_who_comes_in_is_told():
    came = []
    told = gate(entered=lambda: came.append(True))
    ask(HOST, KNOWN, to=told)
    ask(HOST, query="token=wrong", to=told)
    assert not came
    ask(HOST, query=f"token={TOKEN.value}", to=told)
    assert came == [True]


def test_the_start_of_the_server_passes_and_is_noticed():
    seen = []

    async def starting(scope, receive, send):
        seen.append(scope["type"])

    guard = Gate(starting, TOKEN, [], POLICY)
    assert not guard.standing
    asyncio.run(guard({"type": "lifespan"}, None, None))
    assert guard.standing and seen == ["lifespan"]


def test_path_and_cookie_follow_from_the_token_and_do_not_tell_it():
    again, other = Token(TOKEN.value), Token(TOKEN.value + "!")
    assert (again.path, again.cookie) == (TOKEN.path, TOKEN.cookie)
    assert other.path != TOKEN.path and other.cookie != TOKEN.cookie
    assert re.fullmatch("/[0-9a-f]{24}", TOKEN.path) and re.fullmatch("[0-9a-f]{64}", TOKEN.cookie)
    assert TOKEN.path[1:] not in TOKEN.cookie and TOKEN.value not in repr(TOKEN)
