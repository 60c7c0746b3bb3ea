"""Claims, leases and attempts: no job runs twice at once, none is lost when a worker dies."""

import subprocess
import sys
from pathlib import Path

import pytest
from series import Core, core

from dicom_node.clock import utc_now
from dicom_node.commands.listing import jobs as listed
from dicom_node.commands.listing import retry
from dicom_node.entities import Choice, ChoiceKind, Job, JobKind, JobState
from dicom_node.errors import CommandError
from dicom_node.steps.requeue import expire_leases
from dicom_node.tables import jobs
from dicom_node.tables.database import open_database

QUESTION = "haemorrhage"
LEASE_S = 15.0
CLAIM_ALL = """
import sys
from pathlib import Path
from dicom_node.tables import jobs
from dicom_node.tables.database import Database
database, owner = Database(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
while True:
    with database.write() as tx:
        job = jobs.claim(tx, owner, 0.0, 15.0)
    if job is None:
        break
    print(job.job_id, flush=True)
"""


@pytest.fixture
def node(tmp_path: Path) -> Core:
    """A node's core with three attempts for each analysis."""
    return core(tmp_path, analyse={"attempts": 3})


def queue(node: Core, study: int, rank: int = 10, revision: int = 1, series: int = 1) -> None:
    """Queue the analysis of a series."""
    choice = Choice(
        f"1.{study}.{series}", f"1.{study}", QUESTION, revision, ChoiceKind.ANALYSE, "r", "r", "haemorrhage", rank
    )
    with node.database.write() as tx:
        jobs.queue(tx, JobKind.ANALYSE, choice, priority=-rank, now=utc_now())


def claim(node: Core, owner: str = "me", now: float = 0.0) -> Job | None:
    """Take the next job."""
    with node.database.write() as tx:
        return jobs.claim(tx, owner, now, LEASE_S)


def states(node: Core, study: int) -> list[JobState]:
    """The states of a study's jobs, oldest first."""
    with node.database.read() as tx:
        return [job.state for job in jobs.of_study(tx, f"1.{study}")]


def test_four_processes_never_claim_a_job_twice(node: Core) -> None:
    """200 jobs, each taken exactly once, and everyone gets some."""
    for study in range(200):
        queue(node, study)
    path = str(node.settings.database_path)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM_ALL, path, f"w{i}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for i in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    taken = [worker.communicate()[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    assert sorted(int(job) for mine in taken for job in mine) == list(range(1, 201))
    assert node.number("SELECT count(*) FROM jobs WHERE state = 'running' AND attempts = 1") == 200


def test_several_processes_open_a_new_database_at_once(tmp_path: Path) -> None:
    """The tables are made once."""
    script = "import sys; from pathlib import Path; from dicom_node.tables.database import open_database as o;"
    script += "o(Path(sys.argv[1]))"
    command = [sys.executable, "-c", script, str(tmp_path / "new" / "node.sqlite")]
    openers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [opener.communicate()[1] for opener in openers]
    assert [opener.returncode for opener in openers] == [0] * 4, errors
    with open_database(tmp_path / "new" / "node.sqlite").read() as tx:
        assert tx.number("SELECT count(*) FROM jobs") == 0


def test_best_rank_is_claimed_first_then_the_oldest(node: Core) -> None:
    """Priority before age."""
    for study, rank in ((1, 20), (2, 10), (3, 10)):
        queue(node, study, rank)
    assert [job.study_uid for job in iter(lambda: claim(node), None)] == ["1.2", "1.3", "1.1"]


def test_lease_that_runs_out_frees_the_job(node: Core) -> None:
    """Renewed leases hold; the worker that was thought dead cannot finish what another does."""
    queue(node, 1)
    job = claim(node, "slow", now=100.0)
    assert job is not None
    with node.database.write() as tx:
        assert jobs.renew(tx, job, "slow", 130.0)
        assert not jobs.renew(tx, job, "another", 900.0)
    assert expire_leases(node.database, node.settings.analyse, 129.9) == 0
    assert expire_leases(node.database, node.settings.analyse, 130.0) == 1
    again = claim(node, "quick", now=131.0)
    assert again is not None and (again.job_id, again.attempts) == (job.job_id, 2)
    with node.database.write() as tx:
        assert not jobs.finish(tx, job, "slow", JobState.DONE)
        assert not jobs.renew(tx, job, "slow", 900.0)
        jobs.put_back(tx, job, "slow", "late error", 0.0, 3)
        assert jobs.of_study(tx, "1.1")[0].state is JobState.RUNNING
        assert jobs.finish(tx, again, "quick", JobState.DONE)
    assert states(node, 1) == [JobState.DONE]


