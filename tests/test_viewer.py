"""What a row opens: the settings and their links, the installation of OHIF, and how the node serves its files."""

import base64
import hashlib
import io
import json
import re
import tarfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from peers import needs, own_port, triage_node
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from starlette.testclient import TestClient
from web_support import Node, make_node

from dicom_node import clock
from dicom_node.entities import ChoiceKind, Study
from dicom_node.errors import CommandError, SettingsError
from dicom_node.settings import load_settings
from dicom_node.tables import instances
from dicom_node.web.app import build_app
from dicom_node.web.viewer import install
from dicom_node.web.viewer.install import (
    OHIF,
    Package,
    install_viewer,
    installed_version,
    viewer_folder,
)
from dicom_node.web.viewer.opening import filled

STUDY = Study("1.2.826.1", "A/B 1", "DOE^Jane", "", "F", "Ü&=#7", "CT head", "20261120")
Members = dict[str, bytes | tarfile.TarInfo]
PAGE = b"<!doctype html><script>window.a=1</script><script src=/app.js></script>"


def packed(folder: Path, members: Members, version: str = "1.0.0") -> tuple[Path, Package]:
    """A .tgz with these members, and the package that it is."""
    path = folder / f"viewer-{version}.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    return path, Package("@test/viewer", version, f"sha512-{digest}")


def viewer(version: str = "1.0.0", more: Mapping[str, bytes] = MappingProxyType({})) -> Members:
    """The members of a small viewer."""
    files = {"index.html": PAGE, "app.js": version.encode(), "5130ccb17e3f3f5b.wasm": b"\0asm", **more}
    members: Members = {f"package/dist/{name}": content for name, content in files.items()}
    return members | {"package/LICENSE": b"MIT"}


def installed(data: Path, members: Members, version: str = "1.0.0") -> Path:
    """Install a small viewer; its folder."""
    data.mkdir(parents=True, exist_ok=True)
    path, package = packed(data, members, version)
    install_viewer(data, package, path, lambda said: None)
    return viewer_folder(data)


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- settings and links


