"""`triage-node outbox`: what waits for each destination; send it now, or clear what nobody will ever get."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from dicom_node.commands.frame import CommandGroup, with_settings

if TYPE_CHECKING:
    from dicom_node.settings import Settings


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One destination of `outbox list --json`; `not_taken` are the kinds of object that it does not take."""

    destination: str
    configured: bool
    waiting: int
    stored: int
    failed: int
    not_taken: tuple[str, ...]
    last_error: str | None


@click.group(cls=CommandGroup)
def outbox() -> None:
    """Look at what waits for each destination, send it now, or clear it."""


@outbox.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a destination.")
@with_settings
def list_outbox(settings: "Settings", as_json: bool) -> None:
    """Print how many objects wait for each destination, are stored there, or have failed.

    Example: triage-node outbox list
    """
    from dicom_node.commands import text
    from dicom_node.processes import running
    from dicom_node.tables.views import overview

    configured = {peer.name for peer in settings.destinations}
    with running.database(settings).read() as tx:
        entries = [
            OutboxEntry(
                destination=row.destination,
                configured=row.destination in configured,
                waiting=row.waiting,
                stored=row.sent,
                failed=row.failed,
                not_taken=row.not_taken,
                last_error=row.last_error,
            )
            for row in overview.outbox(tx)
        ]
    click.echo(text.to_json(entries) if as_json else outbox_text(entries))


@outbox.command("send-now")
@click.argument("destination", required=False)
@click.option("--failed", is_flag=True, help="What has failed, too, as if new.")
@with_settings
def send_now(settings: "Settings", destination: str | None, failed: bool) -> None:
    """Send what waits for its next attempt at once.

    To one destination, or to all.

    Example: triage-node outbox send-now pacs --failed
    """
    from dicom_node.errors import CommandError
    from dicom_node.processes import running
    from dicom_node.tables import deliveries

    names = [peer.name for peer in settings.destinations]
    if destination is not None and destination not in names:
        known = ", ".join(names) or "none is configured"
        raise CommandError(f"no destination is called {destination!r} (known: {known})")
    with running.database(settings).write() as tx:
        due = sum(deliveries.hasten(tx, name, failed) for name in ([destination] if destination else names))
    click.echo(f"objects due now: {due}")


@outbox.command()
@click.argument("destination")
@with_settings
def clear(settings: "Settings", destination: str) -> None:
    """Give up what was meant for a destination that is no longer configured.

    Example: triage-node outbox clear old-pacs
    """
    from dicom_node.errors import CommandError
    from dicom_node.processes import running
    from dicom_node.tables import deliveries

    if destination in {peer.name for peer in settings.destinations}:
        raise CommandError(f"{destination} is a destination: take it out of the settings first")
    with running.database(settings).write() as tx:
        if destination not in deliveries.destinations(tx):
            raise CommandError(f"nothing was ever meant for {destination!r}; `triage-node outbox list` lists them")
        cleared = deliveries.clear(tx, destination)
    click.echo(f"objects that are not sent to {destination} any more: {cleared}")


def outbox_text(entries: list[OutboxEntry]) -> str:
    """The destinations as a table."""
    from dicom_node.commands import text

    rows = [
        (
            each.destination if each.configured else f"{each.destination} (no longer configured)",
            str(each.waiting),
            str(each.stored),
            str(each.failed),
            " ".join(each.not_taken),
            each.last_error or "",
        )
        for each in entries
    ]
    head = ("destination", "waiting", "stored", "failed", "not taken", "last trouble")
    return text.table(head, rows) if rows else "nothing was ever meant for a destination"
