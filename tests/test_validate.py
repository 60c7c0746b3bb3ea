"""A site's check before it trusts: `validate` on real and on made heads, with truths, reports and their mistakes."""

import csv
import json
import math
import random
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from playwright.sync_api import Browser, Page, Request
from pydicom import dcmread
from pydicom.dataset import Dataset
from scripted import Answer, ScriptedEngine
from series import ROOT, head, write

from dicom_node.commands.main import main
from dicom_node.commands.retrospective import examine_study, find_studies
from dicom_node.routes import load_rules
from inference.findings import ModelIdentity, NotAnalysable
from inference.models.card import Figure, OperatingPoint
from inference.training.evaluation.records import (
    AnswerOutcome,
    JudgedStudy,
    KnownTruth,
    RunKey,
    StudyAnswer,
    StudyRecord,
)
from inference.training.validation.figures import Aim, Judged, aim, groups, proportion, rates
from inference.training.validation.kept import Keeper, Kept, Traits

PATIENTS = (49, 77, 56, 59)
TURNED = (77, 59)
Z95 = 1.959964


def site(folder: Path) -> Path:
    """Settings whose node has never run."""
    path = folder / "site.toml"
    path.write_text(f'[node]\ndata = "{folder / "data"}"\n[analyse]\ndevice = "cpu"\n')
    return path


def table(path: Path, *lines: str) -> Path:
    """A CSV of these lines."""
    path.write_text("\n".join(lines) + "\n")
    return path


def arguments(folder: Path, *options: object) -> list[str]:
    """Of the command, on the studies in `in`, into `out`."""
    told = ["--config", str(site(folder)), "validate", str(folder / "in"), "--out", str(folder / "out"), "--json"]
    return [*told, *map(str, options)]


def check(folder: Path, monkeypatch: pytest.MonkeyPatch, script: Sequence[Answer], *options: object) -> Result:
    """The command in this process, with an engine that says what it is told."""
    engine = ScriptedEngine(*script)
    monkeypatch.setattr("dicom_node.models.store.open_engine", lambda *_, **__: engine)
    done = CliRunner().invoke(main, arguments(folder, *options))
    assert not engine.script or done.exit_code
    return done


def found(folder: Path) -> dict[str, Any]:
    """What validation.json says."""
    content: dict[str, Any] = json.loads((folder / "out" / "validation.json").read_text())
    return content