@pytest.mark.parametrize(
    ("opens", "said"),
    [
        ("https://pacs.example/?uid={study}", r"viewer.opens: .*\{study\} is not known"),
        ("https://pacs.example/?uid={study_uid!r}", "is not known"),
        ("https://pacs.example/?uid={}", "is not known"),
        ("https://pacs.example/viewer", "at least one of"),
        ("https://pacs.example/{study_uid}/{", "no other brace"),
        ("pacs.example/{study_uid}", "no URL"),
        ("javascript:alert('{study_uid}')", "no URL"),
        ("JavaScript:alert('{study_uid}')", "no URL"),
        ("https://pacs.example/ {study_uid}", "no URL"),
        ("ohif", "none of node, page, weasis"),
    ],
)
def test_a_wrong_address_is_a_settings_error(opens: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings(changes={"viewer": {"opens": opens}})


def test_a_template_is_filled_and_encoded() -> None:
    template = "https://pacs.example/v?s={study_uid}&a={accession}&p={patient_id}#{study_uid}"
    assert load_settings(changes={"viewer": {"opens": template}}).viewer.opens == template
    link = filled(template, STUDY)
    assert link == "https://pacs.example/v?s=1.2.826.1&a=%C3%9C%26%3D%237&p=A%2FB%201#1.2.826.1"
    assert parse_qs(urlsplit(link).query) == {"s": ["1.2.826.1"], "a": ["Ü&=#7"], "p": ["A/B 1"]}
    braces = replace(STUDY, accession="{patient_id}")
    assert filled("x://{accession}", braces) == "x://%7Bpatient_id%7D"


def opened_by(node: Node, study_uid: str) -> str:
    """Where the worklist's row of a study leads."""
    with TestClient(build_app(node.database, node.archive, node.settings), "http://localhost:8080") as client:
        page = client.get("/").text
    row = page.split(f'data-key="{study_uid}"', 1)[1].split("</tr>", 1)[0]
    return unescape(row.split('class="button open" href="', 1)[1].split('"', 1)[0])


def with_viewer(node: Node, opens: str) -> Node:
    """The same node with another setting."""
    return replace(
        node,
        settings=node.settings.model_copy(update={"viewer": node.settings.viewer.model_copy(update={"opens": opens})}),
    )


def test_a_row_opens_the_page_or_the_nodes_own_viewer_where_it_is_installed(tmp_path: Path) -> None:
    node = make_node(tmp_path / "node")
    study_uid = node.analysed(1, suspected=True)
    assert opened_by(node, study_uid) == f"/studies/{study_uid}"
    installed(node.settings.node.data, viewer())
    assert opened_by(node, study_uid) == f"/studies/{study_uid}/viewer"
    assert opened_by(with_viewer(node, "page"), study_uid) == f"/studies/{study_uid}"


def test_a_row_opens_weasis_with_its_own_query(tmp_path: Path) -> None:
    node = with_viewer(make_node(tmp_path / "node"), "weasis")
    study_uid = node.analysed(1, suspected=True)
    link = opened_by(node, study_uid)
    assert link.startswith("weasis://?%24dicom%3Ars")
    wanted = f'$dicom:rs --url "http://localhost:8080/dicom-web" -r "studyUID={study_uid}"'
    assert unquote(link.removeprefix("weasis://?")) == wanted


# -- installation


def test_a_package_is_installed_whole_and_without_what_is_not_needed(tmp_path: Path) -> None:
    more = {"ort/big.wasm": b"x", "app-config.js": b"theirs", "sw.js": b"x", "app.js.map": b"x", "assets/a.png": b"p"}
    folder = installed(tmp_path, viewer(more=more))
    expected = {"index.html": PAGE, "app.js": b"1.0.0", "5130ccb17e3f3f5b.wasm": b"\0asm", "assets/a.png": b"p"}
    assert files_in(folder) == expected
    assert installed_version(tmp_path) == "1.0.0"


def test_an_older_viewer_is_replaced_and_gone(tmp_path: Path) -> None:
    before = installed(tmp_path, viewer("1.0.0", {"old": b"old"})).resolve()
    folder = installed(tmp_path, viewer("1.1.0"), "1.1.0")
    assert installed_version(tmp_path) == "1.1.0"
    assert (folder / "app.js").read_bytes() == b"1.1.0" and not (folder / "old").exists()
    assert not before.exists()
    assert sorted(path.name for path in (tmp_path / "viewer").iterdir()) == sorted(["current", folder.resolve().name])
    again = installed(tmp_path, viewer("1.1.0"), "1.1.0")
    assert (again / "app.js").read_bytes() == b"1.1.0"


def link_to(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """A link as a member of an archive."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "bad",
    [
        {"package/dist/../../../outside": b"x"},
        {"../outside": b"x"},
        {"/tmp/outside": b"x"},
        {"package/dist/link": link_to("package/dist/link", "/etc/passwd")},
        {"package/dist/hard": link_to("package/dist/hard", "../../outside", tarfile.LNKTYPE)},
        {"package/dist/device": link_to("package/dist/device", "", tarfile.CHRTYPE)},
    ],
)
def test_what_would_lie_outside_is_refused_and_the_old_viewer_stays(tmp_path: Path, bad: Members) -> None:
    data = tmp_path / "a" / "b" / "data"
    installed(data, viewer("1.0.0"))
    path, package = packed(data, viewer("2.0.0") | bad, "2.0.0")
    with pytest.raises(CommandError, match="no plain file within it"):
        install_viewer(data, package, path, lambda said: None)
    assert installed_version(data) == "1.0.0"
    assert len(list((data / "viewer").iterdir())) == 2
    assert not list(tmp_path.rglob("*outside*"))


def test_another_content_is_refused(tmp_path: Path) -> None:
    path, package = packed(tmp_path, viewer())
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CommandError, match="its SHA-512 differs from the pinned one"):
        install_viewer(tmp_path, package, path, lambda said: None)
    assert installed_version(tmp_path) is None


@pytest.mark.parametrize("cut", [10, 200])
def test_a_broken_archive_is_refused(tmp_path: Path, cut: int) -> None:
    path, _ = packed(tmp_path, viewer())
    path.write_bytes(path.read_bytes()[:cut])
    broken = Package("x", "1", "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode())
    with pytest.raises(CommandError, match="cannot be unpacked"):
        install_viewer(tmp_path, broken, path, lambda said: None)
    assert installed_version(tmp_path) is None


def test_an_archive_without_a_viewer_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match=r"package/dist/index.html is missing"):
        installed(tmp_path, {"package/README.md": b"x"})
    monkeypatch.setattr(install, "LARGEST_BYTES", 50)
    with pytest.raises(CommandError, match="more than"):
        installed(tmp_path, viewer())
    assert installed_version(tmp_path) is None


def test_without_npm_or_network_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{own_port()}/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    hint = r"`npm pack @ohif/app@[\d.]+` elsewhere and give its file: .* --from FILE.tgz"
    with pytest.raises(CommandError, match=rf"(could not get|not installed).*{hint}"):
        install_viewer(tmp_path, OHIF, None, lambda said: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match=f"npm is not installed.*{hint}"):
        install_viewer(tmp_path, OHIF, None, lambda said: None)


class Registry(BaseHTTPRequestHandler):
    """A package registry that holds one package, as npm asks for it."""

    package: ClassVar[Package]
    content: ClassVar[bytes]

    def do_GET(self) -> None:
        """What there is of the package, or the package itself."""
        if self.path.endswith(".tgz"):
            body = self.content
        else:
            name, version = self.package.name, self.package.version
            address = f"http://{self.headers['Host']}/viewer.tgz"
            dist = {"tarball": address, "integrity": self.package.integrity}
            versions = {version: {"name": name, "version": version, "dist": dist}}
            body = json.dumps({"name": name, "dist-tags": {"latest": version}, "versions": versions}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """A small viewer that npm can fetch."""
    needs("npm")
    path, package = packed(
        tmp_path, viewer() | {"package/package.json": b'{"name": "@test/viewer", "version": "1.0.0"}'}
    )
    kind = type("One", (Registry,), {"package": package, "content": path.read_bytes()})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
        yield package
        server.shutdown()


@pytest.mark.parametrize("data", ["triage-node-data", "./a folder/data", "../beside", "/"])
def test_npm_fetches_into_any_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: Package, data: str
) -> None:
    """The default one is relative to where the command is typed, and npm runs elsewhere."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    folder = here / "absolute" if data == "/" else Path(data)
    install_viewer(folder, package, None, lambda said: None)
    assert installed_version(here / folder) == "1.0.0"
    assert [path.name for path in (here / folder).iterdir()] == ["viewer"]


def test_the_command_takes_a_file_and_checks_it(tmp_path: Path) -> None:
    path, _ = packed(tmp_path, viewer())
    with pytest.raises(AssertionError, match="is not @ohif/app@"):
        triage_node("viewer", "install", "--from", str(path))


# -- serving


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = make_node(tmp_path / "node")
    more = {
        "app.bundle.0f6159c501addfe9.js": b"1",
        "app.css": b"b{}",
        "status": b"theirs",
        "static/page.css": b"theirs",
    }
    installed(node.settings.node.data, viewer(more=more))
    return node


@pytest.fixture
def client(node: Node) -> Iterator[TestClient]:
    app = build_app(node.database, node.archive, node.settings)
    with TestClient(app, "http://localhost", follow_redirects=False) as client:
        yield client


def test_any_route_of_the_viewer_is_its_page_with_its_own_policy(client: TestClient) -> None:
    for path in ("/viewer/study?StudyInstanceUIDs=1.2", "/viewer/anything/else"):
        answer = client.get(path)
        assert (answer.status_code, answer.content) == (200, PAGE)
        assert answer.headers["content-type"].startswith("text/html")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    digest = base64.b64encode(hashlib.sha256(b"window.a=1").digest()).decode()
    assert policy["script-src"] == f"'self' 'unsafe-eval' 'sha256-{digest}'"
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'"
    assert client.get("/viewer/").headers["location"] == "/"


def test_its_files_are_found_at_the_root_and_shadow_nothing(client: TestClient) -> None:
    types = {
        "/app.js": "text/javascript",
        "/5130ccb17e3f3f5b.wasm": "application/wasm",
        "/app.css": "text/css",
        "/app-config.js": "text/javascript",
    }
    for path, media_type in types.items():
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, media_type)
        assert "connect-src 'self'" in answer.headers["content-security-policy"]
    assert 'routerBasename: "/viewer"' in client.get("/app-config.js").text
    for own in ("/", "/status", "/static/page.css"):
        answer = client.get(own)
        assert answer.content != b"theirs" and "unsafe-eval" not in answer.headers["content-security-policy"]
    for none in ("/nothing.js", "/assets", "/viewer.js"):
        assert client.get(none).status_code == 404


def test_files_are_cached_by_their_names_and_otherwise_asked_for(client: TestClient) -> None:
    assert "immutable" in client.get("/app.bundle.0f6159c501addfe9.js").headers["cache-control"]
    answer = client.get("/app.css")
    assert answer.headers["cache-control"] == "no-cache"
    again = client.get("/app.css", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/../node.sqlite", "/%2e%2e/%2e%2e/node.sqlite", "/..%2f..%2fnode.sqlite", "/link"])
def test_nothing_outside_the_viewer_is_served(node: Node, client: TestClient, path: str) -> None:
    data = node.settings.node.data
    (viewer_folder(data) / "link").symlink_to(data / "node.sqlite")
    assert (data / "node.sqlite").is_file()
    assert client.get(path).status_code == 404


def test_without_a_viewer_the_node_says_so(tmp_path: Path) -> None:
    bare = make_node(tmp_path / "bare")
    study_uid = bare.analysed(1, suspected=True)
    with TestClient(build_app(bare.database, bare.archive, bare.settings), "http://localhost") as client:
        status = client.get("/status").text
        assert "No viewer is installed" in status and "triage-node viewer install" in status
        for path in ("/viewer/study", f"/studies/{study_uid}/viewer"):
            answer = client.get(path, follow_redirects=True)
            assert answer.status_code == 404 and "triage-node viewer install" in answer.text


def test_the_status_page_names_the_viewer(client: TestClient) -> None:
    assert "A row opens the viewer OHIF 1.0.0" in client.get("/status").text


# -- what is opened


def key_objects(*sop_uids: str) -> Dataset:
    """A key object selection of these images, with a text before them."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.59", "1.2.3.9"
    content = [Dataset()]
    content[0].ValueType = "TEXT"
    for sop_uid in sop_uids:
        item, reference = Dataset(), Dataset()
        reference.ReferencedSOPInstanceUID = sop_uid
        item.ValueType, item.ReferencedSOPSequence = "IMAGE", [reference]
        content.append(item)
    made.ContentSequence = content
    return made


def test_a_study_opens_at_the_slice_and_with_the_segmentation_of_its_latest_result(
    node: Node, client: TestClient
) -> None:
    study_uid = node.analysed(1, suspected=True)
    with node.other().write() as tx:
        key, segmentation = (node._object(tx, study_uid, 1, kind) for kind in ("KO", "SEG"))
    key.path.parent.mkdir(parents=True, exist_ok=True)
    key_objects("1.2.3.17", "1.2.3.18").save_as(key.path, enforce_file_format=True)
    assert asked(client, study_uid) == {
        "StudyInstanceUIDs": study_uid,
        "initialSeriesInstanceUID": f"{study_uid}.1",
        "initialSOPInstanceUID": "1.2.3.17",
        "segmentation": segmentation.sop_uid,
    }
    key.path.write_bytes(b"no DICOM")
    assert "initialSOPInstanceUID" not in asked(client, study_uid)
    node.result(study_uid, suspected=False)  # an older segmentation is not laid over a newer result
    assert asked(client, study_uid) == {"StudyInstanceUIDs": study_uid, "initialSeriesInstanceUID": f"{study_uid}.1"}


def test_a_study_without_result_opens_and_an_unknown_one_does_not(node: Node, client: TestClient) -> None:
    study_uid = node.receive(1)
    assert asked(client, study_uid) == {"StudyInstanceUIDs": study_uid, "initialSeriesInstanceUID": f"{study_uid}.1"}
    assert client.get("/studies/1.2.3/viewer").status_code == 404


def test_a_study_not_analysed_opens_the_series_that_was_looked_at_else_the_largest(
    node: Node, client: TestClient
) -> None:
    study_uid = node.receive(1)
    add_series(node, study_uid, "2", "CT", 5)
    add_series(node, study_uid, "3", "MR", 9)
    add_series(node, study_uid, "4", "SR", 20)
    node.choose(study_uid, ChoiceKind.DECLINED, "Contrast was given.")
    assert asked(client, study_uid)["initialSeriesInstanceUID"] == f"{study_uid}.2", "the largest of CT"
    node.choose(study_uid, ChoiceKind.ANALYSE, "Head CT.")
    node.fail(study_uid, "broken")
    assert asked(client, study_uid)["initialSeriesInstanceUID"] == f"{study_uid}.1", "the one that was looked at"
    assert "modality" not in asked(client, study_uid)


def test_a_study_without_ct_opens_its_largest_series_and_says_what_it_is(node: Node, client: TestClient) -> None:
    study_uid = node.receive(1)
    with node.other().write() as tx:
        tx.run("UPDATE series SET modality = 'MR'")
    add_series(node, study_uid, "2", "MR", 7)
    found = asked(client, study_uid)
    assert (found["initialSeriesInstanceUID"], found["modality"]) == (f"{study_uid}.2", "MR")
    with node.other().write() as tx:
        tx.run("UPDATE series SET modality = 'KO'")
    assert asked(client, study_uid) == {"StudyInstanceUIDs": study_uid}


@pytest.mark.parametrize("outcome", ["suspected", "negative", "declined", "failed", "receiving"])
def test_every_studys_page_opens_the_viewer(node: Node, client: TestClient, outcome: str) -> None:
    study_uid = node.receive(1)
    if outcome == "declined":
        node.choose(study_uid, ChoiceKind.DECLINED, "Contrast was given.")
    elif outcome != "receiving":
        node.choose(study_uid, ChoiceKind.ANALYSE, "Head CT.")
        if outcome == "failed":
            node.fail(study_uid, "broken")
        else:
            node.result(study_uid, suspected=outcome == "suspected")
    page = client.get(f"/studies/{study_uid}").text
    assert re.search(rf'<a class="button open" href="/studies/{study_uid}/viewer">Open images</a>', page)


def test_a_studys_page_opens_what_a_row_opens(tmp_path: Path) -> None:
    node = make_node(tmp_path / "bare")
    study_uid = node.analysed(1, suspected=False)
    with TestClient(build_app(node.database, node.archive, node.settings), "http://localhost") as client:
        assert "Open images" not in client.get(f"/studies/{study_uid}").text, "there is no viewer"
    other = with_viewer(node, "https://pacs.example/?s={study_uid}")
    with TestClient(build_app(other.database, other.archive, other.settings), "http://localhost") as client:
        page = client.get(f"/studies/{study_uid}").text
        assert f'href="https://pacs.example/?s={study_uid}">Open images' in page


def add_series(node: Node, study_uid: str, number: str, modality: str, images: int) -> None:
    """A further series of a study, with so many images."""
    with node.other().write() as tx:
        for i in range(images):
            first = node._instance(study_uid, i, clock.utc_now())
            instance = replace(
                first,
                series_uid=f"{study_uid}.{number}",
                sop_uid=f"{study_uid}.{number}.{i}",
                modality=modality,
                path=node.archive.root / f"{study_uid}.{number}.{i}.dcm",
            )
            instances.touch_series(tx, instance, clock.monotonic())
            instances.add_instance(tx, instance, ())


def asked(client: TestClient, study_uid: str) -> dict[str, str]:
    """What OHIF is asked for when a study is opened."""
    answer = client.get(f"/studies/{study_uid}/viewer")
    assert answer.status_code == 303
    address = urlsplit(answer.headers["location"])
    assert address.path == "/viewer/study"
    return {name: value[0] for name, value in parse_qs(address.query).items()}
