"""Whatever a client sends, the page and DICOMweb answer it as a request, never with a fault of their own (5xx).

Requests are written to a real socket as bytes, so that no client mends them.
"""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import RLELossless
from series import core, ct, head
from web_support import Node, serving

STUDY, SERIES, SOP = ct(0).StudyInstanceUID, ct(0).SeriesInstanceUID, ct(0).SOPInstanceUID
INSTANCE = f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{SOP}"
PLACES = [
    *(
        "/",
        "/rows",
        "/status",
        "/quality",
        "/health",
        "/feedback.csv",
        "/static/page.css",
        "/viewer/",
        "/app-config.js",
    ),
    *(f"/studies/{STUDY}{end}" for end in ("", "/picture.png", "/thumb.jpg", "/viewer", "/acknowledge", "/read")),
    *(f"/studies/{STUDY}{end}" for end in ("/unread", "/opened", "/identity", "/feedback")),
    *("/reader", "/dicom-web/studies", "/dicom-web/series", "/dicom-web/instances", f"/dicom-web/studies/{STUDY}"),
    *(f"/dicom-web/studies/{STUDY}/{end}" for end in ("series", "instances", "metadata", "rendered", "thumbnail")),
    *(f"{INSTANCE}{end}" for end in ("", "/metadata", "/frames/1", "/frames/1,1", "/frames/1/rendered")),
    *(f"{INSTANCE}{end}" for end in ("/rendered", "/thumbnail", "/bulkdata/7FE00010", "/bulkdata/00080016")),
]
ODD = [
    "\0",
    "\x01",
    "\x7f",
    "\x85",
    "é",
    "\ud7ff",
    "日",
    "'",
    '"',
    "`",
    "%",
    "\\",
    "..",
    "//",
    "*",
    "?",
    "[",
    "]",
    "a" * 300,
]
NUMBERS = [
    "0",
    "-1",
    "1",
    "2000000000",
    "9" * 25,
    "1e999",
    "nan",
    "inf",
    "٣",
    "0x1",
    "1.5",
    " 1",
    "+1",
    "1,2",
    "1\\2",
    "",
]
texts = st.one_of(
    st.text(max_size=12), st.sampled_from(NUMBERS), st.lists(st.sampled_from(ODD), max_size=4).map("".join)
)
NAMES = [
    *("PatientName", "PatientID", "StudyDate", "StudyTime", "ModalitiesInStudy", "Modality", "StudyInstanceUID"),
    *("SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber", "NumberOfFrames", "Rows", "PixelSpacing"),
    *("AccessionNumber", "NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances", "InstanceAvailability"),
    *("SOPClassesInStudy", "00080061", "7FE00010", "00400275.00400009", "RescaleSlope", "ImageType", "PatientAge"),
    *("limit", "offset", "includefield", "fuzzymatching", "accept", "window", "viewport", "quality"),
    *("q", "date", "show", "page", "version", "question", "weeks", "scanner", "decision", "study", "part"),
]
VALUES = [
    "CT,SR",
    "CT\\SR",
    "*",
    "?",
    "*a*b*?",
    "20260101-",
    "-",
    "20260101-20260201",
    "1.2,3",
    "x-y",
    "all",
    "true",
    ",",
]
HEADERS = ["Accept", "Cookie", "Referer", "Origin", "Host", "If-None-Match", "Range", "Content-Type", "Sec-Fetch-Site"]
HEADERS += [
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "Forwarded",
    "Accept-Encoding",
    "Content-Length",
]
SAID = [
    *(
        "http://[",
        "http://[::1",
        "//",
        "http://a:99999/",
        "http://localhost/x?y",
        "null",
        "reader=%00%ff",
        "reader=a;;=,",
    ),
    *(
        'multipart/related; type="application/dicom"',
        "multipart/related; boundary=b",
        "*/*;q=nan",
        "*/*;q=-1",
        '"',
        '\\"',
    ),
    *(
        "image/png;q=x",
        'application/dicom; transfer-syntax="1.2',
        "bytes=0-,5-1",
        "bytes=a-b",
        "same-origin",
        "[",
        "a:b",
    ),
    *("application/dicom+json", "application/octet-stream; transfer-syntax=*", "text/html", "W/" + '"x",' * 50),
]
BODIES = ["", "a=1&" * 60, "name=%00", "verdict=agree&version=" + "9" * 30, "made=x&version=1&verdict=agree", "--b\r\n"]
BODIES += ["--b\r\n\r\nx\r\n--b--", "\0" * 50, "reader=a&version=1&made=0001-01-01T00:00:00&verdict=missed&type=x"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the page is, with one head, one analysed study and some objects that announce what is not there."""

    address: tuple[str, int]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One page for all requests."""
    node = core(tmp_path_factory.mktemp("fuzz") / "data")
    node.receive(head(3))
    node.receive([ct(0, study=2, NumberOfFrames="2000000000"), ct(1, study=2, Rows=0), ct(2, study=2, BitsAllocated=7)])
    page = Node(node.database, node.archive, node.settings)
    page.analysed(1, suspected=True)
    with serving(page) as (url, _):
        yield Place(("127.0.0.1", int(url.rpartition(":")[2])))


def ask(place: Place, request: bytes) -> bytes:
    """The beginning of the answer; what is not HTTP may be answered by closing the connection."""
    with socket.create_connection(place.address, timeout=60) as connection:
        try:
            connection.sendall(request)
            return connection.recv(200)
        except (ConnectionResetError, BrokenPipeError):
            return b""


def written(method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    """A request as bytes; "Host" and the mark of the page's own requests are there unless another one is given."""
    own = {
        "Host": "localhost",
        "Sec-Fetch-Site": "same-origin",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    given = dict(headers)
    lines = [f"{name}: {value}" for name, value in (own | given).items()]
    target = f"{path}?{query}" if query else path
    head_text = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""])
    return head_text.encode("utf-8", "replace") + body


def is_fault(answer: bytes) -> bool:
    """Whether the server says that the fault was its own; 501 and 503 are answers in words (health, no such method)."""
    status = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    return status is not None and status[1] == b"500"


paths = st.one_of(
    st.sampled_from(PLACES),
    st.builds(lambda base, more: f"{base}/{quote(more, safe='/')}", st.sampled_from(PLACES), texts),
    st.builds(
        lambda base, old, new: base.replace(old, quote(new, safe="")),
        st.sampled_from(PLACES),
        st.sampled_from([STUDY, SERIES, SOP, "1", "studies"]),
        texts,
    ),
    texts.map(lambda text: "/" + quote(text, safe="/")),
)
queries = st.lists(
    st.tuples(st.one_of(st.sampled_from(NAMES), texts), st.one_of(st.sampled_from(VALUES), texts)), max_size=4
).map(lambda pairs: "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs))
headers = st.lists(
    st.tuples(
        st.sampled_from(HEADERS[:-1]),
        st.one_of(st.sampled_from(SAID), texts.map(lambda text: re.sub(r"[\r\n\0]", " ", text))),
    ),
    max_size=3,
)


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(["GET", "GET", "GET", "POST", "POST", "HEAD", "PUT", "OPTIONS"]),
    path=paths,
    query=queries,
    headers=headers,
    body=st.one_of(st.sampled_from(BODIES), texts).map(lambda text: text.encode("utf-8", "replace")),
)
def test_no_request_is_a_fault_of_the_server(
    place: Place, method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    """Paths, queries, headers, forms and bodies that people and programs would never send."""
    answer = ask(place, written(method, path, query, headers, body))
    assert not is_fault(answer), (method, path, query, headers, body, answer)


@pytest.mark.parametrize(
    "path",
    [
        *("/%00", "/a%00b", f"/studies/{STUDY}%00", "/static/%00", "/viewer/%01", "/dicom-web/studies?PatientID=%00"),
        *(f"/studies/{STUDY}/%0a", "/%7f", "/%c2%85", f"/dicom-web/studies/{STUDY}%00/metadata", "/dicom-web/%00"),
        *("/dicom-web/studies?%00=1", "/dicom-web/studies?PatientName=a%1fb"),
    ],
)
def test_control_characters_are_refused(place: Place, path: str) -> None:
    """400, wherever they stand."""
    assert ask(place, written("GET", path, "", [], b"")).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (written("POST", f"/studies/{STUDY}/acknowledge", "", [("Referer", "http://[")], b""), 409),
        (
            written("POST", f"/studies/{STUDY}/acknowledge", "", [("Origin", "http://["), ("Sec-Fetch-Site", "")], b""),
            403,
        ),
        (written("POST", f"/studies/{STUDY}/feedback", "", [], b"a=1&" * 51), 400),
        (written("POST", f"/studies/{STUDY}/feedback", "", [], b"a=" + b"x" * 40_000), 413),
        (written("POST", "/reader", "", [("Referer", "http://[::1")], b"name=A"), 303),
        (written("POST", "/reader", "", [], b"a&" * 51), 400),
        (written("POST", "/reader", "", [], b"name=" + b"x" * 5000), 413),
        (written("POST", "/reader", "", [("Cookie", "reader=%00%0d%0a; ;;=")], b"name=%00%0d"), 303),
        (written("GET", "/", "", [("Cookie", "reader=" + "%00" * 3000)], b""), 200),
        (written("GET", "/" + "a" * 5000, "", [], b""), 404),
        (written("GET", "/static/" + "a" * 5000, "", [], b""), 404),
        (written("GET", f"/dicom-web/studies/{'1' * 5000}/metadata", "", [], b""), 400),
        (written("GET", "/", "", [("Host", "[")], b""), 400),
        (written("GET", "/dicom-web/studies", "", [("Host", "localhost:b")], b""), 400),
        (written("GET", "/dicom-web/studies", "PatientID=a&" * 500, [], b""), 400),
        (written("GET", "/dicom-web/series", "SeriesDescription=" + "*a" * 600, [], b""), 400),
        (written("GET", "/dicom-web/series", "SeriesDescription=" + "*5" * 32, [], b""), 204),
        (written("GET", "/dicom-web/studies", "PatientName=" + "*a" * 33, [], b""), 400),
        (written("GET", "/dicom-web/studies", "StudyInstanceUID=" + "1," * 4000, [], b""), 204),
        (written("GET", "/dicom-web/instances", "NumberOfFrames=2000000000", [], b""), 200),
        (written("GET", f"{INSTANCE}/frames/2000000000", "", [], b""), 400),
        (written("GET", f"{INSTANCE}/frames/{'1,' * 10_000}1", "", [], b""), 400),
    ],
)
def test_each_has_its_own_answer(place: Place, request_: bytes, status: int) -> None:
    """What was a fault of the server once."""
    assert ask(place, request_).startswith(f"HTTP/1.1 {status}".encode())


