"""What was decided for each series and question (choices), and the work that follows from it (jobs, with lease and
attempts).

A claim is one `UPDATE ... RETURNING` on the partial index of queued jobs. A lease is in monotonic seconds: a worker
that dies stops renewing it, and the job is queued again when it has run out.
"""

from datetime import datetime

from dicom_node.entities import Choice, Job, JobKind, JobState
from dicom_node.tables.database import Transaction

ANALYSES, PREVIEWS = "kind <> 'preview'", "kind = 'preview'"
DUE = (
    "{kind} AND state = 'queued' AND not_before <= :now AND NOT EXISTS (SELECT 1 FROM jobs AS other"
    " WHERE other.study_uid = next.study_uid AND other.state = 'running' AND other.kind <> 'preview')"
)


def put_choice(tx: Transaction, choice: Choice) -> None:
    """Record the decision for a series and a question; it replaces an earlier one."""
    tx.put("choices", choice, key=("study_uid", "series_uid", "question"))


def choices_of_study(tx: Transaction, study_uid: str) -> list[Choice]:
    """The decisions for a study's series, the best suited first."""
    return tx.all(Choice, "SELECT * FROM choices WHERE study_uid = :uid ORDER BY rank, series_uid", uid=study_uid)


def queue(tx: Transaction, kind: JobKind, choice: Choice, priority: int, now: datetime) -> None:
    """Queue what was chosen. Jobs of the same kind for this question that have not begun are superseded."""
    tx.run(
        "UPDATE jobs SET state = 'superseded' WHERE study_uid = :study AND question = :question AND kind = :kind"
        " AND state = 'queued'",
        study=choice.study_uid,
        question=choice.question,
        kind=kind,
    )
    tx.run(
        "INSERT INTO jobs (kind, study_uid, series_uid, revision, question, pipeline, rank, priority, state,"
        " created_at) VALUES (:kind, :study, :series, :revision, :question, :pipeline, :rank, :priority, 'queued',"
        " :now)"
        " ON CONFLICT (study_uid, series_uid, revision, question, pipeline, kind) DO UPDATE SET"
        " state = 'queued', attempts = 0, not_before = 0, error = NULL, rank = :rank, priority = :priority"
        " WHERE state IN ('superseded', 'failed')",
        kind=kind,
        study=choice.study_uid,
        series=choice.series_uid,
        revision=choice.revision,
        question=choice.question,
        pipeline=(choice.pipeline or "") if kind is JobKind.ANALYSE else "",
        rank=choice.rank,
        priority=priority,
        now=now,
    )


def queue_preview(
    tx: Transaction, study_uid: str, question: str, series_uid: str, revision: int, priority: int, now: datetime
) -> None:
    """Queue the small pictures of a series, also where they were made before; others for this question are not needed.

    One that waits already keeps the higher priority.
    """
    tx.run(
        "UPDATE jobs SET state = 'superseded' WHERE study_uid = :study AND question = :question AND kind = 'preview'"
        " AND state = 'queued' AND (series_uid, revision) <> (:series, :revision)",
        study=study_uid,
        question=question,
        series=series_uid,
        revision=revision,
    )
    tx.run(
        "INSERT INTO jobs (kind, study_uid, series_uid, revision, question, pipeline, rank, priority, state,"
        " created_at) VALUES ('preview', :study, :series, :revision, :question, '', 0, :priority, 'queued', :now)"
        " ON CONFLICT (study_uid, series_uid, revision, question, pipeline, kind) DO UPDATE SET"
        " priority = CASE state WHEN 'queued' THEN max(priority, :priority) ELSE :priority END,"
        " not_before = CASE state WHEN 'queued' THEN not_before ELSE 0 END,"
        " attempts = CASE state WHEN 'queued' THEN attempts ELSE 0 END, state = 'queued', error = NULL",
        study=study_uid,
        series=series_uid,
        revision=revision,
        question=question,
        priority=priority,
        now=now,
    )


def last_preview(tx: Transaction, study_uid: str, question: str) -> Job | None:
    """The newest job for the small pictures of a study."""
    return tx.one(
        Job,
        "SELECT * FROM jobs WHERE study_uid = :study AND question = :question AND kind = 'preview'"
        " ORDER BY state IN ('queued', 'running') DESC, job_id DESC LIMIT 1",
        study=study_uid,
        question=question,
    )


def claim(tx: Transaction, owner: str, now: float, lease_s: float, previews: bool = False) -> Job | None:
    """Take the next queued job under a lease; None when there is none. Counts the attempt.

    A study is analysed by one worker at a time, so that two results never reach for the same number and files. With
    `previews` small pictures are a job, too, where there is nothing else to do.
    """
    found = _take(tx, ANALYSES, owner, now, lease_s)
    return _take(tx, PREVIEWS, owner, now, lease_s) if found is None and previews else found


def _take(tx: Transaction, kind: str, owner: str, now: float, lease_s: float) -> Job | None:
    return tx.one(
        Job,
        "UPDATE jobs SET state = 'running', attempts = attempts + 1, lease_owner = :owner, lease_until = :until"
        f" WHERE job_id = (SELECT job_id FROM jobs AS next WHERE {DUE.format(kind=kind)}"
        " ORDER BY priority DESC, job_id LIMIT 1) RETURNING *",
        owner=owner,
        until=now + lease_s,
        now=now,
    )


