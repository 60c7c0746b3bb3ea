"""How the page is reached: the address that people and programs know it by, and what is believed of a reverse proxy.

With a public address every URL that the node gives is made from it, whatever a proxy passes on. Forwarded headers
(X-Forwarded-For, -Proto, -Host) count only where a trusted proxy sends them.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from dicom_node.settings import HOST_FORM, PUBLIC_URL

HOST = re.compile(HOST_FORM)
PORTS = {"http": 80, "https": 443}
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """The parts of `[web] public_url`; `prefix` is '' or a path that begins with a slash and ends without one."""

    scheme: str
    netloc: str
    prefix: str

    @property
    def origin(self) -> str:
        """Scheme, host and port as browsers write them."""
        return f"{self.scheme}://{self.netloc}"


def public_address(url: str) -> PublicAddress | None:
    """The address of a `[web] public_url`, which the settings have checked; None for ''."""
    if not (parts := PUBLIC_URL.fullmatch(url)):
        return None
    scheme = parts["scheme"].lower()
    return PublicAddress(scheme, parts["netloc"].lower().removesuffix(f":{PORTS[scheme]}"), parts["path"].rstrip("/"))


def is_host(text: str) -> bool:
    """Whether a Host header names a host, with a port or without one."""
    return HOST.fullmatch(text) is not None and int((re.search(r":([0-9]+)$", text) or ["", "0"])[1]) < 1 << 16


def hostname(host: str) -> str:
    """A Host header without its port, in lower case."""
    return re.sub(r":[0-9]+$", "", host).lower()


def is_trusted(scope: Scope, proxies: tuple[Network, ...]) -> bool:
    """Whether a request comes from one of these."""
    client = scope.get("client")
    return client is not None and is_within(client[0], proxies)


def believe(scope: Scope, proxies: tuple[Network, ...]) -> None:
    """Take over what a trusted proxy says of the client, of its scheme and of the host that was asked for."""
    headers = Headers(scope=scope)
    hops = [each.strip() for line in headers.getlist("x-forwarded-for") for each in line.split(",")]
    for hop in reversed(hops):  # from the nearest on; the first that is no proxy of ours is the client
        if not _is_address(hop):
            break
        scope["client"] = (hop, 0)
        if not is_within(hop, proxies):
            break
    if (scheme := headers.get("x-forwarded-proto", "").lower()) in PORTS:
        scope["scheme"] = scheme
    if host := headers.get("x-forwarded-host"):
        scope["server"] = (hostname(host), None)
        replace_host(scope, host)


def replace_host(scope: Scope, host: str) -> None:
    """Let a request be one for this host."""
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    scope["headers"] = [(b"host", host.encode("latin-1")), *others]


def become_public(scope: Scope, address: PublicAddress) -> None:
    """Let a request be one for the public address, from which all URLs are made. A proxy may strip the prefix."""
    scope["scheme"], scope["server"] = address.scheme, (hostname(address.netloc), None)
    replace_host(scope, address.netloc)
    if address.prefix:
        path = scope["path"]
        if path == address.prefix or path.startswith(f"{address.prefix}/"):
            path = path[len(address.prefix) :] or "/"
        scope["path"], scope["root_path"] = address.prefix + path, address.prefix


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_within(text: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address lies in one of these; one of IPv4 that came by an IPv6 socket is one of IPv4."""
    if not _is_address(text):
        return False
    address = ip_address(text)
    return any(
        each in network for each in (address, getattr(address, "ipv4_mapped", None)) if each for network in networks
    )
