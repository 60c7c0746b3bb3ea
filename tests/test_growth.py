"""Growth since the last scan: the rule, who is the same patient, what is earlier, and what follows in rows and reports.

The engine of the node's core is scripted, so that volumes are known; the last test runs the real one in a whole node.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import Served, running_node, storescu, wait_until
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from reports_support import MODEL, entity_errors, result_for, validator_errors
from series import Core, core, ct, head
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from dicom_node import analysis, clock
from dicom_node.commands.phantom import write_series
from dicom_node.derived import growth
from dicom_node.derived.same_patient import Obstacle
from dicom_node.dicom.moments import moment_of
from dicom_node.entities import Analysis, FindingRow, ItemState, Job, ResultObject, Scan, Urgency
from dicom_node.headlines import headline
from dicom_node.routes import load_rules
from dicom_node.settings import Settings
from dicom_node.steps import analyse
from dicom_node.steps.complete import complete_due
from dicom_node.steps.route import route_due
from dicom_node.tables import jobs, processes, results, scans, worklist
from dicom_node.tables.database import Database, Transaction
from dicom_node.tables.worklist import WorklistItem
from dicom_node.web.app import build_app
from inference.change import Change, ChangeKind, Growth, Volume, total
from inference.engines.local import Engine
from inference.findings import Finding, Result
from inference.input.stack import SliceStack
from inference.pipelines.base import Given, Question
from inference.pipelines.haemorrhage.growth import changes
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType
from inference.pipelines.registry import question_of
from reports import change as words_of_change
from reports import codes
from reports.vocabulary.haemorrhage import INTRACRANIAL_HAEMORRHAGE, INTRAPARENCHYMAL_HAEMORRHAGE
from reports.vocabulary.terms import vocabulary_of

IPH, SDH = HaemorrhageType.INTRAPARENCHYMAL, HaemorrhageType.SUBDURAL
LONG_AFTER = 1e12
SLICE_ML = 64 * 64 * 0.25 * 5 / 1000  # one slice of tests/series.py
ML = st.floats(0, 200, allow_nan=False).map(lambda ml: round(ml, 3))


def known(ml: float, low: float = 0.9, high: float = 1.1) -> Volume:
    return Volume(ml, low * ml, high * ml)


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Any volume a model may give: with or without a range, which need not hold it, and with how repeatable it is."""
    ml, repeat_sd = draw(ML), draw(st.none() | st.floats(0.01, 1))
    if draw(st.booleans()):
        return Volume(ml, repeat_sd=repeat_sd)
    low, high = sorted(draw(st.tuples(st.floats(0.1, 3), st.floats(0.1, 3))))
    return Volume(ml, low * ml, high * ml, repeat_sd)


# the rule


def intraparenchymal(earlier: Volume, later: Volume) -> Change:
    """The change of the one type whose growth is marked."""
    together, change = changes({IPH: earlier}, {IPH: later})
    assert together.whole and not together.grown and together.name == INTRACRANIAL
    return change


def repeatable(ml: float, sd: float = 0.15) -> Volume:
    """A volume of which it is known how far two scans of an unchanged head are apart; its range is wide."""
    return Volume(ml, 0.6 * ml, 12 * ml, sd)


def typed(**ml: Volume) -> dict[str, Volume]:
    """What a model that tells types apart says: of each type, drawn or not."""
    return {name.value: ml.get(name.value, Volume(0.0)) for name in HaemorrhageType}


def whole(volume: Volume) -> dict[str, Volume]:
    """What one says that does not."""
    return {INTRACRANIAL: volume}


@given(volumes(), volumes(), st.sampled_from([*HaemorrhageType, INTRACRANIAL]))
def test_growth_is_by_definition_and_beyond_the_error(earlier: Volume, later: Volume, name: str) -> None:
    """Of the intraparenchymal, else of all blood where types are not told apart; never both ways."""
    there, back = changes({name: earlier}, {name: later}), changes({name: later}, {name: earlier})
    if grown := [change for change in there if change.grown]:
        assert [change.name for change in grown] == [IPH if name is IPH else INTRACRANIAL]
        assert later.ml - earlier.ml > 6 or (earlier.ml >= 5 and later.ml > 1.329999 * earlier.ml)
        if grown[0].repeat_sd is None:
            assert earlier.high_ml is not None and later.low_ml is not None and earlier.high_ml < later.low_ml
        assert not any(change.grown for change in back)
    assert [change.name for change in there] == ([INTRACRANIAL, IPH] if name is IPH else [INTRACRANIAL])


