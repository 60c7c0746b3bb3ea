"""The same calls of dicomweb-client to this node and to Orthanc's DICOMweb plug-in with the same images loaded.

What may differ stands in `MAY_DIFFER` and in `DIFFERENT_STATUS`, each with its reason; everything else must be equal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from dicomweb_client.api import DICOMwebClient
from peers import running_orthanc
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian
from series import core
from web_support import Node, serving

JSON = "application/dicom+json"
COMPRESSED = "CTImage.dcm_JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70.dcm"
MAY_DIFFER = {
    0x00080005: "the node says ISO_IR 192, since JSON is UTF-8; Orthanc repeats what the file says",
    0x00080056: "the node says ONLINE (PS3.18 Table 10.6.3-3); Orthanc leaves Instance Availability out",
    0x00081190: "each its own address",
    0x00081030: "in the node's answers where it stands in the table of the database",
    0x00081060: "Orthanc leaves out what it has not indexed",
    0x00400275: "empty in the node's answers where there is none; left out by Orthanc",
}
MORE_FOUND = [  # filters, how many studies the node finds, how many Orthanc, why
    ({"PatientName": "MISTER*"}, 1, 0, "dicomweb-client sends %2A; the plug-in does not decode it"),
    ({"StudyDate": "-20101231"}, 1, 2, "a study without date lies in no range of dates"),
]
DIFFERENT_STATUS = [  # path below /dicom-web, Accept, the node's status, Orthanc's, why
    ("/studies?PatientID=NOBODY", JSON, 204, 200, "no result is No Content (PS3.18 Table 10.6.3-1)"),
    ("/studies/1.2.3/series", JSON, 204, 200, "the same"),
    ("/studies?NoSuchThing=1", JSON, 400, 200, "a mistyped key must not find everything"),
    ("/studies/abc/metadata", JSON, 400, 404, "no UID"),
    ("{instance}/frames/99", "*/*", 404, 400, "no such frame"),
    ("{instance}", "text/html", 406, 400, "Not Acceptable (PS3.18 8.7.5)"),
    ("{instance}", "application/dicom", 200, 400, "one instance without multipart (PS3.18 8.6.1.1)"),
    ("{instance}/frames/1", "application/octet-stream", 200, 400, "one frame without multipart"),
    ("{instance}/thumbnail", "*/*", 200, 404, "thumbnails are newer than the plug-in"),
    ("{instance}/frames/1", 'multipart/related; type="image/jpeg"', 406, 200, "the node never compresses"),
]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about awkward files


@dataclass(frozen=True, slots=True)
class Pair:
    """Both servers and what they were given."""

    node: DICOMwebClient
    orthanc: DICOMwebClient
    datasets: tuple[Dataset, ...]

    def both(self, method: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """The same call to both."""
        return tuple(getattr(client, method)(*args, **kwargs) for client in (self.node, self.orthanc))

    def of(self, name: str) -> Dataset:
        """One of the data sets: a slice of the tilted head, the compressed one, or the multi-frame one."""
        return {"tilted": self.datasets[0], "compressed": self.datasets[-2], "multi-frame": self.datasets[-1]}[name]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Pair]:
    """A real head, a compressed slice and a multi-frame MR, stored through STOW-RS in both."""
    folder = shared / "dicom"
    files = [*sorted((folder / "gantry_tilt_head").glob("*.dcm")), folder / "syntaxes" / COMPRESSED]
    files.append(folder / "enhanced" / "001" / "IM-0001-0170-0001.dcm")
    datasets = tuple(dcmread(path) for path in files)
    node = core(tmp_path_factory.mktemp("node") / "data")
    with (
        running_orthanc(tmp_path_factory.mktemp("orthanc"), dicomweb=True) as orthanc,
        serving(Node(node.database, node.archive, node.settings)) as (url, _),
    ):
        clients = [DICOMwebClient(url=f"{base}/dicom-web") for base in (url, str(orthanc.rest.base_url).rstrip("/"))]
        for client in clients:
            answer = client.store_instances(datasets)
            assert len(answer.ReferencedSOPSequence) == len(datasets) and not answer.get("FailedSOPSequence")
        yield Pair(clients[0], clients[1], datasets)


def uids(dataset: Dataset) -> tuple[str, str, str]:
    """Study, series and instance."""
    return dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID


def by_uid(found: list[dict[str, Any]], tag: str) -> dict[str, dict[str, Any]]:
    """Results by their unique key."""
    return {each[tag]["Value"][0]: each for each in found}


def value(element: dict[str, Any] | None) -> Any:
    """An element's value in a form that can be compared; None when it is absent or empty."""
    if element is None:
        return None
    if "BulkDataURI" in element:
        return "bulk data"
    found = element.get("Value", element.get("InlineBinary"))
    if element["vr"] == "SQ":
        return [{tag: value(inner) for tag, inner in item.items() if value(inner)} for item in found or []] or None
    return [each.strip() if isinstance(each, str) else each for each in found] if isinstance(found, list) else found


