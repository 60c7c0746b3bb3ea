"""A second clinical question beside haemorrhage, on one study: a folder, a file of words, a registry line, a route.

Routed, analysed, reported, delivered, listed, shown and judged side by side; neither replaces the other.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from peers import Orthanc, running_orthanc, wait_until
from pydicom import dcmread
from pydicom.dataset import Dataset
from series import Core, core, head, read_all
from web_support import Node, serving

from dicom_node import clock, headlines
from dicom_node.commands.analyse_files import analyse_files
from dicom_node.commands.listing import worklist as worklist_entries
from dicom_node.commands.phantom import PATIENTS, write_patient
from dicom_node.derived import flag
from dicom_node.entities import Choice, ChoiceKind, JobKind, Urgency
from dicom_node.errors import SettingsError
from dicom_node.models.store import ModelStore, open_engine
from dicom_node.outbox import dicom
from dicom_node.routes import load_rules
from dicom_node.settings import Peer
from dicom_node.steps.analyse import analyse_next
from dicom_node.steps.complete import complete_due
from dicom_node.steps.deliver import deliver_due
from dicom_node.steps.route import route_due
from dicom_node.tables import feedback, instances, jobs, quality, results, worklist
from dicom_node.tables.feedback import Opinion, Verdict
from dicom_node.tables.views import overview
from dicom_node.tables.worklist import Part, Standing
from dicom_node.web import words
from dicom_node.web.reader.study import study_page
from inference.engines.local import Engine
from inference.findings import NotAnalysable, Result
from inference.pipelines.base import Given as Images
from reports.vocabulary.terms import vocabulary_of

HERE = Path(__file__).parent / "second_question"
BOTH = ["haemorrhage", "skull_present"]
LONG_AFTER = 1e12
pytestmark = pytest.mark.usefixtures("second_question")


@pytest.fixture(scope="module")
def bleeding_head(tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    """A synthetic head with a large bleed."""
    folder = tmp_path_factory.mktemp("head")
    write_patient(PATIENTS[-1], 1, folder)
    return read_all(folder)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """The PACS that gets the results."""
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, bleeding_head: list[Dataset], orthanc: Orthanc) -> Core:
    """A node that has analysed the head for both questions and delivered what it found."""
    peer: dict[str, Any] = {
        "name": "pacs",
        "ae_title": "PACS",
        "host": "127.0.0.1",
        "port": orthanc.dicom_port,
        "destination": True,
    }
    made = core(tmp_path_factory.mktemp("node"), route={"rules": str(HERE / "routes.toml")}, peer=[peer])
    made.receive(bleeding_head)
    analyse(made)
    send = partial(dicom.send, peer=Peer(**peer), ae_title="TRIAGE", timeout_s=20)
    deliver_due(made.database, "pacs", send, made.settings.deliver, random.Random(1))
    return made


def analyse(node: Core) -> None:
    """Complete, route and analyse everything that has come."""
    complete_due(node.database, node.settings.complete, LONG_AFTER)
    route_due(node.database, load_rules(node.settings.routes_path), clock.utc_now())
    engine = open_engine(node.settings, ModelStore(node.settings.node.data, node.database).card_for)
    while analyse_next(node.database, node.archive, node.settings, engine, "test", lambda job: None):
        pass


class Unwilling(Engine):
    """Analyses nothing."""

    def run(self, pipeline_name: str, given: Images) -> Result:
        raise NotAnalysable("These images show no head.")


def study_uid(datasets: list[Dataset]) -> str:
    return str(datasets[0].StudyInstanceUID)


def test_one_series_goes_to_both_questions(node: Core, bleeding_head: list[Dataset]) -> None:
    with node.database.read() as tx:
        choices = jobs.choices_of_study(tx, study_uid(bleeding_head))
        done = jobs.of_study(tx, study_uid(bleeding_head))
    assert sorted((each.question, each.pipeline, each.kind) for each in choices) == [
        (question, question, ChoiceKind.ANALYSE) for question in BOTH
    ]
    assert sorted(job.question for job in done) == BOTH
    assert {job.state for job in done} == {"done"}


def test_each_question_has_its_own_result_and_objects(node: Core, bleeding_head: list[Dataset]) -> None:
    uid = study_uid(bleeding_head)
    with node.database.read() as tx:
        analyses = results.analyses_of_study(tx, uid)
        made = {question: results.objects_of(tx, uid, question, 1) for question in BOTH}
    assert [(each.question, each.version, each.suspected) for each in analyses] == [(each, 1, True) for each in BOTH]
    for question, first_number in zip(BOTH, (9101, 9111), strict=True):
        objects = {each.kind: dcmread(each.path) for each in made[question]}
        assert set(objects) == {"SEG", "SR", "SC", "KO"}
        assert sorted(each.SeriesNumber for each in objects.values()) == list(range(first_number, first_number + 4))
        assert all(question.replace("_", " ") in each.SeriesDescription for each in objects.values())
        assert all(question in str(each.path) for each in made[question])
    uids = [each.series_uid for objects in made.values() for each in objects]
    assert len(set(uids)) == len(uids) == 8


def test_reports_speak_their_own_words(node: Core, bleeding_head: list[Dataset]) -> None:
    uid = study_uid(bleeding_head)
    with node.database.read() as tx:
        made = {question: results.objects_of(tx, uid, question, 1) for question in BOTH}
    skull = {each.kind: dcmread(each.path) for each in made["skull_present"]}
    assert skull["SEG"].SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "89546000"
    assert skull["SC"].ImageComments.startswith("AI: SKULL SEEN")
    assert "haemorrhage" not in str(skull["SR"]).lower()
    haemorrhage = {each.kind: dcmread(each.path) for each in made["haemorrhage"]}
    assert "skull" not in str(haemorrhage["SR"]).lower()


def test_everything_reaches_the_pacs_once(node: Core, orthanc: Orthanc, bleeding_head: list[Dataset]) -> None:
    with node.database.read() as tx:
        made = {each.sop_uid for each in results.objects_of_study(tx, study_uid(bleeding_head))}
    wait_until(lambda: orthanc.count() == 8, 20, "eight objects in the PACS")
    assert {each["SOPInstanceUID"] for each in orthanc.instances()} == made


def test_the_row_says_both_and_the_urgent_one_decides(node: Core, bleeding_head: list[Dataset]) -> None:
    with node.database.read() as tx:
        item = worklist.get(tx, study_uid(bleeding_head))
    assert item is not None
    assert [(part.question, part.standing, part.urgency) for part in item.parts] == [
        ("haemorrhage", Standing.POSITIVE, Urgency.HIGH),
        ("skull_present", Standing.POSITIVE, Urgency.LOW),
    ]
    assert item.urgency is Urgency.HIGH
    said = headlines.headline(item)
    assert said.startswith("Suspected intracranial haemorrhage, about ") and "Skull seen: skull" in said
    (entry,) = worklist_entries(node.settings)
    assert entry.headline == said and len(entry.results) == 8


def test_the_pages_show_both_side_by_side(node: Core, bleeding_head: list[Dataset]) -> None:
    uid = study_uid(bleeding_head)
    with (
        serving(Node(node.database, node.archive, node.settings)) as (address, _),
        httpx2.Client(base_url=address, follow_redirects=True) as client,
    ):
        row, page = client.get("/rows").text, client.get(f"/studies/{uid}").text
        assert "Skull seen: skull" in row and "thumb.jpg?question=haemorrhage" in row
        for question in BOTH:
            assert f'id="result-{question}-1"' in page and f'id="feedback-{question}-1"' in page
            assert client.get(f"/studies/{uid}/picture.png?question={question}&version=1").status_code == 200
        pictures = [client.get(f"/studies/{uid}/picture.png?question={question}").content for question in BOTH]
        assert pictures[0] != pictures[1]
        for question, title in zip(BOTH, ("Intracranial haemorrhage", "Skull"), strict=True):
            shown = client.get(f"/quality?question={question}").text
            assert f'aria-current="true">{title}' in shown


def test_feedback_on_one_question_leaves_the_other_alone(node: Core, bleeding_head: list[Dataset]) -> None:
    uid = study_uid(bleeding_head)
    with serving(Node(node.database, node.archive, node.settings)) as (address, _), node.database.read() as tx:
        analysis = results.analyses_of_study(tx, uid, "skull_present")[-1]
        form = {"question": "skull_present", "version": "1", "made": analysis.made_at.isoformat()}
        said = {"verdict": "false_alarm", "reader": "Dr Second"}
        answer = httpx2.post(f"{address}/studies/{uid}/feedback", data=form | said, headers={"Origin": address})
        assert answer.status_code == 303, answer.text
        given = feedback.of_study(tx, uid)
        counts = {question: quality.counts(tx, question, clock.utc_now().date().replace(day=1)) for question in BOTH}
    assert [(each.question, each.verdict) for each in given] == [("skull_present", Verdict.FALSE_ALARM)]
    weeks = {question: quality_of(node, question) for question in BOTH}
    assert weeks == {"haemorrhage": [("flagged", "")], "skull_present": [("flagged", "false_alarm")]}, counts


def quality_of(node: Core, question: str) -> list[tuple[str, str]]:
    """How the question's studies ended, and how readers judged that."""
    with node.database.read() as tx:
        found = quality.counts(tx, question, quality.monday_of(clock.utc_now()))
    return [(each.outcome, each.judged) for each in found]


