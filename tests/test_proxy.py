"""Behind a real nginx, configured as the documentation says: pages, buttons, events, DICOMweb, and who is believed."""

import os
import re
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import httpx2
import pytest
from peers import chromium, needs, own_port, wait_until
from playwright.sync_api import expect
from pydicom import dcmread
from series import ct, encoded, head
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from test_dicomweb_store import CONTENT_TYPE, body, part10
from web_support import Node, make_node, serving

from dicom_node.errors import SettingsError
from dicom_node.settings import load_settings
from dicom_node.web.public import is_host, public_address
from dicom_node.web.security import Entrance, Guard

NAME = "triage.example.org"
DOCUMENTED = Path(__file__).parents[1] / "docs" / "it.md"
LOGIN = ("reader", "secret")
WAYS = {  # public path, location, and what the request is passed on to
    "the root": ("", "/", ""),
    "a path that is left": ("/triage", "/triage/", ""),
    "a path that is taken away": ("/x/triage", "/x/triage/", "/"),
}


@dataclass(frozen=True, slots=True)
class Proxied:
    """A node's page behind nginx. `public` is its address, `http` a client that reaches nginx under that name."""

    node: Node
    public: str
    direct: str
    http: httpx2.Client
    context: ssl.SSLContext

    def get(self, path: str, **headers: str) -> httpx2.Response:
        """As somebody who has logged in."""
        return self.http.get(path, headers=headers)


