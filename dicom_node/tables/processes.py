"""Signs of life of the node's processes, and the associations it refused: what IT looks at when nothing arrives."""

from dataclasses import dataclass
from datetime import datetime

from dicom_node.tables.database import Transaction

KEPT_REFUSALS = 200


@dataclass(frozen=True, slots=True)
class Beat:
    """A process's word that it lives and will say so again before `until` (monotonic seconds)."""

    process: str
    pid: int
    until: float
    doing: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """An association or object that was not accepted, and why."""

    at: datetime
    calling_aet: str
    called_aet: str
    address: str
    reason: str


def beat(tx: Transaction, sign: Beat, now: float = 0.0) -> None:
    """Say that a process lives. Signs of others of its kind go when their time is over: those were killed."""
    tx.run("DELETE FROM beats WHERE process = :process AND until < :now", process=sign.process, now=now)
    tx.put("beats", sign, key=("process", "pid"))


def beats(tx: Transaction) -> list[Beat]:
    """The last sign of each process, of several of a kind the freshest last."""
    return tx.all(Beat, "SELECT * FROM beats ORDER BY process, until")


def forget_beat(tx: Transaction, process: str, pid: int) -> None:
    """A process has ended."""
    tx.run("DELETE FROM beats WHERE process = :process AND pid = :pid", process=process, pid=pid)


def forget_beats(tx: Transaction) -> None:
    """Everything starts anew; who lives will say so."""
    tx.run("DELETE FROM beats")


def publish(tx: Transaction, key: str, value: str) -> None:
    """Let the other processes know something about this one, such as the port it was given."""
    tx.run(
        "INSERT INTO node VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = :value", key=key, value=value
    )


def published(tx: Transaction, key: str) -> str | None:
    """What was published under this name, or None."""
    row = tx.row("SELECT value FROM node WHERE key = :key", key=key)
    return str(row["value"]) if row else None


def unpublish(tx: Transaction, *keys: str) -> None:
    """Take back what was published under these names."""
    for key in keys:
        tx.run("DELETE FROM node WHERE key = :key", key=key)


def refuse(tx: Transaction, refusal: Refusal) -> None:
    """Remember a refusal; the last few hundred are kept."""
    tx.put("refusals", refusal, timespec="seconds")
    tx.run(
        "DELETE FROM refusals WHERE refusal_id <= (SELECT max(refusal_id) FROM refusals) - :kept", kept=KEPT_REFUSALS
    )


def refusals(tx: Transaction, limit: int) -> list[Refusal]:
    """The last refusals, newest first."""
    return tx.all(Refusal, "SELECT * FROM refusals ORDER BY refusal_id DESC LIMIT :limit", limit=limit)