def different(ours: dict[str, Any], theirs: dict[str, Any], tags: set[str]) -> dict[str, tuple[Any, Any]]:
    """The elements that should be equal and are not. Private numbers are left out by Orthanc's older builds."""
    compared = {tag for tag in tags if not Tag(tag).is_private and int(tag, 16) not in MAY_DIFFER}
    pairs = {tag: (value(ours.get(tag)), value(theirs.get(tag))) for tag in compared}
    return {tag: both for tag, both in pairs.items() if both[0] != both[1]}


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"PatientName": "MISTER*"},
        {"PatientName": "mister*"},
        {"PatientID": "2178309"},
        {"PatientID": "21783*"},
        {"PatientID": "21783?9"},
        {"StudyDate": "20010101-20011231"},
        {"StudyDate": "20150101-"},
        {"ModalitiesInStudy": "MR"},
        {"AccessionNumber": "0000000001", "PatientID": "2178309"},
        {"StudyID": "40933"},
        {"PatientID": "NOBODY"},
    ],
)
def test_search_for_studies(pair: Pair, filters: dict[str, str]) -> None:
    """The same studies, and of each the attributes that either gives as required."""
    query = "&".join(f"{name}={text}" for name, text in filters.items())  # unescaped, see MORE_FOUND
    answers = [httpx2.get(f"{client.base_url}/studies?{query}") for client in (pair.node, pair.orthanc)]
    ours, theirs = (by_uid(each.json() if each.content else [], "0020000D") for each in answers)
    assert ours.keys() == theirs.keys() and (theirs or filters == {"PatientID": "NOBODY"})
    for study_uid, study in theirs.items():
        assert different(ours[study_uid], study, set(study)) == {}


@pytest.mark.parametrize("name", ["tilted", "compressed", "multi-frame"])
def test_search_within_a_study(pair: Pair, name: str) -> None:
    """The same series and instances; the node repeats no study attributes that the address implies."""
    study_uid = pair.of(name).StudyInstanceUID
    for method, key in (("search_for_series", "0020000E"), ("search_for_instances", "00080018")):
        ours, theirs = (by_uid(found, key) for found in pair.both(method, study_uid))
        assert ours.keys() == theirs.keys()
        for unique, found in ours.items():
            assert different(found, theirs[unique], set(found) - {"00280008"}) == {}


def test_search_everywhere(pair: Pair) -> None:
    """All series and all instances, paged and filtered."""
    for filters in ({}, {"Modality": "MR"}, {"Modality": "CT", "PatientID": "2178309"}):
        ours, theirs = pair.both("search_for_series", search_filters=filters)
        assert by_uid(ours, "0020000E").keys() == by_uid(theirs, "0020000E").keys()
    ours, theirs = pair.both("search_for_instances", limit=100)
    assert by_uid(ours, "00080018").keys() == by_uid(theirs, "00080018").keys()
    pages = [pair.both("search_for_instances", limit=10, offset=offset) for offset in (0, 10, 20)]
    assert [len(ours) for ours, _ in pages] == [len(theirs) for _, theirs in pages] == [10, 10, 10]


@pytest.mark.parametrize("name", ["tilted", "compressed", "multi-frame"])
def test_metadata(pair: Pair, name: str) -> None:
    """Every public element, sequences included."""
    ours, theirs = pair.both("retrieve_instance_metadata", *uids(pair.of(name)))
    if name == "compressed":
        assert ours.pop("7FE00010")["BulkDataURI"]  # the plug-in gives no link to compressed pixels
    assert different(ours, theirs, set(ours) | set(theirs)) == {}
    ours, theirs = (by_uid(found, "00080018") for found in pair.both("retrieve_study_metadata", uids(pair.of(name))[0]))
    assert ours.keys() == theirs.keys()
    for unique, found in ours.items():
        assert different(found, theirs[unique], (set(found) | set(theirs[unique])) - {"7FE00010"}) == {}


