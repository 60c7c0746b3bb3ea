"""Rows, pictures and servers for the tests of the page, put there through the tables' own functions."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from series import DECODERS

from dicom_node import clock
from dicom_node.archive import Archive
from dicom_node.derived import flag
from dicom_node.entities import (
    Analysis,
    Choice,
    ChoiceKind,
    FindingRow,
    Instance,
    JobKind,
    JobState,
    ResultObject,
    SeriesState,
    Study,
)
from dicom_node.processes.node import note_refusal
from dicom_node.settings import Settings, load_settings
from dicom_node.steps.receive import Receiver
from dicom_node.tables import deliveries, instances, jobs, processes, results
from dicom_node.tables.database import Database, Transaction, open_database
from dicom_node.web.app import build_app
from dicom_node.web.connections import server_config
from dicom_node.web.dicomweb.context import Storing

SHA256 = "3f9a" * 16
QUESTION = "haemorrhage"
TYPES = ("epidural", "subdural", "subarachnoid", "intraparenchymal", "intraventricular")


def picture_bytes(colour: tuple[int, int, int] = (200, 10, 30)) -> bytes:
    """A small RGB secondary capture as a Part 10 file."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3.4"
    made.Rows, made.Columns, made.SamplesPerPixel, made.PlanarConfiguration = 512, 640, 3, 0
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.PhotometricInterpretation = "RGB"
    made.PixelData = np.full((512, 640, 3), colour, np.uint8).tobytes()
    buffer = BytesIO()
    dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Node:
    """A node without processes: rows and files only."""

    database: Database
    archive: Archive
    settings: Settings

    def other(self) -> Database:
        """The same rows through other connections, as another process has them."""
        return Database(self.database.path)

    def receive(self, number: int, name: str = "DOE^Jane", minutes_ago: float = 5, images: int = 2) -> str:
        """A study whose images are arriving; its UID."""
        study_uid = f"1.2.826.{number}"
        now = clock.utc_now() - timedelta(minutes=minutes_ago)
        with self.other().write() as tx:
            study = Study(study_uid, f"ID{number}", name, "19560312", "F", f"ACC{number}", "CT head", "20261120")
            instances.put_study(tx, study)
            for i in range(images):
                instance = self._instance(study_uid, i, now)
                instances.touch_series(tx, instance, clock.monotonic() - minutes_ago * 60)
                instances.add_instance(tx, instance, ())
            flag.note_arrival(tx, study_uid, now)
            flag.refresh(tx, study_uid, now)
        return study_uid

    def _instance(self, study_uid: str, i: int, now: datetime) -> Instance:
        return Instance(
            sop_uid=f"{study_uid}.1.{i}",
            version=1,
            study_uid=study_uid,
            series_uid=f"{study_uid}.1",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            modality="CT",
            path=self.archive.root / f"{study_uid}.{i}.dcm",
            bytes=1000,
            sha256=SHA256,
            received_at=now,
            calling_aet="SCANNER",
            called_aet="TRIAGE",
        )

    def choose(self, study_uid: str, kind: ChoiceKind, reason: str) -> None:
        """The router has decided."""
        with self.other().write() as tx:
            series = instances.series_of_study(tx, study_uid)[0]
            instances.move(tx, series, SeriesState.ROUTED)
            choice = Choice(
                series.series_uid, study_uid, QUESTION, series.revision, kind, "the rule", reason, "haemorrhage", 10
            )
            jobs.put_choice(tx, choice)
            if kind is ChoiceKind.ANALYSE:
                jobs.queue(tx, JobKind.ANALYSE, choice, 1, clock.utc_now())
            flag.refresh(tx, study_uid, clock.utc_now())

    def fail(self, study_uid: str, error: str) -> None:
        """The analysis has used up its attempts."""
        with self.other().write() as tx:
            job = jobs.claim(tx, "test", clock.monotonic(), 60)
            assert job is not None and job.study_uid == study_uid
            jobs.put_back(tx, job, "test", error, 0, 1)
            flag.refresh(tx, study_uid, clock.utc_now())

    def result(
        self,
        study_uid: str,
        suspected: bool,
        picture: bytes | None = None,
        warning: str = "",
        range_ml: tuple[float, float] | tuple[()] = (),
    ) -> int:
        """A result with its objects, all of them due at the PACS; its number."""
        with self.other().write() as tx:
            if job := jobs.claim(tx, "test", clock.monotonic(), 60):
                jobs.finish(tx, job, "test", JobState.DONE)
            version = results.next_version(tx, study_uid, QUESTION)
            results.add_analysis(tx, _analysis(study_uid, version, suspected, warning, range_ml))
            self._object(tx, study_uid, version, "SR")
            if picture is not None:
                self.archive.put(self._object(tx, study_uid, version, "SC").path, picture)
            flag.refresh(tx, study_uid, clock.utc_now())
        return version

    def picture_only(self, study_uid: str, picture: bytes) -> None:
        """A picture that says "not analysed": objects without a result."""
        with self.other().write() as tx:
            version = results.next_version(tx, study_uid, QUESTION)
            self.archive.put(self._object(tx, study_uid, version, "SC").path, picture)
            flag.refresh(tx, study_uid, clock.utc_now())

    def _object(self, tx: Transaction, study_uid: str, version: int, kind: str) -> ResultObject:
        number = ("SEG", "SR", "SC", "KO").index(kind)
        path = self.archive.result_path(study_uid, QUESTION, version, kind)
        made = ResultObject(kind, f"{study_uid}.9.{version}.{number}", "1.2.3", f"{study_uid}.9", path)
        results.add_object(tx, study_uid, QUESTION, version, made, clock.utc_now())
        deliveries.add(tx, study_uid, "pacs", made)
        return made

    def analysed(self, number: int, suspected: bool, name: str = "DOE^Jane", minutes_ago: float = 5) -> str:
        """A study with one result, with a picture when it is suspected; its UID."""
        study_uid = self.receive(number, name, minutes_ago)
        self.choose(study_uid, ChoiceKind.ANALYSE, "Head CT without contrast.")
        self.result(study_uid, suspected, picture_bytes() if suspected else None)
        return study_uid

    def beat(self, *names: str, seconds: float = 60) -> None:
        """Signs of life that hold for so long."""
        with self.other().write() as tx:
            for name in names:
                processes.beat(tx, processes.Beat(name, 100, clock.monotonic() + seconds, "waiting for work"))