def test_late_images_supersede_each_question_by_itself(tmp_path: Path, bleeding_head: list[Dataset]) -> None:
    node = core(tmp_path, route={"rules": str(HERE / "routes.toml")})
    uid = study_uid(bleeding_head)
    node.receive(bleeding_head[:-1])
    analyse(node)
    node.receive(bleeding_head[-1:])
    analyse(node)
    with node.database.read() as tx:
        analyses = results.analyses_of_study(tx, uid)
        second = {question: results.objects_of(tx, uid, question, 2) for question in BOTH}
        first = {question: results.objects_of(tx, uid, question, 1) for question in BOTH}
    assert [(each.question, each.version) for each in analyses] == [(q, v) for q in BOTH for v in (1, 2)]
    for question in BOTH:
        (report,) = (dcmread(each.path) for each in second[question] if each.kind == "SR")
        (before,) = (each.sop_uid for each in first[question] if each.kind == "SR")
        named = [
            reference.ReferencedSOPInstanceUID
            for study in report.PredecessorDocumentsSequence
            for series in study.ReferencedSeriesSequence
            for reference in series.ReferencedSOPSequence
        ]
        assert named == [before]


def test_a_question_that_a_rule_declines_does_not_touch_the_other(tmp_path: Path) -> None:
    """A thorax is asked for haemorrhage by these rules, and never for a skull: the row says only what was wanted."""
    node = core(tmp_path, route={"rules": str(HERE / "routes.toml")})
    chest = head(BodyPartExamined="CHEST")
    node.receive(chest)
    analyse(node)
    with node.database.read() as tx:
        choices = {each.question: each for each in jobs.choices_of_study(tx, study_uid(chest))}
        item = worklist.get(tx, study_uid(chest))
    assert item is not None
    assert choices["skull_present"].kind is ChoiceKind.DECLINED
    assert choices["skull_present"].reason == "A skull is only looked for in heads."
    assert [part.question for part in item.parts] == ["haemorrhage"]
    assert item.parts[0].standing is Standing.NOT_ANALYSED  # the images show no head


