"""Killed at any point and started again, the node loses nothing, doubles nothing and stands still nowhere."""

import contextlib
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from peers import Orthanc, Served, pacs_peer, running_orthanc, storescu, wait_until

from dicom_node.tables.database import Database

KILLS = int(os.environ.get("TRIAGE_KILLS", "24"))
PATIENTS = (81, 94, 66, 54, 75, 91, 87, 55, 70, 56)
SETTINGS = "[complete]\nquiet_s = 8.0\nquiet_after_abort_s = 8.0\n[analyse]\nlease_s = 2.0\nattempts = 100\n"
SETTINGS += "[deliver]\nfirst_wait_s = 0.5\n"


class Scanner(threading.Thread):
    """Sends each folder, once it is asked to, until the node has taken all of it, as scanners do."""

    def __init__(self, folders: list[Path], port: int) -> None:
        super().__init__(daemon=True)
        self._folders, self._port = folders, port
        self._wanted = threading.Semaphore(0)
        self.asked = self.sent = 0

    def ask(self, folders: int = 1) -> None:
        """Let it send so many more."""
        self.asked += folders
        self._wanted.release(folders)

    def run(self) -> None:
        """Send everything that is asked for."""
        for folder in self._folders:
            self._wanted.acquire()
            while storescu(folder, self._port).wait() != 0:
                time.sleep(0.3)
            self.sent += 1


STAGES = {
    "receiving": ("SELECT count(*) FROM series WHERE state = 'receiving'", ("node", "serve")),
    "analysing": ("SELECT count(*) FROM jobs WHERE state = 'running'", ("worker", "serve")),
    "delivering": ("SELECT count(*) FROM deliveries WHERE state = 'waiting'", ("node", "serve")),
}


@pytest.mark.timeout(1200)
def test_random_kills(ct_ich: ModuleType, tmp_path: Path) -> None:
    """At least 20 SIGKILLs, of the whole node or one of its processes, in every stage of a study's way."""
    chance = random.Random(20)
    folders = [ct_ich.write_dicom(patient, tmp_path / "scans" / str(patient)) for patient in PATIENTS]
    met: Counter[str] = Counter()
    with running_orthanc(tmp_path / "pacs") as orthanc:
        served = Served(tmp_path / "node", SETTINGS + pacs_peer(orthanc))
        served.start()
        scanner = Scanner(folders, served.port)
        try:
            served.wait_ready()
            scanner.start()
            for number in range(KILLS):
                stage = list(STAGES)[number % len(STAGES)]
                if stage == "receiving" and scanner.asked < len(folders):
                    scanner.ask()
                met[stage] += wait_for(served, stage, scanner.asked)
                time.sleep(chance.uniform(0, 0.4))
                kill(served, chance.choice(STAGES[stage][1]), number)
            scanner.ask(len(folders) - scanner.asked)
            wait_until(lambda: scanner.sent == len(folders), 240, "the scanner has sent everything")
            wait_until(lambda: served.settled(len(folders)), 240, "everything is analysed and delivered")
            check(served, orthanc, folders)
        finally:
            served.stop()
    wait_until(lambda: not processes_of(served), 20, "no process is left behind by a killed supervisor")
    assert min(met[stage] for stage in STAGES) >= KILLS // 6, f"the kills did not meet every stage: {met}"


def wait_for(served: Served, stage: str, studies: int) -> bool:
    """Wait until a study is at this stage, or all of so many are through; whether one is."""
    database, until = Database(served.data / "node.sqlite"), time.monotonic() + 90
    while time.monotonic() < until and not served.settled(studies):
        with database.read() as tx:
            if tx.number(STAGES[stage][0]):
                return True
        time.sleep(0.01)
    return False


def kill(served: Served, what: str, number: int) -> None:
    """Kill a process, or all of them at once as a power cut would."""
    if what == "serve" and number % 2:
        for each in ("node", "worker", "web"):
            served.kill(each)
    served.kill(what)
    if what == "serve":
        served.start()
        if number % 3 == 0:  # and at once again: its processes are orphans before they have begun
            time.sleep(0.7)
            served.kill("serve")
            served.start()


def processes_of(served: Served) -> list[int]:
    """Every process that runs on the node's settings file."""
    site = str(served.site).encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if site in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def check(served: Served, orthanc: Orthanc, folders: list[Path]) -> None:
    """Every image once, every result once, here and in the PACS, and no leftovers."""
    images = sum(len(list(folder.glob("*.dcm"))) for folder in folders)
    with Database(served.data / "node.sqlite").read() as tx:
        assert tx.number("SELECT count(*) FROM instances") == images
        results = {row["sop_uid"]: row["kind"] for row in tx.rows("SELECT sop_uid, kind FROM results")}
        analyses = tx.rows(
            "SELECT study_uid, max(version) AS version, count(*) AS number FROM analyses GROUP BY study_uid"
        )
        done = tx.number("SELECT count(*) FROM jobs WHERE kind = 'analyse' AND state = 'done'")
    assert len(list((served.data / "instances").rglob("*.dcm"))) == images
    assert len(analyses) == len(folders)
    assert all(row["version"] == row["number"] for row in analyses)
    assert done == sum(row["number"] for row in analyses)
    stored = [tags["SOPInstanceUID"] for tags in orthanc.instances()]
    assert sorted(stored) == sorted(results)
    assert not list((served.data / "incoming").iterdir())
