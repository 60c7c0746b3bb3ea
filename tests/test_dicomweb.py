"""QIDO-RS and WADO-RS as dicomweb-client and a plain HTTP client see them, over a real socket."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom import dcmread, dcmwrite, encaps
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, SecondaryCaptureImageStorage
from series import Core, core, ct, data_of, head
from web_support import Node, serving

from dicom_node import clock
from dicom_node.entities import ResultObject
from dicom_node.tables import results

STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
FRAME_AS_STORED = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
FIRST, SECOND = ct(0).StudyInstanceUID, ct(0, study=2).StudyInstanceUID
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about awkward files


@dataclass(frozen=True, slots=True)
class Web:
    """A node's archive and the way to it."""

    core: Core
    client: DICOMwebClient
    http: httpx2.Client

    def get(self, path: str, accept: str = "*/*", **params: str) -> httpx2.Response:
        """One request below /dicom-web."""
        return self.http.get(path, headers={"Accept": accept}, params=params)

    def studies(self, **params: str) -> list[str]:
        """The UIDs of the studies that match."""
        answer = self.get("/studies", **params)
        assert answer.status_code in (200, 204), answer.text
        return [each["0020000D"]["Value"][0] for each in answer.json()] if answer.content else []


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Two studies: a head of 24 slices, and three slices of another patient with a second series."""
    node = core(tmp_path_factory.mktemp("dicomweb") / "data")
    node.receive(head())
    other: dict[str, Any] = {
        "PatientName": "Müller^Anna=山田^花子",
        "StudyDate": "20251231",
        "SpecificCharacterSet": "ISO_IR 192",
    }
    node.receive([ct(i, study=2, StudyTime="235959.5", **other) for i in range(3)])
    node.receive([ct(i, study=2, series=2, Modality="MR", SeriesDescription="T2", **other) for i in range(2)])
    own_picture(node)
    with served(node) as found:
        yield found


@contextmanager
def served(node: Core) -> Iterator[Web]:
    """The node's page with the client's side of it."""
    with (
        serving(Node(node.database, node.archive, node.settings)) as (url, _),
        httpx2.Client(base_url=f"{url}/dicom-web", timeout=60) as http,
    ):
        yield Web(node, DICOMwebClient(url=f"{url}/dicom-web"), http)


def own_picture(node: Core) -> None:
    """The node's own result for the second study."""
    made = ct(0, study=2, series=9103, SOPClassUID=SecondaryCaptureImageStorage, Modality="CT")
    path = node.archive.result_path(SECOND, "haemorrhage", 1, "SC")
    buffer = BytesIO()
    dcmwrite(buffer, made, enforce_file_format=True)
    node.archive.put(path, buffer.getvalue())
    result = ResultObject("SC", made.SOPInstanceUID, made.SOPClassUID, made.SeriesInstanceUID, path)
    with node.database.write() as tx:
        results.add_object(tx, SECOND, "haemorrhage", 1, result, clock.utc_now())


def place(dataset: Dataset) -> str:
    """The address of an instance."""
    return f"/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"


def uids(dataset: Dataset) -> tuple[str, str, str]:
    """Study, series and instance."""
    return dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID


def parts(answer: httpx2.Response) -> list[tuple[str, bytes]]:
    """The parts of a multipart answer: their media type and content."""
    assert answer.status_code == 200, answer.text
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    found = []
    for text in answer.content.split(b"--" + boundary)[1:-1]:
        header, _, content = text.partition(b"\r\n\r\n")
        (kind,) = (line for line in header.decode().split("\r\n") if line.startswith("Content-Type"))
        found.append((kind.partition(": ")[2], content[:-2]))
    assert answer.content.endswith(b"--" + boundary + b"--\r\n")
    return found


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({}, [FIRST, SECOND]),
        ({"PatientName": "case^1"}, [FIRST]),  # in any case
        ({"PatientName": "Case"}, []),  # but not a part of it
        ({"PatientName": "cas*"}, [FIRST]),
        ({"PatientName": "山田^*"}, [SECOND]),
        ({"00100020": "P?"}, [FIRST, SECOND]),
        ({"PatientID": "P2"}, [SECOND]),
        ({"PatientID": "p2"}, []),
        ({"PatientID": "P[2]"}, []),
        ({"PatientID": "%"}, []),
        ({"StudyDate": "20260102"}, [FIRST]),
        ({"StudyDate": "20251231-20260102"}, [FIRST, SECOND]),
        ({"StudyDate": "-20251231"}, [SECOND]),
        ({"StudyDate": "20260101-"}, [FIRST]),
        ({"StudyTime": "2300-"}, [SECOND]),  # what only the files know
        ({"StudyTime": "0304"}, [FIRST]),
        ({"StudyID": "2"}, [SECOND]),
        ({"StudyInstanceUID": f"{FIRST},{SECOND},1.2.3"}, [FIRST, SECOND]),
        ({"StudyInstanceUID": f"{SECOND}\\1.2.3"}, [SECOND]),
        ({"ModalitiesInStudy": "MR"}, [SECOND]),
        ({"Modality": "CT"}, [FIRST, SECOND]),
        ({"AccessionNumber": "A1", "PatientID": "P2"}, []),
        ({"AccessionNumber": "", "PatientID": "*"}, [FIRST, SECOND]),
        ({"limit": "1"}, [FIRST]),
        ({"limit": "1", "offset": "1"}, [SECOND]),
        ({"StudyTime": "0000-", "limit": "1", "offset": "1"}, [SECOND]),
        ({"limit": "0"}, []),
        ({"offset": "9"}, []),
    ],
)
def test_matching_of_studies(web: Web, params: dict[str, str], found: list[str]) -> None:
    """Single value, wildcard, range, UID list, paging; the newest study first."""
    assert web.studies(**params) == found


@pytest.mark.parametrize(
    "params",
    [
        {"NoSuchThing": "1"},
        {"SeriesDescription": "T2"},  # of a series, not of a study
        {"limit": "many"},
        {"limit": "-1"},
        {"offset": "1e3"},
        {"fuzzymatching": "perhaps"},
        {"includefield": "NoSuchThing"},
    ],
)
def test_what_is_no_query_is_refused(web: Web, params: dict[str, str]) -> None:
    """A mistyped key would otherwise give every study."""
    answer = web.get("/studies", **params)
    assert answer.status_code == 400 and answer.headers["content-type"].startswith("text/plain")


def test_study_attributes(web: Web) -> None:
    """What PS3.18 Table 10.6.3-3 requires, from rows and file; own results count."""
    (study,) = web.client.search_for_studies(search_filters={"PatientID": "P2"})
    values = {tag: element.get("Value") for tag, element in study.items()}
    assert values["00100010"] == [{"Alphabetic": "Müller^Anna", "Ideographic": "山田^花子"}]
    assert values["00080061"] == ["CT", "MR"]
    assert values["00201206"] == [3] and values["00201208"] == [6]
    assert values["00080030"] == ["235959.5"] and values["00200010"] == ["2"]
    assert values["00080090"] is None  # known to be empty
    assert values["00081190"] == [f"{web.http.base_url}studies/{SECOND}"]
    assert "00101010" not in study
    (more,) = web.client.search_for_studies(search_filters={"PatientID": "P2"}, fields=["PatientAge", "Modality"])
    assert more["00101010"]["Value"] == ["076Y"] and "00080060" not in more
    assert web.get("/studies", includefield="all").json()[0]["00101010"]["Value"] == ["076Y"]


def test_fuzzy_matching_is_said_not_to_be_there(web: Web) -> None:
    """PS3.18 8.3.4.2."""
    answer = web.get("/studies", fuzzymatching="true", PatientName="case^1")
    assert "fuzzymatching parameter is not supported" in answer.headers["warning"] and len(answer.json()) == 1
    assert "warning" not in web.get("/studies", fuzzymatching="false").headers