def certificate(folder: Path) -> None:
    """A key and a certificate for the name."""
    names = f"subjectAltName=DNS:{NAME},IP:127.0.0.1"
    command = [needs("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", f"/CN={NAME}", "-addext", names, "-keyout", "triage.key", "-out", "triage.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def configuration(folder: Path, port: int, page_port: str, location: str, onto: str, bare: bool) -> str:
    """The documented server, at places of this test; `bare` without any header that it sets."""
    (text,) = re.findall(r"```nginx\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    changes = {
        "listen 443": f"listen 127.0.0.1:{port}",
        "/etc/ssl/certs/triage.pem": f"{folder}/triage.pem",
        "/etc/ssl/private/triage.key": f"{folder}/triage.key",
        "/etc/nginx/triage.htpasswd": f"{folder}/htpasswd",
        "location / {": f"location {location} {{",
        "http://127.0.0.1:8080;": f"http://127.0.0.1:{page_port}{onto};",
    }
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    if bare:
        text = "\n".join(line for line in text.splitlines() if "proxy_set_header" not in line)
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.getuid() == 0 else ""
    return (
        f"{user} daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
        f" http {{ access_log off; {paths} {text} }}"
    )


@contextmanager
def proxied(folder: Path, way: str = "the root", bare: bool = False, **web: object) -> Iterator[Proxied]:
    """A node with its proxy."""
    nginx, port = needs("nginx"), own_port()
    prefix, location, onto = WAYS[way]
    public = f"https://{NAME}:{port}{prefix}"
    certificate(folder)
    hashed = subprocess.run([needs("openssl"), "passwd", "-apr1", LOGIN[1]], check=True, capture_output=True, text=True)
    (folder / "htpasswd").write_text(f"{LOGIN[0]}:{hashed.stdout}")
    settings = {"public_url": public, "trusted_proxies": ["127.0.0.1"]} | web
    node = make_node(folder / "node", **settings)
    with serving(node) as (address, _):
        page_port = address.rpartition(":")[2]
        (folder / "nginx.conf").write_text(configuration(folder, port, page_port, location, onto, bare))
        command = [nginx, "-c", f"{folder}/nginx.conf", "-p", str(folder), "-e", f"{folder}/error.log"]
        with subprocess.Popen(command) as process:
            try:
                context = ssl.create_default_context(cafile=folder / "triage.pem")
                base = f"https://127.0.0.1:{port}{prefix}"
                headers = {"Host": f"{NAME}:{port}"}
                with httpx2.Client(base_url=base, verify=context, headers=headers, auth=LOGIN, timeout=60) as client:
                    wait_until(lambda: answers(client), 20, "nginx answers")
                    yield Proxied(node, public, address, client, context)
            finally:
                process.terminate()
                process.wait(20)


def answers(client: httpx2.Client) -> bool:
    """Whether nginx is up."""
    try:
        return client.get("/health").status_code > 0
    except httpx2.TransportError:
        return False


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bare", [False, True])
def test_pages_buttons_and_dicomweb(tmp_path: Path, way: str, bare: bool) -> None:
    """As a reader's browser and a program use them; `bare`: a proxy that tells nothing of what it was asked for."""
    with proxied(tmp_path, way, bare) as site:
        prefix, study_uid = WAYS[way][0], site.node.analysed(1, suspected=True)
        origin = site.public.removesuffix(prefix)
        assert site.http.get("/", auth=None).status_code == 401
        for path in ("/", f"/studies/{study_uid}", "/status", "/quality", "/?show=all&q=DOE", "/rows"):
            page = site.get(path)
            assert page.status_code == 200, path
            own = re.findall(r'(?:href|src|action|data-live|data-opens)="(/[^"]*)"', page.text)
            assert own and all(each.startswith(f"{prefix}/") for each in own), path
            for each in set(own[:12]) - {f"{prefix}/feedback.csv"}:
                if "/static/" in each or each.endswith("/"):
                    assert site.http.get(f"{origin_of(site)}{each}").status_code == 200, each
        follow = {"Origin": origin, "Referer": f"{site.public}/?show=all"}
        done = site.http.post(f"/studies/{study_uid}/acknowledge", headers=follow)
        assert (done.status_code, done.headers["location"]) == (303, f"{prefix}/?show=all")
        assert (
            site.http.post(f"/studies/{study_uid}/read", headers={"Origin": "https://evil.example"}).status_code == 403
        )
        named = site.http.post("/reader", headers=follow, data={"name": "Dr. Weiß"})
        kept = named.headers["set-cookie"].lower()
        assert f"path={prefix}/;" in f"{kept};" and "secure" in kept
        with site.http.stream("GET", "/events") as events:
            assert next(events.iter_bytes()).startswith(b"event: changed")
        stored = site.http.post(
            "/dicom-web/studies",
            content=body(*map(part10, head(3))),
            headers={"Content-Type": CONTENT_TYPE},
        )
        study = ct(0).StudyInstanceUID
        assert stored.json()["00081190"]["Value"] == [f"{site.public}/dicom-web/studies/{study}"]
        (found,) = site.get("/dicom-web/studies", Accept="application/json").json()[1:] or [None]
        place = stored.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        assert found and place.startswith(f"{site.public}/dicom-web/studies/")
        answer = site.get(place.removeprefix(site.public), Accept="application/dicom")
        assert encoded(dcmread(BytesIO(answer.content))) in [encoded(each) for each in head(3)]
        (told,) = site.get(f"{place.removeprefix(site.public)}/metadata").json()
        assert told["7FE00010"]["BulkDataURI"].startswith(place)


def test_the_viewer_below_a_path(tmp_path: Path) -> None:
    """OHIF was built for the root: its page and scripts are told otherwise, and its policy names what they became."""
    node = make_node(tmp_path, public_url=f"https://{NAME}/triage")
    folder = tmp_path / "viewer" / "3.0.0+x"
    folder.mkdir(parents=True)
    (tmp_path / "viewer" / "current").symlink_to(folder.name)
    script = '<script>window.PUBLIC_URL="/"</script>'
    (folder / "index.html").write_text(f'<link href="/a.css">{script}<script src="/app.js"></script><a href="//x">')
    (folder / "a.css").write_text("a{src:url(/f.woff2),url(data:x),url(//x)}")
    (folder / "app.js").write_text('__webpack_require__.p = "/";\nother.p = "/";')
    with serving(node) as (address, _), httpx2.Client(base_url=address) as client:
        for prefix in ("", "/triage"):
            page = client.get(f"{prefix}/viewer/study")
            shown = '<script>window.PUBLIC_URL="/triage/"</script><script src="/triage/app.js"></script><a href="//x">'
            assert page.text == f'<link href="/triage/a.css">{shown}'
            digest = b64encode(sha256(b'window.PUBLIC_URL="/triage/"').digest()).decode()
            assert f"'sha256-{digest}'" in page.headers["content-security-policy"]
            assert client.get(f"{prefix}/a.css").text == "a{src:url(/triage/f.woff2),url(data:x),url(//x)}"
            assert client.get(f"{prefix}/app.js").text.startswith('__webpack_require__.p = "/triage/";\nother.p = "/";')
        study_uid = node.analysed(1, suspected=True)
        assert f'href="/triage/studies/{study_uid}/viewer"' in client.get("/").text
        opened = client.get(f"/studies/{study_uid}/viewer")
        assert opened.headers["location"].startswith("/triage/viewer/study?StudyInstanceUIDs=")
        assert "document.currentScript.src" in client.get("/triage/app-config.js").text


def origin_of(site: Proxied) -> str:
    """Where nginx is, as this machine reaches it."""
    return f"https://127.0.0.1:{site.http.base_url.port}"


def test_a_reader_behind_a_proxy(tmp_path: Path) -> None:
    """In a real browser: a button acts, and the list hears of it and of new studies by itself."""
    with (
        proxied(tmp_path, "a path that is taken away") as site,
        chromium("--disable-gpu", f"--host-resolver-rules=MAP {NAME} 127.0.0.1") as browser,
    ):
        site.node.beat("node", "worker", seconds=600)
        study_uid = site.node.analysed(1, suspected=True)
        login = {"username": LOGIN[0], "password": LOGIN[1]}
        page = browser.new_page(ignore_https_errors=True, http_credentials=login)  # type: ignore[arg-type]
        trouble: list[str] = []
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("response", lambda got: trouble.append(f"{got.status} {got.url}") if got.status >= 402 else None)
        page.goto(f"{site.public}/")
        expect(page.locator("#link")).to_have_attribute("data-state", "live")
        row = page.locator(f'tr[data-key="{study_uid}"]')
        row.get_by_role("button", name="Acknowledge").click()
        expect(row.get_by_role("button", name="Mark as read")).to_be_visible()
        new = site.node.analysed(2, suspected=True, name="NEW^Patient")
        expect(page.locator(f'tr[data-key="{new}"]')).to_be_visible()
        page.locator(f'tr[data-key="{new}"] a.name').click()
        expect(page.locator("#live.study-page")).to_be_visible()
        page.go_back()
        assert page.url.startswith(f"{site.public}/") and trouble == []


def asked(entrance: Entrance, client: str, **headers: str) -> tuple[int, str, str]:
    """What a handler sees of a request: status, client and URL."""

    async def tell(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        assert request.client is not None
        await JSONResponse([request.client.host, str(request.url)])(scope, receive, send)

    page = TestClient(Guard(tell, entrance), base_url="http://127.0.0.1:8080", client=(client, 50000))
    answer = page.get("/page", headers=headers)
    told = answer.json() if answer.status_code == 200 else ("", "")
    return answer.status_code, told[0], told[1]


PROXIES = load_settings(changes={"web": {"trusted_proxies": ["192.0.2.7", "2001:db8::/32"]}}).web.trusted_proxies
FORWARDED = {"X-Forwarded-For": "10.9.9.9, 10.1.2.3", "X-Forwarded-Proto": "https", "X-Forwarded-Host": NAME}


@pytest.mark.parametrize(
    ("client", "headers", "seen"),
    [
        ("192.0.2.7", FORWARDED, (200, "10.1.2.3", f"https://{NAME}/page")),
        ("2001:db8::5", FORWARDED, (200, "10.1.2.3", f"https://{NAME}/page")),
        ("::ffff:192.0.2.7", FORWARDED, (200, "10.1.2.3", f"https://{NAME}/page")),
        ("192.0.2.7", {"X-Forwarded-For": "10.1.2.3, 192.0.2.7"}, (200, "10.1.2.3", "http://127.0.0.1:8080/page")),
        ("192.0.2.7", {"X-Forwarded-For": "<script>"}, (200, "192.0.2.7", "http://127.0.0.1:8080/page")),
        ("192.0.2.7", {"X-Forwarded-Proto": "javascript"}, (200, "192.0.2.7", "http://127.0.0.1:8080/page")),
        ("192.0.2.7", {"X-Forwarded-Host": "a b"}, (400, "", "")),
        ("192.0.2.8", FORWARDED, (200, "192.0.2.8", "http://127.0.0.1:8080/page")),
    ],
)
def test_who_is_believed(client: str, headers: dict[str, str], seen: tuple[int, str, str]) -> None:
    """Trusted proxies, and nobody else."""
    assert asked(Entrance("0.0.0.0", None, PROXIES), client, **headers) == seen


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (NAME, 200),
        (f"{NAME}:443", 200),
        ("localhost:8080", 200),
        ("[::1]:8080", 200),
        ("evil.example", 400),
        (f"{NAME}.evil.example", 400),
        ("", 400),
    ],
)
def test_names_of_a_page_on_loopback(host: str, status: int) -> None:
    """Its public one, those of this machine, and no other: against DNS rebinding."""
    entrance = Entrance("127.0.0.1", public_address(f"https://{NAME}/triage"))
    found = asked(entrance, "127.0.0.1", Host=host)
    assert found[0] == status
    assert status != 200 or found[2] == f"https://{NAME}/triage/page"


@pytest.mark.parametrize(
    "host", ["[", "a:b", "a b", "a/b", "a@b", "a:99999", "[::1", "a\\b", "é", ":80", "a,b", "a:1:2"]
)
def test_what_is_no_host(host: str) -> None:
    """Of it no URL could be made."""
    assert not is_host(host)


@pytest.mark.parametrize(
    "wrong",
    [
        {"public_url": "triage.example.org"},
        {"public_url": "ftp://triage.example.org"},
        {"public_url": "https://triage.example.org/?a"},
        {"public_url": "https://triage.example.org/a/../b"},
        {"public_url": "https://user@triage.example.org"},
        {"public_url": 'https://triage.example.org/"'},
        {"trusted_proxies": ["proxy.example.org"]},
        {"trusted_proxies": ["10.0.0.1/8"]},
        {"connections_per_address": 0},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, object]) -> None:
    """Before anything is served."""
    with pytest.raises(SettingsError, match=rf"web\.{next(iter(wrong))}"):
        load_settings(changes={"web": wrong})
