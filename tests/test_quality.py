"""The quality page: intervals against references, figures against hand-counted studies, drift, and what is drawn."""

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser
from pydantic import ValidationError
from scipy.stats import binom, chi2_contingency
from series import core_in_memory, head
from starlette.testclient import TestClient
from web_support import QUESTION, Node, faults, make_node, serving

from dicom_node import clock, entities
from dicom_node.derived import flag, removal
from dicom_node.entities import ChoiceKind
from dicom_node.routes import Rules, load_rules
from dicom_node.steps.route import route_due
from dicom_node.tables import instances, jobs, quality
from dicom_node.tables.database import Transaction, open_database
from dicom_node.web.app import build_app
from dicom_node.web.quality import charts
from dicom_node.web.quality.intervals import change, percentile, ranks, rate
from dicom_node.web.quality.measures import MS_STEPS, PERCENT_STEPS, percent, taken, tick_percent, tick_time

EVER = date(2020, 1, 1)
EQUIPMENT = entities.Equipment("ACME", "One <Fast>", "ER")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return make_node(tmp_path / "node")


@pytest.fixture
def client(node: Node) -> Iterator[TestClient]:
    app = build_app(node.database, node.archive, node.settings)
    with TestClient(app, base_url="http://localhost") as client:
        yield client


def put(node: Node, weeks_ago: int, outcome: str, count: int = 1, aet: str = "CT1", judged: str = "") -> None:
    """So many studies of one week that ended so; flagged ones after 4 s."""
    with node.other().write() as tx:
        insert(tx, weeks_ago, outcome, count, aet, judged)


def steady(node: Node, aet: str, weeks: range, flagged: int, negative: int) -> None:
    """The same in each of these weeks."""
    with node.other().write() as tx:
        for week in weeks:
            insert(tx, week, "flagged", flagged, aet)
            insert(tx, week, "negative", negative, aet)


def insert(tx: Transaction, weeks_ago: int, outcome: str, count: int, aet: str, judged: str = "") -> None:
    week = quality.monday_of(clock.utc_now()) - timedelta(weeks=weeks_ago)
    tx.run("INSERT OR IGNORE INTO scanners (aet, manufacturer, model, station) VALUES (:aet, '', '', '')", aet=aet)
    first = tx.number("SELECT count(*) FROM quality")
    for number in range(first, first + count):
        tx.run(
            "INSERT INTO quality SELECT :uid, :question, :week, scanner_id, :outcome, :ms, :judged FROM scanners"
            " WHERE aet = :aet",
            uid=f"1.2.3.{number}",
            question=QUESTION,
            week=week.isoformat(),
            outcome=outcome,
            ms=4000 + number if outcome == "flagged" else None,
            judged=judged,
            aet=aet,
        )


def rows(node: Node, sql: str) -> list[dict[str, Any]]:
    with node.database.read() as tx:
        return tx.rows(sql)


def counts(node: Node) -> list[tuple[str, str, int]]:
    with node.database.read() as tx:
        return [(each.outcome, each.judged, each.studies) for each in quality.counts(tx, QUESTION, EVER)]


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


# Intervals