@pytest.mark.parametrize(
    ("earlier", "later", "grown"),
    [
        (whole(repeatable(10)), whole(repeatable(26.4)), INTRACRANIAL),
        (whole(repeatable(10)), whole(repeatable(13.2)), None),  # beyond 33 %, within the error
        (whole(repeatable(2)), whole(repeatable(5)), None),  # beyond the error, less than 6 ml
        (typed(intraparenchymal=repeatable(10)), whole(repeatable(26.4)), INTRACRANIAL),
        (whole(repeatable(10)), typed(subdural=repeatable(26.4)), INTRACRANIAL),
        (typed(intraparenchymal=repeatable(10)), typed(subdural=repeatable(26.4)), INTRACRANIAL),
        (typed(subdural=repeatable(10)), typed(intraparenchymal=repeatable(26.4)), INTRACRANIAL),
        (typed(subdural=repeatable(10)), typed(subdural=repeatable(26.4)), None),  # told apart: another type
        (typed(intraparenchymal=repeatable(10)), typed(intraparenchymal=repeatable(26.4)), IPH),
        (
            typed(intraparenchymal=repeatable(6), subdural=repeatable(20)),
            typed(intraparenchymal=repeatable(26)),
            None,  # the same blood by another name
        ),
        (
            typed(intraparenchymal=repeatable(10), subdural=repeatable(60)),
            typed(intraparenchymal=repeatable(17), subdural=repeatable(60)),
            IPH,  # beside a large one that stays
        ),
        (whole(repeatable(10)) | typed(), whole(repeatable(26.4)) | typed(), INTRACRANIAL),  # types without volumes
    ],
)
def test_growth_of_the_total_where_types_are_not_told_apart(
    earlier: dict[str, Volume], later: dict[str, Volume], grown: str | None
) -> None:
    found = changes(earlier, later)
    assert [change.name for change in found if change.grown] == ([grown] if grown else [])
    said = sum(each.ml for each in later.values()) - sum(each.ml for each in earlier.values())
    assert found[0].whole and found[0].ml == pytest.approx(said)


def test_a_total_and_its_types_are_not_counted_twice() -> None:
    both = whole(repeatable(20)) | typed(intraparenchymal=repeatable(12), subdural=repeatable(8))
    assert [change.later.ml for change in changes(both, both)] == [20, 12]


def test_a_larger_total_is_said_though_one_type_stays() -> None:
    """+164 % was once read as "+3 %, change not certain", because one type was compared."""
    found = changes(
        typed(intraparenchymal=repeatable(5.0), subdural=repeatable(3.0)),
        typed(intraparenchymal=repeatable(5.15), subdural=repeatable(15.97)),
    )
    said = phrase(growth_of(*found))
    assert said == "all haemorrhage 8.0 ml to 21 ml (+13.1 ml, +164 %) in 5.5 h, larger beyond the volume error"
    assert "Intraparenchymal: 5.0 ml to 5.2 ml (+0.2 ml, +3 %), no change seen." in sentences(growth_of(*found))


@pytest.mark.parametrize(
    ("earlier_ml", "later_ml", "kind"),
    [
        (10, 10, ChangeKind.UNCHANGED),
        (10, 11.5, ChangeKind.UNCHANGED),  # as near as most pairs of an unchanged head
        (11.5, 10, ChangeKind.UNCHANGED),
        (10, 13, ChangeKind.UNCERTAIN),
        (10, 13.5, ChangeKind.LARGER),  # more than 1.96 x 0.15 of the logarithm
        (13.5, 10, ChangeKind.SMALLER),
        (60, 68, ChangeKind.UNCERTAIN),  # as near, but 6 ml would be growth
        (0.1, 0.4, ChangeKind.UNCHANGED),  # under 1 ml nothing is claimed
        (0.1, 4, ChangeKind.LARGER),
        (0, 4, ChangeKind.NEW),
        (4, 0, ChangeKind.GONE),
    ],
)
def test_the_error_of_the_difference_decides(earlier_ml: float, later_ml: float, kind: ChangeKind) -> None:
    """The wide range of either volume, which both share, does not."""
    (found,) = changes(whole(repeatable(earlier_ml)), whole(repeatable(later_ml)))
    assert found.kind is kind


@pytest.mark.parametrize("volume", [Volume(12), known(12), repeatable(12), repeatable(0.05)])
def test_an_unchanged_pair_says_so(volume: Volume) -> None:
    growth = growth_of(*changes(typed(subdural=volume), typed(subdural=volume)))
    assert phrase(growth).endswith("(+0.0 ml, +0 %) in 5.5 h, no change seen")


@given(volumes(), volumes())
def test_a_change_mirrors_itself(earlier: Volume, later: Volume) -> None:
    pairs = ((ChangeKind.NEW, ChangeKind.GONE), (ChangeKind.LARGER, ChangeKind.SMALLER))
    mirror = dict(pairs) | {one: other for other, one in pairs}
    there, back = Change("x", earlier, later).kind, Change("x", later, earlier).kind
    assert back == mirror.get(there, there)


@given(ML, volumes())
def test_nothing_is_claimed_without_a_known_error_or_from_nothing(ml: float, other: Volume) -> None:
    other = replace(other, repeat_sd=None)
    for unknown in (Volume(ml), Volume(0.0, 0.0, 0.0)):
        for change in (intraparenchymal(unknown, other), intraparenchymal(other, unknown)):
            assert change.kind not in (ChangeKind.LARGER, ChangeKind.SMALLER) and not change.grown


@pytest.mark.parametrize(
    ("earlier_ml", "later_ml", "grown"),
    [
        (2.0, 8.0, False),  # 6 ml and not more
        (2.0, 8.1, True),
        (4.9, 9.0, False),  # 84 %, but from less than 5 ml
        (5.0, 6.66, True),  # 33.2 %
        (5.0, 6.64, False),  # less than 33 %
        (100.0, 107.0, True),
        (8.0, 2.0, False),
    ],
)
def test_the_definition(earlier_ml: float, later_ml: float, grown: bool) -> None:
    narrow = intraparenchymal(known(earlier_ml, 0.99, 1.01), known(later_ml, 0.99, 1.01))
    assert narrow.grown is grown
    wide = intraparenchymal(known(earlier_ml, 0.2, 5.0), known(later_ml, 0.2, 5.0))
    assert wide.kind in (ChangeKind.UNCERTAIN, ChangeKind.UNCHANGED) and not wide.grown