def test_series_of_a_study_and_of_all(web: Web) -> None:
    """With the study's attributes where it was not given."""
    found = web.client.search_for_series(SECOND)
    assert [each["00201209"]["Value"] for each in found] == [[3], [2], [1]]
    assert "00100010" not in found[0]
    (one,) = web.client.search_for_series(SECOND, search_filters={"SeriesDescription": "T?"})
    assert one["00080060"]["Value"] == ["MR"] and one["00200011"]["Value"] == [2]
    everywhere = web.client.search_for_series(search_filters={"Modality": "CT"})
    assert len(everywhere) == 3 and everywhere[0]["00100020"]["Value"] == ["P1"]
    assert web.client.search_for_series(search_filters={"PatientID": "P1", "Modality": "MR"}) == []


def test_instances_of_a_series_of_a_study_and_of_all(web: Web) -> None:
    """In the order of their numbers; own results too."""
    series_uid = ct(0).SeriesInstanceUID
    found = web.client.search_for_instances(FIRST, series_uid)
    assert [each["00200013"]["Value"][0] for each in found] == list(range(1, 25))
    assert found[0]["00280010"]["Value"] == [64] and "00080060" not in found[0]
    (one,) = web.client.search_for_instances(FIRST, search_filters={"InstanceNumber": "7"})
    assert one["00080018"]["Value"] == [ct(6).SOPInstanceUID] and one["00080060"]["Value"] == ["CT"]
    pictures = web.client.search_for_instances(search_filters={"SOPClassUID": SecondaryCaptureImageStorage})
    assert [each["0020000D"]["Value"][0] for each in pictures] == [SECOND]
    assert len(web.client.search_for_instances(SECOND)) == 6
    assert web.get(f"/studies/{FIRST}/series/1.2.3/instances").status_code == 204


def test_metadata_is_the_data_set(web: Web) -> None:
    """As pydicom reads it back, names in two scripts included; pixels stand as a link that holds them."""
    dataset = next(each for each in web.core.files() if dcmread(each).PatientID == "P2")
    expected = dcmread(dataset)
    metadata = web.client.retrieve_instance_metadata(*uids(expected))
    link = metadata["7FE00010"]["BulkDataURI"]
    found = Dataset.from_json({tag: element for tag, element in metadata.items() if tag != "7FE00010"})
    del expected.PixelData
    assert found == expected
    assert b"".join(web.client.retrieve_bulkdata(link)) == dcmread(dataset).PixelData
    assert web.get(f"/studies/{SECOND}/metadata").headers["content-type"] == "application/dicom+json"
    assert len(web.client.retrieve_series_metadata(FIRST, ct(0).SeriesInstanceUID)) == 24


