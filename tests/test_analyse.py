"""The analyse step: what it leaves behind, again and again, when results supersede each other or do not come about.

The engine here is scripted, since no network can be told to suspect once and not the second time; everything else is
real. What the real engine says is in test_end_to_end.py.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from scripted import ScriptedEngine, analysed, route, work
from series import Core, core, ct, head

from dicom_node import analysis, clock
from dicom_node.entities import ItemState, JobState, Urgency
from dicom_node.headlines import headline
from dicom_node.steps import analyse
from dicom_node.steps.analyse import analyse_next
from dicom_node.steps.requeue import expire_leases
from dicom_node.tables import deliveries, instances, jobs, results, worklist
from dicom_node.tables.worklist import WorklistItem
from inference.findings import Finding, Measurement, NotAnalysable
from reports import codes

LONG_AFTER = 1e12
PACS = [{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1, "destination": True}]


@pytest.fixture
def node(tmp_path: Path) -> Core:
    """A node with one destination."""
    return core(tmp_path, peer=PACS)


def item(node: Core) -> WorklistItem:
    """The only study's row on the worklist."""
    with node.database.read() as tx:
        found = worklist.get(tx, str(ct(0).StudyInstanceUID))
    assert found is not None
    return found


def made(node: Core, version: int | None = None) -> dict[str, Path]:
    """The only study's result objects by kind."""
    with node.database.read() as tx:
        study_uid = str(ct(0).StudyInstanceUID)
        found = (
            results.objects_of(tx, study_uid, "haemorrhage", version)
            if version
            else results.objects_of_study(tx, study_uid)
        )
    return {each.kind: each.path for each in found}


def test_a_suspected_study_leaves_everything(node: Core) -> None:
    """Objects, outbox, flag and a job that is done, in one go."""
    analysed(node, head(), True)
    assert set(made(node)) == {"SEG", "SR", "SC", "KO"}
    assert all(dcmread(path).StudyInstanceUID == ct(0).StudyInstanceUID for path in made(node).values())
    assert item(node).urgency is Urgency.HIGH and item(node).state is ItemState.UNREAD
    assert "subdural" in headline(item(node))
    with node.database.read() as tx:
        assert len(deliveries.due(tx, "pacs", LONG_AFTER)) == 4
        assert [job.state for job in jobs.recent(tx, 9)] == [JobState.DONE]


def test_a_finding_keeps_the_range_of_its_volume() -> None:
    for range_ml in ((7.626, 20.91), (None, None)):
        volume = Measurement("volume", 12.3, "mL", *range_ml)
        kept = analysis.finding_row(Finding("subdural", 0.9, True, np.ones((1, 1, 1), bool), (volume,)), codes.BRAIN)
        assert (kept.volume_ml, kept.low_ml, kept.high_ml, kept.code) == (12.3, *range_ml, codes.BRAIN.value)


def test_a_negative_study_gets_its_report(node: Core) -> None:
    """Silence would read as failure."""
    analysed(node, head(), False)
    assert set(made(node)) == {"SR"}
    assert item(node).urgency is Urgency.LOW and item(node).flagged_at is None


def test_a_contrast_agent_that_is_not_known_is_quoted(node: Core) -> None:
    """The series is analysed; whether contrast medium was given is for the reader to see."""
    analysed(node, head(ContrastBolusAgent="Protocol 3"), False)
    told = [str(each.value) for each in dcmread(made(node)["SR"]).iterall() if each.keyword == "TextValue"]
    assert any('the images say "Protocol 3"' in each for each in told)


def test_late_slices_supersede(node: Core) -> None:
    """The second result says in its series description which it replaces, and its report names its predecessor."""
    slices = head(26)
    analysed(node, slices[:24], True)
    analysed(node, slices[24:], True)
    first, second = (dcmread(made(node, version)["SR"]) for version in (1, 2))
    assert second.SeriesInstanceUID != first.SeriesInstanceUID
    assert second.SeriesDescription == first.SeriesDescription.replace(":", " 2 (replaces 1):")
    assert (first.InstanceNumber, second.InstanceNumber) == (1, 2)
    predecessor = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == first.SOPInstanceUID