def sentences(folder: Path) -> list[dict[str, str]]:
    """The rows of sentences.csv."""
    with (folder / "out" / "sentences.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def uid(study: int) -> str:
    """The Study Instance UID of a made study."""
    return f"{ROOT}.{study}"


def made(folder: Path, *studies: int, **elements: Any) -> None:
    """Heads of so many patients."""
    for study in studies:
        write(head(study=study, **elements), folder / "in" / str(study))


@pytest.fixture(scope="module")
def heads(ct_ich: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real heads as DICOM, their truths, a head with contrast medium, and a CSV with mistakes; checked once.

    Two truths are turned round, so that there are answers that count as wrong.
    """
    folder = tmp_path_factory.mktemp("heads")
    lines = ["Accession Number;Blutung;SDH;EDH;ICB;SAH;IVH"]
    for patient in PATIENTS:
        ct_ich.write_dicom(patient, folder / "in" / str(patient))
        types = dict(zip(ct_ich.TYPES, ct_ich.labels(patient).any(0), strict=True))
        order = ("subdural", "epidural", "intraparenchymal", "subarachnoid", "intraventricular")
        cells = ["ja" if types[kind] else "nein" for kind in order]
        if patient in TURNED:
            lines.append(f"CTICH{patient:03d};{'nein' if any(types.values()) else 'ja'};;;;;")
        else:
            lines.append(f"CTICH{patient:03d};{'ja' if any(types.values()) else 'nein'};{';'.join(cells)}")
    made(folder, 7, ContrastBolusAgent="Iomeprol")
    made(folder, 8)
    lines += ["A7;nein;;;;;", "CTICH999;ja;;;;;", lines[1]]
    table(folder / "truth.csv", *lines)
    typed = arguments(folder, "--truth", folder / "truth.csv", "--sensitivity", 0.95, "--specificity", 0.9)
    done = subprocess.run([sys.executable, "-m", "dicom_node", *typed], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.mark.timeout(900)
def test_real_heads_are_counted(heads: Path) -> None:
    """Every study is somewhere once, and the sums are right, whatever the model says."""
    (entry,) = json.loads((heads / "stdout").read_text())
    check_of = found(heads)
    assert entry["studies"] == len(PATIENTS) + 2
    assert entry["counted"] == len(PATIENTS) + 1 and entry["analysed"] == len(PATIENTS)
    assert entry["not_analysed"] == entry["untold"] == entry["not_here"] == 1
    four = [entry[f"{a}_{b}"] for a in ("true", "false") for b in ("positives", "negatives")]
    assert sum(four) == len(PATIENTS)
    assert entry["true_positives"] + entry["false_negatives"] == check_of["rates"]["positives"]
    assert len(check_of["missed"]) == entry["false_negatives"]
    assert len(check_of["false_alarms"]) == entry["false_positives"]
    kept = [json.loads(path.read_text()) for path in (heads / "out" / "studies").glob("*.json")]
    answers = [each["record"]["answer"] for each in kept if each["record"]["answer"]]
    assert sum(each["suspected"] for each in answers) == entry["true_positives"] + entry["false_positives"]
    assert entry["false_negatives"] + entry["false_positives"] > 0
    assert all(each["suspected"] == (each["probability"] >= each["threshold"]) for each in answers)


def test_what_was_not_analysed_says_why(heads: Path) -> None:
    """The rule's own reason; studies and rows that find no partner; a row that stands twice."""
    lists = found(heads)
    (declined,) = lists["not_analysed"]
    assert declined["study_id"] == uid(7) and "Iomeprol" in declined["reason"]
    assert [each["study"] for each in lists["untold"]] == [uid(8)]
    assert [each["study"] for each in lists["not_here"]] == ["CTICH999"]
    (twice,) = lists["notes"]
    assert f"lines 2 and {len(PATIENTS) + 4} say the same twice" in twice["reason"]


def test_groups_add_up(heads: Path) -> None:
    """Each way to split the studies has all of them, and the sums of its rows are the whole."""
    whole = found(heads)["rates"]
    parts: dict[str, list[dict[str, Any]]] = {}
    for group in found(heads)["groups"]:
        parts.setdefault(group["by"], []).append(group["rates"])
    assert list(parts) == ["Scanner", "Age", "Sex", "Distance between slices"]
    for rows in parts.values():
        assert sum(row["studies"] for row in rows) == whole["studies"]
        for name in ("sensitivity", "specificity", "ppv", "npv"):
            for count in ("hits", "of"):
                assert sum(row[name][count] for row in rows) == whole[name][count]
    labels = {group["label"] for group in found(heads)["groups"]}
    assert {"SIEMENS CT-ICH", "Under 18 years", "18 to 64 years", "Male", "4 mm and more"} <= labels


def test_nothing_enters_the_node(heads: Path) -> None:
    """No database, no archive, no object."""
    assert not (heads / "data").exists()
    assert {path.name for path in (heads / "out").iterdir()} == {"validation.html", "validation.json", "studies"}
    assert {path.suffix for path in (heads / "out" / "studies").iterdir()} <= {".json", ".png"}


def test_progress_and_summary_are_told(heads: Path) -> None:
    """On standard error; standard output is JSON alone."""
    told = (heads / "stderr").read_text()
    assert all(f"{count}/{len(PATIENTS) + 1}  " in told for count in range(1, len(PATIENTS) + 2))
    assert "Research use only" in told and "Only " in told and "too few" in told.lower()


def requests_of(page: Page) -> list[str]:
    """What a page asks for, from now on."""
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    return asked


def test_the_page_in_a_browser(heads: Path, browser: Browser) -> None:
    """It needs nothing else, fits a phone, has every mistake with its picture, and says what it is for."""
    content = found(heads)
    for scheme, width in (("light", 1100), ("dark", 390)):
        page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})  # type: ignore[arg-type]
        asked = requests_of(page)
        page.goto((heads / "out" / "validation.html").as_uri())
        text = page.inner_text("body")
        assert "Research use only, not a medical device." in text
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wrong = content["missed"] + content["false_alarms"]
        assert page.locator("figure.case img").count() == len(wrong)
        assert all(each["study_id"] in text for each in (*wrong, *content["not_analysed"])) and uid(8) in text
        assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        page.close()