def test_whole_instances_are_the_files(web: Web) -> None:
    """A study, a series and an instance, byte for byte."""
    found = parts(web.get(f"/studies/{FIRST}", STORED))
    files = {path.read_bytes() for path in web.core.files() if FIRST in path.parts}
    assert {content for _, content in found} == files and len(found) == 24
    assert {kind for kind, _ in found} == {f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"}
    assert len(web.client.retrieve_series(FIRST, ct(0).SeriesInstanceUID)) == 24
    one = web.client.retrieve_instance(*uids(ct(3)))
    assert one.InstanceNumber == 4
    single = web.get(place(ct(3)), "application/dicom")
    assert single.headers["content-type"].startswith("application/dicom") and single.content in files


def test_frames(web: Web) -> None:
    """The pixels of one frame; what is no frame of the instance says so."""
    (frame,) = web.client.retrieve_instance_frames(*uids(ct(3)), frame_numbers=[1])
    assert frame == ct(3).PixelData
    assert web.get(f"{place(ct(3))}/frames/1", "application/octet-stream").content == ct(3).PixelData
    assert web.get(f"{place(ct(3))}/frames/2").status_code == 404
    for wrong in ("0", "x", "1,", "1-2", "99999999"):
        assert web.get(f"{place(ct(3))}/frames/{wrong}").status_code == 400


def test_frames_of_single_bits(tmp_path: Path) -> None:
    """Frames of a segmentation that end within a byte begin at one (PS3.5 8.1.1)."""
    node = core(tmp_path / "data")
    masks = np.random.default_rng(1).integers(0, 2, (3, 5, 7), np.uint8)
    bits = np.packbits(masks.ravel(), bitorder="little").tobytes()
    mask = ct(0, Rows=5, Columns=7, NumberOfFrames=3, BitsAllocated=1, BitsStored=1, HighBit=0, PixelRepresentation=0)
    mask.PixelData = bits + b"\0" * (len(bits) % 2)
    mask["PixelData"].VR = "OB"
    node.receive([mask])
    with served(node) as web:
        for number, (_, frame) in enumerate(parts(web.get(f"{place(mask)}/frames/1,2,3"))):
            unpacked = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")[:35]
            assert (unpacked.reshape(5, 7) == masks[number]).all() and len(frame) == 5


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("", "text/html"),
        ("", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.90'),
        ("/frames/1", 'multipart/related; type="image/jp2"'),
        ("/metadata", 'multipart/related; type="application/dicom+xml"'),
        ("/rendered", "image/gif"),
        ("/frames/1", "application/dicom"),
    ],
)
def test_what_cannot_be_given_is_not_acceptable(web: Web, path: str, accept: str) -> None:
    """406, and what could be had."""
    answer = web.get(place(ct(0)) + path, accept)
    assert answer.status_code == 406 and "Available" in answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/studies/1.2.3", 404),
        ("/studies/1.2.3/metadata", 404),
        (f"/studies/{FIRST}/series/1.2.3", 404),
        (f"/studies/{SECOND}/series/{FIRST}.1/instances/{FIRST}.1.1", 404),  # of another study
        ("/studies/..%2f..%2fetc/metadata", 404),
        ("/studies/ID_1/metadata", 400),
        (f"/studies/{FIRST}/series/a'b", 400),
        (f"{place(ct(0))}/bulkdata/00100010", 404),  # not binary
        (f"{place(ct(0))}/bulkdata/zz", 400),
        ("/nothing", 404),
    ],
)
def test_what_is_not_there(web: Web, path: str, status: int) -> None:
    """404 or 400, in words."""
    answer = web.get(path)
    assert answer.status_code == status and answer.headers["content-type"].startswith("text/plain")


def test_own_results_are_retrieved_like_images(web: Web) -> None:
    """By instance, and within the study."""
    made = ct(0, study=2, series=9103)
    assert web.client.retrieve_instance(*uids(made)).SOPClassUID == SecondaryCaptureImageStorage
    assert len(parts(web.get(f"/studies/{SECOND}", STORED))) == 6


def test_own_result_that_came_back_counts_once(tmp_path: Path) -> None:
    """A PACS sends it again; what the node wrote is what is given."""
    node = core(tmp_path / "data")
    node.receive([ct(0, study=2)])
    own_picture(node)
    node.receive([ct(0, study=2, series=9103, SOPClassUID=SecondaryCaptureImageStorage, PatientName="COERCED")])
    with served(node) as web:
        assert len(web.client.search_for_instances(SECOND)) == 2
        assert web.client.retrieve_instance(*uids(ct(0, study=2, series=9103))).PatientName == "Case^2"


def test_rendered_and_thumbnail(web: Web) -> None:
    """JPEG or PNG; the window and the size that are asked for."""
    picture = web.get(f"{place(ct(10))}/rendered", "image/png", window="35,20,linear_exact")
    assert picture.status_code == 400
    picture = web.get(f"{place(ct(10))}/rendered", "image/png", window="40,20,linear-exact", viewport="128,256")
    shown = Image.open(BytesIO(picture.content))
    assert shown.format == "PNG" and shown.size == (128, 128)
    assert np.asarray(shown).min() == np.asarray(shown).max() == 127  # 40 HU in the middle of the window
    thumbnail = Image.open(BytesIO(web.get(f"/studies/{FIRST}/thumbnail").content))
    assert thumbnail.format == "JPEG" and max(thumbnail.size) == 128
    for wrong in ({"window": "1"}, {"viewport": "0,1"}, {"viewport": "9,9,1,1,1,1"}, {"quality": "0"}):
        assert web.get(f"{place(ct(10))}/rendered", **wrong).status_code == 400