def due(node: Core) -> list[str]:
    """The kinds of what would be sent now."""
    with node.database.read() as tx:
        return sorted(each.kind for each in deliveries.due(tx, "pacs", LONG_AFTER))


def test_a_result_of_a_series_that_grows_is_not_sent(node: Core) -> None:
    """Held back as soon as its series re-opens, withdrawn when the next one stands, which alone is sent."""
    slices = head(26)
    analysed(node, slices[:24], True)
    assert due(node) == ["KO", "SC", "SEG", "SR"]
    node.receive(slices[24:])
    assert due(node) == []
    route(node)
    assert due(node) == []
    work(node, True)
    assert due(node) == ["KO", "SC", "SEG", "SR"]
    assert node.number("SELECT count(*) FROM deliveries WHERE state = 'withdrawn'") == 4


def test_a_result_stays_where_the_grown_series_cannot_be_analysed(node: Core) -> None:
    """The first one still holds, and is sent."""
    slices = head(26)
    analysed(node, slices[:24], True)
    analysed(node, slices[24:], NotAnalysable("No."))
    assert due(node) == ["KO", "SC", "SEG", "SR"]


def expecting(node: Core, images: int) -> None:
    """The sender says that there are so many."""
    with node.database.write() as tx:
        instances.set_expected(tx, node.series(ct(0)), images, 0.0)


def test_a_negative_of_a_part_is_not_analysed(node: Core) -> None:
    """The sender has more than came, and gave up: nothing found is no negative."""
    node.receive(head(24), released=False)
    expecting(node, 34)
    route(node)
    work(node, False)
    assert headline(item(node)).startswith("Not analysed: Only 24 of 34 images came. Nothing was found in this part")
    assert not made(node)


def test_a_suspicion_in_a_part_is_flagged_and_says_so(node: Core) -> None:
    """In row, report and picture."""
    node.receive(head(24), released=False)
    expecting(node, 34)
    route(node)
    work(node, True)
    assert item(node).urgency is Urgency.HIGH
    assert headline(item(node)).endswith("made of a part: Only 24 of 34 images came")
    assert "Only 24 of 34 images came." in dcmread(made(node)["SR"]).to_json()


def test_a_flag_is_never_lowered_silently(node: Core) -> None:
    """A later result that does not suspect stays on top until a reader has seen it, and takes the picture back."""
    slices = head(26)
    analysed(node, slices[:24], True)
    analysed(node, slices[24:], False)
    assert item(node).urgency is Urgency.HIGH and item(node).state is ItemState.UNREAD
    assert "does not" in headline(item(node))
    assert set(made(node, 2)) == {"SR", "SC"}


def test_an_acknowledged_negative_that_turns_suspected_is_unread_again(node: Core) -> None:
    """And flagged from then on."""
    slices = head(26)
    analysed(node, slices[:24], False)
    with node.database.write() as tx:
        assert worklist.acknowledge(tx, item(node).study_uid, clock.utc_now())
    analysed(node, slices[24:], True)
    assert item(node).state is ItemState.UNREAD and item(node).flagged_at is not None


def test_images_that_cannot_be_analysed_give_way_to_the_next_series(node: Core) -> None:
    """The thin series was not needed until the 5 mm one turned out to be no head."""
    node.receive(head(series=1))
    route(node)
    analysed(node, head(60, series=2, spacing_mm=2.0), NotAnalysable("No head is in the images."))
    assert item(node).state is ItemState.WAITING
    route(node)
    work(node, True)
    assert item(node).urgency is Urgency.HIGH


def test_what_cannot_be_analysed_says_why(node: Core) -> None:
    """In the model's words, on the list; nothing is sent."""
    analysed(node, head(), NotAnalysable("No head is in the images."))
    assert headline(item(node)) == "Not analysed: No head is in the images."
    assert item(node).urgency is Urgency.MEDIUM and not made(node)


