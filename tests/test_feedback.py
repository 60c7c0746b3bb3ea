"""Feedback: what may be said of which result, who said it, how it changes, and what leaves the node as CSV."""

import csv
import re
from collections.abc import Iterator
from datetime import date
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, expect
from starlette.testclient import TestClient
from web_support import QUESTION, SHA256, Node, faults, make_node, serving

from dicom_node import clock
from dicom_node.commands.main import main
from dicom_node.derived import removal
from dicom_node.tables import feedback, quality, results
from dicom_node.tables.feedback import Feedback, Opinion, Verdict
from dicom_node.web.app import build_app
from dicom_node.web.reader.feedback import plain_text
from dicom_node.web.reader.feedback_csv import HEAD, ROWS_AT_ONCE, csv_pages, harmless

HERE = {"origin": "http://localhost"}
Value = str | list[str] | None  # of a field; None leaves it out


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return make_node(tmp_path / "node")


@pytest.fixture
def client(node: Node) -> Iterator[TestClient]:
    app = build_app(node.database, node.archive, node.settings)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as client:
        yield client


def form(node: Node, study_uid: str, verdict: str, version: int = 1, **changed: Value) -> dict[str, str | list[str]]:
    """The fields as the study's page sends them."""
    with node.database.read() as tx:
        analysis = next(a for a in results.analyses_of_study(tx, study_uid) if a.version == version)
    fields: dict[str, Value] = {
        "question": QUESTION,
        "version": str(version),
        "made": analysis.made_at.isoformat(),
        "verdict": verdict,
        "reader": "Dr. Weiß",
    }
    return {name: value for name, value in (fields | changed).items() if value is not None}


def say(client: TestClient, node: Node, study_uid: str, verdict: str, version: int = 1, **changed: Value) -> int:
    """Send the form; the status of the answer."""
    answer = client.post(
        f"/studies/{study_uid}/feedback", data=form(node, study_uid, verdict, version, **changed), headers=HERE
    )
    return answer.status_code


def said(node: Node, study_uid: str) -> list[Feedback]:
    with node.database.read() as tx:
        return feedback.of_study(tx, study_uid)


def judged(node: Node) -> dict[tuple[str, str], int]:
    """How many studies ended so, with what was said of that."""
    with node.database.read() as tx:
        return {(each.outcome, each.judged): each.studies for each in quality.counts(tx, QUESTION, date(2020, 1, 1))}


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text, newline="")))