def test_json_under_the_name_that_is_asked_for(web: Web) -> None:
    """Both of PS3.18 8.7.3-2."""
    for accept in ("application/json", "application/dicom+json", "text/html;q=0.9, application/json;q=0.5"):
        answer = web.get(f"/studies/{FIRST}/metadata", accept)
        assert answer.headers["content-type"] in accept and len(answer.json()) == 24
        assert web.get("/studies", accept).headers["content-type"] in accept
    assert web.get("/studies", "application/json;q=0").status_code == 406


def test_study_that_goes_while_it_is_read(tmp_path: Path) -> None:
    """404 before the answer has begun, a broken-off answer after that; the service goes on."""
    node = core(tmp_path / "data")
    node.receive(head())
    with served(node) as web:
        for path in node.files()[1:]:
            path.unlink()
        with pytest.raises(httpx2.RemoteProtocolError):
            web.get(f"/studies/{FIRST}", STORED)
        node.files()[0].unlink()
        assert web.get(f"{place(ct(0))}/metadata").status_code == 404
        assert web.get(f"{place(ct(0))}/frames/1").status_code == 404
        assert web.get(f"{place(ct(0))}/rendered").status_code == 404
        assert web.studies() == [FIRST]
        assert web.get(f"/studies/{FIRST}/instances").status_code == 204


def test_damaged_files_say_so(tmp_path: Path) -> None:
    """500 in words for what cannot be read; the metadata of a study come without it."""
    node = core(tmp_path / "data")
    node.receive(head(3))
    short, wrong = (next(each for each in node.files() if ct(i).SOPInstanceUID in each.name) for i in (1, 2))
    short.write_bytes(short.read_bytes()[:-1000])
    wrong.write_bytes(b"x" * 1000)
    with served(node) as web:
        for resource in ("metadata", "frames/1", "bulkdata/7FE00010"):
            answer = web.get(f"{place(ct(2))}/{resource}")
            assert answer.status_code == 500 and "stored file cannot be read" in answer.text
        assert len(web.get(f"/studies/{FIRST}/metadata").json()) == 2
        answer = web.get(f"{place(ct(1))}/frames/1")
        assert answer.status_code == 500 and "fewer than the instance says" in answer.text
        answer = web.get(f"{place(ct(1))}/rendered")
        assert answer.status_code == 406 and "cannot be decoded" in answer.text
        assert web.get(f"{place(ct(0))}/bulkdata/00081140/0/00080018").status_code == 404


def test_every_awkward_file(tmp_path: Path, shared: Path) -> None:
    """Each is retrieved whole; frames and pictures come where the pixels decode, and otherwise 406 says why."""
    node = core(tmp_path / "data")
    files = sorted((shared / "dicom").rglob("*.dcm"))
    undecodable = set()
    with served(node) as web:
        for path in files:
            dataset = dcmread(path)
            node.take(dataset, data=data_of(path.read_bytes()))
            (kind, content), *others = parts(web.get(place(dataset), STORED))
            assert others == []
            assert dcmread(BytesIO(content)) == dataset or kind.endswith(ExplicitVRLittleEndian)
            metadata = web.get(f"{place(dataset)}/metadata").json()
            assert metadata[0]["00080018"]["Value"] == [dataset.SOPInstanceUID]
            if "PixelData" not in dataset:
                assert web.get(f"{place(dataset)}/frames/1").status_code == 404
                assert web.get(f"{place(dataset)}/rendered").status_code == 406
                continue
            assert len(parts(web.get(f"{place(dataset)}/frames/1", FRAME_AS_STORED))) == 1
            frame, picture = web.get(f"{place(dataset)}/frames/1"), web.get(f"{place(dataset)}/rendered")
            assert frame.status_code == picture.status_code
            if frame.status_code == 200:
                assert parts(frame)[0][1] == first_frame(dataset)
            else:
                assert frame.status_code == 406 and "cannot be decoded" in frame.text
                undecodable.add(str(dataset.file_meta.TransferSyntaxUID)[-2:])
    assert undecodable == {"51", "53", "55"}


