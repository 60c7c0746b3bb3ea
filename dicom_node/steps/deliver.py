"""Deliver: empties the outbox of one destination, one association a study (PS3.4 Annex B as SCU).

What an answer means stands in PS3.4 Table B.2-1 and PS3.7 Annex C:

- stored: success, a warning, and 0x0111 (the destination has an object of that UID, which is the same one);
- refused for what the object is (0xA9xx, 0xCxxx, 0x0122 and its like): a few tries, since some destinations say so when
  they are only busy, with waits that soon are long;
- everything else, no answer and no association included: tried again with doubling waits and jitter.

What is not taken at all (no presentation context) has failed at once. An attempt without an answer may have stored the
object: the destination is asked for it where it can be; else it is sent again under the same UIDs, more patiently. Each
destination is emptied by a clock job of its own, and each study has its own rows, so that neither holds up another.
"""

import random
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog

from dicom_node import clock
from dicom_node.entities import NOT_TAKEN, Delivery, SendProblem, SendStatus
from dicom_node.errors import PeerError
from dicom_node.settings import Deliver
from dicom_node.tables import deliveries
from dicom_node.tables.database import Database

Send = Callable[..., Generator[SendStatus]]  # of the paths; `patience`: each answer is waited for so many times as long
Find = Callable[[Sequence[Path]], set[Path]]  # which of these objects the destination says that it has
BUSY_S = 60.0
LONGEST_ANSWER_S = 300.0
PATIENCE = 4.0  # how many times longer an answer is waited for after one that did not come
GROWTH = 2.0  # of the waits between attempts
GROWTH_IF_REFUSED = 8.0
NEVER = float("inf")
WARNINGS = (0x0001, 0x0107, 0x0116)
DUPLICATE = 0x0111
REFUSALS = (  # PS3.7 Annex C: they speak of the object or the request, not of the moment
    *(0x0105, 0x0106, 0x0112, 0x0113, 0x0114, 0x0115, 0x0117, 0x0118, 0x0119),
    *(0x0120, 0x0121, 0x0122, 0x0123, 0x0211, 0x0212),
)
MEANINGS = {
    DUPLICATE: "it was there already",
    0x0110: "processing failure",
    0x0117: "invalid SOP instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0213: "resource limitation",
}
MEANING_RANGES = {
    0xA700: "out of resources",
    0xA900: "data set does not match SOP class",
    0xB000: "stored with a warning",
    0xC000: "cannot understand",
}
log = structlog.get_logger()


def deliver_due(
    database: Database,
    destination: str,
    send: Send,
    settings: Deliver,
    jitter: random.Random,
    busy_s: float = BUSY_S,
    find: Find | None = None,
    timeout_s: float | None = None,
) -> int:
    """Send what is due for one destination, study by study; how many objects were stored there.

    Offers nothing more after `busy_s`: a long queue for a slow peer must not look like a hanging clock job.
    `timeout_s` is what the destination is given for each answer, if not what the settings say.
    """
    stored, began = 0, clock.monotonic()
    while batch := _next(database, destination, began):  # what fails now is not due again in this call
        missing = take_found(database, batch, find, clock.utc_now()) if find else batch
        stored += len(batch) - len(missing)
        if missing:
            patient = with_patience(send, missing, timeout_s or settings.timeout_s)
            stored += deliver_study(database, missing, patient, settings, jitter, clock.utc_now(), began + busy_s)
        if clock.monotonic() - began >= busy_s:
            break
    return stored


def take_found(database: Database, batch: list[Delivery], find: Find, now: datetime) -> list[Delivery]:
    """Ask for what was sent and not answered, and record what is there; returns what is still to be sent."""
    unanswered = [delivery for delivery in batch if delivery.unanswered]
    if not unanswered:
        return batch
    try:
        there = find([delivery.path for delivery in unanswered])
    except (PeerError, OSError) as error:  # then it is sent again
        log.info("a destination could not be asked what it has", destination=batch[0].destination, reason=str(error))
        return batch
    found = [delivery for delivery in unanswered if delivery.path in there]
    for delivery in found:
        with database.write() as tx:
            deliveries.sent(tx, delivery, "found there after an attempt that was not answered", now)
        log.info("delivered", **named(delivery), answer="found by C-FIND")
    return [delivery for delivery in batch if delivery not in found]


def with_patience(send: Send, batch: list[Delivery], timeout_s: float) -> Send:
    """The same, but waiting longer for answers if some did not come before."""
    longest = max(1.0, LONGEST_ANSWER_S / timeout_s)
    patience = min(longest, PATIENCE ** min(10, max(delivery.unanswered for delivery in batch)))
    return partial(send, patience=patience) if patience > 1 else send