def test_worker_that_always_dies_uses_up_the_attempts(node: Core) -> None:
    """An image that kills the worker must not do so for ever."""
    queue(node, 1)
    for attempt in range(1, 4):
        job = claim(node, now=attempt * 100.0)
        assert job is not None and job.attempts == attempt
        expire_leases(node.database, node.settings.analyse, attempt * 100.0 + LEASE_S)
    assert states(node, 1) == [JobState.FAILED]
    assert claim(node, now=1e6) is None


def test_error_puts_back_for_later_and_fails_at_the_limit(node: Core) -> None:
    """With the error for everyone to see."""
    queue(node, 1)
    for attempt in range(1, 4):
        now = attempt * 100.0
        job = claim(node, now=now)
        assert job is not None
        with node.database.write() as tx:
            jobs.put_back(tx, job, "me", "broken", now + 5, limit=3)
        assert claim(node, now=now + 4.9) is None
    assert states(node, 1) == [JobState.FAILED]
    (entry,) = listed(node.settings, 10)
    assert (entry.id, entry.state, entry.attempts, entry.error) == ("A1", "failed", 3, "broken")


def test_retry_revives_what_failed_and_nothing_else(node: Core) -> None:
    """`retry A1`, with all attempts again; a running, a finished or an unknown job is a clear error."""
    queue(node, 1)
    with pytest.raises(CommandError, match="not failed"):
        retry(node.settings, "A1")
    job = claim(node)
    assert job is not None
    with node.database.write() as tx:
        jobs.put_back(tx, job, "me", "broken", 1e9, limit=1)
    retry(node.settings, "a1")
    again = claim(node)
    assert again is not None and again.attempts == 1
    for unknown in ("A99", "D1", "X1", "A", "", "A-1", "A1.5", "A²"):
        with pytest.raises(CommandError):
            retry(node.settings, unknown)


def test_new_revision_supersedes_what_has_not_begun(node: Core) -> None:
    """Of one study and pipeline only; a running job goes on."""
    queue(node, 1, revision=1)
    queue(node, 2)
    queue(node, 1, revision=2)
    assert states(node, 1) == [JobState.SUPERSEDED, JobState.QUEUED]
    assert states(node, 2) == [JobState.QUEUED]
    first = claim(node)
    assert first is not None and first.study_uid == "1.2"
    running = claim(node)
    assert running is not None and running.revision == 2
    queue(node, 1, revision=3)
    assert states(node, 1) == [JobState.SUPERSEDED, JobState.RUNNING, JobState.QUEUED]


def test_a_study_is_analysed_by_one_worker_at_a_time(node: Core) -> None:
    """A second worker takes another study meanwhile, and this one's next job when the first is done."""
    queue(node, 1, revision=1)
    first = claim(node, "one")
    queue(node, 1, revision=2)
    queue(node, 2)
    other = claim(node, "two")
    assert first is not None and other is not None
    assert other.study_uid != first.study_uid and claim(node, "three") is None
    with node.database.write() as tx:
        assert jobs.finish(tx, first, "one", JobState.DONE)
    following = claim(node, "three")
    assert following is not None and (following.study_uid, following.revision) == (first.study_uid, 2)


def test_queueing_the_same_revision_again_does_not_double_it(node: Core) -> None:
    """A routed series that is routed again."""
    queue(node, 1)
    queue(node, 1)
    assert states(node, 1) == [JobState.QUEUED]
    job = claim(node)
    assert job is not None
    queue(node, 1)
    assert states(node, 1) == [JobState.RUNNING]
    with node.database.write() as tx:
        jobs.put_back(tx, job, "me", "broken", 1e9, limit=1)
    queue(node, 1)
    revived = claim(node)
    assert revived is not None and revived.error is None
