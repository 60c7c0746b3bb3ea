"""What keeps other web sites out of a page without login: host check, same-origin check, response headers.

The host check (against DNS rebinding) holds while the page is bound to loopback; the same-origin check (against forged
requests) always. A script that is no browser sends `Sec-Fetch-Site: same-origin`; only what is made for programs
(`FOR_PROGRAMS`) takes requests that carry none of a browser's marks. What no client has reason to send is refused here
(400), so that no handler meets it.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import unquote_to_bytes

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicom_node.web.public import Network, PublicAddress, become_public, believe, hostname, is_host, is_trusted

FOR_PROGRAMS = "/dicom-web/"
LONGEST_PATH, LONGEST_QUERY = 65_536, 65_536
WHITESPACE = b"\t\n\r"  # in a query, as text that was pasted brings it
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
IN_A_FRAME = POLICY.replace("frame-ancestors 'none'", "frame-ancestors 'self'")  # of a page of this node
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Entrance:
    """How the page is reached: the address it is bound to, the public one, and the proxies that are believed."""

    host: str
    public: PublicAddress | None = None
    proxies: tuple[Network, ...] = ()

    def allows(self, host: str) -> bool:
        """Whether the page may be asked for under this name: any, unless it is bound to loopback."""
        if not is_loopback(self.host):
            return True
        named = f"[{self.host}]" if ":" in self.host else self.host
        public = [hostname(self.public.netloc)] if self.public else []
        return hostname(host) in ("localhost", "127.0.0.1", "[::1]", named.lower(), *public)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a page bound to this address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Refuses what another site's page sends, and puts the security headers on every response."""

    def __init__(self, app: ASGIApp, entrance: Entrance) -> None:
        self.app, self._entrance = app, entrance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        prefix = self._entrance.public.prefix if self._entrance.public else ""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if prefix and headers.get("location", "").startswith("/"):  # handlers know nothing of a prefix
                    headers["location"] = prefix + headers["location"]
            await send(message)

        refusal = self._refusal(scope)
        try:
            await (refusal or self.app)(scope, receive, send_with_headers)
        except ClientDisconnect:
            log.info("a client went away in the middle of its request", method=scope["method"], path=scope["path"])

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        """What is answered instead of what was asked for; the scope becomes that of the public address."""
        if wrong := unreadable(scope):
            return PlainTextResponse(wrong, 400)
        if is_trusted(scope, self._entrance.proxies):
            believe(scope, self._entrance.proxies)
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) > 1 or not is_host(hosts[0] if hosts else self._entrance.host):
            return PlainTextResponse("The Host header names no host.", 400)
        if not self._entrance.allows(hosts[0] if hosts else ""):
            return PlainTextResponse("Invalid host header: this page is not served under that name.", 400)
        is_own = same_origin(headers, self._entrance.public)
        if self._entrance.public:
            become_public(scope, self._entrance.public)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        program = path.startswith(FOR_PROGRAMS) and is_no_browser(headers)
        if scope["method"] in ("GET", "HEAD") or program or is_own:
            return None
        return PlainTextResponse("Refused: this request did not come from the worklist page itself.", 403)


def unreadable(scope: Scope) -> str:
    """Why a request's address cannot be one; '' where it can."""
    path, query = scope["path"], scope.get("query_string", b"")
    if len(path) > LONGEST_PATH or len(query) > LONGEST_QUERY:
        return "The address is longer than any here."
    if not path.startswith("/") or any(ord(each) < 32 or 127 <= ord(each) < 160 for each in path):
        return "The address holds characters that no address has."
    controls = (each for each in unquote_to_bytes(query) if (each < 32 and each not in WHITESPACE) or each == 127)
    if FOR_PROGRAMS in path and any(True for _ in controls):  # what a reader types is cleaned where it is read
        return "What is asked for holds characters that no text has."
    return ""


def is_no_browser(headers: Headers) -> bool:
    """Whether a request carries neither of the headers of which browsers send at least one with every POST."""
    return "sec-fetch-site" not in headers and "origin" not in headers


def same_origin(headers: Headers, public: PublicAddress | None = None) -> bool:
    """Whether the page itself sent a request; without either header (no browser does that) it counts as foreign."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin", "").lower()
    if public and origin == public.origin:
        return True
    _, slashes, host = origin.partition("://")
    return bool(slashes) and bool(host) and host == headers.get("host", "").lower()