@pytest.mark.timeout(900)
def test_a_killed_run_goes_on(heads: Path, tmp_path: Path) -> None:
    """What was done is not done again, and the figures are those of a run that was never stopped."""
    for patient in PATIENTS[:2]:
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / str(patient)).symlink_to(heads / "in" / str(patient))
    command = [sys.executable, "-m", "dicom_node", *arguments(tmp_path, "--truth", heads / "truth.csv")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("1/2"):
                running.kill()
    studies = tmp_path / "out" / "studies"
    before = {path: path.stat().st_mtime_ns for path in studies.glob("*.json")}
    assert before and not (tmp_path / "out" / "validation.html").exists()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "were done already" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for path in studies.glob("*.json"):
        now, never_stopped = (json.loads((place / path.name).read_text()) for place in (studies, heads / "out/studies"))
        assert now["record"]["answer"] == never_stopped["record"]["answer"]


def test_the_series_that_the_rules_prefer(tmp_path: Path) -> None:
    """About 5 mm before thin, whatever their order; the next one where the first turns out not to be analysable."""
    write(head(116, series=1, spacing_mm=1.0), tmp_path / "1")
    write(head(series=2), tmp_path / "2")
    (study,) = find_studies(tmp_path)
    known = {"haemorrhage": "haemorrhage"}
    first = examine_study(study.paths, "haemorrhage", load_rules(), known, ScriptedEngine(True))
    assert first.stack.series_uid == f"{uid(1)}.2"
    engine = ScriptedEngine(NotAnalysable("Not this one."), True)
    second = examine_study(study.paths, "haemorrhage", load_rules(), known, engine)
    assert second.stack.series_uid == f"{uid(1)}.1"
    with pytest.raises(NotAnalysable, match="Not this one"):
        script = (NotAnalysable("Not this one."), NotAnalysable("Nor this."))
        examine_study(study.paths, "haemorrhage", load_rules(), known, ScriptedEngine(*script))


def test_two_patients_under_one_study(tmp_path: Path) -> None:
    """Nothing is said of either, as in the node before somebody decides."""
    one = head(series=1)
    other: list[Dataset] = head(series=2, PatientID="P2", PatientBirthDate="19800101", PatientSex="F")
    write(one, tmp_path / "1")
    write(other, tmp_path / "2")
    (study,) = find_studies(tmp_path)
    with pytest.raises(NotAnalysable, match="different patients"):
        examine_study(study.paths, "haemorrhage", load_rules(), {"haemorrhage": "haemorrhage"}, ScriptedEngine(True))


def test_rows_that_contradict_each_other_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stop nothing, and the study is not counted; so are rows that contradict themselves or say nothing."""
    made(tmp_path, 1, 2, 3, 4)
    lines = (f"{uid(1)},yes,", f"{uid(2)},1,", f"{uid(2)},0,", f"{uid(3)},no,true", f"{uid(4)},,")
    truth = table(tmp_path / "truth.csv", "study_uid,hemorrhage,subdural", *lines)
    done = check(tmp_path, monkeypatch, [True], "--truth", truth)
    assert done.exit_code == 0, done.output
    (entry,) = json.loads(done.stdout)
    assert (entry["counted"], entry["unclear"], entry["true_positives"]) == (1, 3, 1)
    reasons = {each["study"]: each["reason"] for each in found(tmp_path)["unclear"]}
    assert "lines 3 and 4 contradict" in reasons[uid(2)]
    assert "line 5 says no haemorrhage, but subdural" in reasons[uid(3)]
    assert "line 6" in reasons[uid(4)]


def test_a_patient_with_two_studies_needs_a_study_uid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row is listed, and both studies."""
    made(tmp_path, 1, 2, PatientID="SAME")
    made(tmp_path, 3)
    truth = table(tmp_path / "truth.csv", "Patient-ID\thaemorrhage", "SAME\t1", "P3\t0")
    done = check(tmp_path, monkeypatch, [False], "--truth", truth)
    (entry,) = json.loads(done.stdout)
    assert (entry["counted"], entry["untold"], entry["not_here"]) == (1, 2, 1)
    assert "2 studies have this patient_id" in found(tmp_path)["not_here"][0]["reason"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ("study_uid,haemorrhage", "1.2,maybe"),
            "t.csv, line 2, column haemorrhage: 'maybe' is neither yes nor no",
        ),
        (("name,haemorrhage", "x,1"), "no column names the study"),
        (("study_uid,remark", "1.2,x"), "the column haemorrhage is missing; found study_uid, remark"),
        (("study_uid,haemorrhage,subdural", "1.2,1"), "line 2, column subdural: is missing"),
        (("study_uid,haemorrhage,Blutung", "1.2,1,0"), "column Blutung: a second column that says haemorrhage"),
        (("study_uid,haemorrhage", ",1"), "line 2: names no study"),
        (("study_uid,haemorrhage",), "holds no rows"),
    ],
)
def test_bad_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...], said: str) -> None:
    """One line that names the file, the line and the column."""
    made(tmp_path, 1)
    done = check(tmp_path, monkeypatch, [True], "--truth", table(tmp_path / "t.csv", *lines))
    assert done.exit_code == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_misuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any truth; with corrections of nothing."""
    made(tmp_path, 1)
    assert check(tmp_path, monkeypatch, [True]).exit_code == 2
    file = table(tmp_path / "x.csv", "study_uid,haemorrhage", f"{uid(1)},1")
    assert check(tmp_path, monkeypatch, [True], "--truth", file, "--sentences", file).exit_code == 2
    assert check(tmp_path, monkeypatch, [True], "--truth", file, "--sensitivity", "1.5").exit_code == 2


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install, before anything is analysed."""
    made(tmp_path, 1)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    file = table(tmp_path / "x.csv", "study_uid,haemorrhage", f"{uid(1)},1")
    done = check(tmp_path, monkeypatch, [True], "--truth", file)
    assert done.exit_code == 1 and "pip install 'triage-node[train]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "out").exists()