def test_total_knows_its_range_only_where_each_drawn_volume_does() -> None:
    whole = total([known(10), known(20), Volume(0.0)])
    assert (whole.ml, whole.low_ml) == (30, 27) and whole.high_ml == pytest.approx(33)
    assert total([known(10), Volume(20)]) == Volume(30)
    assert total([Volume(0.0)]) == total([]) == Volume(0)


def all_blood(earlier: Volume, later: Volume) -> Change:
    return Change(INTRACRANIAL, earlier, later, whole=True)


def growth_of(*changes: Change, same_model: bool = True, hours: float = 5.5) -> Growth:
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    return Growth("1.2", 1, timedelta(hours=hours), at, same_model, changes)


def phrase(growth: Growth) -> str:
    return words_of_change.phrase(growth, vocabulary_of("haemorrhage"))


def sentences(growth: Growth | None) -> list[str]:
    return list(words_of_change.sentences(growth, vocabulary_of("haemorrhage")))


def test_words() -> None:
    grown = growth_of(all_blood(known(12), known(25)), intraparenchymal(known(12), known(20)))
    assert phrase(grown) == "GROWTH: intraparenchymal 12.0 ml to 20 ml (+8.0 ml, +67 %) in 5.5 h"
    said = sentences(grown)
    assert (
        said[0]
        == "Compared with the earlier scan of 2026-01-02 03:04 UTC, 5.5 h earlier, as measured by the same model."
    )
    assert said[1].startswith("All haemorrhage: 12.0 ml to 25 ml (+13.0 ml, +108 %), larger beyond")
    of_all = growth_of(*changes(whole(repeatable(10)), whole(repeatable(26.4))))
    assert phrase(of_all) == "GROWTH: all haemorrhage 10.0 ml to 26 ml (+16.4 ml, +164 %) in 5.5 h"
    assert sentences(of_all)[-1].startswith("GROWTH of all haemorrhage together (more than 6 ml, or more than 33 %")
    assert said[-1].startswith("GROWTH of the intraparenchymal haemorrhage (more than 6 ml, or more than 33 %")
    unknown = growth_of(intraparenchymal(Volume(12), Volume(20)))
    assert phrase(unknown).endswith("in 5.5 h, change not certain (unknown volume error)")
    within = growth_of(intraparenchymal(known(12, 0.5, 2), known(20, 0.5, 2)))
    assert phrase(within).endswith("change not certain (within volume error)")
    assert (
        phrase(growth_of(intraparenchymal(Volume(0), known(20)))) == "intraparenchymal new since the scan 5.5 h earlier"
    )
    assert "no longer outlined" in phrase(growth_of(intraparenchymal(known(20), Volume(0))))
    assert phrase(growth_of(all_blood(Volume(0), Volume(0)))) == ""
    retyped = growth_of(all_blood(known(12), known(12)), intraparenchymal(Volume(0), known(12)))
    assert phrase(retyped) == "all haemorrhage 12.0 ml to 12.0 ml (+0.0 ml, +0 %) in 5.5 h, no change seen"
    other = growth_of(same_model=False)
    assert phrase(other) == "the scan 5.5 h earlier was measured by another model"
    assert ["different models" in each for each in sentences(other)] == [True]
    assert all(each.isascii() for case in (grown, unknown, within, other) for each in sentences(case))
    assert sentences(None) == []


@pytest.mark.parametrize(("hours", "text"), [(0.5, "0.5 h"), (9.96, "10 h"), (26.2, "26 h"), (120, "5 days")])
def test_elapsed(hours: float, text: str) -> None:
    assert words_of_change.elapsed_text(timedelta(hours=hours)) == text


# who, and when


MOMENT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def scan(**fields: Any) -> Scan:
    return replace(Scan("1.1", "haemorrhage", 1, "P", "", "Doe^Jane^M", "19500101", MOMENT, True, sex="F"), **fields)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, None),
        ({"patient_name": "DOE^JANE"}, None),
        ({"patient_name": "Doe"}, None),
        ({"patient_name": ""}, None),
        ({"patient_name": "Döe^Jane"}, None),
        ({"patient_name": "Roe^Jane"}, Obstacle.OTHER_NAME),
        ({"patient_name": "Doe^John"}, Obstacle.OTHER_NAME),
        ({"patient_name": "=Doe^Jane"}, None),
        ({"birth_date": ""}, Obstacle.NO_BIRTH_DATE),
        ({"birth_date": "1950.01.01"}, None),
        ({"birth_date": "19500102"}, Obstacle.OTHER_BIRTH_DATE),
        ({"birth_date": "19000101"}, Obstacle.BIRTH_DATE),
        ({"birth_date": "1950"}, Obstacle.BIRTH_DATE),
        ({"sex": ""}, Obstacle.NO_SEX),
        ({"sex": "U"}, Obstacle.NO_SEX),
        ({"sex": " f"}, None),
        ({"sex": "M"}, Obstacle.OTHER_SEX),
        ({"issuer": "A"}, Obstacle.ISSUER),
    ],
)
def test_who_is_the_same_patient(fields: dict[str, str], why: Obstacle | None) -> None:
    assert growth.why_not_compared(scan(), scan(**fields)) is why
    assert growth.why_not_compared(scan(**fields), scan()) is why


