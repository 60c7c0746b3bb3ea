"""Flag: what the reader's list says of a study, derived from the rows that stand there.

Called inside the transaction that changes those rows, so the list never lags behind. A flag is raised at once; it is
lowered only by a reader: a later result that no longer suspects says so and stays on top until acknowledged.
"""

from dataclasses import replace
from datetime import datetime

from dicom_node.derived import growth, quality
from dicom_node.entities import (
    NOT_ANALYSED,
    Analysis,
    Choice,
    ChoiceKind,
    FindingRow,
    ItemState,
    Job,
    JobState,
    SeriesState,
    Urgency,
    WorklistItem,
)
from dicom_node.tables import instances, jobs, results, worklist
from dicom_node.tables.database import Transaction
from inference.findings import volume_text
from inference.pipelines.haemorrhage.growth import Growth, phrase


def received(tx: Transaction, study_uid: str, now: datetime) -> None:
    """An image of the study has come: it is on the list, and waits from now on."""
    item = worklist.get(tx, study_uid)
    if item is None:
        item = WorklistItem(study_uid, Urgency.MEDIUM, "Receiving images", ItemState.WAITING, now, now)
    worklist.put(tx, replace(item, waiting_since=now))


def refresh(tx: Transaction, study_uid: str, now: datetime) -> None:
    """Bring the study's row up to what its series, jobs and results say now."""
    item = worklist.get(tx, study_uid)
    if item is None:
        return
    analyses = results.analyses_of_study(tx, study_uid)
    if analyses:
        item = with_result(item, analyses[-1], analyses[:-1], growth.of_study(tx, study_uid), now)
    else:
        item = without_result(item, tx, study_uid)
    worklist.put(tx, item)
    quality.note(tx, study_uid)


def with_result(
    item: WorklistItem, latest: Analysis, earlier: list[Analysis], compared: Growth | None, now: datetime
) -> WorklistItem:
    """The row of an analysed study. The same result and the same comparison seen again change nothing."""
    again, unseen = item.version == latest.version, item.state in (ItemState.UNREAD, ItemState.OPENED)
    urgency = Urgency.HIGH if latest.suspected else Urgency.LOW
    if again or (item.urgency is Urgency.HIGH and earlier and unseen):
        urgency = item.urgency
    grown = compared is not None and compared.grown
    raised = urgency is Urgency.HIGH and (
        item.urgency is not Urgency.HIGH or item.flagged_at is None or (grown and not item.grown)
    )
    keep = not raised and (again or item.state in (ItemState.ACKNOWLEDGED, ItemState.READ))
    lowered = item.grown and not grown and unseen
    return replace(
        item,
        urgency=urgency,
        headline=with_growth(headline(latest, earlier, urgency), compared, lowered),
        state=item.state if keep else ItemState.UNREAD,
        acted_at=item.acted_at if keep else None,
        flagged_at=now if raised else item.flagged_at,
        version=latest.version,
        grown=grown or lowered,
    )


def headline(latest: Analysis, earlier: list[Analysis], urgency: Urgency) -> str:
    """What the study's results say."""
    if latest.suspected:
        return suspicion(latest.findings, latest.probability)
    if urgency is Urgency.HIGH:
        raised_by = next((analysis for analysis in reversed(earlier) if analysis.suspected), earlier[-1])
        return f"Result {raised_by.version} suspected haemorrhage, result {latest.version} does not: please look"
    said = f"No haemorrhage suspected (probability {latest.probability:.2f})"
    suspected_once = any(analysis.suspected for analysis in earlier)
    return f"{said}; an earlier result suspected it" if suspected_once else said


def with_growth(said: str, compared: Growth | None, lowered: bool) -> str:
    """A headline with the change since the patient's last scan: growth before all else, anything else behind."""
    change = phrase(compared) if compared else ""
    if compared and compared.grown:
        return f"{change}. {said}"
    parts = [said, change, "an earlier comparison found growth: please look" if lowered else ""]
    return "; ".join(part for part in parts if part)


def without_result(item: WorklistItem, tx: Transaction, study_uid: str) -> WorklistItem:
    """The row of a study that no pipeline has spoken of yet."""
    standing = [job for job in jobs.of_study(tx, study_uid) if job.pipeline != NOT_ANALYSED]
    choices = jobs.choices_of_study(tx, study_uid)
    receiving = any(s.state is not SeriesState.ROUTED for s in instances.series_of_study(tx, study_uid))
    reason = not_analysed(standing, choices)
    if any(job.state in (JobState.QUEUED, JobState.RUNNING) for job in standing):
        return waiting(item, "Waiting for analysis")
    if receiving or reason is None:
        return waiting(item, f"Receiving images (so far: {reason})" if reason else "Receiving images")
    if item.state is ItemState.WAITING or item.headline != reason:
        item = replace(item, state=ItemState.UNREAD, acted_at=None)
    return replace(item, urgency=Urgency.MEDIUM, headline=reason)


def waiting(item: WorklistItem, headline: str) -> WorklistItem:
    """The row of a study whose result is still to come."""
    return replace(item, urgency=Urgency.MEDIUM, headline=headline, state=ItemState.WAITING, acted_at=None)


def not_analysed(standing: list[Job], choices: list[Choice]) -> str | None:
    """Why a study has no result, in words; None where nothing speaks against one."""
    failed = [job for job in standing if job.state is JobState.FAILED]
    if failed:
        return f"Analysis failed: {failed[-1].error} (job {failed[-1].job_id})"
    declined = [choice for choice in choices if choice.kind is ChoiceKind.DECLINED]
    return f"Not analysed: {declined[0].reason}" if declined else None


def suspicion(findings: tuple[FindingRow, ...], probability: float) -> str:
    """The headline of a suspected study: the types found, the largest first."""
    present = sorted((f for f in findings if f.present), key=lambda f: -f.volume_ml)
    named = ", ".join(f"{f.name} {volume_text(f.volume_ml)}" if f.volume_ml else f.name for f in present)
    return f"Suspected intracranial haemorrhage: {named or 'type uncertain'} (probability {probability:.2f})"