def test_nothing_that_can_be_analysed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is there and says why; exit code 1. Another run tries again what broke down, and no other."""
    made(tmp_path, 1, 2)
    truth = table(tmp_path / "t.csv", "study_uid,haemorrhage", f"{uid(1)},1", f"{uid(2)},0")
    done = check(tmp_path, monkeypatch, [RuntimeError("no memory"), NotAnalysable("Too dark.")], "--truth", truth)
    assert done.exit_code == 1 and "no study could be analysed" in done.stderr
    outcomes = {each["study_id"]: each["outcome"] for each in found(tmp_path)["not_analysed"]}
    assert outcomes == {uid(1): AnswerOutcome.FAILED, uid(2): AnswerOutcome.NOT_ANALYSED}
    again = check(tmp_path, monkeypatch, [True], "--truth", truth)
    assert again.exit_code == 0 and json.loads(again.stdout)[0]["true_positives"] == 1


REPORTS = {
    1: "Findings: There is an acute subdural hematoma on the left.",
    2: "Kein Nachweis einer intrakraniellen Blutung.",
    3: "SAH cannot be excluded.",
    4: "=Fraktur links, Blutung wurde gesehen.",
}


def with_reports(folder: Path) -> Path:
    """Four studies and their reports, one over two lines."""
    made(folder, *REPORTS)
    path = folder / "reports.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["StudyInstanceUID", "Befundtext"])
        writer.writerows([uid(study), text.replace(" an acute", " an\nacute")] for study, text in REPORTS.items())
    return path


def test_reports_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unclear ones are listed and not analysed; each sentence stands with its verdict, none is a formula."""
    done = check(tmp_path, monkeypatch, [True, False, True], "--reports", with_reports(tmp_path))
    (entry,) = json.loads(done.stdout)
    assert (entry["true_positives"], entry["true_negatives"], entry["unclear"]) == (2, 1, 1)
    assert [each["study"] for each in found(tmp_path)["unclear"]] == [uid(3)]
    told = {each["study_uid"]: each for each in sentences(tmp_path)}
    assert [told[uid(study)]["verdict"] for study in REPORTS] == ["present", "absent", "unclear", "present"]
    assert told[uid(1)]["types"] == "subdural" and {each["by"] for each in told.values()} == {"rules"}
    assert told[uid(4)]["sentence"].startswith("'=")
    assert "read from reports by rules" in (tmp_path / "out" / "validation.html").read_text()