@pytest.mark.parametrize(
    "birth_date", ["", " ", "00000000", "99991231", "99999999", "19000101", "19700101", "11111111", "19501301", "X"]
)
def test_no_birth_date_that_agrees_is_one(birth_date: str) -> None:
    both = scan(birth_date=birth_date)
    assert growth.why_not_compared(both, both) in (Obstacle.NO_BIRTH_DATE, Obstacle.BIRTH_DATE)


PLACEHOLDERS = [
    "ANON", " anon", "Anonymous^", "ANONYMIZED", "anonymisé", "ANONYMOUS_PATIENT", "AnonymousPatient", "unknown",
    "Unbekannt", "NONE", "No ID", "N/A", "n.a.", "0", "000000", "9999", "999-999", "XXXX", "TEST", "test patient",
    "PATIENT", "-", "?", "...", "111111", "",
]  # fmt: skip


@pytest.mark.parametrize("patient_id", PLACEHOLDERS)
def test_a_placeholder_is_nobody(patient_id: str) -> None:
    both = scan(patient_id=patient_id)
    assert growth.why_not_compared(both, both) is Obstacle.PATIENT_ID


@pytest.mark.parametrize("patient_id", ["P", "7", "99", "049", "0012", "12345", "ANON-17", "TEST1", "Anders", "患者"])
def test_what_may_be_a_persons_own_id_is_one(patient_id: str) -> None:
    both = scan(patient_id=patient_id)
    assert growth.why_not_compared(both, both) is None


@pytest.mark.parametrize(
    ("elements", "utc", "stated"),
    [
        ({"AcquisitionDateTime": "20260102030405.5+0100", "TimezoneOffsetFromUTC": "-0500"}, "02 02:04:05.5", True),
        ({"SeriesTime": "1", "AcquisitionDate": "", "TimezoneOffsetFromUTC": "+0900"}, "01 18:04:00.0", True),
        ({"ContentDate": "20260102", "ContentTime": "0304", "TimezoneOffsetFromUTC": "-0330"}, "02 06:34:00.0", True),
        ({"AcquisitionDate": "20260103", "StudyTime": "0304", "TimezoneOffsetFromUTC": "+0000"}, "02 03:04:00.0", True),
        ({"StudyTime": "03:04:05", "TimezoneOffsetFromUTC": "+0000"}, "02 03:04:05.0", True),
    ],
)  # fmt: skip
def test_moments(elements: dict[str, Any], utc: str, stated: bool) -> None:
    moment, zone = moment_of(ct(0, **elements))
    assert (moment, zone) == (datetime.strptime(f"2026-01-{utc}+0000", "%Y-%m-%d %H:%M:%S.%f%z"), stated)


@pytest.mark.parametrize("elements", [{"StudyTime": ""}, {"StudyDate": "", "StudyTime": ""}, {"StudyTime": "2561"}])
def test_no_moment(elements: dict[str, Any]) -> None:
    assert moment_of(ct(0, **elements)) == (None, False)


def test_an_unstated_zone_is_this_machines_own() -> None:
    here = datetime(2026, 1, 2, 3, 4).astimezone(UTC), False
    assert moment_of(ct(0)) == moment_of(ct(0, TimezoneOffsetFromUTC="+9900")) == here


def test_the_first_slice_counts() -> None:
    times = ["030500", "030400", ""]
    headers = [ct(0, AcquisitionDate="20260102", AcquisitionTime=time, StudyTime="") for time in times]
    assert growth.acquired_at(headers)[0] == datetime(2026, 1, 2, 3, 4).astimezone(UTC)


@pytest.mark.parametrize(("hours", "stated", "earlier"), [(1, True, True), (25, False, False), (27, False, True)])
def test_a_zone_that_only_one_states_leaves_the_order_open(hours: int, stated: bool, earlier: bool) -> None:
    before = scan(acquired_at=MOMENT - timedelta(hours=hours), zone_stated=stated)
    assert growth.is_earlier(before, scan()) is earlier
    assert not growth.is_earlier(scan(), before)


# the node's core


class VolumeEngine(Engine):
    """Draws so many slices of each type in one stack after another; nothing drawn is not suspected."""

    def __init__(self, *script: dict[HaemorrhageType, int]) -> None:
        self.script, self.identity = list(script), MODEL

    def wanted(self, stack: SliceStack) -> dict[HaemorrhageType, int]:
        return self.script.pop(0)

    def question(self, pipeline: str) -> Question:
        return question_of(pipeline)

    def run(self, pipeline: str, given: Given) -> Result:
        stack = given.stack
        wanted, masks = self.wanted(stack), {}
        for kind, slices in wanted.items():
            masks[kind] = np.zeros(stack.hu.shape, bool)
            masks[kind][:slices] = True
        return replace(result_for(stack, masks, bool(masks)), model=self.identity)


class EngineByStudy(VolumeEngine):
    """Draws as many slices as belong to a study, however often it is asked."""

    def wanted(self, stack: SliceStack) -> dict[HaemorrhageType, int]:
        return {IPH: {"1": 1, "2": 2, "3": 4}[stack.study_uid.rpartition(".")[2]]}


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Core:
    """A node whose model is off by no more than 10 %."""
    finding_row = analysis.finding_row

    def with_range(finding: Finding, code: Code) -> FindingRow:
        row = finding_row(finding, code)
        return replace(row, low_ml=0.9 * row.volume_ml, high_ml=1.1 * row.volume_ml) if row.volume_ml else row

    monkeypatch.setattr(analysis, "finding_row", with_range)
    return core(tmp_path)


