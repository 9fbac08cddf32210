"""The gate of the app's server: every HTTP request and websocket passes here before Streamlit sees any of it.

It is ASGI and nothing else. Three questions are asked of each request, in this order, and one "no" is a 403:

1. Is it sent to a name of this server? A page that rebinds its own name to this address sends that name.
2. Was it this server's own page that sent it, or the user? Pages on other ports of a machine share its cookies, so a
   cookie does not tell.
3. Does it know the token? It comes once, in the address; the answer puts a cookie in its place and goes on to the same
   address without it, so that it stays in no address bar, history or Referer.

Cookies are sent to every port of a host. A page on another port, of another user of the machine, would be handed ours:
so it is bound to a path that nobody can guess, and the app lies below that path.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass, field
from html import escape
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

COOKIE = "k2t"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    b"x-frame-options": b"DENY",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}


@dataclass(frozen=True)
class Token:
    """What whoever uses the app has to know, and what follows from it: the same after a new start with the same token.

    path: below which the app lies. cookie: its value, from which the token cannot be told.
    """

    value: str = field(repr=False)

    @property
    def path(self) -> str:
        return "/" + self._derived("path")[:24]

    @property
    def cookie(self) -> str:
        return self._derived("cookie")

    def _derived(self, purpose: str) -> str:
        return hmac.new(self.value.encode(), purpose.encode(), "sha256").hexdigest()


def normal_host(name: str) -> str:
    """A host as it is compared: lower case, an IP address in its one spelling, without brackets."""
    name = name.strip().lower().removeprefix("[").removesuffix("]")
    try:
        return str(ip_address(name))
    except ValueError:
        return name


class Gate:
    """Around an ASGI application.

    hosts: the names that requests may be sent to. policy: the Content-Security-Policy of the app's pages.
    entered: called when a token was good. standing: whether the server runs the application through this gate.
    """

    def __init__(
        self, app: App, token: Token, hosts: Collection[str], policy: str, entered: Callable[[], None] = lambda: None
    ):
        self.app, self.token, self.policy, self.entered = app, token, policy, entered
        self.hosts = frozenset(map(normal_host, hosts))
        self.standing = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            self.standing = True
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        refusal = self.foreign(request)
        if not refusal and kind == "http" and request.method in ("GET", "HEAD") and self.has_token(request):
            await self.let_in(request, send)
            return
        refusal = refusal or self.unproved(request)
        if kind == "websocket":
            if refusal:
                await send({"type": "websocket.close", "code": 1008, "reason": ""})  # before it was accepted: a 403
            else:
                await self.app(scope, receive, send)
        elif refusal:
            await answer(send, 403, "text/plain", f"k2t: {refusal}\n", NOTHING)
        else:
            await self.app(scope, receive, with_headers(send, self.policy_of(request)))

    def foreign(self, request: Request) -> str:
        """Why a request is none that this server's own pages or its user send to it; "" where it may be."""
        host = request.only("host")
        parts = re.fullmatch(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", (host or "").lower())
        if host is None or parts is None or normal_host(parts[1]) not in self.hosts:
            return "this server does not answer to that name; its owner can add one with `k2t app --allow-host NAME`"
        origins = request.all("origin")
        if request.kind == "websocket" and not origins:
            return "a websocket must say which page opens it"
        if any(not same_origin(origin, host) for origin in origins):
            return "this request comes from another site"
        return ""

    def has_token(self, request: Request) -> bool:
        return any(equal(value, self.token.value) for name, value in request.query if name == "token")

    def unproved(self, request: Request) -> str:
        """Why a request is not let in; "" where it is."""
        if not any(equal(value, self.token.cookie) for value in request.cookies(COOKIE)):
            return "open the address that `k2t app` printed; the token in it is the key"
        if any(site not in ("same-origin", "none") for site in request.all("sec-fetch-site")):
            return "this request comes from another site"
        return ""

    async def let_in(self, request: Request, send: Send) -> None:
        """Trade the token for the cookie, and go on without it.

        Not by a redirect: a strict cookie is not sent where a foreign page or a file led to the address.
        """
        self.entered()
        base = self.token.path
        path = request.path if request.path.startswith(f"{base}/") else f"{base}/{request.path.strip('/')}"
        query = urlencode([(name, value) for name, value in request.query if name != "token"])
        target = escape(quote(path) + (f"?{query}" if query else ""))
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>k2t</title>'
            f'<meta http-equiv="refresh" content="0; url={target}"><p><a href="{target}">Go on to k2t</a></p></html>'
        )
        secure = "; Secure" if request.scheme in ("https", "wss") else ""
        cookie = f"{COOKIE}={self.token.cookie}; Path={base}; HttpOnly; SameSite=Strict{secure}"
        await answer(send, 200, "text/html", page, NOTHING, {b"set-cookie": cookie.encode()})

    def policy_of(self, request: Request) -> str:
        """Files that users brought or made are shown, and never run, by whoever opens one by its address."""
        return f"sandbox; {NOTHING}" if request.path.startswith(f"{self.token.path}/media/") else self.policy


class Request:
    """What an ASGI scope says of a request, in words."""

    def __init__(self, scope: Message):
        self.kind, self.path, self.method = scope["type"], scope["path"], scope.get("method", "")
        self.scheme = scope.get("scheme", "http")
        self.query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        self._headers = [(name.lower().decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._headers if key == name]

    def only(self, name: str) -> str | None:
        """A header's value where it was sent once."""
        values = self.all(name)
        return values[0] if len(values) == 1 else None

    def cookies(self, name: str) -> list[str]:
        """All values of that name: another port of the host may have set one of its own."""
        pairs = (pair.strip().partition("=") for header in self.all("cookie") for pair in header.split(";"))
        return [value for key, _, value in pairs if key == name]


def same_origin(origin: str, host: str) -> bool:
    """Whether an Origin is this server's own; behind a proxy the scheme may be https."""
    return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def equal(one: str, other: str) -> bool:
    """Compared in a time that does not depend on where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode())


def with_headers(send: Send, policy: str) -> Send:
    """Add the headers against framing and sniffing, in place of what the application may have said."""
    ours = {**HEADERS, b"content-security-policy": policy.encode()}

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in ours]
            message = {**message, "headers": [*kept, *ours.items()]}
        await send(message)

    return sending


async def answer(
    send: Send, status: int, kind: str, text: str, policy: str, more: dict[bytes, bytes] | None = None
) -> None:
    """A whole answer of the gate's own."""
    body = text.encode()
    headers = {
        b"content-type": f"{kind}; charset=utf-8".encode(),
        b"content-length": str(len(body)).encode(),
        b"cache-control": b"no-store",
        **(more or {}),
    }
    send = with_headers(send, policy)
    await send({"type": "http.response.start", "status": status, "headers": list(headers.items())})
    await send({"type": "http.response.body", "body": body})