@pytest.mark.parametrize("omitted", [(), (11,)], ids=["by the pipeline", "by the router"])
def test_a_picture_says_why_where_configured(tmp_path: Path, omitted: tuple[int, ...]) -> None:
    """Whoever declined the study."""
    node = core(tmp_path, peer=PACS, report={"picture_for_not_analysed": True})
    node.receive(head(omit=omitted))
    route(node, explain=True)
    if not omitted:
        work(node, NotAnalysable("No head is in the images."))
    assert analyse_next(node.database, node.archive, node.settings, ScriptedEngine(), "test", lambda job: None)
    assert set(made(node)) == {"SR", "SC"}
    assert headline(item(node)).startswith("Not analysed: ") and item(node).state is ItemState.UNREAD


@pytest.mark.parametrize("omitted", [(), (11,)], ids=["by the pipeline", "by the router"])
def test_a_head_without_a_result_is_told_to_the_pacs(tmp_path: Path, omitted: tuple[int, ...]) -> None:
    """What the rules took for a plain head CT, and nothing else, unless the site wants more."""
    node = core(tmp_path, peer=PACS)
    node.receive(head(omit=omitted))
    route(node, explain=node.settings.report.picture_for_not_analysed)
    if not omitted:
        work(node, NotAnalysable("No head is in the images."))
    asked = analyse_next(node.database, node.archive, node.settings, ScriptedEngine(), "test", lambda job: None)
    assert asked is not bool(omitted) and set(made(node)) == (set() if omitted else {"SR", "SC"})
    assert node.number("SELECT count(*) FROM deliveries WHERE state = 'waiting'") == len(made(node))


def test_an_analysis_that_fails_is_tried_again_and_then_stands_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the error on the list; retry revives it."""
    monkeypatch.setattr(analyse, "RETRY_WAIT_S", 0.0)
    node = core(tmp_path, analyse={"attempts": 2})
    analysed(node, head(), RuntimeError("out of memory"))
    assert item(node).state is ItemState.WAITING
    work(node, RuntimeError("out of memory"))
    assert item(node).urgency is Urgency.MEDIUM and "out of memory" in headline(item(node))
    with node.database.write() as tx:
        failed = jobs.recent(tx, 1)[0]
        assert failed.state is JobState.FAILED and jobs.revive(tx, failed.job_id)
    work(node, False)
    assert item(node).urgency is Urgency.LOW


def test_a_failed_series_gives_way_to_the_next(tmp_path: Path) -> None:
    """The thin series was not needed until the 5 mm one failed for good."""
    node = core(tmp_path, analyse={"attempts": 1})
    node.receive(head(series=1))
    route(node)
    analysed(node, head(60, series=2, spacing_mm=2.0), RuntimeError("out of memory"))
    route(node)
    work(node, True)
    assert item(node).urgency is Urgency.HIGH


def test_a_result_whose_lease_was_lost_is_void(node: Core) -> None:
    """The worker that took over speaks; the slow one's result is dropped and nothing is doubled."""
    node.receive(head())
    route(node)

    def meanwhile() -> None:
        assert expire_leases(node.database, node.settings.analyse, LONG_AFTER) == 1
        work(node, True)

    work(node, meanwhile)
    with node.database.read() as tx:
        assert len(results.analyses_of_study(tx, item(node).study_uid)) == 1
        assert [job.state for job in jobs.recent(tx, 9)] == [JobState.DONE]


def test_a_job_done_again_after_a_crash_makes_the_same_objects(node: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between writing the files and the commit, the second try has the same UIDs."""
    node.receive(head())
    route(node)
    uids: list[set[str]] = []
    finish = analyse.finish

    def crash(*arguments: Any, **options: Any) -> bool:
        folder = node.archive.root / "results"
        uids.append({dcmread(path).SOPInstanceUID for path in folder.rglob("*.dcm")})
        if len(uids) == 1:
            raise KeyboardInterrupt
        return finish(*arguments, **options)

    monkeypatch.setattr(analyse, "finish", crash)
    with pytest.raises(KeyboardInterrupt):
        work(node, True)
    expire_leases(node.database, node.settings.analyse, LONG_AFTER)
    work(node, True)
    assert uids[0] == uids[1] and len(uids[0]) == 4


def test_own_picture_is_readable_from_the_archive(node: Core) -> None:
    """The one object that every PACS shows."""
    analysed(node, head(), True)
    picture = dcmread(made(node)["SC"])
    assert picture.pixel_array.ndim == 3 and "BurnedInAnnotation" in picture
