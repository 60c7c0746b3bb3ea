"""A new suspected study is told on every page of the node, and the viewer's bar does what a reader does next."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from test_browser import LISTENING, open_live, state
from web_support import Node, faults, make_node, serving

from dicom_node.entities import ChoiceKind, ItemState
from dicom_node.tables import feedback

expect.set_options(timeout=20_000)
SWITCH_ON = "localStorage.setItem('sound', 'on'); localStorage.setItem('notify', 'on');"
GRANTED = "Notification.permission = 'granted';"
PAGES = ("/studies/1.2.826.1", "/quality", "/status", "/studies/1.2.826.1/bar", "/studies/0.0")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = make_node(tmp_path / "node")
    node.beat("node", "worker", seconds=600)
    node.analysed(1, suspected=False, name="FIRST^One", minutes_ago=9)
    return node


@pytest.fixture
def address(node: Node) -> Iterator[str]:
    with serving(node) as (address, _):
        yield address


@pytest.fixture
def context(browser: Browser, address: str) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 800})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda said: trouble.append(said.text) if "Policy" in said.text else None)
    yield page
    assert not trouble


def live(page: Page, path: str) -> None:
    """Open a page and wait until it is connected."""
    page.goto(path)
    expect(page.locator("#link")).to_have_attribute("data-state", "live")


@pytest.mark.parametrize("path", PAGES)
def test_every_page_tells_of_a_new_suspicion(node: Node, page: Page, path: str) -> None:
    page.add_init_script(LISTENING + SWITCH_ON + GRANTED)
    live(page, path)
    expect(page.locator("#alarms")).to_have_attribute("data-suspected", "0")
    expect(page.locator("#news")).to_be_hidden()
    second = node.analysed(2, suspected=True, name="URGENT^Case")
    expect(page.locator("#announce")).to_have_text("New suspected: URGENT, Case: Subdural 31 ml")
    expect(page).to_have_title(re.compile(r"^\(1\) suspected – "))
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", "/static/alert.svg")
    told = ["Suspected intracranial haemorrhage", "Subdural 31 ml · 70 y F", "tone", "tone"]
    assert page.evaluate("told") == told, "once, and no name outside the page"
    link = page.locator("#news").get_by_role("link", name="URGENT, Case: Subdural 31 ml")
    expect(link).to_have_attribute("href", f"/studies/{second}")
    node.analysed(3, suspected=False)
    node.analysed(4, suspected=True, name="LATER^Case")
    expect(page.locator("#news a")).to_have_count(2)
    page.locator("#news").get_by_role("button", name="Close").click()
    expect(page.locator("#news")).to_be_hidden()
    expect(page).to_have_title(re.compile(r"^\(2\) suspected – "))


def test_what_somebody_acknowledges_is_news_no_more(node: Node, page: Page, context: BrowserContext) -> None:
    live(page, "/status")
    expect(page.locator("#alarms")).to_have_attribute("data-suspected", "0")
    study_uid = node.analysed(2, suspected=True, name="URGENT^Case")
    expect(page.locator("#news")).to_be_visible()
    other = context.new_page()
    other.goto(f"/studies/{study_uid}")
    other.get_by_role("button", name="Acknowledge").click()
    expect(page.locator("#news")).to_be_hidden()
    expect(page).to_have_title("Status – triage-node")


def test_what_was_there_before_is_no_news_and_what_falls_between_two_pages_is(node: Node, page: Page) -> None:
    node.analysed(2, suspected=True, name="OLD^Case")
    live(page, "/status")
    expect(page).to_have_title("(1) suspected – Status – triage-node")
    expect(page.locator("#news")).to_be_hidden()
    page.goto("about:blank")
    node.analysed(3, suspected=True, name="BETWEEN^Pages")
    live(page, "/quality")
    expect(page.locator("#news")).to_contain_text("BETWEEN, Pages")
    expect(page.locator("#news")).not_to_contain_text("OLD, Case")


def test_of_two_open_pages_one_speaks(node: Node, page: Page, context: BrowserContext) -> None:
    """The one that is seen."""
    pages = (page, context.new_page())
    for each in pages:
        each.add_init_script(LISTENING + SWITCH_ON + GRANTED)
        live(each, "/")
    hide = "Object.defineProperty(document, 'hidden', {get: () => true, configurable: true});"
    pages[0].evaluate(
        "const late = speak; speak = (fallen) => { late(fallen); document.body.dataset.spoke = 'yes'; }; null"
    )
    pages[0].evaluate(hide + "document.dispatchEvent(new Event('visibilitychange'))")
    node.analysed(2, suspected=True)
    for each in pages:
        expect(each.locator("#announce")).to_contain_text("DOE, Jane")
    expect(page.locator("body")).to_have_attribute("data-spoke", "yes")
    assert [len(each.evaluate("told")) for each in pages] == [0, 4]


def test_a_page_in_the_background_still_asks(node: Node, page: Page) -> None:
    live(page, "/status")
    expect(page.locator("#alarms")).to_have_attribute("data-suspected", "0")
    hide = "Object.defineProperty(document, 'hidden', {get: () => true, configurable: true});"
    page.evaluate(hide + "document.dispatchEvent(new Event('visibilitychange'))")
    assert page.evaluate("source") is None, "it holds no connection"
    node.analysed(2, suspected=True)
    page.evaluate("heardAt = Date.now() - POLL_MS - 1")
    expect(page).to_have_title("(1) suspected – Status – triage-node")


def test_alerts_are_switched_on_any_page(page: Page) -> None:
    page.add_init_script(LISTENING)
    live(page, "/quality")
    page.get_by_text("Alerts off").click()
    page.get_by_label("a short sound").check()
    assert page.evaluate("told") == ["tone", "tone"]
    live(page, "/")
    expect(page.locator("#alerts summary")).to_have_text("Alerts on")


# -- the viewer's bar


def test_the_bar_acknowledges_and_leads_on_in_reading_order(node: Node, page: Page) -> None:
    top = node.analysed(2, suspected=True, name="TOP^Two", minutes_ago=8)
    second = node.analysed(3, suspected=True, name="NEXT^Three", minutes_ago=4)
    declined = node.receive(4)
    node.choose(declined, ChoiceKind.DECLINED, "Contrast was given.")
    node.receive(5)  # in progress: there is nothing to read yet
    live(page, f"/studies/{top}/bar")
    expect(page.locator("main")).to_contain_text("Suspected")
    expect(page.locator("#next")).to_have_attribute("href", f"/studies/{second}/viewer")
    expect(page.locator("#next")).to_have_attribute("title", re.compile("^NEXT, Three: Suspected intracranial"))
    assert state(node, top) is ItemState.OPENED, "who looks at it has opened it"
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("button", name="Mark as read")).to_be_visible()
    assert state(node, top) is ItemState.ACKNOWLEDGED
    seen = []
    for _ in range(3):
        seen.append(page.locator("#next").get_attribute("href"))
        live(page, (seen[-1] or "").replace("/viewer", "/bar"))
        expect(page.locator(".bar .sub").first).to_contain_text("Opened")
    assert seen == [f"/studies/{each}/viewer" for each in (second, declined, "1.2.826.1")]
    expect(page.get_by_text("No unread study")).to_be_visible()
    node.analysed(6, suspected=True)
    expect(page.locator("#next")).to_have_attribute("href", "/studies/1.2.826.6/viewer")


def test_feedback_is_given_in_the_bar_and_the_name_is_kept(node: Node, page: Page) -> None:
    study_uid = node.analysed(2, suspected=True)
    live(page, f"/studies/{study_uid}/bar")
    page.locator("#say summary").click()
    page.get_by_role("radio", name="Disagree: wrong type").check()
    page.get_by_label("Epidural").check()
    page.get_by_label("Subdural").uncheck()
    page.get_by_label("Your name").fill("Dr. Bar")
    page.get_by_role("button", name="Give feedback").click()
    expect(page.locator("#toast")).to_have_text("Thank you, this is kept.")
    expect(page.locator("#say-sheet")).to_be_hidden()
    page.locator("#say summary").click()
    expect(page.locator(".given li").first).to_contain_text("Dr. Bar disagrees: wrong type, right: epidural")
    expect(page.get_by_label("Your name")).to_have_value("Dr. Bar")
    with node.database.read() as tx:
        (one,) = feedback.of_study(tx, study_uid)
    assert (one.verdict, one.right_types, one.reader) == ("wrong_type", ("epidural",), "Dr. Bar")
    page.get_by_role("radio", name="Agree", exact=True).check()
    node.result(study_uid, suspected=True)
    expect(page.get_by_role("heading", name="Feedback on result 2")).to_be_visible()
    assert page.url.endswith("/bar")


def test_only_a_page_of_the_node_has_the_bar_in_a_frame(page: Page) -> None:
    for path, ancestors in (("/studies/1.2.826.1/bar", "'self'"), ("/studies/1.2.826.1", "'none'")):
        answer = page.request.get(path)
        assert f"frame-ancestors {ancestors}" in answer.headers["content-security-policy"]
    assert page.request.get("/studies/9.9/bar").status == 404


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [1440, 390])
def test_news_and_bar_are_accessible(
    node: Node, address: str, browser: Browser, scheme: Literal["dark", "light"], width: int
) -> None:
    page = browser.new_page(base_url=address, viewport={"width": width, "height": 600}, color_scheme=scheme)
    for path in ("/studies/1.2.826.1", "/quality", "/status", "/studies/1.2.826.1/bar"):
        open_live(page, "", path)
        expect(page.locator("#alarms")).to_have_attribute("data-suspected", re.compile(r"\d"))
        node.analysed(2 + len(path), suspected=True, name="VAN DER BERG-MONTGOMERY^Johannes Petrus")
        expect(page.locator("#news")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert faults(page) == [], path
    page.locator("#say summary").click()
    assert faults(page) == [], "feedback"
    page.close()
