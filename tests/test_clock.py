"""Monotonic time for what is urgent: a failed function runs again, and a reboot leaves nothing stuck."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from peers import wait_until
from series import core, ct, head

from dicom_node import clock
from dicom_node.entities import Choice, ChoiceKind, JobKind, JobState, ResultObject, SeriesState
from dicom_node.steps.complete import complete_due
from dicom_node.steps.requeue import expire_leases
from dicom_node.tables import deliveries, jobs, processes
from dicom_node.tables.database import open_database


def test_ticker_goes_on_after_an_exception() -> None:
    """Whatever one round raises, the next one comes, and other functions are not touched."""
    ticker, bad, good = clock.Ticker(), [], []

    def fails() -> None:
        bad.append(1)
        raise RuntimeError("a broken round")

    ticker.every(0.001, fails, "bad")
    ticker.every(0.001, lambda: good.append(1), "good")
    try:
        wait_until(lambda: len(bad) > 3 and len(good) > 3, 20, "both run again and again")
    finally:
        ticker.stop()
    counted = len(good)
    assert ticker.stuck(-1) == [] and len(good) == counted


def test_ticker_names_what_hangs() -> None:
    """Only the one that hangs; the others tick."""
    ticker, go_on, ticks = clock.Ticker(), threading.Event(), []
    ticker.every(0.001, lambda: go_on.wait(20), "hangs")
    ticker.every(0.001, lambda: ticks.append(1), "ticks")
    try:
        wait_until(lambda: len(ticks) > 3 and "hangs" in ticker.stuck(0.0), 20, "the hanging one is named")
        assert ticker.stuck(3600) == []
    finally:
        go_on.set()
        ticker.stop()
    assert ticker.stuck(-1) == []


def test_monotonic_is_shared_by_all_processes() -> None:
    """Leases written by one process are read by another."""
    script = "from dicom_node.clock import monotonic, boot_id; print(monotonic(), boot_id())"
    before = clock.monotonic()
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert before <= float(answer[0]) <= clock.monotonic()
    assert answer[1:] == clock.boot_id().split()


@pytest.mark.parametrize("same_boot", [True, False])
def test_reboot_leaves_nothing_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_boot: bool) -> None:
    """After a reboot monotonic time starts again near 0: times of the boot before must not hold anything up."""
    node = core(tmp_path)
    node.receive(head())
    choice = Choice(
        str(ct(0).SeriesInstanceUID), str(ct(0).StudyInstanceUID), "q", 1, ChoiceKind.ANALYSE, "", "", "p", 1
    )
    uptime_before = 1e9
    made = ResultObject("SR", "1.2.9", "1.2", "1.2.8", tmp_path / "sr.dcm")
    with node.database.write() as tx:
        jobs.queue(tx, JobKind.ANALYSE, choice, 0, clock.utc_now())
        jobs.claim(tx, "worker of the boot before", uptime_before, 15.0)
        other = Choice("1.5", "1.5", "q", 1, ChoiceKind.ANALYSE, "", "", "p", 1)
        jobs.queue(tx, JobKind.ANALYSE, other, 0, clock.utc_now())
        tx.run("UPDATE jobs SET not_before = :at WHERE study_uid = '1.5'", at=uptime_before)
        tx.run("UPDATE series SET last_at = :at", at=uptime_before)
        deliveries.add(tx, choice.study_uid, "pacs", made)
        deliveries.postpone(tx, deliveries.of_study(tx, choice.study_uid)[0], "refused", uptime_before + 900, 10)
        processes.beat(tx, processes.Beat("node", os.getpid(), uptime_before, ""), uptime_before)
    if not same_boot:
        monkeypatch.setattr("dicom_node.tables.database.boot_id", lambda: "the next boot")
    database, uptime = open_database(node.settings.database_path), 60.0
    expired = expire_leases(database, node.settings.analyse, uptime)
    complete_due(database, node.settings.complete, uptime)
    with database.write() as tx:
        due = deliveries.due(tx, "pacs", uptime)
        claimed = [jobs.claim(tx, "new worker", uptime, 15.0) for _ in range(2)]
        beats = processes.beats(tx)
    if same_boot:
        assert (expired, due, claimed, len(beats)) == (0, [], [None, None], 1)
        assert node.series(ct(0)).state is SeriesState.RECEIVING
    else:
        assert expired == 1 and len(due) == 1 and beats == []
        assert {job.study_uid for job in claimed if job and job.state is JobState.RUNNING} == {choice.study_uid, "1.5"}
        assert node.series(ct(0)).state is SeriesState.COMPLETE