def test_files_are_analysed_for_both_questions(tmp_path: Path, bleeding_head: list[Dataset], node: Core) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for number, each in enumerate(bleeding_head):
        each.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    engine = open_engine(node.settings, ModelStore(node.settings.node.data, node.database).card_for)
    answers = list(analyse_files(folder, tmp_path / "out", node.settings, engine))
    assert [(each.question, each.status, each.suspected) for each in answers] == [(q, "analysed", True) for q in BOTH]
    assert len({each.path for answer in answers for each in answer.outputs}) == 8


def test_an_acknowledged_study_stays_so_when_the_quiet_question_changes(
    tmp_path: Path, bleeding_head: list[Dataset]
) -> None:
    """Only what is urgent makes a study unread again."""
    node = core(tmp_path, route={"rules": str(HERE / "routes.toml")})
    uid = study_uid(bleeding_head)
    node.receive(bleeding_head)
    analyse(node)
    with node.database.write() as tx:
        assert worklist.acknowledge(tx, uid, clock.utc_now(), "Dr First")
        assert jobs.again(tx, uid, "skull_present", priority=0)
    analyse(node)
    with node.database.read() as tx:
        item = worklist.get(tx, uid)
    assert item is not None
    assert (item.state, item.reader) == ("acknowledged", "Dr First")
    assert [part.version for part in item.parts] == [1, 2]
    assert replace(item.parts[0], version=1) == item.parts[0]


