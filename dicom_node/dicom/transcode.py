"""Instances in Explicit VR Little Endian (PS3.5 A.2), for those who do not take the syntax they are stored in."""

from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from dicom_node.dicom.checks import NOT_DECODED, damage_raises
from dicom_node.dicom.decoding import Decoders
from dicom_node.dicom.frames import OFFSET_TABLES, frames_in, stored_frame
from dicom_node.dicom.json_model import BINARY, little_endian
from dicom_node.dicom.part10 import StoredHeader, read_header
from dicom_node.dicom.pixels import packed
from dicom_node.errors import CannotDecode, TriageNodeError
from inference.input.bounds import Unusable
from inference.input.codestream import check_codestream
from inference.input.elements import integer
from inference.input.reading import read_dicom

DECODABLE = frozenset(  # uncompressed, deflated, JPEG, JPEG-LS, JPEG 2000, RLE and High-Throughput JPEG 2000
    f"1.2.840.10008.1.2{end}"
    for end in (
        *("", ".1", ".1.99", ".2", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91", ".5"),
        *(".4.201", ".4.202", ".4.203"),
    )
)


def can_be_transcoded(path: Path, syntax: str) -> bool:
    """Whether there is a decoder for the syntax that a file is stored in, or nothing in it to decode."""
    return syntax in DECODABLE or read_header(path, tags=()).pixels is None


def transcoded(path: Path, decoders: Decoders, target: Path) -> Path:
    """The instance as a new file, which the caller removes. CannotDecode when it cannot be made."""
    try:
        decoders.run(transcode, path, target)
    except (TriageNodeError, OSError):
        target.unlink(missing_ok=True)
        raise
    return target


@damage_raises(CannotDecode, NOT_DECODED)
def transcode(path: Path, target: Path) -> None:
    """Write the instance as Explicit VR Little Endian (in a process of decoding.py). The SOP Instance UID stays."""
    header = read_header(path)
    if header.syntax.is_encapsulated and header.pixels is not None:
        dataset = _with_checked_frames(path, header)
        dataset.decompress(generate_instance_uid=False)
    else:
        dataset = read_dicom(path)
        if header.syntax == ExplicitVRBigEndian:
            _turn(dataset)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(target, dataset, enforce_file_format=True)


def _with_checked_frames(path: Path, header: StoredHeader) -> FileDataset:
    """The data set with its frames where it announces them. ValueError where they are too large or too few."""
    dataset = read_dicom(path)
    if (there := frames_in(path, header)) < header.frames:
        raise Unusable(f"of {header.frames} frames {there} are there")
    frames = [stored_frame(path, header, index) for index in range(header.frames)]
    for frame in frames:
        check_codestream(frame, header.syntax, dataset)
    dataset.PixelData = encapsulate(frames)
    for keyword in OFFSET_TABLES:
        if keyword in dataset:
            del dataset[keyword]
    return dataset


def _turn(dataset: FileDataset) -> None:
    """Binary values from big to little endian; pydicom turns the numbers when it writes them."""
    if "PixelData" in dataset:
        values = pixel_array(dataset, raw=True)
        dataset.PixelData = packed(values, integer(dataset, "BitsAllocated"))
        if (integer(dataset, "SamplesPerPixel") or 1) > 1:
            dataset.PlanarConfiguration = 0
    for element in dataset.iterall():
        if element.VR in BINARY and element.value and element.keyword != "PixelData":
            element.value = little_endian(element.value, str(element.VR), swap=True)
