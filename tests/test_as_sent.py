"""Results carry the patient's text byte for byte as it was sent, whatever character set it claims to be in."""

from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from reports_support import ALL_PICTURES, NOW, as_bytes, by_kind, ct_series, read, reports, suspected_context

from dicom_node.dicom.headers import text_of
from inference.input.elements import items, text
from inference.input.stack import read_series
from reports.build import build_not_analysed
from reports.context import Kind

PLACEHOLDERS: dict[str, Any] = {
    "PatientName": "PNPNPNPNPNPN",
    "PatientID": "IDIDIDIDIDID",
    "IssuerOfPatientID": "ISISISISISIS",
    "AccessionNumber": "ACACACACACAC",
    "StudyDescription": "DEDEDEDEDEDE",
    "ReferringPhysicianName": "RERERERERERE",
    "StudyID": "STSTSTSTSTST",
    "PatientComments": "COCOCOCOCOCO",
}
NESTED = {"CodeMeaning": "MEMEMEMEMEME", "LocalNamespaceEntityID": "LOLOLOLOLOLO"}

# What (0008,0005) says, and twelve bytes of text that may not fit it.
TEXTS: dict[str, tuple[str | list[str] | None, bytes]] = {
    "Latin-1 under UTF-8": ("ISO_IR 192", b"M\xfcller^J\xfcrge"),
    "cut UTF-8": ("ISO_IR 192", "Müller^Jürgü".encode()[:12]),
    "Latin-1 without any": (None, b"M\xfcller^J\xfcrge"),
    "UTF-8 without any": (None, "Müller^Jürg".encode()[:12]),
    "unknown": ("ISO_IR 999", b"M\xfcller^J\xfcrge"),
    "Windows code under Latin-1": ("ISO_IR 100", b"M\x9a\x8eller^\x80rge"),
    "Greek under Latin-2": ("ISO_IR 101", b"\xc4\xe9\xef\xed\xf5\xf3^\xff\xe1\xe2\xe3\xe4"),
    "Cyrillic": ("ISO_IR 144", b"\xbb\xee\xdaeMap^\xef\xf0\xf1\xf2"),
    "Shift JIS under ISO 2022": (["", "ISO 2022 IR 87"], b"\x83\x84\x83\x7d\x83\x5f^\x91\xbe\x98\x59\x41"),
    "broken escape": (["", "ISO 2022 IR 87"], b"Y\x1b$B;3ED^\x1b(Z"),
    "two sets": (["ISO 2022 IR 6", "ISO 2022 IR 100"], b"M\xfcller^J\xfcrge"),
    "GB 18030": ("GB18030", b"\xcd\xf5^\xd0\xa1\xb6\xab\xff\xff\x81\x30\x81"),
    "spaces around": ("ISO_IR 192", b" M\xfcller^Jue "),
}


def series_files(folder: Path, character_set: str | list[str] | None, sent: bytes, syntax: UID) -> list[Path]:
    """Three slices whose text is these bytes, in files."""
    folder.mkdir()
    paths = []
    for i, ds in enumerate(ct_series(3, **PLACEHOLDERS)):
        code, issuer = Dataset(), Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", NESTED["CodeMeaning"]
        issuer.LocalNamespaceEntityID = NESTED["LocalNamespaceEntityID"]
        ds.ProcedureCodeSequence, ds.IssuerOfAccessionNumberSequence = [code], [issuer]
        if character_set is not None:
            ds.SpecificCharacterSet = character_set
        ds.file_meta.TransferSyntaxUID = syntax
        paths.append(folder / f"{i}.dcm")
        ds.save_as(
            paths[-1], implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True, enforce_file_format=True
        )
        written = paths[-1].read_bytes()
        for placeholder in (*PLACEHOLDERS.values(), *NESTED.values()):
            assert len(placeholder) == len(sent)
            written = written.replace(placeholder.encode(), sent)
        paths[-1].write_bytes(written)
    return paths


def bytes_of(ds: Dataset, keyword: str) -> bytes:
    """The element as it stands in the file."""
    found = ds.get_item(keyword)
    assert isinstance(found, RawDataElement) and found.value is not None
    return found.value


@pytest.mark.parametrize("which", TEXTS)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.filterwarnings("ignore")
def test_text_is_copied_byte_for_byte(tmp_path: Path, which: str, syntax: UID) -> None:
    character_set, sent = TEXTS[which]
    sources = read_series(series_files(tmp_path / "ct", character_set, sent, syntax))
    for source in sources:  # who looks at it changes nothing
        assert text(source, "PatientName") and text_of(source, "StudyDescription")
    made = reports(suspected_context(sources))
    assert set(made) == set(Kind)
    made |= {
        Kind.SC: by_kind(build_not_analysed(sources, "No.", "haemorrhage", NOW, 1, (), ALL_PICTURES))[Kind.SC],
    }
    for ds in made.values():
        back = read(as_bytes(ds))
        for keyword in PLACEHOLDERS:
            assert bytes_of(back, keyword) == sent, keyword
        assert bytes_of(back.ProcedureCodeSequence[0], "CodeMeaning") == sent
        assert bytes_of(back.IssuerOfAccessionNumberSequence[0], "LocalNamespaceEntityID") == sent
        assert back.get("SpecificCharacterSet") == dcmread(tmp_path / "ct" / "0.dcm").get("SpecificCharacterSet")
        assert as_bytes(read(as_bytes(ds))) == as_bytes(ds)


@pytest.mark.filterwarnings("ignore")
def test_reading_text_leaves_it_undecoded(tmp_path: Path) -> None:
    (source, *_) = read_series(
        series_files(tmp_path / "ct", "ISO_IR 100", b"M\xfcller^J\xfcrge", ExplicitVRLittleEndian)
    )
    assert text(source, "PatientName") == "Müller^Jürge"
    assert bytes_of(source, "PatientName") == b"M\xfcller^J\xfcrge"
    (code,) = items(source, "ProcedureCodeSequence")
    assert text(code, "CodeMeaning") == "Müller^Jürge"