def test_feedback_types_are_those_of_the_question(node: Core, bleeding_head: list[Dataset]) -> None:
    """No type of haemorrhage is a right answer to whether a skull is there."""
    with node.database.read() as tx:
        analysis = results.analyses_of_study(tx, study_uid(bleeding_head), "skull_present")[-1]
    with node.database.write() as tx:
        given = Opinion(Verdict.AGREE, (), "", "Dr Third")
        kept = feedback.add(tx, analysis.study_uid, "skull_present", 1, analysis.made_at, given, clock.utc_now())
        assert kept is not None and kept.question == "skull_present"
        missing = feedback.add(tx, analysis.study_uid, "haemorrhage", 9, analysis.made_at, given, clock.utc_now())
        assert missing is None


def test_a_series_considered_again_for_one_question_keeps_what_was_decided_for_the_other(tmp_path: Path) -> None:
    """Of two series the second is tried when the first was declined: for each question at its own time."""
    node, engine = core(tmp_path, route={"rules": str(HERE / "routes.toml")}), Unwilling("cpu")
    rules = load_rules(node.settings.routes_path)

    def route() -> None:
        complete_due(node.database, node.settings.complete, LONG_AFTER)
        route_due(node.database, rules, clock.utc_now())

    def run() -> bool:
        return analyse_next(node.database, node.archive, node.settings, engine, "test", lambda job: None)

    for series in (1, 2):
        node.receive(head(series=series))
        route()
    run()
    route()
    while run():
        pass
    route()
    while run():
        pass
    with node.database.read() as tx:
        item = worklist.get(tx, study_uid(head()))
        choices = jobs.choices_of_study(tx, study_uid(head()))
        asked = [job for job in jobs.of_study(tx, study_uid(head())) if job.kind is JobKind.ANALYSE]
        tried = [(job.question, job.series_uid[-1], job.state) for job in asked]
    assert item is not None
    assert [(part.standing, part.reason) for part in item.parts] == [
        (Standing.NOT_ANALYSED, "These images show no head.")
    ] * 2
    assert {each.kind for each in choices} == {ChoiceKind.DECLINED} and len(choices) == 4
    assert sorted(tried) == [(question, series, "declined") for question in BOTH for series in "12"]


def test_a_scanner_of_the_quality_page_is_that_of_the_question(node: Core) -> None:
    with serving(Node(node.database, node.archive, node.settings)) as (address, _):
        pages = {question: httpx2.get(f"{address}/quality?question={question}").text for question in BOTH}
        assert httpx2.get(f"{address}/quality?question=no_such").text.count('aria-current="true">Intracranial') == 1
    links = {question: re.findall(r'href="(/quality[^"]+scanner=[^"]+)"', page) for question, page in pages.items()}
    for question in BOTH:
        assert links[question] and all(f"question={question}&" in link for link in links[question])