def first_frame(dataset: Dataset) -> bytes:
    """Its first frame, plain and little endian."""
    pixels = dataset.pixel_array
    first = pixels[0] if int(dataset.get("NumberOfFrames") or 1) > 1 else pixels
    return first.astype(first.dtype.newbyteorder("<")).tobytes()


@pytest.mark.parametrize("name", ["SV1", "RLE", "JPEGLSLossless", "JPEG2000Lossless", "BigEndian", "Deflated"])
def test_transcoded_instance_has_the_same_pixels(tmp_path: Path, shared: Path, name: str) -> None:
    """Explicit VR Little Endian for a client that does not ask for what is stored; everything else stays."""
    (path,) = [each for each in (shared / "dicom" / "syntaxes").glob("CTImage.dcm_*") if name in each.name]
    dataset = dcmread(path)
    node = core(tmp_path / "data")
    node.take(dataset, data=data_of(path.read_bytes()))
    with served(node) as web:
        plain = web.client.retrieve_instance(
            *uids(dataset), media_types=(("application/dicom", ExplicitVRLittleEndian),)
        )
        assert plain.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert (plain.pixel_array == dataset.pixel_array).all()
        changed = {each.tag for each in dataset if plain.get(each.tag) != each and each.tag.element != 0}
        assert changed <= {0x7FE00010}  # group lengths, which are retired, go
        stored = web.client.retrieve_instance(*uids(dataset), media_types=(("application/dicom", "*"),))
        assert (stored.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID) == (name != "BigEndian")


@pytest.mark.parametrize(
    ("path", "params", "found"),
    [
        ("/studies", {"ModalitiesInStudy": "CT,SR"}, 2),
        ("/studies", {"ModalitiesInStudy": "SR\\MR"}, 1),
        ("/studies", {"ModalitiesInStudy": "S*,M?"}, 1),
        ("/studies", {"Modality": "SR, PT"}, 0),
        ("/studies", {"PatientID": "P1\\P2"}, 2),
        ("/studies", {"PatientID": "P1,P2"}, 0),  # a comma may stand in a Patient ID
        ("/studies", {"PatientName": "Nobody\\Case^1"}, 1),
        ("/studies", {"StudyDate": "20260102,20251231"}, 2),
        ("/studies", {"ModalitiesInStudy": ","}, 2),
        ("/studies", {"PatientName": "\\"}, 2),
        ("/studies", {"NumberOfStudyRelatedInstances": "24"}, 1),
        ("/studies", {"NumberOfStudyRelatedSeries": "1,3"}, 2),
        ("/studies", {"SOPClassesInStudy": SecondaryCaptureImageStorage}, 1),
        ("/studies", {"InstanceAvailability": "ONLINE"}, 2),
        ("/series", {"ModalitiesInStudy": "MR"}, 3),
        ("/series", {"ModalitiesInStudy": "MR", "Modality": "CT,MR"}, 3),
        ("/series", {"Modality": "MR,SR"}, 1),
        ("/series", {"NumberOfSeriesRelatedInstances": "2"}, 1),
        (f"/studies/{SECOND}/series", {"ModalitiesInStudy": "CT\\SR"}, 3),
        (f"/studies/{SECOND}/series", {"ModalitiesInStudy": "PT"}, 0),
        ("/instances", {"ModalitiesInStudy": "MR"}, 6),
        ("/instances", {"NumberOfStudyRelatedInstances": "6", "InstanceNumber": "1,2"}, 5),
        (f"/studies/{FIRST}/instances", {"ModalitiesInStudy": "CT", "InstanceNumber": "3\\03\\x"}, 1),
    ],
)
def test_lists_of_values_and_what_is_reckoned(web: Web, path: str, params: dict[str, str], found: int) -> None:
    """PS3.4 C.2.2.2.2 for every kind of value, and what no file says of a study, at every level."""
    answer = web.get(path, **params)
    assert answer.status_code == (200 if found else 204), answer.text
    assert len(answer.json() if found else []) == found


