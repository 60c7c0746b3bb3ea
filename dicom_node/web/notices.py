"""What must be said on a page: notices, and which processes live."""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from dicom_node import clock, signs
from dicom_node.faults import Trouble, advise, say
from dicom_node.settings import Settings
from dicom_node.signs import Sign
from dicom_node.tables import processes
from dicom_node.tables.database import Transaction
from dicom_node.web.site import Site

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


def signs_of(site: Site) -> list[Sign]:
    """The last signs of life; of a process that gives none on this machine the copies in the database."""
    found = signs.read(site.settings.node.data)
    named = {sign.process for sign in found}
    if not named >= NEEDED.keys():
        with suppress(sqlite3.Error, OSError), site.database.read() as tx:
            copies = [each for each in processes.beats(tx) if each.process not in named]
            found += [Sign(each.process, each.pid, each.until, each.doing) for each in copies]
    return found


def living(found: Sequence[Sign], now: float) -> list[Process]:
    """Every needed or known process, and whether its last word still holds at `now` (monotonic seconds)."""
    known = [Process(sign.process, sign.until >= now and not sign.failed, sign.doing, sign.pid) for sign in found]
    names = {each.name for each in known}
    return known + [Process(name, False, "", None) for name in NEEDED if name not in names]


def lasting(found: Sequence[Sign], now: float) -> list[Trouble]:
    """The faults that living processes have met, each once."""
    return list(dict.fromkeys(each for sign in found if sign.until >= now for each in sign.troubles))


def standing(site: Site) -> list[Notice]:
    """A notice for each fault that lasts and each needed process that does not live."""
    found, now = signs_of(site), clock.monotonic()
    faults = [Notice("bad", f"{sentence(each)}.", advise(each)) for each in lasting(found, now)]
    dead = [each.name for each in living(found, now) if each.name in NEEDED and not each.living]
    return faults + [Notice("bad", NEEDED[name], START) for name in dict.fromkeys(dead)]


def sentence(trouble: Trouble) -> str:
    """A fault as a sentence begins and without its full stop."""
    said = say(trouble)
    return said[0].upper() + said[1:]


def dicom_port(tx: Transaction, settings: Settings) -> str:
    """The port that scanners send to, in words where the node has not chosen one yet."""
    return str(settings.node.port or processes.published(tx, "dicom_port") or "chosen at the start")