@pytest.mark.parametrize(
    ("first", "second", "label", "note"),
    [
        (Standing.NEGATIVE, Standing.POSITIVE, "Not urgent", "Not a clearance: read as usual."),
        (Standing.NEGATIVE, Standing.NEGATIVE, "Not suspected", "Not a clearance: read as usual."),
        (Standing.NEGATIVE, Standing.NOT_ANALYSED, "Not analysed", "No skull was looked for: read as usual."),
        (Standing.FAILED, Standing.POSITIVE, "Failed", "No haemorrhage was looked for: read as usual."),
        (Standing.LOWERED, Standing.POSITIVE, "Please look", "Not a clearance: read as usual."),
        (Standing.POSITIVE, Standing.POSITIVE, "Suspected", ""),
    ],
)
def test_the_badge_is_that_of_the_most_urgent_answer(
    node: Core, bleeding_head: list[Dataset], first: Standing, second: Standing, label: str, note: str
) -> None:
    """And nothing is said not to have been looked for that was."""
    urgencies = dict.fromkeys((Standing.POSITIVE, Standing.LOWERED), Urgency.HIGH) | {Standing.NEGATIVE: Urgency.LOW}
    quiet = {Standing.POSITIVE: Urgency.LOW, Standing.NEGATIVE: Urgency.LOW}
    parts = (
        Part("haemorrhage", first, urgencies.get(first, Urgency.MEDIUM)),
        Part("skull_present", second, quiet.get(second, Urgency.MEDIUM)),
    )
    with node.database.read() as tx:
        item = worklist.get(tx, study_uid(bleeding_head))
        assert item is not None
        (row,) = overview.rows(tx, [item])
    urgency = next(each for each in flag.BY_URGENCY if any(part.urgency is each for part in parts))
    said = words.sign(replace(row, item=replace(item, parts=parts, urgency=urgency)))
    assert (said.label, said.note) == (label, note)


def test_a_rule_for_a_question_that_there_is_not_is_refused(tmp_path: Path) -> None:
    """It would never decide anything, and nobody would notice."""
    rules = tmp_path / "routes.toml"
    rules.write_text((HERE / "routes.toml").read_text().replace('question = "skull_present"', 'question = "skul"'))
    with pytest.raises(SettingsError, match="there is no question 'skul' "):
        load_rules(rules)


def test_a_series_that_one_question_takes_is_chosen(tmp_path: Path) -> None:
    """Whatever the rank of the rule by which another one declines it."""
    node = core(tmp_path)
    node.receive(head())
    uid, series = study_uid(head()), str(head()[0].SeriesInstanceUID)
    with node.database.write() as tx:
        for question, kind, rank in (
            ("skull_present", ChoiceKind.ANALYSE, 10),
            ("haemorrhage", ChoiceKind.DECLINED, 5),
        ):
            jobs.put_choice(tx, Choice(series, uid, question, 1, kind, "rule", "reason", rank=rank))
        study = instances.get_study(tx, uid)
        assert study is not None
        page = study_page(tx, study)
    (shown,) = [each for each in page.series if each.row.series_uid == series]
    titles = [vocabulary_of(question).target.title for question in ("skull_present", "haemorrhage")]
    assert [outcome.question for outcome in shown.outcomes] == titles


def test_a_notification_names_the_question_that_is_urgent(node: Core, bleeding_head: list[Dataset]) -> None:
    with node.database.read() as tx:
        item = worklist.get(tx, study_uid(bleeding_head))
        assert item is not None
        (row,) = overview.rows(tx, [item])
    quiet = Part("haemorrhage", Standing.NEGATIVE, Urgency.LOW)
    urgent = Part("skull_present", Standing.POSITIVE, Urgency.HIGH)
    assert words.alarm(row) == "Suspected intracranial haemorrhage"
    assert words.alarm(replace(row, item=replace(item, parts=(quiet, urgent)))) == "Skull seen"