def broken(frames: int, fragments: int, table: str, **elements: Any) -> Dataset:
    """An image of several frames in RLE or JPEG 2000, with fragments and an offset table that is wrong somehow."""
    values = np.arange(frames * 64 * 64, dtype="<i2").reshape(frames, 64, 64)
    dataset = ct(0, study=7, NumberOfFrames=frames, **elements)
    dataset.PixelData = values.tobytes()
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    streams = list(encaps.generate_frames(dataset.PixelData, number_of_frames=frames))
    items = [piece for stream in streams for piece in encaps.itemize_frame(stream, fragments)]
    starts = [sum(map(len, items[: number * fragments])) for number in range(frames)]
    basic = {"none": [], "wrong": [each + 2 for each in starts], "zeros": [0] * frames, "short": starts[:1]}
    basic |= {"right": starts, "backwards": starts[::-1], "extended": []}
    offsets = np.array(basic[table], "<u4").tobytes()
    if table == "extended":
        dataset.ExtendedOffsetTable = np.array(starts, "<u8").tobytes()
        dataset.ExtendedOffsetTableLengths = np.array([len(each) for each in streams], "<u8").tobytes()
    begin = b"\xfe\xff\x00\xe0" + len(offsets).to_bytes(4, "little") + offsets
    dataset.PixelData = begin + b"".join(items)
    dataset["PixelData"].is_undefined_length = True
    return dataset


@pytest.mark.parametrize("table", ["right", "none", "wrong", "zeros", "short", "backwards", "extended"])
@pytest.mark.parametrize("fragments", [1, 3])
def test_frames_whatever_the_offset_table_says(tmp_path: Path, table: str, fragments: int) -> None:
    """The right frame, as it is stored, decoded and as a picture; and the whole instance decoded."""
    node, dataset = core(tmp_path / "data"), broken(3, fragments, table)
    node.receive([dataset])
    expected = np.arange(3 * 64 * 64, dtype="<i2").reshape(3, 64, 64)
    with served(node) as web:
        for number in (1, 2, 3):
            ((_, content),) = parts(web.get(f"{place(dataset)}/frames/{number}"))
            assert content == expected[number - 1].tobytes()
        stored = parts(web.get(f"{place(dataset)}/frames/3,1", FRAME_AS_STORED))
        assert [content[:4] for _, content in stored] == [b"\xff\x4f\xff\x51"] * 2
        assert web.get(f"{place(dataset)}/frames/2/rendered").status_code == 200
        assert web.get(f"{place(dataset)}/frames/4").status_code == 404
        ((_, whole),) = parts(web.get(place(dataset), 'multipart/related; type="application/dicom"'))
        assert dcmread(BytesIO(whole)).PixelData == expected.tobytes()


@pytest.mark.parametrize("frames", ["2000000000", "-3", "0"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_wrong_number_of_frames(tmp_path: Path, frames: str, compressed: bool) -> None:
    """What is there is served, and what is not is refused; nothing is a fault of the server."""
    node, dataset = core(tmp_path / "data"), ct(0, study=8)
    if compressed:
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    dataset.NumberOfFrames = frames
    node.receive([dataset])
    with served(node) as web:
        ((_, content),) = parts(web.get(f"{place(dataset)}/frames/1"))
        assert content == ct(0).PixelData
        for path in ("rendered", "thumbnail", "metadata", "bulkdata/7FE00010"):
            assert web.get(f"{place(dataset)}/{path}").status_code == 200, path
        assert web.get(f"{place(dataset)}/frames/2").status_code == 404
        assert web.get(f"{place(dataset)}/frames/1999999").status_code == 404
        assert web.get(place(dataset), "application/dicom").status_code in (200, 406)
