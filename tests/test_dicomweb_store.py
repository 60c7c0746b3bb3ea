"""STOW-RS: what is answered as stored is in the archive as it was sent; what is not says why, instance by instance."""

import asyncio
import itertools
import re
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import pytest
from dicomweb_client.api import DICOMwebClient
from hypothesis import assume, given
from hypothesis import strategies as st
from peers import START_S, own_port, wait_until
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from series import ROOT, Core, core, ct, data_of, encoded, head
from starlette.exceptions import HTTPException
from web_support import Node, serving

from dicom_node.errors import OutOfResources
from dicom_node.spool import Spool
from dicom_node.tables import processes
from dicom_node.web.dicomweb import multipart

BOUNDARY = "a boundary of its own"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'
FAILED, STORED, OTHER, REASON = "00081198", "00081199", "0008119A", "00081197"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about what these tests garble


@pytest.fixture
def node(tmp_path: Path) -> Core:
    """An empty archive."""
    return core(tmp_path / "data")


@pytest.fixture
def address(node: Core) -> Iterator[str]:
    """Where it takes instances."""
    with serving(Node(node.database, node.archive, node.settings)) as (url, _):
        yield f"{url}/dicom-web"


def part10(dataset: Dataset) -> bytes:
    """The data set as a file."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def body(*parts: bytes) -> bytes:
    """A message of these parts."""
    heads = [f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + part + b"\r\n" for part in parts]
    return b"".join(heads) + f"--{BOUNDARY}--".encode()


def post(address: str, *parts: bytes, path: str = "/studies", **headers: str) -> httpx2.Response:
    """Send these parts."""
    return httpx2.post(
        address + path, content=body(*parts), headers={"Content-Type": CONTENT_TYPE} | headers, timeout=60
    )


def reasons(answer: httpx2.Response, sequence: str = FAILED) -> list[int]:
    """The failure reasons of an answer."""
    return [item[REASON]["Value"][0] for item in answer.json().get(sequence, {}).get("Value", [])]


def test_stored_as_sent_and_released(node: Core, address: str) -> None:
    """dicomweb-client's own way; the series counts as released, so that it need not wait the long quiet."""
    answer = DICOMwebClient(url=address).store_instances(head(5))
    references = answer.ReferencedSOPSequence
    assert {item.ReferencedSOPInstanceUID for item in references} == {each.SOPInstanceUID for each in head(5)}
    assert "FailedSOPSequence" not in answer and answer.RetrieveURL == f"{address}/studies/{ROOT}.1"
    assert references[0].RetrieveURL.startswith(f"{address}/studies/{ROOT}.1/series/{ROOT}.1.1/instances/")
    assert {data_of(path.read_bytes()) for path in node.files()} == {encoded(each) for each in head(5)}
    assert node.series(ct(0)).released
    meta = dcmread(node.files()[0]).file_meta
    assert meta.SourceApplicationEntityTitle == node.series(ct(0)).calling_aet == "STOW-RS"


def test_same_bytes_again_change_nothing(node: Core, address: str) -> None:
    """Success, one file, one row, as by C-STORE."""
    node.receive([ct(0)])
    assert post(address, part10(ct(0))).status_code == 200
    assert len(node.files()) == node.number("SELECT count(*) FROM instances") == 1


def test_every_syntax_is_stored_as_it_is(node: Core, address: str, shared: Path) -> None:
    """Nothing is decoded on the way in."""
    for path in sorted((shared / "dicom" / "syntaxes").glob("CTImage.dcm_*")):
        assert post(address, path.read_bytes()).status_code == 200
    assert {data_of(path.read_bytes()) for path in node.files()} == {
        data_of(path.read_bytes()) for path in (shared / "dicom" / "syntaxes").glob("CTImage.dcm_*")
    }


def test_some_are_stored(node: Core, address: str) -> None:
    """202, each instance with its own answer; the status page shows the refusals."""
    no_uid, no_class = ct(1), ct(2)
    no_uid.SeriesInstanceUID = "../up"
    no_class.SOPClassUID = "CT"
    answer = post(address, part10(ct(0)), part10(no_uid), part10(no_class), b"no DICOM at all")
    assert answer.status_code == 202 and answer.headers["content-type"] == "application/dicom+json"
    assert reasons(answer) == [0xC000] and reasons(answer, OTHER) == [0xC000, 0xC000]
    assert answer.json()[FAILED]["Value"][0]["00081155"]["Value"] == [ct(1).SOPInstanceUID]
    assert len(answer.json()[STORED]["Value"]) == len(node.files()) == 1
    with node.database.read() as tx:
        refused = [each.reason for each in processes.refusals(tx, 9)]
    assert len(refused) == 3 and all("0xC000" in reason for reason in refused)