def patient(study: int, hour: int, **elements: Any) -> list[Dataset]:
    """A head of the same patient, scanned on 2026-01-02 at this hour UTC."""
    who = {
        "PatientID": "P",
        "PatientName": "Doe^Jane",
        "StudyTime": f"{hour:02d}0000",
        "TimezoneOffsetFromUTC": "+0000",
    }
    return head(study=study, **(who | elements))


def analysed(node: Core, slices: list[Dataset], drawn: dict[HaemorrhageType, int], *again: dict[HaemorrhageType, int],
             model: str = MODEL.sha256) -> None:  # fmt: skip
    """Receive a study and run its analysis, and those that it brings about again."""
    node.receive(slices)
    complete_due(node.database, node.settings.complete, LONG_AFTER)
    route_due(node.database, load_rules(), datetime.now(UTC))
    engine = VolumeEngine(drawn, *again)
    engine.identity = replace(MODEL, sha256=model)
    while analyse.analyse_next(node.database, node.archive, node.settings, engine, "test", lambda job: None):
        pass
    assert not engine.script, "fewer analyses than expected"


def row(node: Core, study: int) -> WorklistItem:
    with node.database.read() as tx:
        found = worklist.get(tx, str(ct(0, study=study).StudyInstanceUID))
    assert found is not None
    return found


def reports(node: Core, study: int) -> list[Dataset]:
    """Every version of the study's structured report, oldest first."""
    with node.database.read() as tx:
        return reports_of(tx, str(ct(0, study=study).StudyInstanceUID))


def reports_of(tx: Transaction, study_uid: str) -> list[Dataset]:
    found = results.objects_of_study(tx, study_uid)
    return [dcmread(each.path) for each in found if each.kind == "SR"]


def items(node: Dataset) -> Iterator[Dataset]:
    for item in node.get("ContentSequence", ()):
        yield item
        yield from items(item)


def words(report: Dataset) -> str:
    return "\n".join(each.TextValue for each in items(report) if each.ValueType == "TEXT")


def order(node: Core) -> list[str]:
    settings = node.settings.worklist
    reading = worklist.ReadingOrder(
        clock.utc_now(), timedelta(minutes=settings.ageing_cap_minutes), timedelta(hours=24), settings.overdue_first
    )
    with node.database.read() as tx:
        return [item.study_uid.rpartition(".")[2] for item in worklist.listed(tx, reading, 100)]


def test_growth_is_read_first(node: Core) -> None:
    """Before a suspected study that waits longer."""
    analysed(node, patient(1, hour=1), {IPH: 2})
    analysed(node, head(study=5), {SDH: 3})
    analysed(node, patient(2, hour=6), {IPH: 4, SDH: 1})
    assert headline(row(node, 2)).startswith(
        "GROWTH: intraparenchymal 10.2 ml to 20 ml (+10.2 ml, +100 %) in 5.0 h. Susp"
    )
    assert row(node, 2).grown and row(node, 2).urgency is Urgency.HIGH
    assert order(node) == ["2", "1", "5"]
    assert "GROWTH of the intraparenchymal haemorrhage" in words(reports(node, 2)[0])
    assert "GROWTH" not in headline(row(node, 1)) + words(reports(node, 1)[0])


def test_growth_of_another_type_is_said_and_not_marked(node: Core) -> None:
    analysed(node, patient(1, hour=1), {SDH: 2})
    analysed(node, patient(2, hour=6), {SDH: 4})
    assert not row(node, 2).grown
    assert headline(row(node, 2)).endswith(
        "; all haemorrhage 10.2 ml to 20 ml (+10.2 ml, +100 %) in 5.0 h, larger beyond the volume error"
    )


def test_the_earlier_scan_that_comes_later_changes_the_row_and_the_report(node: Core) -> None:
    """The row in the same transaction, even where it was acknowledged; the report in a new version."""
    analysed(node, patient(2, hour=6), {IPH: 4})
    assert not row(node, 2).grown
    with node.database.write() as tx:
        assert worklist.acknowledge(tx, row(node, 2).study_uid, clock.utc_now())
    node.receive(patient(1, hour=1))
    complete_due(node.database, node.settings.complete, LONG_AFTER)
    route_due(node.database, load_rules(), datetime.now(UTC))
    engine = VolumeEngine({IPH: 2}, {IPH: 4})
    assert analyse.analyse_next(node.database, node.archive, node.settings, engine, "test", lambda job: None)
    assert row(node, 2).grown and row(node, 2).state is ItemState.UNREAD and row(node, 2).version == 1
    assert len(reports(node, 2)) == 1
    assert analyse.analyse_next(node.database, node.archive, node.settings, engine, "test", lambda job: None)
    first, second = reports(node, 2)
    assert "GROWTH" not in words(first) and "GROWTH of the" in words(second)
    replaced = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert replaced.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert not analyse.analyse_next(node.database, node.archive, node.settings, engine, "test", lambda job: None)
    assert row(node, 2).grown and row(node, 2).version == 2