def test_who_when_and_which_result_and_model_are_kept(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    before = clock.utc_now()
    assert (
        say(client, node, study_uid, "wrong_type", type=["intraventricular", "epidural"], comment=" falx\r\nonly ")
        == 303
    )
    (one,) = said(node, study_uid)
    assert (one.verdict, one.right_types, one.comment) == (
        Verdict.WRONG_TYPE,
        ("epidural", "intraventricular"),
        "falx\nonly",
    )
    assert (one.reader, one.version, one.suspected, one.probability, one.threshold) == ("Dr. Weiß", 1, True, 0.93, 0.42)
    assert one.question == QUESTION
    assert (one.model_name, one.model_version, one.model_sha256) == ("haemorrhage-unet", "0.1.0", SHA256)
    assert [finding.name for finding in one.findings if finding.present] == ["subdural"]
    assert before.replace(microsecond=0) <= one.given_at <= clock.utc_now()


def test_the_page_shows_it_and_remembers_the_name(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    answer = client.post(
        f"/studies/{study_uid}/feedback", data=form(node, study_uid, "agree", comment="<b>"), headers=HERE
    )
    assert answer.headers["location"] == f"/studies/{study_uid}#feedback-haemorrhage-1"
    assert "reader=Dr.%20Wei%C3%9F" in answer.headers["set-cookie"]
    page = client.get(f"/studies/{study_uid}").text
    assert re.search(r"<b>Dr\. Weiß</b> agrees: <span class=\"words\">&lt;b&gt;</span>", page)
    assert re.search(r'value="agree" required\s+checked', page)
    assert 'name="reader" value="Dr. Weiß"' in page
    client.cookies.clear()
    assert not re.search(r"required\s+checked", client.get(f"/studies/{study_uid}").text)


@pytest.mark.parametrize(
    ("suspected", "verdict", "changed", "words"),
    [
        (True, "missed", {}, "suspects something, so it cannot have missed it"),
        (False, "false_alarm", {}, "suspects nothing"),
        (False, "wrong_type", {"type": "epidural"}, "suspects nothing"),
        (True, "wrong_type", {}, "name the right types"),
        (True, "wrong_type", {"type": "subdural"}, "types that the result names"),
        (True, "wrong_type", {"type": "frontal"}, "no type of haemorrhage"),
        (True, "agree", {"reader": " \t"}, "type your name"),
        (True, "agree", {"reader": None}, "type your name"),
        (True, "perhaps", {}, "choose whether you agree"),
        (True, "", {}, "choose whether you agree"),
        (True, "agree", {"made": "yesterday"}, "choose whether you agree"),
        (True, "agree", {"question": "terms"}, "no such question"),
        (True, "agree", {"question": "../terms"}, "no such question"),
        (True, "agree", {"comment": "x" * 2001}, "at most 2000"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    node: Node, client: TestClient, suspected: bool, verdict: str, changed: dict[str, Value], words: str
) -> None:
    study_uid = node.analysed(1, suspected=suspected)
    fields = form(node, study_uid, verdict, 1, **changed)
    answer = client.post(f"/studies/{study_uid}/feedback", data=fields, headers=HERE | {"accept": "application/json"})
    assert answer.status_code == 400
    assert words in answer.json()["said"]
    assert said(node, study_uid) == []


def test_the_right_verdicts_are_offered(node: Node, client: TestClient) -> None:
    offered = [
        re.findall(r'name="verdict" value="(\w+)"', client.get(f"/studies/{node.analysed(number, suspected)}").text)
        for number, suspected in ((1, True), (2, False))
    ]
    assert offered == [["agree", "false_alarm", "wrong_type"], ["agree", "missed"]]
    assert 'name="verdict"' not in client.get(f"/studies/{node.receive(3)}").text


def test_other_sites_pages_and_endless_forms_are_refused(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    fields, url = form(node, study_uid, "agree"), f"/studies/{study_uid}/feedback"
    assert client.post(url, data=fields, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post(url, data=fields, headers={"sec-fetch-site": "cross-site"} | HERE).status_code == 403
    assert client.post(url, data=fields).status_code == 403
    assert client.post(url, data=fields | {"comment": "x" * 40_000}, headers=HERE).status_code == 413
    assert client.get(url).status_code in (404, 405)
    assert said(node, study_uid) == []


def test_a_result_that_is_not_there_cannot_be_judged(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    assert say(client, node, study_uid, "agree") == 303
    answer = client.post("/studies/1.2.3/feedback", data=form(node, study_uid, "agree"), headers=HERE)
    assert answer.status_code == 409
    other = form(node, study_uid, "agree") | {"made": clock.utc_now().isoformat()}  # the same number, made anew
    assert client.post(f"/studies/{study_uid}/feedback", data=other, headers=HERE).status_code == 409
    assert len(said(node, study_uid)) == 1


def test_changed_feedback_keeps_its_history_and_the_same_again_changes_nothing(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    for verdict in ("agree", "agree", "false_alarm"):
        assert say(client, node, study_uid, verdict) == 303
    assert say(client, node, study_uid, "agree", reader="Dr. Other") == 303
    assert [(each.reader, each.verdict, each.in_force) for each in said(node, study_uid)] == [
        ("Dr. Other", "agree", True),
        ("Dr. Weiß", "false_alarm", True),
        ("Dr. Weiß", "agree", False),
    ]
    page = client.get(f"/studies/{study_uid}").text
    assert "Earlier, changed since (1)" in page


def test_withdrawn_feedback_counts_as_never_said(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    assert say(client, node, study_uid, "agree", withdraw="yes") == 409
    say(client, node, study_uid, "false_alarm")
    assert judged(node) == {("flagged", "false_alarm"): 1}
    assert say(client, node, study_uid, "false_alarm", withdraw="yes") == 303
    assert judged(node) == {("flagged", ""): 1}
    assert [each.verdict for each in said(node, study_uid)] == ["withdrawn", "false_alarm"]
    assert say(client, node, study_uid, "agree") == 303
    assert judged(node) == {("flagged", "agree"): 1}


def test_each_result_is_judged_for_itself(node: Node, client: TestClient) -> None:
    """A flag is judged by what was said of the result that raised it, whatever a later one says."""
    study_uid = node.analysed(1, suspected=True)
    node.result(study_uid, suspected=False)
    assert say(client, node, study_uid, "missed", version=2, type="epidural") == 303
    assert judged(node) == {("flagged", ""): 1}
    assert say(client, node, study_uid, "agree", version=1) == 303
    assert judged(node) == {("flagged", "agree"): 1}
    page = client.get(f"/studies/{study_uid}").text
    assert page.index('id="feedback-haemorrhage-2"') < page.index('id="feedback-haemorrhage-1"')


def test_feedback_outlives_its_study(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    say(client, node, study_uid, "agree", comment="seen")
    with node.database.write() as tx:
        removal.forget_study(tx, study_uid)
    (row,) = table(client.get("/feedback.csv").text)
    assert (row["study_uid"], row["comment"], row["model_sha256"], row["accession"]) == (study_uid, "seen", SHA256, "")
    assert judged(node) == {("flagged", "agree"): 1}
    node.analysed(1, suspected=True)  # sent again: its new result 1 is another
    assert "agrees" not in client.get(f"/studies/{study_uid}").text


def test_the_export_is_rfc_4180_in_utf_8(node: Node, client: TestClient) -> None:
    study_uid = node.analysed(1, suspected=True)
    say(client, node, study_uid, "agree", comment='say "yes",\nor — nö', reader="Ärztin, A.")
    say(client, node, study_uid, "wrong_type", type=["epidural", "subdural"], comment="=1+1", reader="@Ärztin")
    answer = client.get("/feedback.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == 'attachment; filename="feedback.csv"'
    raw = answer.content.decode("utf-8")
    assert raw.startswith(",".join(HEAD) + "\r\n") and raw.endswith("\r\n")
    assert '"say ""yes"",\nor — nö"' in raw
    first, second = table(raw)
    assert HEAD[-1] == "question" and first["question"] == second["question"] == QUESTION
    assert (first["reader"], first["comment"]) == ("Ärztin, A.", 'say "yes",\nor — nö')
    assert (second["reader"], second["comment"]) == ("'@Ärztin", "'=1+1")
    assert (second["verdict"], second["right_types"], second["in_force"]) == ("wrong_type", "epidural; subdural", "yes")
    assert (second["types_found"], second["volume_ml"], second["suspected"]) == ("subdural", "31.4", "yes")
    assert (second["accession"], second["result_version"], second["probability"]) == ("ACC1", "1", "0.9300")


def test_the_export_comes_a_few_rows_at_a_time(node: Node) -> None:
    study_uid = node.analysed(1, suspected=True)
    made_at = form(node, study_uid, "agree")["made"]
    count = 2 * ROWS_AT_ONCE + 1
    with node.database.write() as tx:
        (analysis,) = results.analyses_of_study(tx, study_uid)
        for number in range(count):
            given_now = Opinion(Verdict.AGREE, (), str(number), f"R{number % 7}")
            assert feedback.add(tx, study_uid, QUESTION, 1, analysis.made_at, given_now, clock.utc_now())
    assert analysis.made_at.isoformat() == made_at
    pages = list(csv_pages(node.database))
    assert [page.count("\r\n") for page in pages] == [1, ROWS_AT_ONCE, ROWS_AT_ONCE, 1]
    rows = table("".join(pages))
    assert [row["comment"] for row in rows] == [str(number) for number in range(count)]
    assert sum(row["in_force"] == "yes" for row in rows) == 7


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\tx", " =1", "\nx", "＝1"])
def test_formulas_are_made_harmless(text: str) -> None:
    assert harmless(text) == f"'{text}"


@given(st.text())
def test_no_text_begins_like_a_formula(text: str) -> None:
    assert not harmless(text).lstrip().startswith(("=", "+", "-", "@"))
    assert harmless(text).replace("'", "") == text.replace("'", "")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (";=1+1", ";'=1+1"),
        ("\t=1", "'\t'=1"),
        ("\n-1", "'\n'-1"),
        ("fine; =1+1", "fine;' =1+1"),
        ('a;"=1+1"', 'a;\'"=1+1"'),
        ("a,+1\tb\t@SUM(A1)", "a,'+1\tb\t'@SUM(A1)"),
        ("first line\n=1+1\r\n-1", "first line\n'=1+1\r\n'-1"),
        ("；＝1+1", "；'＝1+1"),
        ("a|=1|-2", "a|'=1|'-2"),
        ('"=1', "'\"=1"),
    ],
)
def test_formulas_after_a_separator_are_made_harmless(text: str, kept: str) -> None:
    """German Excel splits at semicolons, whatever is quoted."""
    assert harmless(text) == kept


@given(st.text(alphabet=" ;,|=+-@＝；\t\r\n\"'ab1", max_size=12), st.sampled_from(";,\t\n|"))
def test_no_piece_of_a_split_cell_is_a_formula(text: str, separator: str) -> None:
    pieces = harmless(text).split(separator)
    assert not any(re.match(r"[\s\"]*[=+\-@＝]", piece) for piece in pieces)


def test_every_cell_is_quoted(node: Node, client: TestClient) -> None:
    """So that a cell with semicolons stays one where the file is read as it is written."""
    study_uid = node.analysed(1, suspected=True)
    say(client, node, study_uid, "agree", comment="yes;=1+1")
    head, row, _ = client.get("/feedback.csv").text.split("\r\n")
    assert re.fullmatch(r'"[^"]*"(,"[^"]*")*', row) and row.count('","') == head.count(",")
    assert '"yes;\'=1+1"' in row


@given(st.text())
def test_comments_are_plain_text(text: str) -> None:
    plain = plain_text(text)
    assert all(each.isprintable() or each == "\n" for each in plain)
    assert plain_text(plain) == plain


def test_the_command_prints_the_same(node: Node, client: TestClient, tmp_path: Path) -> None:
    study_uid = node.analysed(1, suspected=True)
    say(client, node, study_uid, "false_alarm", comment="motion")
    site = tmp_path / "site.toml"
    site.write_text(f'[node]\ndata = "{node.settings.node.data}"\n')
    run = CliRunner().invoke(main, ["--config", str(site), "feedback", "--csv"])
    assert run.exit_code == 0, run.output
    assert run.stdout_bytes.decode() == client.get("/feedback.csv").text
    listed = CliRunner().invoke(main, ["--config", str(site), "feedback"])
    assert re.search(r"Dr\. Weiß +false_alarm +1\.2\.826\.1 result 1 +motion", listed.output)


@pytest.fixture
def page(node: Node, browser: Browser) -> Iterator[Page]:
    with serving(node) as (address, _):
        page = browser.new_page(base_url=address, viewport={"width": 1280, "height": 900})
        yield page
        page.close()


def test_the_form_is_worked_by_keyboard_and_accessible(node: Node, page: Page) -> None:
    study_uid = node.analysed(1, suspected=True)
    page.goto(f"/studies/{study_uid}")
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    types = page.get_by_role("group", name="Which types are right?")
    expect(types).to_be_hidden()
    page.get_by_role("radio", name="Agree", exact=True).focus()
    for key in ("Space", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    expect(page.get_by_role("radio", name="Disagree: wrong type")).to_be_checked()
    expect(types).to_be_visible()
    assert faults(page) == []
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    for _ in range(5):
        page.keyboard.press("Tab")
    page.keyboard.type("crosses the midline")
    page.keyboard.press("Tab")
    page.keyboard.type("Dr. Keys")
    page.keyboard.press("Enter")
    shown = page.locator(".feedback .given li").first
    expect(shown).to_contain_text("Dr. Keys disagrees: wrong type, right: epidural, subdural: crosses the midline")
    (one,) = said(node, study_uid)
    assert (one.reader, one.right_types) == ("Dr. Keys", ("epidural", "subdural"))
    page.get_by_role("button", name="Withdraw it").press("Enter")
    expect(shown).to_contain_text("Dr. Keys has withdrawn the feedback")
    assert judged(node) == {("flagged", ""): 1}


def test_what_is_being_typed_survives_an_update(node: Node, page: Page) -> None:
    study_uid = node.analysed(1, suspected=True)
    page.goto(f"/studies/{study_uid}")
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    page.get_by_role("radio", name="Disagree: false alarm").check()
    page.get_by_label("Comment").fill("half a sen")
    node.result(study_uid, suspected=True)
    expect(page.get_by_role("heading", name="Feedback on result 2")).to_be_visible()
    old = page.locator("#feedback-haemorrhage-1")
    expect(old.get_by_role("radio", name="Disagree: false alarm")).to_be_checked()
    expect(old.get_by_label("Comment")).to_have_value("half a sen")
    expect(page.locator("#feedback-haemorrhage-2").get_by_label("Comment")).to_have_value("")