def _analysis(
    study_uid: str, version: int, suspected: bool, warning: str, range_ml: tuple[float, float] | tuple[()]
) -> Analysis:
    findings = tuple(
        FindingRow(name, "1386000", 0.93, True, 31.4, *range_ml) if suspected and name == "subdural"
        else FindingRow(name, "1386000", 0.04, False, 0.0)
        for name in TYPES
    )  # fmt: skip
    return Analysis(
        study_uid=study_uid,
        question=QUESTION,
        version=version,
        series_uid=f"{study_uid}.1",
        pipeline="haemorrhage",
        suspected=suspected,
        probability=0.93 if suspected else 0.06,
        threshold=0.42,
        findings=findings,
        model_name="haemorrhage-unet",
        model_version="0.1.0",
        model_sha256=SHA256,
        warnings=(warning,) if warning else (),
        seconds=3.4,
        band="high" if suspected else "low",
        made_at=clock.utc_now(),
    )


def make_node(folder: Path, **web: object) -> Node:
    """A node in a folder of its own, with one scanner and one PACS."""
    peers = [
        {"name": "ct1", "ae_title": "SCANNER"},
        {"name": "pacs", "ae_title": "PACS", "host": "192.0.2.10", "port": 104, "destination": True},
    ]
    settings = load_settings(changes={"node": {"data": str(folder)}, "web": web, "peer": peers})
    return Node(open_database(settings.database_path), Archive(folder), settings)


@contextmanager
def serving(node: Node, port: int = 0) -> Iterator[tuple[str, uvicorn.Server]]:
    """The page on a real socket of this machine; its address."""
    receiver = Receiver(node.database, node.archive, DECODERS)
    refused = partial(note_refusal, node.database)
    storing = Storing(node.archive.spool, receiver.store, receiver.ended, refused, node.settings.node.ae_title)
    app = build_app(node.database, node.archive, node.settings, storing, DECODERS)
    options = {"host": "127.0.0.1", "port": port, "log_level": "error", "timeout_graceful_shutdown": 1}
    config = server_config(app, node.settings.web, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.started
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", server
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def until(page: Page, condition: str, given: object = None) -> None:
    """Wait until a JavaScript expression, which may speak of `given`, is true in the page.

    Playwright's own `wait_for_function` evaluates strings within the page, which the page's policy forbids.
    """
    look = f"const look = () => {{ if ({condition}) done(true); else setTimeout(look, 10) }}; look()"
    page.evaluate(f"given => new Promise(done => {{ {look} }})", given)


def faults(page: Page) -> list[str]:
    """What axe-core calls serious or critical."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html']}: {node['failureSummary']}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