def test_corrected_sentences_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the reader corrects the file in its place; only the study that became clear is analysed."""
    reports = with_reports(tmp_path)
    check(tmp_path, monkeypatch, [True, False, True], "--reports", reports)
    path = tmp_path / "out" / "sentences.csv"
    rows = sentences(tmp_path)
    rows[2]["verdict"], rows[2]["types"] = "Present", "subarachnoid"
    rows[3]["verdict"] = "absent"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    refused = check(tmp_path, monkeypatch, [], "--reports", reports)
    assert refused.exit_code == 1 and "corrected by hand" in refused.stderr
    assert "Present" in path.read_text()
    done = check(tmp_path, monkeypatch, [False, True], "--reports", reports, "--sentences", path)
    (entry,) = json.loads(done.stdout)
    assert (entry["true_positives"], entry["false_negatives"], entry["false_positives"]) == (1, 1, 1)
    assert entry["unclear"] == 0
    assert {each["study_uid"] for each in sentences(tmp_path) if each["by"] == "reader"} >= {uid(3), uid(4)}
    (missed,) = found(tmp_path)["missed"]
    assert missed["types"] == ["subarachnoid"]
    assert (tmp_path / "out" / "studies" / missed["picture"]).exists()


def test_a_verdict_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names its line and the verdicts that there are; a sentence that is in no report is listed."""
    reports = with_reports(tmp_path)
    lines = ("study_uid,sentence,verdict", f"{uid(2)},Etwas anderes.,present")
    wrong = table(tmp_path / "wrong.csv", *lines, f"{uid(1)},x,perhaps")
    done = check(tmp_path, monkeypatch, [], "--reports", reports, "--sentences", wrong)
    assert done.exit_code == 1 and "line 3, column verdict: 'perhaps'" in done.stderr and "present" in done.stderr
    right = table(tmp_path / "right.csv", *lines)
    check(tmp_path, monkeypatch, [True, False, True], "--reports", reports, "--sentences", right)
    assert ["Etwas anderes." in each["reason"] for each in found(tmp_path)["notes"]] == [True]