def test_header_of_another_instance(node: Core, address: str) -> None:
    """The data set says which instance it is; a file's header that an anonymiser forgot is no reason to refuse it."""
    text = part10(ct(0)).replace(ct(0).SOPInstanceUID.encode(), b"1.2.826.0.1.3680043.10.1502.1.1.9", 1)
    assert post(address, text).status_code == 200
    assert dcmread(node.files()[0]).file_meta.MediaStorageSOPInstanceUID == ct(0).SOPInstanceUID


def test_none_is_stored(node: Core, address: str) -> None:
    """409; an instance of another study than the address says is not taken."""
    answer = post(address, part10(ct(0)), path="/studies/1.2.3")
    assert answer.status_code == 409 and reasons(answer) == [0xA900]
    assert post(address, part10(ct(0)), path=f"/studies/{ROOT}.1").status_code == 200
    assert len(node.files()) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/dicom"}, 415),
        ({"Content-Type": 'multipart/related; type="application/dicom+json"; boundary=x'}, 415),
        ({"Content-Type": 'multipart/related; type="application/dicom"'}, 400),
        ({"Content-Type": 'multipart/related; type="application/dicom"; boundary=other'}, 400),
        ({"Accept": "application/dicom+xml"}, 406),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example"}, 400),
    ],
)
def test_wrong_requests(node: Core, address: str, headers: dict[str, str], status: int) -> None:
    """Refused before anything is stored; another site's page cannot store."""
    assert post(address, part10(ct(0)), **headers).status_code == status
    assert node.files() == []


def test_other_pages_stay_closed_to_programs(address: str) -> None:
    """Only DICOMweb takes a POST without a browser's marks."""
    page = address.removesuffix("/dicom-web")
    assert httpx2.post(f"{page}/studies/{ROOT}.1/acknowledge").status_code == 403
    assert httpx2.post(f"{page}/dicom-web/../studies/{ROOT}.1/acknowledge").status_code == 403


def test_message_that_breaks_off(node: Core, address: str) -> None:
    """What came whole is stored, its series is not released."""
    text = body(part10(ct(0)), part10(ct(1)))[:-3000]
    answer = httpx2.post(f"{address}/studies", content=text, headers={"Content-Type": CONTENT_TYPE})
    assert answer.status_code == 400 and "ended before" in answer.text
    assert len(node.files()) == 1 and not node.series(ct(0)).released


