"""What one small object can take: bombs are refused or set aside, with little memory, and honest ones are not."""

import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from bombs import bomb, compressed, deflated, large_jpeg_2000, write_bomb
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless
from series import DECODERS, Core, core, ct, head, write
from test_dicomweb_store import address, node, post, reasons  # noqa: F401

from dicom_node.dicom import json_model, part10
from dicom_node.dicom.headers import describe, read_header
from dicom_node.dicom.part10 import part10_header
from dicom_node.dicom.pixels import frame_bytes
from dicom_node.dicom.transcode import transcoded
from dicom_node.errors import CannotDecode, CannotUnderstand
from dicom_node.settings import load_settings
from inference.findings import NotAnalysable
from inference.input import bounds, deflate, reading, stack
from inference.input.bounds import Bounds, TooLarge, bounds_in_force, set_bounds
from inference.input.codestream import check_codestream
from inference.input.deflate import Inflating
from inference.input.reading import read_dicom
from inference.input.stack import build_stack, read_series

DEFLATED_BOMBS = ("pixels", "frames", "header", "after the pixels")
LITTLE_MIB = 400  # for a whole process with its libraries
READING = """
import sys
from pathlib import Path
from dicom_node.dicom.headers import describe, read_header
from dicom_node.errors import CannotUnderstand
from inference.findings import NotAnalysable
from inference.input.stack import build_stack, read_series
refused = 0
for path in map(Path, sys.argv[2:]):
    try:
        read_header(path)
    except CannotUnderstand as error:
        refused += "larger than" in str(error)
try:
    build_stack(read_series(sorted(Path(sys.argv[1]).iterdir())))
    said = "nothing"
except NotAnalysable as reason:
    said = str(reason)
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]  # not the parent's, too
print(refused, int(peak) >> 10, said)
"""


@pytest.fixture
def narrow() -> Iterator[None]:
    """Bounds that a test reaches quickly."""
    before = bounds_in_force()
    set_bounds(Bounds(inflated_bytes=64 << 20, inflated_ratio=200.0, decoder_bytes=8 << 20))
    yield
    set_bounds(before)


def as_deflated(dataset: Dataset, path: Path) -> Path:
    """The data set as a deflated Part 10 file."""
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