def test_an_acknowledged_growth_that_is_analysed_again_stays_acknowledged(node: Core) -> None:
    analysed(node, patient(2, hour=6), {IPH: 4})
    analysed(node, patient(1, hour=1), {IPH: 2}, {IPH: 4})
    with node.database.write() as tx:
        assert worklist.acknowledge(tx, row(node, 2).study_uid, clock.utc_now())
        assert jobs.again(tx, row(node, 2).study_uid, "haemorrhage", 0)
    analysed(node, [], {IPH: 4})
    assert row(node, 2).version == 3 and row(node, 2).state is ItemState.ACKNOWLEDGED and row(node, 2).grown


def test_the_nearest_earlier_scan_counts(node: Core) -> None:
    """A scan between two others takes the place of the older one, and growth is not dropped silently."""
    analysed(node, patient(1, hour=1), {IPH: 2})
    analysed(node, patient(3, hour=9), {IPH: 4})
    assert row(node, 3).grown
    analysed(node, patient(2, hour=5), {IPH: 4}, {IPH: 4})
    assert "all haemorrhage 20 ml to 20 ml (+0.0 ml, +0 %) in 4.0 h, no change seen" in headline(row(node, 3))
    assert "an earlier comparison found growth: please look" in headline(row(node, 3)) and row(node, 3).grown
    assert row(node, 2).grown and "in 4.0 h" in headline(row(node, 2))
    with node.database.write() as tx:
        worklist.acknowledge(tx, row(node, 3).study_uid, clock.utc_now())
        jobs.again(tx, row(node, 3).study_uid, "haemorrhage", 0)
    analysed(node, [], {IPH: 4})
    assert not row(node, 3).grown and "found growth" not in headline(row(node, 3))


def test_new_since_a_negative_scan_claims_nothing_beyond_the_error(node: Core) -> None:
    analysed(node, patient(1, hour=1), {})
    analysed(node, patient(2, hour=6), {IPH: 4})
    assert headline(row(node, 2)).endswith("; all haemorrhage new since the scan 5.0 h earlier")
    assert not row(node, 2).grown
    assert "Intraparenchymal: 20 ml, new: nothing was outlined in the earlier scan." in words(reports(node, 2)[0])


def test_gone_since_a_suspected_scan(node: Core) -> None:
    analysed(node, patient(1, hour=1), {IPH: 4})
    analysed(node, patient(2, hour=6), {})
    assert row(node, 2).urgency is Urgency.LOW
    assert headline(row(node, 2)).endswith("; all haemorrhage 20 ml in the scan 5.0 h earlier, no longer outlined")


def test_two_negative_scans_say_nothing_on_the_list(node: Core) -> None:
    analysed(node, patient(1, hour=1), {})
    analysed(node, patient(2, hour=6), {})
    assert headline(row(node, 2)) == "No haemorrhage suspected (probability 0.03)"
    assert "nothing outlined in either scan" in words(reports(node, 2)[0])


def test_different_models_are_not_compared(node: Core) -> None:
    analysed(node, patient(1, hour=1), {IPH: 2})
    analysed(node, patient(2, hour=6), {IPH: 4}, model="f" * 64)
    assert headline(row(node, 2)).endswith("; the scan 5.0 h earlier was measured by another model")
    assert "measured by different models" in words(reports(node, 2)[0])
    assert not row(node, 2).grown


def test_without_a_known_error_there_is_no_claim(tmp_path: Path) -> None:
    bare = core(tmp_path)
    analysed(bare, patient(1, hour=1), {IPH: 2})
    analysed(bare, patient(2, hour=6), {IPH: 20})
    assert not row(bare, 2).grown
    assert headline(row(bare, 2)).endswith("in 5.0 h, change not certain (unknown volume error)")


NAMELESS = {"PatientName": "", "PatientSex": "M"}


@pytest.mark.parametrize(
    ("elements", "both", "said"),
    [
        ({"PatientID": "Q"}, {}, ""),
        ({"IssuerOfPatientID": "B"}, {}, ""),
        ({"StudyTime": ""}, {}, ""),
        ({"IssuerOfPatientID": None}, {}, "only one of them says who issued the patient ID"),
        ({"PatientName": "Roe^Jane"}, {}, "the names differ"),
        ({"PatientBirthDate": "19500102"}, {}, "the birth dates differ"),
        ({"PatientSex": "F"}, {"PatientSex": "M"}, "the sexes differ"),
        ({"PatientBirthDate": ""}, {}, "the birth date is missing"),
        ({}, NAMELESS | {"PatientBirthDate": ""}, "the birth date is missing"),
        ({}, NAMELESS | {"PatientBirthDate": "19000101"}, "the birth date is a placeholder or no date"),
        ({}, {"PatientName": "", "PatientSex": ""}, "the sex is missing"),
        ({}, NAMELESS | {"PatientID": "ANON"}, "the patient ID is a placeholder"),
        ({}, NAMELESS | {"PatientID": "000000", "IssuerOfPatientID": None}, "the patient ID is a placeholder"),
    ],
)  # fmt: skip
def test_not_the_same_patient_or_no_known_order(
    node: Core, elements: dict[str, str | None], both: dict[str, str | None], said: str
) -> None:
    """Nothing is compared in row, report and page; the page and the log say why, where it is a prior of the same ID."""
    slices = [patient(study, hour=hour, IssuerOfPatientID="A") for study, hour in ((1, 1), (2, 6))]
    for each, replaced in ((slices[0], both), (slices[1], both | elements)):
        for slice_, (keyword, value) in itertools.product(each, replaced.items()):
            delattr(slice_, keyword) if value is None else setattr(slice_, keyword, value)
    analysed(node, slices[0], {IPH: 2})
    with capture_logs() as logs:
        analysed(node, slices[1], {IPH: 4})
    assert "earlier" not in headline(row(node, 2)) and "in 5.0 h" not in headline(row(node, 2))
    assert not row(node, 2).grown and "earlier scan" not in words(reports(node, 2)[0])
    assert any("not compared" in each["event"] for each in logs) is bool(said)
    assert any("contradict" in each["event"] for each in logs) is ("differ" in said)
    client = TestClient(build_app(node.database, node.archive, node.settings), base_url="http://127.0.0.1")
    page, first = (client.get(f"/studies/{row(node, study).study_uid}").text for study in (2, 1))
    assert "A prior study under the same patient ID" not in first
    if said:
        assert f"A prior study under the same patient ID was not compared: {said}." in page
    assert ("A prior study under the same patient ID" in page) is bool(said)