def deliver_study(
    database: Database,
    batch: list[Delivery],
    send: Send,
    settings: Deliver,
    jitter: random.Random,
    now: datetime,
    until: float = NEVER,
) -> int:
    """Send one study's objects; each answer is recorded as it comes. How many were stored.

    When one object makes the peer end the association, those behind it stay due for the next association; so do those
    that it is too late for, after `until` (monotonic seconds).
    """
    waiting = {delivery.path: delivery for delivery in batch}
    last = max(batch, key=lambda delivery: delivery.attempts)  # what fails comes again in one association
    again = {growth: due_again(last, settings, jitter, growth) for growth in (GROWTH, GROWTH_IF_REFUSED)}
    stored, offered, trouble = 0, False, "no answer came"
    try:
        with closing(send([delivery.path for delivery in batch])) as answers:
            for answer in answers:
                delivery = waiting.pop(answer.path)
                if offered and answer.problem is SendProblem.NOT_OFFERED:
                    continue
                offered = True
                stored += note(database, delivery, answer, settings, again, now)
                if clock.monotonic() >= until:
                    return stored
    except (PeerError, OSError) as error:
        trouble = str(error)
    if waiting:
        put_off(database, waiting.values(), trouble, again[GROWTH], settings.attempts)
    return stored


def note(
    database: Database,
    delivery: Delivery,
    answer: SendStatus,
    settings: Deliver,
    again: dict[float, float],
    now: datetime,
) -> bool:
    """Record and log one answer; whether the object is stored there. `again`: when it comes again, by the growth."""
    said = describe_answer(answer, delivery.kind)
    status = None if answer.status is None else f"0x{answer.status:04X}"
    if is_stored(answer.status):
        with database.write() as tx:
            deliveries.sent(tx, delivery, said or None, now)
        log.info("delivered", **named(delivery), status=status, answer=answer.detail)
        return True
    limit, growth = limits(answer, settings)
    with database.write() as tx:
        deliveries.postpone(tx, delivery, said, again[growth], limit, answer.problem)
    log.warning("not delivered", **named(delivery), status=status, reason=said, failed=delivery.attempts + 1 >= limit)
    return False


def put_off(database: Database, left: Iterable[Delivery], reason: str, next_at: float, limit: int) -> None:
    """Record and log that no association came about for these."""
    for delivery in left:
        with database.write() as tx:
            deliveries.postpone(tx, delivery, reason, next_at, limit, SendProblem.UNREACHABLE)
        log.warning("not delivered", **named(delivery), reason=reason, failed=delivery.attempts + 1 >= limit)


def limits(answer: SendStatus, settings: Deliver) -> tuple[int, float]:
    """After how many attempts an object that got this answer has failed, and how its waits grow."""
    if answer.problem in NOT_TAKEN:
        return 1, GROWTH
    if answer.problem is SendProblem.UNREADABLE or is_refusal(answer.status):
        return min(settings.attempts, settings.attempts_if_refused), GROWTH_IF_REFUSED
    return settings.attempts, GROWTH


def is_stored(status: int | None) -> bool:
    """Success, warning or duplicate: the destination has the object."""
    return status is not None and (status in (0x0000, DUPLICATE, *WARNINGS) or status & 0xF000 == 0xB000)


def is_refusal(status: int | None) -> bool:
    """Whether a status speaks of the object, so that sending it again rarely helps."""
    return status is not None and (status in REFUSALS or status & 0xFF00 == 0xA900 or status & 0xF000 == 0xC000)


def describe_answer(answer: SendStatus, kind: str = "") -> str:
    """An answer in words; empty where there is nothing to say. `kind` is the object's name, else that of its class."""
    what = kind or answer.detail
    if answer.problem is SendProblem.NOT_TAKEN:
        return f"the destination does not take {what} (no presentation context)"
    if answer.problem is SendProblem.NO_SYNTAX:
        return (
            f"the destination takes {what} in neither Explicit nor Implicit VR Little Endian (no presentation context);"
            " Explicit VR Big Endian, which is retired, is not sent"
        )
    if answer.status is None:
        return answer.detail
    if answer.status == 0x0000:
        return ""
    said = f"0x{answer.status:04X}{meaning(answer.status)} {answer.detail}".strip()
    return said if is_stored(answer.status) else f"refused with {said}"


def meaning(status: int) -> str:
    """What a status says, in brackets; empty where that is not fixed."""
    name = MEANINGS.get(status) or MEANING_RANGES.get(status & 0xFF00) or MEANING_RANGES.get(status & 0xF000)
    return f" ({name})" if name else ""


def due_again(delivery: Delivery, settings: Deliver, jitter: random.Random, growth: float = GROWTH) -> float:
    """Monotonic seconds of the next attempt: growing waits, each up to a quarter longer or shorter."""
    wait_s = min(settings.longest_wait_s, settings.first_wait_s * growth ** min(delivery.attempts, 30))
    return clock.monotonic() + wait_s * jitter.uniform(0.75, 1.25)


def named(delivery: Delivery) -> dict[str, object]:
    """What a log line says of a delivery."""
    return {
        "delivery": f"D{delivery.delivery_id}",
        "destination": delivery.destination,
        "study_uid": delivery.study_uid,
        "kind": delivery.kind,
        "sop_uid": delivery.sop_uid,
        "attempt": delivery.attempts + 1,
    }


def _next(database: Database, destination: str, now: float) -> list[Delivery]:
    with database.read() as tx:
        return deliveries.due(tx, destination, now)
