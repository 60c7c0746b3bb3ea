"""The `demo` command: a node of its own, a simulated scanner that pushes head CTs, and the worklist as it fills."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from dicom_node.commands import listing, phantom
from dicom_node.commands.listing import WorklistEntry
from dicom_node.dicom.folders import find_dicom
from dicom_node.errors import CommandError
from dicom_node.outbox.dicom import send
from dicom_node.processes.running import answering_page, dicom_port, has_port
from dicom_node.settings import Peer, Settings, load_settings
from dicom_node.steps.deliver import is_stored
from dicom_node.tables.database import open_database

Say = Callable[[str], object]
START_S, RESULTS_S = 180.0, 300.0
SCANNER = "DEMO_CT"


@dataclass(frozen=True, slots=True)
class DemoStudy:
    """A study that the simulated scanner sends, and the urgency that is right for it."""

    title: str
    folder: Path
    expected: str | None


def run_demo(folder: Path | None, once: bool, port: int, say: Say) -> None:
    """Run the demo. With `once`, CommandError when a study has no result in time or a wrong flag."""
    with tempfile.TemporaryDirectory(prefix="triage-node-demo-") as temporary:
        place = Path(temporary)
        site = place / "triage-node.toml"
        site.write_text(site_toml(place / "data", port))
        settings = load_settings(site)
        say("starting the node (SQLite and images in a temporary folder, no broker, no account) ...")
        with running(site, place / "serve.log"):
            address = wait_for_page(settings, place / "serve.log")
            say(f"the worklist is at {address}")
            cases = given_cases(folder) if folder else synthetic_cases(place, say)
            for case in cases:
                push(case, settings, say)
            right = follow(cases, settings, say)
            if once:
                if not right:
                    raise CommandError("not every study got the flag that is right for it")
                return
            say(f"the page stays at {address} until Ctrl-C")
            wait_for_interrupt()


def site_toml(data: Path, port: int) -> str:
    """The demo's settings: all on loopback, no wait that a person would notice, and on the list whatever is sent."""
    return tomli_w.dumps(
        {
            "node": {"host": "127.0.0.1", "port": 0, "data": str(data)},
            "web": {"port": port},
            "report": {"picture_for_negative": True, "picture_for_not_analysed": True},
            "complete": {"quiet_s": 5.0},
            "worklist": {"modalities": []},
        }
    )


@contextmanager
def running(site: Path, log: Path) -> Iterator[None]:
    """`serve` as a process of its own, as a site would run it."""
    with log.open("wb") as output:
        command = [sys.executable, "-m", "dicom_node", "--config", str(site), "serve"]
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def wait_for_page(settings: Settings, log: Path) -> str:
    """The page's address as soon as it answers and images can be received."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if settings.database_path.exists():
            database = open_database(settings.database_path)
            if (address := answering_page(settings, database)) and has_port(settings):
                return address
        time.sleep(0.25)
    raise CommandError(f"the node did not start within {START_S:.0f} s; it said last: {last_line(log)}")


def last_line(log: Path) -> str:
    """What a process said last: its log goes with the demo's folder."""
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "nothing")


def synthetic_cases(place: Path, say: Say) -> list[DemoStudy]:
    """Four synthetic heads: a large bleed, a subtle one, a normal head, and one that cannot be analysed."""
    cases = []
    for number, patient in enumerate(phantom.PATIENTS, start=1):
        say(f"making a synthetic head CT: {patient.title} ...")
        folder = place / "scanner" / str(number)
        phantom.write_patient(patient, number, folder)
        cases.append(DemoStudy(patient.title, folder, patient.expected))
    return cases


def given_cases(folder: Path) -> list[DemoStudy]:
    """The DICOM files that were given, as one push."""
    return [DemoStudy(f"the DICOM files in {folder}", folder, None)]


def push(case: DemoStudy, settings: Settings, say: Say) -> None:
    """C-STORE a case as a scanner would."""
    files = find_dicom(case.folder)
    if not files:
        raise CommandError(f"no DICOM files under {case.folder}")
    node = Peer(name="demo node", ae_title=settings.node.ae_title, host="127.0.0.1", port=dicom_port(settings))
    say(f"the simulated scanner sends {case.title}: {len(files)} objects ...")
    stored = sum(is_stored(answer.status) for answer in send(files, node, SCANNER, 60.0))
    if stored < len(files):
        raise CommandError(f"the node stored {stored} of {len(files)} objects")


def follow(cases: list[DemoStudy], settings: Settings, say: Say) -> bool:
    """Print the worklist whenever it changes until every study has its result; whether all flags are right."""
    shown, until = "", time.monotonic() + RESULTS_S
    entries: list[WorklistEntry] = []
    while time.monotonic() < until:
        entries = listing.worklist(settings)
        if (text := listing.worklist_text(entries)) != shown:
            say(f"\n{text}")
            shown = text
        if entries and all(entry.state != "waiting" for entry in entries) and len(entries) >= len(cases):
            break
        time.sleep(0.5)
    else:
        return False
    found = {entry.accession: entry.urgency for entry in entries}
    wrong = [case for case in cases if case.expected and found.get(case.folder.name) != case.expected]
    for case in wrong:
        say(f"wrong: {case.title} should be {case.expected} and is {found.get(case.folder.name)}")
    return not wrong


def wait_for_interrupt() -> None:
    """Until Ctrl-C."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
