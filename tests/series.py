"""Small synthetic CT series for the tests, and one node's receiving side to put them into.

A series is written as Part 10 files of 64 x 64 pixels; any element may be replaced, or removed with None.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from peers import wait_until
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from dicom_node.archive import Archive
from dicom_node.dicom.decoding import Decoders
from dicom_node.dicom.part10 import part10_header
from dicom_node.entities import Incoming, Series
from dicom_node.network.scp import StorageServer
from dicom_node.processes.node import note_refusal
from dicom_node.settings import Settings, load_settings
from dicom_node.steps.receive import Receiver
from dicom_node.tables import instances
from dicom_node.tables.database import Database, open_database

ROOT = "1.2.826.0.1.3680043.10.1502"
SIZE = 64
DECODERS = Decoders()  # for all tests, never closed: its processes end with the tests'
associations = itertools.count(1)


def ct(
    index: int, study: int = 1, series: int = 1, spacing_mm: float = 5.0, shade: int = 0, **elements: Any
) -> Dataset:
    """Slice `index` (from 0) of an axial head CT; `shade` changes its pixels."""
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{ROOT}.{study}", f"{ROOT}.{study}.{series}"
    ds.SOPInstanceUID = f"{ROOT}.{study}.{series}.{index + 1}"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = f"Case^{study}", f"P{study}", "19500101", "O"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20260102", "0304", f"A{study}", str(study)
    ds.ReferringPhysicianName, ds.PatientAge = "", "076Y"
    ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.BodyPartExamined, ds.StudyDescription, ds.SeriesDescription = "HEAD", "CT HEAD WO CONTRAST", "HEAD 5.0"
    ds.ConvolutionKernel = "H31s"
    ds.SeriesNumber, ds.InstanceNumber = series, index + 1
    ds.FrameOfReferenceUID = f"{ROOT}.{study}.0"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-16.0, -16.0, spacing_mm * index], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [0.5, 0.5], spacing_mm
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = SIZE
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleIntercept, ds.RescaleSlope = 0, 1
    ds.PixelData = np.full((SIZE, SIZE), 30 + index + shade, "<i2").tobytes()
    for keyword, value in elements.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def uids(dataset: Dataset) -> tuple[str, str, str]:
    """Study, series and SOP Instance UID, as the tables' functions take them."""
    return str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID)


def head(slices: int = 24, omit: Sequence[int] = (), **options: Any) -> list[Dataset]:
    """A whole head (24 slices, 5 mm apart), without the slices that are to be omitted."""
    return [ct(index, **options) for index in range(slices) if index not in omit]


def coronal(slices: int = 24, **options: Any) -> list[Dataset]:
    """Coronal reformats of a head."""
    options |= {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1], "ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}
    return [ct(i, ImagePositionPatient=[-16.0, 5.0 * i, 16.0], **options) for i in range(slices)]


def write(datasets: Sequence[Dataset], folder: Path) -> list[Path]:
    """The data sets as Part 10 files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(datasets):
        path = folder / f"{number:04d}.dcm"
        dcmwrite(path, dataset, enforce_file_format=True)
        paths.append(path)
    return paths


def encoded(dataset: Dataset) -> bytes:
    """The data set as it goes over the wire, without file meta information."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return data_of(buffer.getvalue())


def data_of(part10: bytes) -> bytes:
    """What follows the file meta information of a Part 10 file."""
    length = int.from_bytes(part10[140:144], "little")
    return part10[144 + length :]


def settings_for(data: Path, **sections: dict[str, Any] | list[dict[str, Any]]) -> Settings:
    """The embedded defaults for a node on a free loopback port, with changes."""
    changes: dict[str, Any] = {"node": {"host": "127.0.0.1", "port": 0, "data": str(data)}}
    for section, values in sections.items():
        changes[section] = changes.get(section, {}) | values if isinstance(values, dict) else values
    return load_settings(None, changes)


