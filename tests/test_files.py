"""Files without preamble or file meta information are DICOM, too; what only looks like it is not."""

import os
import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from series import ct, data_of, head, write

from dicom_node.dicom.folders import LeftOut, find_dicom, sort_files
from inference.input.files import is_dicom, read_file
from inference.input.stack import build_stack, read_headers, read_series


def part10(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """The data set as a Part 10 file in a transfer syntax."""
    buffer = BytesIO()
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    if not little:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
        dataset["PixelData"].VR = "OW"
        dcmwrite(buffer, dataset, implicit_vr=False, little_endian=False, enforce_file_format=True)
    else:
        dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


OLD_FORMS: dict[str, Callable[[Dataset], bytes]] = {
    "no preamble, no prefix": lambda ds: part10(ds)[132:],
    "no preamble": lambda ds: part10(ds)[128:],
    "no prefix": lambda ds: part10(ds)[:128] + part10(ds)[132:],
    "another preamble, no prefix": lambda ds: b"XIO " * 32 + part10(ds)[132:],
    "no file meta, explicit": lambda ds: data_of(part10(ds)),
    "no file meta, implicit": lambda ds: data_of(part10(ds, ImplicitVRLittleEndian)),
    "no file meta, big endian": lambda ds: data_of(part10(ds, ExplicitVRBigEndian)),
    "empty preamble, no file meta": lambda ds: bytes(128) + data_of(part10(ds, ImplicitVRLittleEndian)),
    "compressed, no preamble": lambda ds: part10(ds, RLELossless)[132:],
    "implicit, no preamble": lambda ds: part10(ds, ImplicitVRLittleEndian)[132:],
}


@pytest.mark.parametrize("form", OLD_FORMS)
@pytest.mark.filterwarnings("ignore")
def test_old_forms_are_read(tmp_path: Path, form: str) -> None:
    """Alone or among others; the stack is the same."""
    whole = build_stack(head())
    paths = []
    for i, dataset in enumerate(head()):
        paths.append(tmp_path / f"IM{i:04d}")
        paths[-1].write_bytes(OLD_FORMS[form](dataset) if i % 2 else part10(dataset))
    assert find_dicom(tmp_path) == paths
    stack = build_stack(read_series(paths))
    assert stack.sop_uids == whole.sop_uids and np.array_equal(stack.hu, whole.hu)
    assert [ds.InstanceNumber for ds in read_headers(paths)] == list(range(1, 25))
    assert read_file(paths[1]).file_meta.TransferSyntaxUID.is_transfer_syntax


def test_what_is_no_dicom_is_left_out_and_named(tmp_path: Path) -> None:
    """Whatever it begins with."""
    (image,) = write([ct(0)], tmp_path)
    chance = random.Random(5)
    nameless = ct(1)
    nameless.SOPInstanceUID = ""
    others = {
        "empty.dcm": b"",
        "notes.txt": b"a letter",
        "picture.jpg": b"\xff\xd8\xff\xe0" + chance.randbytes(500),
        "program": b"\x02\x00\x00\x00\x01\x00\x00\x00" + chance.randbytes(500),
        "random": b"\x08\x00\x05\x00" + chance.randbytes(500),
        "short": b"\x08\x00",
        "table.csv": os.linesep.join("a,b,c" for _ in range(200)).encode(),
        "without_instance": part10(nameless)[132:],
        "zeros": bytes(1000),
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    found = sort_files(tmp_path)
    assert found.dicom == [image] and found.unreadable == []
    assert found.left_out == [(tmp_path / name, LeftOut.NO_DICOM) for name in sorted(others)]
    assert list(found.say()) == [
        "left out, no DICOM: empty.dcm, notes.txt, picture.jpg, program, random, ... (9 files)"
    ]
    assert not is_dicom(tmp_path / "zeros")
