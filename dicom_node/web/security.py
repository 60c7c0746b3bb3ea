"""What keeps other web sites out of a page without login: host check, same-origin check, response headers.

The host check (against DNS rebinding) holds while the page is bound to loopback; the same-origin check (against forged
requests) always. A script that is no browser sends `Sec-Fetch-Site: same-origin`; only what is made for programs
(`FOR_PROGRAMS`) takes requests that carry none of a browser's marks.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOR_PROGRAMS = "/dicom-web/"
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


def allowed_hosts(host: str) -> list[str]:
    """The names under which the page may be asked for: any, unless it is bound to loopback."""
    named = f"[{host}]" if ":" in host else host
    return ["localhost", "127.0.0.1", "[::1]", named] if is_loopback(host) else ["*"]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a page bound to this address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Refuses what another site's page sends, and puts the security headers on every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        program = scope["path"].startswith(FOR_PROGRAMS) and is_no_browser(headers)
        if scope["method"] in ("GET", "HEAD") or program or same_origin(headers):
            await self.app(scope, receive, send_with_headers)
        else:
            refusal = PlainTextResponse("Refused: this request did not come from the worklist page itself.", 403)
            await refusal(scope, receive, send_with_headers)


def is_no_browser(headers: Headers) -> bool:
    """Whether a request carries neither of the headers of which browsers send at least one with every POST."""
    return "sec-fetch-site" not in headers and "origin" not in headers


def same_origin(headers: Headers) -> bool:
    """Whether the page itself sent a request; without either header (no browser does that) it counts as foreign."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(headers.get("origin", "")).netloc
    return bool(origin) and origin == headers.get("host")