def test_what_was_compared_before_this_was_asked_is_not_said_again(node: Core) -> None:
    """A database of an earlier version: the report compared two scans that are not known to be one person's."""
    for study, hour in ((1, 1), (2, 6)):
        analysed(node, patient(study, hour=hour, PatientBirthDate=""), {IPH: study})
    uid = row(node, 2).study_uid
    with node.database.write() as tx:
        kept = scans.latest(tx, uid, "haemorrhage")
        assert kept is not None
        scans.add(tx, replace(kept, compared="GROWTH"))
        assert growth.comparison(tx, uid, "haemorrhage").sentences == ()


def test_an_empty_id_matches_nobody(node: Core) -> None:
    analysed(node, patient(1, hour=1, PatientID=""), {IPH: 2})
    analysed(node, patient(2, hour=6, PatientID=""), {IPH: 4})
    assert "5.0 h" not in headline(row(node, 2))


def test_a_corrected_id_ends_the_comparison(node: Core) -> None:
    """The images were sent again under another Patient ID; the pixels are the same, so nothing is analysed again."""
    analysed(node, patient(1, hour=1), {IPH: 2})
    node.receive(patient(1, hour=1, PatientID="Q"))
    analysed(node, patient(2, hour=6), {IPH: 4})
    assert "5.0 h" not in headline(row(node, 2))