NONSENSE: list[dict[str, Any]] = [
    *({"Rows": 0}, {"Rows": 65535, "Columns": 65535}, {"BitsAllocated": 7}, {"BitsStored": 99}, {"SamplesPerPixel": 3}),
    *(
        {"PhotometricInterpretation": "YBR_FULL_422"},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"PixelData": b""},
    ),
    *({"WindowWidth": [0, -2], "WindowCenter": [1]}, {"RescaleSlope": "1e308"}, {"NumberOfFrames": "2000000000"}),
    *({"SpecificCharacterSet": ["ISO 2022 IR 87", "X"]}, {"StudyDate": "99999999"}, {"InstanceNumber": "9" * 20}),
    *({"ExtendedOffsetTable": b"abc", "NumberOfFrames": 2}, {"PatientName": "A\\B^C=D=E=F"}, {"PixelPaddingValue": 1}),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_objects_that_announce_nonsense(tmp_path: Path) -> None:
    """Stored as they are; whatever is asked of them is answered, and no decoder's end is more than a refusal."""
    node = core(tmp_path / "data")
    found = []
    for number, elements in enumerate(NONSENSE):
        for study, compressed in ((10, False), (11, True)):
            dataset = ct(number, study=study)
            if compressed and "PixelData" in elements:
                continue
            if compressed:
                dataset.compress(RLELossless, generate_instance_uid=False)
            for keyword, value in elements.items():
                setattr(dataset, keyword, value)
            node.receive([dataset])
            found.append(dataset)
    whole = 'multipart/related; type="application/dicom"'
    stored = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
    with (
        serving(Node(node.database, node.archive, node.settings)) as (url, _),
        httpx2.Client(base_url=f"{url}/dicom-web", timeout=60) as http,
    ):
        for dataset in found:
            uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
            place = "/studies/{}/series/{}/instances/{}".format(*uids)
            for path in ("", "/metadata", "/frames/1", "/rendered", "/thumbnail", "/bulkdata/7FE00010"):
                accept = {"": whole, "/frames/1": stored}.get(path, "*/*")
                status = http.get(place + path, headers={"Accept": accept}).status_code
                assert status in (200, 404, 406), (dataset.file_meta.TransferSyntaxUID, path, dataset)
        for query in ("/studies?includefield=all", f"/studies/{uids[0]}/instances?includefield=all&Rows=64"):
            assert http.get(query).status_code == 200
        assert http.get(f"{url}/studies/{uids[0]}").status_code == http.get(f"{url}/?show=all").status_code == 200
