"""Deliver: empties the outbox of one destination, one association a study (PS3.4 Annex B as SCU).

A warning status means stored (PS3.4 Table B.2-1). Anything else is tried again with exponential back-off and jitter
and stands failed, for everyone to see, when the attempts are used up. Each destination is emptied by a clock job of
its own, and each study has its own rows, so that neither holds up another.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import structlog

from dicom_node import clock
from dicom_node.entities import Delivery, SendStatus
from dicom_node.errors import PeerError
from dicom_node.settings import Deliver
from dicom_node.tables import deliveries
from dicom_node.tables.database import Database

Send = Callable[[Sequence[Path]], Iterator[SendStatus]]
BUSY_S = 60.0
WARNINGS = (0x0001, 0x0107, 0x0116)
log = structlog.get_logger()


def deliver_due(
    database: Database, destination: str, send: Send, settings: Deliver, jitter: random.Random, busy_s: float = BUSY_S
) -> int:
    """Send what is due for one destination, study by study; how many objects were stored there.

    Begins no further study after `busy_s`: a long queue for a dead peer must not look like a hanging clock job.
    """
    stored, began = 0, clock.monotonic()
    while batch := _next(database, destination, began):  # what fails now is not due again in this call
        stored += deliver_study(database, batch, send, settings, jitter, clock.utc_now())
        if clock.monotonic() - began >= busy_s:
            break
    return stored


def deliver_study(
    database: Database, batch: list[Delivery], send: Send, settings: Deliver, jitter: random.Random, now: datetime
) -> int:
    """Send one study's objects; each answer is recorded as it comes. How many were stored.

    When one object makes the peer end the association, those behind it stay due for the next association.
    """
    waiting = {delivery.path: delivery for delivery in batch}
    stored, offered, trouble = 0, False, "no answer came"
    again_at = due_again(max(batch, key=lambda delivery: delivery.attempts), settings, jitter)  # all in one association
    try:
        for answer in send([delivery.path for delivery in batch]):
            delivery = waiting.pop(answer.path)
            if offered and not answer.offered:
                continue
            offered = True
            with database.write() as tx:
                if is_stored(answer.status):
                    warning = f"0x{answer.status:04X} {answer.detail}".strip() if answer.status else None
                    deliveries.sent(tx, delivery, warning, now)
                    stored += 1
                else:
                    deliveries.postpone(tx, delivery, describe_answer(answer), again_at, settings.attempts)
    except (PeerError, OSError) as error:
        trouble = str(error)
    for delivery in waiting.values():
        with database.write() as tx:
            deliveries.postpone(tx, delivery, trouble, again_at, settings.attempts)
    if stored < len(batch):
        first = batch[0]
        log.warning(
            "not delivered", destination=first.destination, study_uid=first.study_uid, stored=stored, of=len(batch)
        )
    return stored


def is_stored(status: int | None) -> bool:
    """Success or warning: the destination has the object."""
    return status is not None and (status == 0x0000 or status in WARNINGS or status & 0xF000 == 0xB000)


def describe_answer(answer: SendStatus) -> str:
    """An answer in words."""
    return answer.detail if answer.status is None else f"refused with 0x{answer.status:04X} {answer.detail}".strip()


def due_again(delivery: Delivery, settings: Deliver, jitter: random.Random) -> float:
    """Monotonic seconds of the next attempt: doubling waits, each up to a quarter longer or shorter."""
    wait_s = min(settings.longest_wait_s, settings.first_wait_s * 2.0 ** min(delivery.attempts, 30))
    return clock.monotonic() + wait_s * jitter.uniform(0.75, 1.25)


def _next(database: Database, destination: str, now: float) -> list[Delivery]:
    with database.read() as tx:
        return deliveries.due(tx, destination, now)