def test_bombs_take_little_memory(tmp_path: Path) -> None:
    """In the process that receives them and in the one that analyses a series with one of each among its slices."""
    bombs = [write_bomb(tmp_path / f"{kind}.dcm", kind) for kind in DEFLATED_BOMBS]
    series = tmp_path / "series"
    write(head(20), series)
    for index, kind in enumerate(("pixels", "frames", "after the pixels", "jpeg 2000")):
        write_bomb(series / f"{index}.dcm", kind, index=20 + index)
    command = [sys.executable, "-W", "ignore", "-c", READING, str(series), *map(str, bombs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    refused, peak_mib, *said = done.stdout.split()
    assert int(refused) == len(bombs) and said[-1] == "damaged."
    assert int(peak_mib) < LITTLE_MIB


@pytest.mark.parametrize("kind", DEFLATED_BOMBS)
def test_bombs_are_not_stored(node: Core, kind: str) -> None:  # noqa: F811
    """0xC000, with the reason; nothing of them is left."""
    data, syntax = bomb(kind)
    with pytest.raises(CannotUnderstand, match="becomes larger than"):
        node.take(ct(0), data, transfer_syntax_uid=syntax)
    assert node.files() == [] and list((node.archive.root / "incoming").iterdir()) == []


def test_bombs_are_refused_over_http(node: Core, address: str) -> None:  # noqa: F811
    """One part of a request, which costs the others nothing."""
    data, syntax = bomb("pixels")
    buffer = BytesIO()
    dcmwrite(buffer, ct(1), enforce_file_format=True)
    answer = post(address, part10_header(ct(0).SOPClassUID, ct(0).SOPInstanceUID, syntax, "") + data, buffer.getvalue())
    assert answer.status_code == 202 and reasons(answer) == [0xC000] and len(node.files()) == 1


def test_a_stored_bomb_harms_nobody_who_asks_for_it(tmp_path: Path) -> None:
    """One that an older version has acknowledged: metadata and a search answer, its pixels are refused."""
    from test_dicomweb import place, served

    data = core(tmp_path / "data")
    data.receive(head(3))
    for path, kind in zip(data.files(), ("pixels", "frames", "header"), strict=True):
        write_bomb(path, kind, index=int(path.name.split(".")[-3]) - 1)
    with served(data) as web:
        for index in range(3):
            for what, statuses in (("metadata", {200, 500}), ("frames/1", {406, 500}), ("rendered", {406, 500})):
                assert web.get(f"{place(ct(index))}/{what}").status_code in statuses
        assert web.get("/instances", InstanceNumber="1").status_code in (200, 204)


@pytest.mark.parametrize("cut", [1, 100])
def test_cut_off_is_said(tmp_path: Path, cut: int) -> None:
    """A deflated stream that does not come to its end."""
    path = as_deflated(ct(0), tmp_path / "cut.dcm")
    path.write_bytes(path.read_bytes()[: -cut - 1])
    with pytest.raises(CannotUnderstand, match="cut off"):
        read_header(path)


def test_bounds_are_settings(narrow: None) -> None:
    """Size and ratio, whichever is reached first; what is small may become 32 MiB."""
    settings = load_settings(changes={"decoder": {"inflated_gib": 0.25, "inflated_ratio": 50.0, "memory_gib": 0.5}})
    assert settings.decoder.bounds == Bounds(1 << 28, 50.0, 1 << 29)
    assert Bounds(1 << 28, 50.0).most_inflated(1 << 20) == 50 << 20
    assert Bounds(1 << 28, 50.0).most_inflated(100) == bounds.ALWAYS_BYTES
    assert Bounds(1 << 28, 50.0).most_inflated(1 << 30) == 1 << 28
    for mib, fits in ((16, True), (65, False)):
        dataset = ct(0, Rows=4096, Columns=2048 * mib // 16)
        del dataset.PixelData
        part10 = part10_header(dataset.SOPClassUID, dataset.SOPInstanceUID, DeflatedExplicitVRLittleEndian, "")
        part10 += deflated(dataset, mib=mib)
        if fits:
            assert len(read_dicom(BytesIO(part10)).PixelData) == mib << 20
        else:
            with pytest.raises(TooLarge):
                read_dicom(BytesIO(part10))


def test_many_elements_are_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each takes far more memory as an object than in the stream, deflated or not."""
    monkeypatch.setattr(deflate, "MOST_READS", 1000)
    monkeypatch.setattr(reading, "MOST_READS", 1000)
    dataset = ct(0)
    for element in range(0x1000, 0x1400):
        dataset.add_new((0x0009, element), "LO", "")
    for path in (*write([dataset], tmp_path), as_deflated(dataset, tmp_path / "deflated.dcm")):
        with pytest.raises(CannotUnderstand, match="too many elements"):
            read_header(path)


def test_a_long_functional_group_is_read_from_its_file(tmp_path: Path) -> None:
    """What is left in the file while a header is read is there when it is needed: where each frame lies."""
    dataset = ct(0, NumberOfFrames=4000)
    frames = []
    for number in range(4000):
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient, frame.TextComments = [-16.0, -16.0, 0.5 * number], "X" * 400
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.PixelData = bytes(2)
    (path,) = write([dataset], tmp_path)
    assert path.stat().st_size > 1_500_000
    places = describe(read_header(path)).geometry
    assert len(places) == 4000 and places[-1].position[2] == 1999.5


@given(
    content=st.binary(max_size=5000),
    steps=st.lists(st.tuples(st.integers(0, 6000), st.one_of(st.none(), st.integers(0, 6000))), max_size=12),
)
def test_an_inflating_file_reads_as_the_inflated_one(content: bytes, steps: list[tuple[int, int | None]]) -> None:
    """Wherever it is sought, forwards and backwards."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = Inflating(BytesIO(deflater.compress(content) + deflater.flush()), 1 << 20)
    plain = BytesIO(content)
    for place, size in steps:
        assert stream.seek(place) == plain.seek(place)
        assert stream.read(size) == plain.read(size)
        assert stream.tell() == plain.tell()


def test_going_far_back_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little of what was read is kept."""
    monkeypatch.setattr(deflate, "KEPT_BYTES", 1000)
    content = np.random.default_rng(5).bytes(300_000)
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = Inflating(BytesIO(deflater.compress(content) + deflater.flush()), 1 << 20)
    assert stream.read(200_000) == content[:200_000] and stream.read(1) == content[200_000:200_001]
    assert len(stream._window) < 140_000
    stream.seek(10)
    assert stream.read(5) == content[10:15]


def test_honest_deflated_images_are_read_as_ever(tmp_path: Path) -> None:
    """The same elements as pydicom's own way, and the same pixels; the transfer syntax stays known."""
    dataset = ct(3, PatientName="Müller^Ö", SpecificCharacterSet="ISO_IR 100")
    path = as_deflated(dataset, tmp_path / "deflated.dcm")
    ours, theirs = read_dicom(path), dcmread(path)
    assert ours == theirs and ours.file_meta == theirs.file_meta
    assert ours.original_encoding == theirs.original_encoding and ours.filename == str(path)
    assert DECODERS.run(frame_bytes, path, 0) == ct(3).PixelData
    assert read_header(path).PatientName == "Müller^Ö"


def frame_of(syntax: UID, side: int = 64) -> bytes:
    """A flat image of 8 bits as a codestream."""
    dataset = ct(0, Rows=side, Columns=side, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0)
    dataset.PixelData = bytes(side * side)
    dataset.compress(syntax, generate_instance_uid=False)
    return next(iter(generate_frames(dataset.PixelData, number_of_frames=1)))


def of_jpeg(side: int, marker: int = 0xC0) -> bytes:
    """A JPEG's beginning, up to its frame header."""
    comment = b"\xff\xfe\x00\x06\xff\xc0\x00\x01"  # holds what looks like a frame header
    size = side.to_bytes(2, "big")
    return b"\xff\xd8" + comment + b"\xff\xff" + bytes([marker]) + b"\x00\x0b\x08" + size + size + b"\x01\x01\x11\x00"


BOXES = b"\x00\x00\x00\x0cjP  \r\n\x87\n" + (28).to_bytes(4, "big") + b"uuid" + b"\xff\x4f\xff\x51" + bytes(16)


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        ("1.2.840.10008.1.2.4.50", of_jpeg(30_000)),
        ("1.2.840.10008.1.2.4.70", of_jpeg(65_500, 0xC3)),
        ("1.2.840.10008.1.2.4.50", of_jpeg(0)),
        ("1.2.840.10008.1.2.4.80", of_jpeg(30_000, 0xF7)),
        ("1.2.840.10008.1.2.4.80", b"\xff\xd8\xff\xf8\x00\x0c\x04\x03\x01\x00\x00\x01\x00\x00" + of_jpeg(0, 0xF7)[2:]),
        ("1.2.840.10008.1.2.4.90", large_jpeg_2000()),
        ("1.2.840.10008.1.2.4.201", large_jpeg_2000()),
        ("1.2.840.10008.1.2.4.91", BOXES + b"\0\0\0\0jp2c" + large_jpeg_2000()),
        ("1.2.840.10008.1.2.4.90", b"\xff\x4f\xff\x51\0\0"),
        ("1.2.840.10008.1.2.4.50", b"no codestream"),
        ("1.2.840.10008.1.2.5", bytes(100_000)),
    ],
)
def test_codestreams_that_are_larger_than_announced(syntax: str, frame: bytes) -> None:
    """Whatever is announced: a decoder would believe the codestream."""
    with pytest.raises(ValueError, match=r"announced|how large|cut off|does not begin|larger than"):
        check_codestream(frame, syntax, ct(0))


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_codestreams_as_large_as_announced(syntax: UID) -> None:
    """Nothing is said against them."""
    check_codestream(frame_of(syntax), syntax, ct(0, BitsAllocated=8))


def test_tiles_are_bounded() -> None:
    """Each takes memory of its own, however small the image."""
    stream = bytearray(large_jpeg_2000(512))
    siz = stream.index(b"\xff\x4f\xff\x51") + 8
    stream[siz + 16 : siz + 24] = (1).to_bytes(4, "big") * 2
    with pytest.raises(TooLarge, match="262144 tiles"):
        check_codestream(bytes(stream), JPEG2000Lossless, ct(0, Rows=512, Columns=512))


@pytest.mark.parametrize(
    ("side", "announced", "said"), [(30_000, 64, "announced are 64 x 64"), (30_000, 30_000, "more memory")]
)
def test_no_decoder_is_given_a_bomb(tmp_path: Path, side: int, announced: int, said: str) -> None:
    """A few hundred bytes of JPEG 2000 for which a decoder would take 3.7 GB; and the worker's own decoding."""
    dataset = ct(0, Rows=announced, Columns=announced)
    path = tmp_path / "bomb.dcm"
    data = compressed(dataset, large_jpeg_2000(side))
    path.write_bytes(part10_header(dataset.SOPClassUID, dataset.SOPInstanceUID, JPEG2000Lossless, "") + data)
    assert path.stat().st_size < 4000
    with pytest.raises(CannotDecode, match=said):
        DECODERS.run(frame_bytes, path, 0)
    with pytest.raises(CannotDecode, match=said):
        transcoded(path, DECODERS, tmp_path / "transcoded")
    assert not (tmp_path / "transcoded").exists()
    with pytest.raises(NotAnalysable):
        build_stack(read_series([path]))


def test_a_long_value_stays_in_the_file_until_it_is_asked_for(tmp_path: Path) -> None:
    """Metadata name it without reading it; its place gives it."""
    dataset = ct(0)
    dataset.add_new((0x0009, 0x0010), "LO", "TEST")
    dataset.add_new((0x0009, 0x1001), "OB", bytes(48 << 20))
    (path,) = write([dataset], tmp_path)
    tracemalloc.start()
    try:
        header = part10.read_header(path)
        told = json_model.metadata(header, "http://bulk")["00091001"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told == {"vr": "OB", "BulkDataURI": "http://bulk/00091001"} and peak < 8 << 20
    assert json_model.value_at(header, "00091001") == bytes(48 << 20)


def test_a_series_is_bounded_as_a_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Many slices, each of which may be there."""
    paths = write(head(24), tmp_path)
    monkeypatch.setattr(stack, "LARGEST_STACK_VOXELS", 24 * 64 * 64 - 1)
    with pytest.raises(NotAnalysable, match="more pixels"):
        build_stack(read_series(paths))
    monkeypatch.setattr(stack, "LARGEST_SERIES_BYTES", 24 * 64 * 64 * 2 - 1)
    with pytest.raises(NotAnalysable, match="more pixels"):
        read_series(paths)


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_number_of_frames_is_no_reason_for_memory(tmp_path: Path, is_compressed: bool) -> None:
    """Two thousand million are announced, one is there."""
    datasets = [ct(index) for index in range(3)]
    for dataset in datasets:
        if is_compressed:
            dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.NumberOfFrames = 2_000_000_000
    with pytest.raises(NotAnalysable):
        build_stack(read_series(write(datasets, tmp_path)))
