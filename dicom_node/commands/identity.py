"""`triage-node identity`: patients who contradict each other under one Study Instance UID, and the decision on them."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import click

from dicom_node.commands.frame import CommandGroup, with_settings

if TYPE_CHECKING:
    from dicom_node.entities import Decision, Patient
    from dicom_node.settings import Settings


@dataclass(frozen=True, slots=True)
class IdentityEntry:
    """One study of `identity list --json`; `decision` is empty while nothing is sent."""

    study_uid: str
    patients: tuple["Patient", ...]
    decision: str
    noted_at: datetime
    decided_at: datetime | None
    decided_by: str


@click.group(cls=CommandGroup)
def identity() -> None:
    """Decide where two patients came under one study.

    Nothing of such a study is sent before that.
    """


@identity.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a study.")
@with_settings
def list_identities(settings: "Settings", as_json: bool) -> None:
    """Print every study whose patients contradict each other.

    Example: triage-node identity list
    """
    from dicom_node.commands import text
    from dicom_node.processes import running
    from dicom_node.tables import contradictions

    with running.database(settings).read() as tx:
        entries = [
            IdentityEntry(
                study_uid=each.sent_uid,
                patients=each.identities,
                decision=each.decision,
                noted_at=each.noted_at,
                decided_at=each.decided_at,
                decided_by=each.decided_by,
            )
            for each in contradictions.every(tx)
        ]
    click.echo(text.to_json(entries) if as_json else identities_text(entries))


@identity.command()
@click.argument("study_uid")
@with_settings
def apart(settings: "Settings", study_uid: str) -> None:
    """Several people: each is kept apart and sent as it is.

    Example: triage-node identity apart 1.2.840.1
    """
    from dicom_node.entities import Decision

    settle(settings, study_uid, Decision.APART)


@identity.command()
@click.argument("study_uid")
@with_settings
def one(settings: "Settings", study_uid: str) -> None:
    """One person: all images are put together and analysed as one study.

    Example: triage-node identity one 1.2.840.1
    """
    from dicom_node.entities import Decision

    settle(settings, study_uid, Decision.ONE)


def settle(settings: "Settings", study_uid: str, decision: "Decision") -> None:
    """Record the decision, and delete the results of studies that are no more."""
    from dicom_node import clock
    from dicom_node.archive import Archive
    from dicom_node.derived import identity as derived
    from dicom_node.entities import Decision
    from dicom_node.processes import running

    with running.database(settings).write() as tx:
        gone = derived.decide(tx, study_uid, decision, "command line", clock.utc_now())
    archive = Archive(settings.node.data)
    for each in gone:
        archive.set_aside(each)
    click.echo(f"{study_uid}: {'kept apart' if decision is Decision.APART else 'put together'}")


def identities_text(entries: list[IdentityEntry]) -> str:
    """The studies as a table."""
    from dicom_node.commands import text

    rows = [
        (
            each.study_uid,
            each.decision or "undecided",
            " / ".join(f"{p.patient_name or 'no name'}, {p.patient_id or 'no ID'}" for p in each.patients),
        )
        for each in entries
    ]
    return text.table(("study", "decision", "patients"), rows) if rows else "no patients contradict each other"