@dataclass(frozen=True, slots=True)
class Core:
    """A node's database, archive and receiver, in a folder of its own."""

    settings: Settings
    database: Database
    archive: Archive
    receiver: Receiver

    def receive(self, datasets: Sequence[Dataset], released: bool = True, calling_aet: str = "CT1") -> None:
        """Store the data sets as one association does, and release or abort it."""
        association = next(associations)
        for dataset in datasets:
            self.take(dataset, association=association, calling_aet=calling_aet)
        self.receiver.ended(association, released)

    def take(self, dataset: Dataset, data: bytes | None = None, **announced: Any) -> None:
        """One C-STORE request with a data set, or with these bytes as one; `announced` replaces what it says."""
        request: dict[str, Any] = {
            "sop_class_uid": str(dataset.SOPClassUID),
            "sop_uid": str(dataset.SOPInstanceUID),
            "transfer_syntax_uid": str(dataset.file_meta.TransferSyntaxUID),
            "calling_aet": "CT1",
            "called_aet": "TRIAGE",
            "association": 1,
        }
        request |= announced
        names = ("sop_class_uid", "sop_uid", "transfer_syntax_uid", "calling_aet")
        with self.archive.spool(1 << 30) as spool:
            spool.begin(part10_header(*(request[name] for name in names)))
            spool.write(encoded(dataset) if data is None else data)
            self.receiver.store(Incoming(path=spool.path, sha256=spool.digest(), **request))

    def series(self, dataset: Dataset) -> Series:
        """The row of a data set's series."""
        with self.database.read() as tx:
            found = instances.get_series(tx, str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID))
        assert found is not None
        return found

    def files(self) -> list[Path]:
        """Every stored instance file."""
        return sorted(self.archive.stored())

    def number(self, sql: str, **parameters: Any) -> int:
        """A single number from the tables."""
        with self.database.read() as tx:
            return tx.number(sql, **parameters)


def core(data: Path, **sections: Any) -> Core:
    """A fresh (or the same again) node's core on a folder."""
    settings = settings_for(data, **sections)
    database, archive = open_database(settings.database_path), Archive(settings.node.data)
    return Core(settings, database, archive, Receiver(database, archive, DECODERS))


@contextmanager
def core_in_memory() -> Iterator[Core]:
    """A fresh core on a file system in memory where there is one: quicker, where no test is about the disk."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield core(Path(folder) / "data")


@contextmanager
def listening(node: Core) -> Iterator[StorageServer]:
    """The node's storage provider on a free port."""
    server = StorageServer(
        node.settings,
        node.archive.spool,
        node.receiver.store,
        node.receiver.ended,
        partial(note_refusal, node.database),
    )
    try:
        yield server
    finally:
        server.close()


@contextmanager
def answering(entity: AE, handlers: Sequence[Any] = ()) -> Iterator[int]:
    """Another provider than the node's, on a free port; the port."""
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
    assert server is not None and server.socket is not None
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def associate(
    port: int, contexts: Sequence[tuple[str, str]], calling: str = "CT1", called: str = "TRIAGE"
) -> Association:
    """An association from pynetdicom as a scanner; `contexts` are (SOP class, transfer syntax)."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    wanted = [build_context(UID(sop_class), UID(syntax)) for sop_class, syntax in dict.fromkeys(contexts)]
    for _ in range(5):
        made = entity.associate("127.0.0.1", port, contexts=wanted, ae_title=called)
        wait_until(partial(_is_answered, made), 20, "the association is there or not")
        if made.is_established or made.acceptor.primitive is not None:
            break  # otherwise pynetdicom met the closed connection before it read the rejection
    return made


def _is_answered(association: Association) -> bool:
    """pynetdicom may return just before it says which of them it is."""
    return association.is_established or association.is_rejected or association.is_aborted


def push(port: int, datasets: Sequence[Dataset], calling: str = "CT1", release: bool = True) -> list[int | None]:
    """C-STORE the data sets in one association; the status of each, None where no answer came."""
    contexts = [(str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)) for ds in datasets]
    association = associate(port, contexts, calling)
    assert association.is_established
    statuses = [association.send_c_store(dataset).get("Status") for dataset in datasets]
    association.release() if release else association.abort()
    return statuses


def read_all(folder: Path) -> list[Dataset]:
    """Every Part 10 file of a folder, in the order of their names."""
    return [dcmread(path) for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "LICENSE"]