def test_another_result_of_the_earlier_scan_while_this_one_is_written(
    node: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is made again before it is sent: its words are those of the rows."""
    analysed(node, patient(1, hour=1), {IPH: 4})
    finish = analyse.finish
    calls: list[bool] = []

    def meanwhile(
        database: Database,
        settings: Settings,
        job: Job,
        owner: str,
        analysis: Analysis,
        scan: Scan,
        made: Sequence[ResultObject],
    ) -> bool:
        if not calls and analysis.study_uid.endswith(".2"):
            calls.append(False)
            with database.write() as tx:
                (old,) = results.analyses_of_study(tx, str(ct(0).StudyInstanceUID))
                halved = tuple(
                    replace(f, volume_ml=f.volume_ml / 2, high_ml=(f.high_ml or 0) / 2) for f in old.findings
                )
                results.add_analysis(tx, replace(old, version=2, findings=halved))
                before = scans.latest(tx, old.study_uid, "haemorrhage")
                assert before is not None
                scans.add(tx, replace(before, version=2))
        return finish(database, settings, job, owner, analysis, scan, made)

    monkeypatch.setattr(analyse, "finish", meanwhile)
    analysed(node, patient(2, hour=6), {IPH: 4})
    (report,) = reports(node, 2)
    assert calls and "Intraparenchymal: 10.2 ml to 20 ml" in words(report)


def test_what_the_page_says_outlives_the_earlier_study(node: Core) -> None:
    analysed(node, patient(1, hour=1), {IPH: 2})
    analysed(node, patient(2, hour=6), {IPH: 4})
    uid, earlier = row(node, 2).study_uid, row(node, 1).study_uid
    with node.database.write() as tx:
        there = growth.comparison(tx, uid, "haemorrhage")
        assert there.earlier_study_uid == earlier and there.grown
        assert growth.comparison(tx, earlier, "haemorrhage") == growth.ShownChange((), None, False)
        scans.forget_study(tx, earlier)
        gone = growth.comparison(tx, uid, "haemorrhage")
    assert gone == growth.ShownChange(there.sentences, None, False)


def test_the_report_in_codes(node: Core, tmp_path: Path) -> None:
    """The earlier volume at its own time point, pointing at the earlier report; valid by dciodvfy and dcentvfy."""
    analysed(node, patient(1, hour=1), {IPH: 2})
    analysed(node, patient(2, hour=6), {IPH: 4})
    (before,), (report,) = reports(node, 1), reports(node, 2)
    groups = [each for each in items(report) if each.ConceptNameCodeSequence[0].CodeValue == "125007"]
    earlier = [group for group in groups if "Earlier scan" in words(group)]
    assert len(earlier) == 2
    for group, finding in zip(earlier, (INTRACRANIAL_HAEMORRHAGE, INTRAPARENCHYMAL_HAEMORRHAGE), strict=True):
        by_name = {each.ConceptNameCodeSequence[0].CodeValue: each for each in items(group)}
        assert by_name["121071"].ConceptCodeSequence[0].CodeValue == finding.value
        assert float(by_name[codes.VOLUME.value].MeasuredValueSequence[0].NumericValue) == pytest.approx(2 * SLICE_ML)
        assert codes.DIFFERENCE_IN_SIZE.value not in by_name
        pointed = by_name[codes.PRIOR_REPORT.value].ReferencedSOPSequence[0]
        assert pointed.ReferencedSOPInstanceUID == before.SOPInstanceUID
        assert any("2026-01-02 01:00 UTC" in each.TextValue for each in items(group) if each.ValueType == "TEXT")
    present = [[each.ConceptNameCodeSequence[0].CodeValue for each in items(group)] for group in groups[:-2]]
    assert [codes.DIFFERENCE_IN_SIZE.value in names for names in present] == [True, True]
    said = [each for each in items(report) if each.ConceptNameCodeSequence[0].CodeValue == "442714003"]
    assert {each.ConceptCodeSequence[0].CodeValue for each in said} == {codes.INCREASE_IN_SIZE.value}
    other = report.PertinentOtherEvidenceSequence[0]
    assert other.StudyInstanceUID == before.StudyInstanceUID
    paths = []
    with node.database.read() as tx:
        for study in (1, 2):
            made = results.objects_of_study(tx, str(ct(0, study=study).StudyInstanceUID))
            paths += [each.path for each in made]
    assert [error for path in paths for error in validator_errors(path)] == []
    assert entity_errors(paths) == []


@pytest.mark.parametrize("arrivals", [(3, 2, 1), (2, 3, 1), (3, 1, 2)])
def test_in_whatever_order_they_come_the_last_reports_say_what_stands(node: Core, arrivals: tuple[int, ...]) -> None:
    for study in arrivals:
        node.receive(patient(study, hour=study))
    complete_due(node.database, node.settings.complete, LONG_AFTER)
    route_due(node.database, load_rules(), datetime.now(UTC))
    engine = EngineByStudy()
    while analyse.analyse_next(node.database, node.archive, node.settings, engine, "test", lambda job: None):
        pass
    for study, said in ((1, None), (2, "5.1 ml to 10.2 ml"), (3, "GROWTH")):
        with node.database.read() as tx:
            now_stands = growth.comparison(tx, row(node, study).study_uid, "haemorrhage")
        report = words(reports(node, study)[-1])
        assert all(sentence in report for sentence in now_stands.sentences)
        assert bool(now_stands.sentences) is (said is not None)
        assert (said or "") in report and row(node, study).grown is (study > 1)


def test_pages(node: Core) -> None:
    """The list says growth in a word, the study's page how much."""
    analysed(node, patient(1, hour=1), {IPH: 2})
    analysed(node, patient(2, hour=6), {IPH: 4})
    client = TestClient(build_app(node.database, node.archive, node.settings), base_url="http://127.0.0.1")
    assert "<span>Growth</span>" in client.get("/").text
    page = client.get(f"/studies/{row(node, 2).study_uid}").text
    assert "GROWTH of the intraparenchymal haemorrhage" in page
    assert f'href="/studies/{row(node, 1).study_uid}">The earlier study</a>' in page
    assert "Since the last scan" not in client.get(f"/studies/{row(node, 1).study_uid}").text


# the whole node


@pytest.mark.timeout(600)
def test_two_heads_of_one_patient_in_a_running_node(tmp_path: Path) -> None:
    """The later scan first, then the earlier one, then a third: the real network, DCMTK as scanner."""
    start = datetime(2026, 1, 2, 3, 0)
    sizes: dict[str, Literal["large", "subtle"]] = {"6": "large", "0": "subtle", "9": "large"}
    with running_node(tmp_path / "node", "[complete]\nquiet_s = 5.0\n") as served:
        for received, (hours, size) in enumerate(sizes.items(), start=1):
            folder = tmp_path / hours
            write_series(synthetic_head(13, IPH, size), folder, 1, now=start + timedelta(hours=int(hours)))
            scanner = storescu(folder, served.port)
            assert scanner.wait(60) == 0
            wait_until(partial(served.settled, received), 180, "everything received is analysed")
        entries = {entry["study_uid"]: entry for entry in served.worklist()}
        uids = [dcmread(next((tmp_path / hours).iterdir())).StudyInstanceUID for hours in ("0", "6", "9")]
        said = [entries[uid]["headline"] for uid in uids]
        page = httpx2.get(f"{address(served)}/studies/{uids[1]}").text
    assert " in " not in said[0]
    assert "in 6.0 h" in said[1] and "in 3.0 h" in said[2]
    with Database(served.data / "node.sqlite").read() as tx:
        texts = [[words(report) for report in reports_of(tx, uid)] for uid in uids]
    assert [len(each) for each in texts] == [1, 2, 1], said
    assert "6.0 h earlier, as measured by the same model" not in texts[1][0]
    assert "6.0 h earlier, as measured by the same model" in texts[1][1]
    assert "3.0 h earlier, as measured by the same model" in texts[2][0]
    assert "Since the last scan" in page and f'href="/studies/{uids[0]}"' in page


def address(served: Served) -> str:
    """Where the node's pages are."""
    with Database(served.data / "node.sqlite").read() as tx:
        return f"http://127.0.0.1:{processes.published(tx, 'web_port')}"