def test_wilson_against_published_figures() -> None:
    """Newcombe 1998, Statistics in Medicine 17:857, table I, method 3."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (hits, count), (low, high) in published.items():
        found = rate(hits, count)
        assert found is not None
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert rate(0, 0) is None


@given(st.integers(1, 5000).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_a_rate_lies_in_its_interval(pair: tuple[int, int]) -> None:
    hits, count = pair
    found = rate(hits, count)
    other = rate(count - hits, count)
    assert found is not None and other is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low == pytest.approx(1 - other.high)


@settings(max_examples=60)
@given(st.integers(1, 3000), st.sampled_from([0.5, 0.9, 0.95]))
def test_ranks_are_those_of_the_binomial_distribution(count: int, share: float) -> None:
    low, high = ranks(count, share)
    below = binom.cdf(range(count), count, share)  # P(B < r) for r = 1 ... count
    assert low == max((r for r in range(1, count + 1) if below[r - 1] <= 0.025), default=None)
    assert high == min((r for r in range(1, count + 1) if below[r - 1] >= 0.975), default=None)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=300).map(sorted), st.sampled_from([0.5, 0.9, 0.95]))
def test_a_percentile_lies_in_its_interval(values: list[int], share: float) -> None:
    found = percentile(values, share)
    assert found is not None
    assert sum(value <= found.value for value in values) >= share * len(values) - 1e-6
    assert sum(value < found.value for value in values) < share * len(values)
    assert found.low is None or found.low <= found.value
    assert found.high is None or found.value <= found.high


def test_percentiles_counted_by_hand() -> None:
    hundred = list(range(1, 101))
    found = [percentile(hundred, share) for share in (0.5, 0.9, 0.95)]
    assert [each and each.value for each in found] == [50, 90, 95]
    median, seven = found[0], percentile([7], 0.95)
    assert median is not None and seven is not None
    assert (median.low, median.high) == (40, 61)  # the tables' ranks for n = 100 (Conover, table A3)
    assert seven.high is None
    assert percentile([], 0.5) is None


def test_the_test_of_two_rates_is_the_uncorrected_chi_square() -> None:
    found = change(120, 500, 210, 1500)
    table = [[120, 380], [210, 1290]]
    assert found is not None and found.p == pytest.approx(chi2_contingency(table, correction=False).pvalue, rel=1e-9)
    assert found.drifts() and found.drifts(comparisons=100)


def test_too_few_are_not_compared() -> None:
    assert change(0, 0, 5, 50) is None and change(5, 50, 0, 0) is None
    for counts in ((4, 40, 3, 400), (50, 100, 0, 8), (4, 4, 0, 4)):
        found = change(*counts)
        assert found is not None and found.p is None and not found.drifts()


# One row a study


def test_a_study_is_counted_when_it_has_an_outcome(node: Node) -> None:
    waiting = node.receive(1)
    assert counts(node) == []
    node.choose(waiting, ChoiceKind.DECLINED, "Contrast was given.")
    assert counts(node) == [("not_analysed", "", 1)]
    node.analysed(2, suspected=True)
    node.analysed(3, suspected=False)
    failed = node.receive(4)
    node.choose(failed, ChoiceKind.ANALYSE, "Head CT.")
    node.fail(failed, "broken")
    assert counts(node) == [("flagged", "", 1), ("negative", "", 1), ("not_analysed", "", 2)]


def test_the_turnaround_is_of_the_first_flag(node: Node) -> None:
    study_uid = node.analysed(1, suspected=True, minutes_ago=5)
    node.analysed(2, suspected=False)
    (first,) = rows(node, "SELECT turnaround_ms FROM quality WHERE turnaround_ms IS NOT NULL")
    assert 300_000 <= first["turnaround_ms"] < 330_000
    with node.other().write() as tx:  # late images, and a result that no longer suspects
        tx.run(
            "UPDATE worklist SET waiting_since = :now WHERE study_uid = :uid", uid=study_uid, now=str(clock.utc_now())
        )
    node.result(study_uid, suspected=False)
    assert rows(node, "SELECT turnaround_ms FROM quality WHERE turnaround_ms IS NOT NULL") == [first]
    assert counts(node) == [("flagged", "", 1), ("negative", "", 1)]


def test_the_row_outlives_the_study(node: Node) -> None:
    study_uid = node.analysed(1, suspected=True)
    with node.other().write() as tx:
        quality.note_equipment(tx, f"{study_uid}.1", study_uid, EQUIPMENT)
        removal.forget_study(tx, study_uid)
    assert counts(node) == [("flagged", "", 1)]
    assert rows(node, "SELECT * FROM equipment") == []


def test_the_scanner_is_named_by_the_images(node: Node) -> None:
    study_uid = node.receive(1)
    with node.other().write() as tx:
        quality.note_equipment(tx, f"{study_uid}.1", study_uid, EQUIPMENT)
        quality.note_equipment(tx, f"{study_uid}.1", study_uid, entities.Equipment("OTHER", "", ""))
    node.choose(study_uid, ChoiceKind.ANALYSE, "Head CT.")
    node.result(study_uid, suspected=False)
    with node.database.read() as tx:
        (scanner,) = quality.scanners(tx)
    assert (scanner.aet, scanner.equipment) == ("SCANNER", EQUIPMENT)


def test_a_received_image_says_what_made_it() -> None:
    with core_in_memory() as core:
        slices = head()
        for each in slices:
            each.Manufacturer, each.ManufacturerModelName, each.StationName = "ACME", "One", "ER"
        core.receive(slices)
        with core.database.read() as tx:
            (row,) = tx.rows("SELECT * FROM equipment")
    assert (row["series_uid"], row["manufacturer"]) == (str(slices[0].SeriesInstanceUID), "ACME")
    assert (row["model"], row["station"]) == ("One", "ER")


@pytest.mark.parametrize(
    ("moment", "monday"),
    [("2026-11-16T00:00:00+00:00", 16), ("2026-11-22T23:59:59+00:00", 16), ("2026-11-16T00:30:00+01:00", 9)],
)
def test_weeks_begin_on_monday_in_utc(moment: str, monday: int) -> None:
    assert quality.monday_of(datetime.fromisoformat(moment)) == date(2026, 11, monday)


def test_a_node_of_before_is_counted_when_it_is_brought_up_to_date(node: Node) -> None:
    node.analysed(1, suspected=True, minutes_ago=2)
    node.analysed(2, suspected=False)
    node.choose(node.receive(3), ChoiceKind.DECLINED, "Contrast was given.")
    node.receive(4)
    before = rows(node, "SELECT study_uid, week, outcome, judged FROM quality")
    with node.other().write() as tx:
        for name in ("quality", "quality_sums", "scanners", "equipment"):
            tx.run(f"DROP TABLE {name}")
        tx.run("DELETE FROM _sqlite_migrations WHERE name IN ('quality_tables', 'quality_sums')")
    open_database(node.database.path)
    assert rows(node, "SELECT study_uid, week, outcome, judged FROM quality") == before and len(before) == 3
    (flag,) = rows(node, "SELECT turnaround_ms FROM quality WHERE turnaround_ms IS NOT NULL")
    assert 120_000 <= flag["turnaround_ms"] < 150_000


# The page


def test_an_empty_node_says_so_in_words(client: TestClient) -> None:
    page = client.get("/quality").text
    assert "Nothing to count yet" in page and '<svg class="plot' not in page
    assert "not a medical device" in page
    for query in ("weeks=9999", "weeks=x", "scanner=x", "scanner=77"):
        assert client.get(f"/quality?{query}").status_code == 200


def test_figures_against_a_count_by_hand(node: Node, client: TestClient) -> None:
    put(node, 0, "flagged", 6, judged="agree")
    put(node, 0, "flagged", 1, judged="wrong_type")
    put(node, 0, "flagged", 3, judged="false_alarm")
    put(node, 0, "flagged", 10)
    put(node, 0, "negative", 78, aet="CT2")
    put(node, 0, "negative", 2, aet="CT2", judged="missed")
    put(node, 0, "not_analysed", 25, aet="CT2")
    put(node, 0, "outside", 60, aet="MR1")
    text = text_of(client.get("/quality").text)
    assert "Positive predictive value 70 % 40 % to 89 % 7 of 10 flagged studies with feedback" in text
    assert "Type agreement 86 % 49 % to 97 % 6 of 7 flagged studies with a confirmed haemorrhage" in text
    assert "Flag rate 20 % 13 % to 29 % 20 of 100 analysed studies" in text
    assert "Not-analysed rate 20 % 14 % to 28 % 25 of 125 studies with an outcome" in text
    assert "50th percentile 4.0 s (4.0 s to 4.0 s)" in text
    assert "90th percentile 4.0 s (at least 4.0 s)" in text
    assert "Feedback was given on 10 of 20 flagged studies (50 %)" in text
    assert "Readers reported as missed: 2 among 80 studies without suspicion" in text
    assert "Not counted: 60 of another modality or body part" in text and "MR1" not in text
    assert "cannot be judged for drift yet" in text
    week = quality.monday_of(clock.utc_now()).isoformat()
    assert f"{week} 20 % 13 % to 29 % 20 of 100" in text
    assert re.search(r"CT1 100 % 84 % to 100 % 20 of 20 CT2 0 %|CT2 0 % 0 % to 4.6 % 0 of 80 CT1 100 %", text)


def routed(node: Node, number: int, *outside: bool) -> str:
    """A study whose series the rules decline, each by a rule for what lies outside or by another one; its UID."""
    study_uid = node.receive(number)
    with node.other().write() as tx:
        for place, each in enumerate(outside):
            reason = "Not a head CT." if each else "Contrast was given."
            choice = entities.Choice(
                f"{study_uid}.1" if not place else f"{study_uid}.{place + 1}",
                study_uid,
                QUESTION,
                1,
                ChoiceKind.DECLINED,
                "the rule",
                reason,
                outside=each,
            )
            copy = replace(node._instance(study_uid, 0, clock.utc_now()), series_uid=choice.series_uid)
            instances.touch_series(tx, copy, clock.monotonic())
            jobs.put_choice(tx, choice)
        tx.run("UPDATE series SET state = 'routed' WHERE study_uid = :uid", uid=study_uid)
        flag.refresh(tx, study_uid, clock.utc_now())
    return study_uid


def test_what_the_rules_never_took_for_a_head_ct_is_counted_apart(node: Node) -> None:
    routed(node, 1, True)
    routed(node, 2, True, True)
    routed(node, 3, False)
    routed(node, 4, True, False)
    assert counts(node) == [("not_analysed", "", 2), ("outside", "", 2)]
    later = routed(node, 5, True)
    node.choose(later, ChoiceKind.ANALYSE, "Head CT.")
    node.fail(later, "broken")
    assert counts(node) == [("not_analysed", "", 3), ("outside", "", 2)], "it was taken for a head, and failed"


@pytest.mark.parametrize(
    ("changed", "outside"),
    [
        ({"Modality": "MR"}, True),
        ({"Modality": "CR"}, True),
        ({"BodyPartExamined": "CHEST", "StudyDescription": "CT Chest", "SeriesDescription": "Lung"}, True),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, True),
        ({"ContrastBolusAgent": "Ultravist 370"}, False),
        ({"ConvolutionKernel": "H70h"}, False),
    ],
)
def test_the_rules_that_come_with_the_node_say_what_lies_outside(changed: dict[str, Any], outside: bool) -> None:
    with core_in_memory() as core:
        slices = head(**changed)
        core.receive(slices)
        with core.database.write() as tx:
            tx.run("UPDATE series SET state = 'complete'")
        route_due(core.database, load_rules(), clock.utc_now())
        with core.database.read() as tx:
            (choice,) = jobs.choices_of_study(tx, str(slices[0].StudyInstanceUID))
            (row,) = tx.rows("SELECT outcome FROM quality") or [{"outcome": "off the list"}]
    assert (choice.kind, choice.outside) == (ChoiceKind.DECLINED, outside)
    assert row["outcome"] in (("outside", "off the list") if outside else ("not_analysed",))


def test_a_sites_own_rules_may_say_what_lies_outside() -> None:
    text = '[[rule]]\nname = "a"\ndecline = "No."\n{}[[rule]]\nname = "b"\npipeline = "haemorrhage"\n'
    said = {
        "": False,
        "outside = true\n": True,
        'when.modality = { is = ["MR"] }\n': True,
        'outside = false\nwhen.modality = { is = ["MR"] }\n': False,
        'when.modality = { is = ["CT"] }\nwhen.gaps = { true = true }\n': False,
    }
    for more, outside in said.items():
        assert Rules.model_validate(tomllib.loads(text.format(more))).rule[0].is_outside is outside, more
    with pytest.raises(ValidationError, match="only a rule that declines"):
        Rules.model_validate(tomllib.loads(text.format("") + "outside = true\n"))


def test_the_rows_of_an_older_node_are_told_apart_by_the_names_of_its_rules(node: Node) -> None:
    names = {1: "modality without a pipeline", 2: "contrast agent", 3: "other region by the study's description"}
    for number, name in names.items():
        study_uid = node.receive(number)
        node.choose(study_uid, ChoiceKind.DECLINED, "No.")
        with node.other().write() as tx:
            tx.run("UPDATE choices SET rule = :name WHERE study_uid = :uid", name=name, uid=study_uid)
    put(node, 9, "not_analysed", 4)  # their studies have left the archive
    with node.other().write() as tx:
        tx.run("ALTER TABLE choices DROP COLUMN outside")
        tx.run("DELETE FROM _sqlite_migrations WHERE name = 'outside_of_the_question'")
    open_database(node.database.path)
    found = rows(node, "SELECT outcome, sum(studies) AS n FROM quality_sums GROUP BY outcome ORDER BY outcome")
    assert [(each["outcome"], each["n"]) for each in found] == [("not_analysed", 5), ("outside", 2)]


def test_types_are_no_measure_of_a_question_without_types(node: Node, client: TestClient) -> None:
    put(node, 0, "flagged", 2, judged="wrong_type")
    page = client.get("/quality").text
    assert 'id="type-agreement"' in page and "0 of 2 flagged studies with a confirmed haemorrhage" in text_of(page)
    assert "100 %" in text_of(page), "the haemorrhage was there: a wrong type is no false alarm"


def test_weeks_and_scanners_are_chosen(node: Node, client: TestClient) -> None:
    put(node, 1, "flagged", 4)
    put(node, 1, "negative", 6, aet="CT2")
    put(node, 20, "flagged", 5)
    put(node, 40, "flagged", 7)
    for weeks, counted in ((26, "9 of 15"), (16, "4 of 10"), (52, "16 of 22")):
        assert f"{counted} analysed studies" in client.get(f"/quality?weeks={weeks}").text
    page = client.get("/quality").text
    (link,) = set(re.findall(r'href="(/quality\?weeks=26&amp;question=haemorrhage&amp;scanner=\d+)">CT2<', page))
    only = client.get(link.replace("&amp;", "&")).text
    assert "0 of 6 analysed studies" in text_of(only)
    assert "Only <b>CT2</b>" in only
    assert "No reader has given feedback on a flagged study" in only and "No study of these weeks was flagged" in only


def test_what_scanners_call_themselves_is_no_markup(node: Node, client: TestClient) -> None:
    put(node, 0, "flagged", 3, aet="<script>alert(1)</script>")
    page = client.get("/quality").text
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.S):
        ElementTree.fromstring(svg)
    assert not re.search(r"<svg[^>]*style=|<(path|text|rect|circle)[^>]*style=", page)


def test_a_steady_rate_is_called_steady(node: Node, client: TestClient) -> None:
    steady(node, "CT1", range(16), 5, 25)
    page = client.get("/quality").text
    assert "The flag rate shows no drift: 17 % (20 of 120) in the last 4 weeks, 17 % (60 of 360)" in text_of(page)
    assert "notice bad" not in page


def test_a_drift_is_warned_of_in_words(node: Node, client: TestClient) -> None:
    steady(node, "CT1", range(16), 5, 25)
    steady(node, "CT2", range(4), 15, 15)
    steady(node, "CT2", range(4, 16), 5, 25)
    page = client.get("/quality").text
    warned = re.findall(r'notice bad">.*?</p>', page, re.S)
    assert len(warned) == 2
    assert "The flag rate has risen: 33 % (80 of 240) in the last 4 weeks, 17 % (120 of 720)" in text_of(warned[0])
    assert "The flag rate of CT2 has risen: 50 % (60 of 120) in the last 4 weeks, 17 % (60 of 360)" in text_of(
        warned[1]
    )
    assert "p &lt; 0.001" in warned[0]
    with node.other().write() as tx:
        set_at = clock.utc_now().replace(hour=12)
        tx.run("INSERT INTO models_in_use VALUES ('haemorrhage', NULL, :at, 'me')", at=set_at.isoformat())
    assert f"The model for haemorrhage was changed on {set_at:%Y-%m-%d}" in client.get("/quality").text


def test_a_fall_is_a_drift_too_and_few_studies_are_none(node: Node, client: TestClient) -> None:
    steady(node, "CT1", range(4), 0, 1)
    steady(node, "CT1", range(4, 16), 1, 1)
    assert "Too few studies to say whether the flag rate drifts: 0 % (0 of 4)" in text_of(client.get("/quality").text)
    steady(node, "CT1", range(4), 0, 20)
    steady(node, "CT1", range(4, 16), 5, 10)
    assert "The flag rate has fallen: 0 % (0 of 84)" in text_of(client.get("/quality").text)


# Plots


def marks(count: int) -> tuple[charts.Mark, ...]:
    return tuple(charts.Mark(i / 10, i / 20, i / 5 if i % 2 else None) for i in range(count))


def test_a_plot_has_a_title_a_description_and_its_marks() -> None:
    scale = charts.axis([0.9], (0.1, 0.2, 0.5), percent)
    assert [round(tick, 3) for tick in scale.ticks] == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    caption = charts.Caption("key", "A & B", "What it shows")
    weeks = [date(2026, 1, 5) + timedelta(weeks=i) for i in range(10)]
    drawn = charts.by_week(caption, weeks, [charts.Line("one", (*marks(9), None))], scale, shaded=4, level=0.3)
    svg = ElementTree.fromstring(drawn)
    assert svg.get("role") == "img" and svg.get("aria-labelledby") == "key-title key-description"
    assert [each.text for each in svg if each.tag in ("title", "desc")] == ["A & B", "What it shows"]
    classes = [each.get("class") for each in svg]
    assert classes.count("mark of-0") == 9
    assert classes.count("reach of-0 open") == 5 and classes.count("reach of-0") == 4
    assert "before" in classes and "late" in classes


@given(st.lists(st.floats(0, 1e9), max_size=5), st.sampled_from([(0.1, 0.5), (1000.0, 60_000.0)]))
def test_an_axis_reaches_over_every_value(values: list[float], steps: tuple[float, ...]) -> None:
    scale = charts.axis(values, steps, str)
    assert 3 <= len(scale.ticks) <= 7
    assert scale.ticks[0] == 0 and scale.top >= max(values, default=0.0) * (1 - 1e-9)


@given(st.floats(0, 1e10), st.sampled_from([(MS_STEPS, tick_time), (PERCENT_STEPS, tick_percent)]))
def test_no_two_ticks_of_an_axis_read_the_same(
    highest: float, kind: tuple[tuple[float, ...], Callable[[float], str]]
) -> None:
    steps, label = kind
    scale = charts.axis([highest if label is tick_time else highest / 1e10], steps, label)
    labels = [scale.label(tick) for tick in scale.ticks]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("milliseconds", "label"),
    [(0, "0 s"), (2500, "2.5 s"), (75_000, "1 min 15 s"), (5_400_000, "1 h 30 min"), (86_400_000, "1 d")],
)
def test_ticks_of_time_are_exact(milliseconds: float, label: str) -> None:
    assert tick_time(milliseconds) == label


def test_no_two_groups_of_a_plot_read_the_same(node: Node, client: TestClient) -> None:
    long = "A-VERY-LONG-NAME-OF-A-SCANNER-IN-ROOM"
    for name in (
        f"{long}-1",
        f"{long}-2",
        f"{long}-1-{'X' * 20}-SAME-ENDING",
        f"{long}-2-{'X' * 20}-SAME-ENDING",
        "CT",
    ):
        put(node, 0, "flagged", 2, aet=name)
    page = client.get("/quality").text
    names = re.findall(r'<text class="name"[^>]*>([^<]+)<', page)
    plots = [names[start : start + 5] for start in range(0, len(names), 5)]
    assert len(plots) >= 2 and all(len(set(plot)) == 5 for plot in plots)
    assert all(len(name) <= charts.LONGEST_NAME for name in names)


@given(st.lists(st.text(st.sampled_from("ab"), min_size=20, max_size=40), max_size=9))
def test_short_names_differ_whatever_they_are(names: list[str]) -> None:
    shown = charts.short_names(names)
    assert len(set(shown)) == len(shown) and all(len(name) <= charts.LONGEST_NAME for name in shown)


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(0, "0.0 s"), (4460, "4.5 s"), (9960, "10 s"), (61_000, "1 min"), (3_900_000, "1 h 05 min")],
)
def test_times_in_words(milliseconds: float, words: str) -> None:
    assert taken(milliseconds) == words


@pytest.mark.parametrize(("share", "words"), [(0, "0 %"), (0.003, "0.3 %"), (0.0996, "10 %"), (1, "100 %")])
def test_shares_in_words(share: float, words: str) -> None:
    assert percent(share) == words


def test_the_page_fits_and_is_accessible(node: Node, browser: Browser) -> None:
    steady(node, "CT1", range(4), 6, 10)
    steady(node, "VERY-LONG-NAME-1", range(4, 16), 4, 36)
    put(node, 2, "flagged", 3, judged="agree")
    put(node, 1, "not_analysed", 2)
    trouble: list[str] = []
    with serving(node) as (address, _):
        shown: list[tuple[int, Literal["dark", "light"]]] = [(1280, "dark"), (1280, "light"), (390, "dark")]
        for width, scheme in shown:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("console", lambda message: trouble.append(message.text))
            page.goto(f"{address}/quality")
            assert page.get_by_role("img", name="Flag rate by week").is_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            colours = page.evaluate("[...document.querySelectorAll('.mark')].map((m) => getComputedStyle(m).fill)")
            assert len(colours) > 20 and "rgb(0, 0, 0)" not in colours
            assert faults(page) == []
            page.close()
    assert trouble == []