@pytest.mark.parametrize("name", ["tilted", "compressed", "multi-frame"])
def test_frames(pair: Pair, name: str) -> None:
    """Decoded ones, and every frame of the multi-frame one."""
    dataset = pair.of(name)
    frames = list(range(1, int(dataset.get("NumberOfFrames", 1)) + 1))
    plain = (("application/octet-stream", ExplicitVRLittleEndian),)
    ours, theirs = pair.both("retrieve_instance_frames", *uids(dataset), frame_numbers=frames, media_types=plain)
    assert list(ours) == list(theirs) and len(ours) == len(frames)


@pytest.mark.parametrize("syntax", [None, ExplicitVRLittleEndian])
@pytest.mark.parametrize("name", ["tilted", "compressed", "multi-frame"])
def test_whole_instances(pair: Pair, name: str, syntax: str | None) -> None:
    """As they are stored, and transcoded where that is asked for: the same syntax, elements and pixels."""
    media_types = (("application/dicom", syntax),) if syntax else None
    ours, theirs = pair.both("retrieve_instance", *uids(pair.of(name)), media_types=media_types)
    assert ours.file_meta.TransferSyntaxUID == theirs.file_meta.TransferSyntaxUID
    assert (ours.pixel_array == theirs.pixel_array).all()
    public = {each.tag for each in theirs if each.tag.element and each.keyword != "PixelData"}
    assert {tag for tag in public if ours.get(tag) != theirs[tag]} == set()


def test_whole_study(pair: Pair) -> None:
    """The same instances."""
    ours, theirs = pair.both("retrieve_study", pair.of("tilted").StudyInstanceUID)
    assert {each.SOPInstanceUID for each in ours} == {each.SOPInstanceUID for each in theirs}
    assert len(ours) == 28


def test_compressed_frame_as_stored(pair: Pair) -> None:
    """The very bytes, under the media type of the syntax."""
    asked = (("image/jpeg", "1.2.840.10008.1.2.4.70"),)
    arguments = (*uids(pair.of("compressed")), [1])
    ours, theirs = pair.both("retrieve_instance_frames", *arguments, media_types=asked)
    assert list(ours) == list(theirs) and ours[0][:2] == b"\xff\xd8"


def test_bulk_data(pair: Pair) -> None:
    """What the link of the pixels leads to."""
    found = []
    for client in (pair.node, pair.orthanc):
        metadata = client.retrieve_instance_metadata(*uids(pair.of("tilted")))
        place = metadata["7FE00010"]["BulkDataURI"].partition("/dicom-web/")[2]  # the plug-in leaves its port out
        found.append(b"".join(client.retrieve_bulkdata(f"{client.base_url}/{place}", ("application/octet-stream",))))
    assert found[0] == found[1] == pair.of("tilted").PixelData


def test_store_again(pair: Pair) -> None:
    """Once more is well."""
    for client in (pair.node, pair.orthanc):
        assert len(client.store_instances([pair.of("tilted")]).ReferencedSOPSequence) == 1


@pytest.mark.parametrize(("filters", "ours", "theirs", "why"), MORE_FOUND)
def test_known_differences_of_matching(pair: Pair, filters: dict[str, str], ours: int, theirs: int, why: str) -> None:
    """Still as docs/dicomweb.md says."""
    assert [len(found) for found in pair.both("search_for_studies", search_filters=filters)] == [ours, theirs], why


@pytest.mark.parametrize(("path", "accept", "ours", "theirs", "why"), DIFFERENT_STATUS)
def test_known_differences(pair: Pair, path: str, accept: str, ours: int, theirs: int, why: str) -> None:
    """Still as docs/dicomweb.md says."""
    study, series, instance = uids(pair.of("tilted"))
    place = path.format(instance=f"/studies/{study}/series/{series}/instances/{instance}")
    found = [
        httpx2.get(f"{client.base_url}{place}", headers={"Accept": accept}, timeout=60).status_code
        for client in (pair.node, pair.orthanc)
    ]
    assert found == [ours, theirs], why


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/studies/1.2.3", "*/*"),
        ("/studies/1.2.3/metadata", JSON),
        ("{instance}/frames/0", "*/*"),
        ("{instance}/frames/x", "*/*"),
        ("/studies?limit=x", JSON),
        ("{instance}/rendered", "image/png"),
    ],
)
def test_same_status(pair: Pair, path: str, accept: str) -> None:
    """What is refused for the same reason is refused alike."""
    study, series, instance = uids(pair.of("tilted"))
    place = path.format(instance=f"/studies/{study}/series/{series}/instances/{instance}")
    answers = [
        httpx2.get(f"{client.base_url}{place}", headers={"Accept": accept}, timeout=60)
        for client in (pair.node, pair.orthanc)
    ]
    assert answers[0].status_code == answers[1].status_code