def any_due(tx: Transaction, now: float) -> bool:
    """Whether anything but small pictures waits for a worker."""
    return tx.row(f"SELECT 1 FROM jobs AS next WHERE {DUE.format(kind=ANALYSES)} LIMIT 1", now=now) is not None


def give_way(tx: Transaction, job: Job, owner: str) -> None:
    """Put a job back that has not failed: something more urgent waits. The attempt does not count."""
    if finish(tx, job, owner, JobState.QUEUED):
        tx.run("UPDATE jobs SET attempts = attempts - 1 WHERE job_id = :id", id=job.job_id)


def renew(tx: Transaction, job: Job, owner: str, until: float) -> bool:
    """Hold the lease longer; False when it is lost."""
    return bool(
        tx.run(
            "UPDATE jobs SET lease_until = :until WHERE job_id = :id AND state = 'running' AND lease_owner = :owner",
            until=until,
            id=job.job_id,
            owner=owner,
        )
    )


def finish(tx: Transaction, job: Job, owner: str, state: JobState, error: str | None = None) -> bool:
    """Leave the job in `state`; False, and nothing changed, when the lease was lost to another worker."""
    return bool(
        tx.run(
            "UPDATE jobs SET state = :state, error = :error, lease_owner = NULL, lease_until = NULL"
            " WHERE job_id = :id AND state = 'running' AND lease_owner = :owner",
            state=state,
            error=error,
            id=job.job_id,
            owner=owner,
        )
    )


def put_back(tx: Transaction, job: Job, owner: str, error: str, not_before: float, limit: int) -> JobState:
    """An attempt failed: queue the job again for later, or leave it failed after `limit` attempts."""
    state = JobState.FAILED if job.attempts >= limit else JobState.QUEUED
    if finish(tx, job, owner, state, error):
        again = "UPDATE jobs SET not_before = :at, attempts = :attempts WHERE job_id = :id"
        tx.run(again, at=not_before, attempts=job.attempts, id=job.job_id)
    return state


def any_expired(tx: Transaction, now: float) -> bool:
    """Whether a lease has run out; cheap, for every second."""
    return tx.row("SELECT 1 FROM jobs WHERE state = 'running' AND lease_until <= :now LIMIT 1", now=now) is not None


def expire(tx: Transaction, now: float, limit: int) -> list[Job]:
    """Jobs whose lease has run out: queued again, or failed after `limit` attempts. Returns them as they then stand."""
    return tx.all(
        Job,
        "UPDATE jobs SET state = CASE WHEN attempts >= :limit THEN 'failed' ELSE 'queued' END, lease_owner = NULL,"
        " lease_until = NULL, error = 'the worker stopped during the analysis'"
        " WHERE state = 'running' AND lease_until <= :now RETURNING *",
        limit=limit,
        now=now,
    )


def revive(tx: Transaction, job_id: int) -> bool:
    """Queue a failed job again, as if new."""
    sql = "UPDATE jobs SET state = 'queued', attempts = 0, not_before = 0, error = NULL WHERE job_id = :id"
    return bool(tx.run(f"{sql} AND state = 'failed'", id=job_id))


def again(tx: Transaction, study_uid: str, question: str, priority: int, kind: JobKind = JobKind.ANALYSE) -> bool:
    """Queue the last finished analysis of a study for a question once more: its report is out of date.

    False where there is none, or where the next analysis is under way or the series has changed, since a new report
    then comes anyway. The same for the picture that says why there is none.
    """
    rows = tx.rows(
        "UPDATE jobs SET state = 'queued', attempts = 0, not_before = 0, error = NULL, priority = :priority"
        " WHERE job_id = (SELECT max(job_id) FROM jobs WHERE study_uid = :uid AND question = :question"
        " AND kind = :kind AND state = 'done')"
        " AND EXISTS (SELECT 1 FROM series WHERE (series.study_uid, series.series_uid, series.revision)"
        " = (jobs.study_uid, jobs.series_uid, jobs.revision)) AND NOT EXISTS (SELECT 1 FROM jobs AS other"
        " WHERE other.study_uid = :uid AND other.question = :question AND other.kind = :kind"
        " AND other.state IN ('queued', 'running'))"
        " RETURNING job_id",
        uid=study_uid,
        question=question,
        priority=priority,
        kind=kind,
    )
    return bool(rows)


def study_of(tx: Transaction, job_id: int) -> str:
    """The study of a job."""
    return str((tx.row("SELECT study_uid FROM jobs WHERE job_id = :id", id=job_id) or {"study_uid": ""})["study_uid"])


def of_study(tx: Transaction, study_uid: str) -> list[Job]:
    """All jobs of a study but the small pictures, oldest first."""
    return tx.all(Job, f"SELECT * FROM jobs WHERE study_uid = :uid AND {ANALYSES} ORDER BY job_id", uid=study_uid)


def recent(tx: Transaction, limit: int) -> list[Job]:
    """The last jobs, newest first; small pictures only where they could not be made."""
    told = f"{ANALYSES} OR state = 'failed'"
    return tx.all(Job, f"SELECT * FROM jobs WHERE {told} ORDER BY job_id DESC LIMIT :limit", limit=limit)


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop the study's choices and jobs."""
    tx.run("DELETE FROM choices WHERE study_uid = :uid", uid=study_uid)
    tx.run("DELETE FROM jobs WHERE study_uid = :uid", uid=study_uid)
