"""The archive stays within its size; what is not delivered, or under way, is never removed."""

from pathlib import Path

import pytest
from series import DECODERS, Core, core, ct, head

from dicom_node.clock import utc_now
from dicom_node.derived import removal
from dicom_node.entities import Choice, ChoiceKind, JobKind, ResultObject, SeriesState
from dicom_node.steps.receive import reconcile
from dicom_node.steps.retain import retain
from dicom_node.tables import deliveries, instances, jobs, results

EVERYTHING = 1e-9
QUESTION = "haemorrhage"


@pytest.fixture
def node(tmp_path: Path) -> Core:
    """A node that holds three finished studies, the first received first."""
    made = core(tmp_path)
    for study in (1, 2, 3):
        made.receive(head(4, study=study))
        with made.database.write() as tx:
            (series,) = instances.series_of_study(tx, uid(study))
            instances.move(tx, series, SeriesState.ROUTED)
            tx.run(
                "UPDATE worklist SET waiting_since = :at, received_at = :at WHERE study_uid = :uid",
                at=f"2026-01-0{study}T00:00:00.000+00:00",
                uid=uid(study),
            )
            tx.run(
                "UPDATE instances SET received_at = :at WHERE study_uid = :uid",
                at=f"2026-01-0{study}T00:00:00+00:00",
                uid=uid(study),
            )
    return made


def uid(study: int) -> str:
    """Study Instance UID."""
    return str(ct(0, study=study).StudyInstanceUID)


def held(node: Core) -> set[str]:
    """The studies that have files."""
    return {path.parent.parent.name for path in node.files()}


def add_result(node: Core, study: int, size: int = 10) -> ResultObject:
    """A result object of a study, with its file."""
    path = node.archive.result_path(uid(study), QUESTION, 1, "SR")
    node.archive.put(path, b"r" * size)
    made = ResultObject("SR", f"1.2.9.{study}", "1.2", "1.2.8", path)
    with node.database.write() as tx:
        results.add_object(tx, uid(study), QUESTION, 1, made, utc_now())
    return made


def test_nothing_goes_while_there_is_room(node: Core) -> None:
    """The limit is not reached."""
    assert retain(node.database, node.archive, 1.0) == 0
    assert len(held(node)) == 3


def test_oldest_goes_first_and_no_more_than_needed(node: Core) -> None:
    """One study is enough; results count as well as images."""
    add_result(node, 1, size=100_000)
    over = node.archive.size_bytes() - 100_050
    assert retain(node.database, node.archive, over / 1e9) == 1
    assert held(node) == {uid(2), uid(3)}
    assert node.archive.size_bytes() <= over
    assert not list((node.archive.root / "removed").iterdir())


def test_every_row_of_a_removed_study_goes(node: Core) -> None:
    """No table remembers it, others' rows stay, and the study can come again as new."""
    made = add_result(node, 1)
    choice = Choice(f"{uid(1)}.1", uid(1), QUESTION, 1, ChoiceKind.DECLINED, "", "", "p", 1)
    with node.database.write() as tx:
        jobs.put_choice(tx, choice)
        deliveries.add(tx, uid(1), "pacs", made)
        deliveries.sent(tx, deliveries.of_study(tx, uid(1))[0], None, utc_now())
    size = node.archive.size_bytes()
    assert retain(node.database, node.archive, (size - 10) / 1e9) == 1
    tables = ("studies", "series", "instances", "choices", "jobs", "analyses", "results", "deliveries", "worklist")
    left = {table: node.number(f"SELECT count(*) FROM {table} WHERE study_uid = :uid", uid=uid(1)) for table in tables}
    assert not any(left.values()), left
    assert node.number("SELECT count(*) FROM instances") == 8
    node.receive(head(4))
    assert node.series(ct(0)).revision == 1 and len(held(node)) == 3


def test_undelivered_studies_stay(node: Core) -> None:
    """Waiting and failed ones; only what every destination has may go."""
    for study in (1, 2):
        made = add_result(node, study)
        with node.database.write() as tx:
            for destination in ("pacs", "archive"):
                deliveries.add(tx, uid(study), destination, made)
            first, second = deliveries.of_study(tx, uid(study))
            deliveries.sent(tx, first, None, utc_now())
            if study == 2:
                deliveries.postpone(tx, second, "refused", 0.0, limit=1)
    assert retain(node.database, node.archive, EVERYTHING, ("pacs", "archive")) == 1
    assert held(node) == {uid(1), uid(2)}


def test_a_destination_that_is_no_longer_configured_holds_nothing_back(node: Core) -> None:
    """Nobody would ever empty its outbox."""
    made = add_result(node, 1)
    with node.database.write() as tx:
        deliveries.add(tx, uid(1), "old_pacs", made)
    retain(node.database, node.archive, EVERYTHING, ("pacs",))
    assert uid(1) not in held(node)


def test_studies_under_way_stay(node: Core) -> None:
    """Receiving, waiting for the router, queued, running."""
    node.receive([ct(9, study=1)])
    with node.database.write() as tx:
        for study, claimed in ((2, True), (3, False)):
            choice = Choice(f"{uid(study)}.1", uid(study), QUESTION, 1, ChoiceKind.ANALYSE, "", "", "p", 1)
            jobs.queue(tx, JobKind.ANALYSE, choice, 0, utc_now())
            if claimed:
                jobs.claim(tx, "w", 0.0, 15.0)
    assert retain(node.database, node.archive, EVERYTHING) == 0
    assert len(held(node)) == 3


def test_studies_that_are_not_on_the_list_go_too(node: Core) -> None:
    """Reports of others are no reader's business, but take space."""
    report = ct(0, study=7, Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33")
    del report.PixelData
    node.receive([report])
    with node.database.write() as tx:
        (series,) = instances.series_of_study(tx, uid(7))
        instances.move(tx, series, SeriesState.ROUTED)
    assert retain(node.database, node.archive, EVERYTHING) == 4
    assert held(node) == set()


class PowerCutError(Exception):
    """The machine goes down."""


def test_power_cut_between_files_and_rows(node: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are set aside, the rows are not gone: at the next start the study is gone as a whole, no other is."""
    add_result(node, 1)

    def power_cut(*_: object) -> None:
        raise PowerCutError

    with monkeypatch.context() as patched:
        patched.setattr(removal, "forget_study", power_cut)
        with pytest.raises(PowerCutError):
            retain(node.database, node.archive, (node.archive.size_bytes() - 10) / 1e9)
    assert node.number("SELECT count(*) FROM instances WHERE study_uid = :uid", uid=uid(1)) == 4
    again = core(node.settings.node.data)
    again.archive.clear_incoming()
    assert reconcile(again.database, again.archive, DECODERS, utc_now()) == (0, 4)
    for table in ("studies", "series", "instances", "results", "worklist"):
        assert again.number(f"SELECT count(*) FROM {table} WHERE study_uid = :uid", uid=uid(1)) == 0, table
    assert held(again) == {uid(2), uid(3)}
    assert not list((again.archive.root / "removed").iterdir())
    assert not (again.archive.root / "results" / uid(1)).exists()
    assert reconcile(again.database, again.archive, DECODERS, utc_now()) == (0, 0)
