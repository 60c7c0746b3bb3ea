"""What waits for each destination, and the buttons that send it now, revive what has failed, or give it up."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dicom_node.settings import Settings
from dicom_node.tables import deliveries
from dicom_node.tables.database import Transaction
from dicom_node.tables.views import overview
from dicom_node.tables.views.overview import OutboxRow
from dicom_node.web.notices import Notice
from dicom_node.web.site import reader_of, site_of

SEND_NOW, RETRY, CLEAR = "send-now", "retry", "clear"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Destination:
    """What stands in the outbox of one destination, and whether the settings still name it."""

    row: OutboxRow
    configured: bool


def outboxes(tx: Transaction, settings: Settings) -> tuple[Destination, ...]:
    """Every destination that anything was ever meant for."""
    configured = {peer.name for peer in settings.destinations}
    return tuple(Destination(row, row.destination in configured) for row in overview.outbox(tx))


def on_outboxes(destinations: Sequence[Destination]) -> list[Notice]:
    """What was not delivered, is held up, or can never be."""
    notices = []
    for each in destinations:
        row, name = each.row, each.row.destination
        if not each.configured:
            if left := row.waiting + row.failed:
                text = f"Objects for {name}, which is no longer configured: {left}. They are not sent."
                notices.append(Notice("warn", text, f"Give them up: triage-node outbox clear {name}"))
            continue
        if row.not_taken:
            text = f"{name} does not take {', '.join(row.not_taken)}; the other results are delivered without."
            hint = "Permit the SOP class there and retry, or leave the kind out of the destination's kinds."
            notices.append(Notice("warn", text, hint))
        if row.failed:
            text = f"Objects not delivered to {name}: {row.failed}; {row.last_error or 'no reason given'}."
            hint = f"When the destination takes them: triage-node outbox send-now {name} --failed"
            notices.append(Notice("bad", text, hint))
        elif row.waiting and row.last_error:
            text = f"Objects waiting for {name}: {row.waiting}. It last said: {row.last_error}."
            notices.append(Notice("warn", text, f"Test it with: triage-node echo {name}"))
    return notices


def act(request: Request) -> Response:
    """POST /status/outbox?destination=...&do=send-now, retry or clear.

    400 for anything else, 404 for a destination that nothing was meant for, 409 to clear one that is configured.
    """
    site, reader = site_of(request), reader_of(request)
    name, what = request.query_params.get("destination", ""), request.query_params.get("do", "")
    if what not in (SEND_NOW, RETRY, CLEAR):
        raise HTTPException(400, "Please choose: send now, retry, or clear.")
    if what == CLEAR and name in {peer.name for peer in site.settings.destinations}:
        raise HTTPException(409, "This destination is configured. Take it out of the settings first.")
    with site.database.write() as tx:
        if name not in deliveries.destinations(tx):
            raise HTTPException(404, "Nothing was ever meant for this destination.")
        objects = deliveries.clear(tx, name) if what == CLEAR else deliveries.hasten(tx, name, failed=what == RETRY)
    address = request.client.host if request.client else ""
    log.info("outbox", action=what, destination=name, objects=objects, reader=reader, address=address)
    return RedirectResponse("/status", 303)