def test_a_truth_wins_over_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That they differ is listed."""
    reports = with_reports(tmp_path)
    truth = table(tmp_path / "truth.csv", "study_uid,haemorrhage", f"{uid(1)},0", f"{uid(3)},0")
    done = check(tmp_path, monkeypatch, [True, False, False, True], "--reports", reports, "--truth", truth)
    (entry,) = json.loads(done.stdout)
    assert (entry["counted"], entry["false_positives"], entry["unclear"]) == (4, 1, 0)
    (note,) = found(tmp_path)["notes"]
    assert note["study"] == uid(1) and "no haemorrhage by its truth, haemorrhage by its report" in note["reason"]


def judged(probability: float, is_positive: bool, **traits: Any) -> Judged:
    """An analysed study; flagged from 0.5 on."""
    name = f"{probability}-{is_positive}-{random.random()}"
    answer = StudyAnswer(probability, 0.5, probability >= 0.5, (0.0,) * 5, (False,) * 5, (0.0,) * 5, (), 0.5, (), ())
    truth = KnownTruth(is_positive, (None,) * 5, None, None)
    record = StudyRecord(name, name, AnswerOutcome.ANALYSED, truth=truth, answer=answer)
    return Judged(JudgedStudy(record, truth, answer), Traits(**traits))


@pytest.mark.parametrize(("hits", "of"), [(21, 25), (0, 4), (7, 7), (1, 300)])
def test_wilson(hits: int, of: int) -> None:
    """Both ends are the proportions whose own normal interval just reaches what was seen (Wilson 1927)."""
    made_of = proportion(hits, of)
    for end in (made_of.low, made_of.high):
        reach = Z95 * math.sqrt(end * (1 - end) / of)
        assert abs(made_of.value - end) == pytest.approx(reach, abs=1e-6)
    assert proportion(0, 0).note and math.isnan(proportion(0, 0).low)


def test_thresholds_that_meet_a_wish() -> None:
    """By trying all: the highest for a sensitivity, the lowest for a specificity; ties and chance studies alike."""
    chance = random.Random(7)
    for count in (1, 3, 40, 200):
        studies = [judged(round(chance.betavariate(4, 2), 3), True) for _ in range(count)]
        studies += [judged(round(chance.betavariate(2, 4), 3), False) for _ in range(count)]
        steps = [place / 1000 for place in range(1001)]
        for wish in (0.5, 0.9, 0.95, 1.0):
            high = aim(studies, "sensitivity", wish, ())
            best = max(t for t in steps if rates(studies, t).sensitivity.value >= wish)
            assert high.threshold == pytest.approx(best) and high.rates is not None
            assert high.rates.sensitivity == rates(studies, best).sensitivity
            low = aim(studies, "specificity", wish, ())
            fitting = [t for t in steps if rates(studies, t).specificity.value >= wish]
            assert low.rates is not None and low.rates.specificity.value >= wish
            assert low.threshold is not None and fitting[0] - 0.001 <= low.threshold <= fitting[0]


def test_a_point_of_the_card_for_the_setting() -> None:
    """The one that meets the wish here with the fewest wrong answers of the other kind."""
    figure = Figure("sensitivity", 0.9, 0.8, 1.0)
    points = [OperatingPoint(a, t, figure, figure) for a, t in ((0.8, 0.7), (0.9, 0.4), (0.95, 0.2))]
    studies = [judged(p, True) for p in (0.3, 0.5, 0.8, 0.9)] + [judged(p, False) for p in (0.1, 0.3, 0.6, 0.75)]
    found_aim: Aim = aim(studies, "sensitivity", 0.75, points)
    assert (found_aim.aim_of_card, found_aim.threshold_of_card) == (0.9, 0.4)
    assert aim(studies, "specificity", 0.75, points).aim_of_card == 0.8
    assert aim(studies, "specificity", 1.0, points).aim_of_card is None
    assert aim([], "sensitivity", 0.9, points).threshold is None


def test_too_few_to_judge_a_wish() -> None:
    """Five wrong answers must be allowed by the wish: a hundred positives for 0.95."""
    many = [judged(0.9, True) for _ in range(100)]
    assert aim(many, "sensitivity", 0.95, ()).warning == ""
    assert "at least 100" in aim(many[:-1], "sensitivity", 0.95, ()).warning
    assert "only 0 studies without" in aim(many, "specificity", 0.9, ()).warning


def test_groups_of_what_is_not_stated() -> None:
    """They have a row of their own, the last; the most frequent scanner comes first."""
    studies = [judged(0.9, True, manufacturer="GE", model="X", age_years=70.0, sex="F", distance_mm=0.6)]
    studies += [judged(0.1, False, manufacturer="PHILIPS") for _ in range(3)] + [judged(0.2, False, sex="M")]
    by: dict[str, list[str]] = {}
    for group in groups(studies):
        by.setdefault(group.by, []).append(group.label)
    assert by["Scanner"] == ["PHILIPS", "GE X", "Not stated"]
    assert by["Age"] == ["65 years and more", "Not stated"]
    assert by["Sex"] == ["Female", "Male", "Not stated"]
    assert by["Distance between slices"] == ["Under 2 mm", "Not stated"]


def test_what_makes_a_study_be_done_again(tmp_path: Path) -> None:
    """Another model, other files, a damaged file, a wrong answer without its picture; nothing else."""
    model = ModelIdentity("m", "1", "0" * 64)
    key = RunKey("in", model, "method", "signature", "", "code")
    keeper = Keeper(tmp_path, key)
    record = judged(0.9, True).case.record
    keeper.keep(Kept(key, "files", record, Traits()))
    name = record.study_id
    assert keeper.find(name, "files", True) is not None
    assert keeper.find(name, "files", False) is None  # a false alarm now, and was never drawn
    assert keeper.find(name, "other", True) is None and keeper.find("another", "files", True) is None
    for changed in ("signature", "code", "dataset"):
        other = RunKey(**{f: getattr(key, f) for f in key.__slots__} | {changed: "x"})
        assert Keeper(tmp_path, other).find(name, "files", True) is None
    next(tmp_path.glob("*.json")).write_text("{")
    assert keeper.find(name, "files", True) is None


def test_images_that_come_or_go_are_seen(tmp_path: Path) -> None:
    """By the digest of a study's files."""
    paths = write(head(4), tmp_path)
    digests = [find_studies(tmp_path)[0].digest()]
    dcmread(paths[0]).save_as(tmp_path / "again.dcm")
    digests.append(find_studies(tmp_path)[0].digest())
    (tmp_path / "again.dcm").unlink()
    assert find_studies(tmp_path)[0].digest() == digests[0]
    assert all(one != other for one, other in pairwise(digests))