def test_storing_through_the_web_process(tmp_path: Path) -> None:
    """The command that `serve` starts stores as well; killed, it leaves the rows and no process behind.

    What an earlier one was writing when it was killed is gone.
    """
    data, port = tmp_path / "data", own_port()
    with subprocess.Popen(["true"]) as earlier:
        earlier.wait()
    left = data / "incoming" / f"{earlier.pid}.transcoded"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(1000))
    site = tmp_path / "site.toml"
    site.write_text(f'[node]\ndata = "{data}"\n[web]\nport = {port}\n')
    command = [sys.executable, "-m", "dicom_node", "--config", str(site), "web"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            address = f"http://127.0.0.1:{port}/dicom-web"
            wait_until(lambda: answers(address), START_S, "the page answers")
            client = DICOMwebClient(url=address)
            assert not left.exists()
            client.store_instances(head(3))
            assert len(client.search_for_instances(f"{ROOT}.1")) == 3
            assert httpx2.get(f"{address}/studies/{ROOT}.1/rendered", timeout=60).status_code == 200
            threads = Path(f"/proc/{process.pid}/task").glob("*/children")
            started = [pid for thread in threads for pid in thread.read_text().split()]
        finally:
            process.kill()
            process.wait(20)
    wait_until(lambda: not any(lives(pid) for pid in started), 20, "the decoder ends, too")
    assert started and core(data).series(ct(0)).released


def lives(pid: str) -> bool:
    """Whether a process runs; one that waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def answers(address: str) -> bool:
    """Whether the service is up."""
    try:
        return httpx2.get(f"{address}/studies").status_code == 204
    except httpx2.TransportError:
        return False


def read(text: bytes, size: int, boundary: str = "b", most_bytes: int = 1 << 20) -> list[bytes]:
    """The parts of a message that comes in pieces of this size."""

    async def stream() -> AsyncIterator[bytes]:
        for at in range(0, len(text), size):
            yield text[at : at + size]

    async def collect(folder: Path) -> list[bytes]:
        names = itertools.count()
        found = []
        async for part in multipart.received(
            stream(), boundary, lambda: Spool(folder / str(next(names)), most_bytes), most_bytes
        ):
            assert isinstance(part, Spool)
            with part:
                found.append(part.path.read_bytes())
        return found

    with TemporaryDirectory() as folder:
        try:
            return asyncio.run(collect(Path(folder)))
        finally:
            assert list(Path(folder).iterdir()) == []


OTHER_WORDS = b"\r\n--bc\r\n--b-c\r\n--b\r\r\n--b-\r\n"
CONTENTS = [b"", b"\r\n--", b"\r\n--c\r\n\r\n", b"--b\n\r\n-", OTHER_WORDS, bytes(range(256)), b"\r\n\r\n"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_message_in_pieces_of_any_size(size: int) -> None:
    """What is written is read back, wherever the pieces are cut and whatever looks like a boundary."""
    text = b"".join(
        multipart.written([multipart.MessagePart("x/Y; z=1", "http://a/1", [each]) for each in CONTENTS], "b")
    )
    assert read(b"a preamble\r\n" + text + b"an epilogue", size) == read(text, size) == CONTENTS
    assert read(text.replace(b"--b\r\nContent-Type", b"--b \t\r\nContent-Type"), size) == CONTENTS, "padding"


@given(
    contents=st.lists(st.text("\r\n-b", max_size=40).map(str.encode), min_size=1, max_size=4),
    size=st.integers(min_value=1, max_value=60),
)
def test_message_that_looks_like_its_boundary(contents: list[bytes], size: int) -> None:
    """Whatever the parts hold but the boundary itself."""
    assume(not any(re.search(rb"\r\n--b(\r\n|--)", b"\r\n" + each + b"\r\n") for each in contents))
    text = b"".join(multipart.written([multipart.MessagePart("x/y", "http://a/1", [each]) for each in contents], "b"))
    assert read(text, size) == contents


@pytest.mark.parametrize(
    "text", [b"", b"--b", b"--c--\r\n", b"--b\r\nno end", b"--b\r\nno header\r\n--b--", b"x" * 20_000]
)
def test_what_is_no_message(text: bytes) -> None:
    """400."""
    with pytest.raises(HTTPException) as caught:
        read(text, 100)
    assert caught.value.status_code == 400


def test_part_that_is_too_long() -> None:
    """413, before all of it is there."""
    with pytest.raises(HTTPException) as caught:
        read(b"--b\r\n\r\n" + b"x" * 5000, 100, most_bytes=1000)
    assert caught.value.status_code == 413


def test_a_large_part_is_never_held_as_a_whole(node: Core, address: str) -> None:
    """It goes to the disk as it comes, and is stored from there."""
    dataset = ct(0, Rows=4096, Columns=4096, PixelData=b"")
    start = part10(dataset)
    start = start[: start.index(b"\xe0\x7f\x10\x00")] + b"\xe0\x7f\x10\x00OW\0\0" + (48 << 20).to_bytes(4, "little")
    head_of_part, _, end = body(start).partition(start)

    def content() -> Iterator[bytes]:
        yield head_of_part + start
        for _ in range(48):
            yield bytes(1 << 20)
        yield end

    tracemalloc.start()
    try:
        answer = httpx2.post(
            f"{address}/studies", content=content(), headers={"Content-Type": CONTENT_TYPE}, timeout=60
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status_code == 200, answer.text
    assert node.files()[0].stat().st_size > 48 << 20 and peak < 16 << 20
    assert list((node.archive.root / "incoming").iterdir()) == []


def test_a_full_disk_while_a_part_comes(node: Core, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That part is refused with 0xA700, the ones before and after it are stored, and nothing of it is left."""
    written = Spool.write

    def full(spool: Spool, piece: bytes | memoryview) -> None:
        if bytes(piece).count(b"NO ROOM"):
            raise OutOfResources("the disk is full")
        written(spool, piece)

    monkeypatch.setattr(Spool, "write", full)
    answer = post(address, part10(ct(0)), part10(ct(1, StudyDescription="NO ROOM")), part10(ct(2)))
    assert answer.status_code == 202 and reasons(answer, OTHER) == [0xA700] and len(node.files()) == 2
    assert list((node.archive.root / "incoming").iterdir()) == []


def test_refused_storage_says_the_status_of_c_store(node: Core, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is 0xA700, and the next request is served."""

    def full(*_: Any) -> None:
        raise OutOfResources("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(node.archive, "adopt", full)
        assert reasons(post(address, part10(ct(0)))) == [0xA700]
    assert post(address, part10(ct(0))).status_code == 200
