"""What must be said on a page: notices, and which processes live."""

from dataclasses import dataclass

from dicom_node import clock
from dicom_node.settings import Settings
from dicom_node.tables import processes
from dicom_node.tables.database import Transaction
from dicom_node.tables.processes import Beat

NEEDED = {
    "node": "The receiving process does not run: no images can arrive and no results are delivered.",
    "worker": "The analysing process does not run: studies arrive but are not analysed.",
}
START = "Start it with: triage-node serve"
LEVELS = ("bad", "warn", "good")


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence that IT should read, and what to do about it. `level` is bad, warn or good."""

    level: str
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """A process and whether it has kept its word."""

    name: str
    living: bool
    doing: str
    pid: int | None


def living(beats: list[Beat], now: float) -> list[Process]:
    """Every needed or known process, and whether its last word still holds at `now` (monotonic seconds)."""
    known = [Process(beat.process, beat.until >= now, beat.doing, beat.pid) for beat in beats]
    names = {each.name for each in known}
    return known + [Process(name, False, "", None) for name in NEEDED if name not in names]


def not_living(tx: Transaction) -> list[Notice]:
    """A notice for each needed process that does not live."""
    known = living(processes.beats(tx), clock.monotonic())
    return [Notice("bad", NEEDED[each.name], START) for each in known if each.name in NEEDED and not each.living]


def dicom_port(tx: Transaction, settings: Settings) -> str:
    """The port that scanners send to, in words where the node has not chosen one yet."""
    return str(settings.node.port or processes.published(tx, "dicom_port") or "chosen at the start")
