"""The page in a real Chromium over a real socket: it keeps itself up to date and is worked by keyboard."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from peers import own_port
from playwright.sync_api import Browser, Locator, Page, expect
from web_support import Node, faults, make_node, picture_bytes, serving

from dicom_node import clock
from dicom_node.entities import ChoiceKind, ItemState
from dicom_node.tables import worklist

LISTENING = """
window.told = [];
window.Notification = class { constructor(title, options) { told.push(title, options.body); } };
Notification.permission = "default";
Notification.requestPermission = async () => Notification.permission = "granted";
const Tone = OscillatorNode;
window.OscillatorNode = class extends Tone { constructor(...all) { super(...all); told.push("tone"); } };
"""  # what is sounded and notified, where nobody hears it
MOVES = """
window.moves = [];
const told = (sign, nodes) => moves.push(...[...nodes].map((node) => sign + (node.id ?? node.nodeName)));
new MutationObserver((all) => all.forEach((each) => { told("-", each.removedNodes); told("+", each.addedNodes); }))
  .observe(document.querySelector("tbody"), { childList: true });
"""  # which rows come and go
expect.set_options(timeout=20_000)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = make_node(tmp_path / "node")
    node.beat("node", "worker", seconds=600)
    return node


@pytest.fixture
def address(node: Node) -> Iterator[str]:
    with serving(node) as (address, _):
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    told = ("Policy", "duplicate ids")  # of the browser, and of Idiomorph
    page.on("console", lambda said: trouble.append(said.text) if any(word in said.text for word in told) else None)
    yield page
    page.close()
    assert not trouble


def state(node: Node, study_uid: str) -> ItemState | None:
    with node.database.read() as tx:
        item = worklist.get(tx, study_uid)
    return item.state if item else None


def open_live(page: Page, address: str, path: str = "/") -> None:
    """Open a page and wait until it is connected."""
    page.goto(address + path)
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    page.evaluate("window.opened = true")


def row_of(page: Page, study_uid: str) -> Locator:
    return page.locator(f'tr[data-key="{study_uid}"]')


def keys(page: Page) -> list[str | None]:
    return [row.get_attribute("data-key") for row in page.locator("tr[data-key]").all()]


def test_a_study_appears_and_changes_without_reload(node: Node, address: str, page: Page) -> None:
    open_live(page, address)
    expect(page.get_by_role("heading", name="No study is waiting")).to_be_visible()
    study_uid = node.receive(1, name="NEW^Patient")
    expect(page.get_by_role("row", name="NEW, Patient")).to_contain_text("Receiving images")
    node.result(study_uid, suspected=True, picture=picture_bytes())
    expect(page.get_by_role("row", name="NEW, Patient")).to_contain_text("Subdural 31 ml")
    picture = page.get_by_role("img", name="Most telling slice of NEW, Patient")
    expect(picture).to_be_visible()
    assert picture.evaluate("async (image) => { await image.decode(); return image.naturalWidth; }") == 320
    assert page.evaluate("window.opened") is True


def test_a_new_suspicion_is_titled_announced_and_on_top(node: Node, address: str, page: Page) -> None:
    first = node.analysed(1, suspected=False, minutes_ago=30)
    open_live(page, address)
    expect(page).to_have_title("triage-node worklist")
    expect(page.locator("#announce")).to_be_empty()
    second = node.analysed(2, suspected=True, name="URGENT^Case", minutes_ago=1)
    expect(page).to_have_title("(1) suspected – triage-node worklist")
    expect(page.locator("#announce")).to_have_text("New suspected: URGENT, Case: Subdural 31 ml")
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", "/static/alert.svg")
    assert keys(page) == [second, first]


def test_worked_by_keyboard(node: Node, address: str, page: Page) -> None:
    top = node.analysed(1, suspected=True, name="TOP^One", minutes_ago=9)
    second = node.analysed(2, suspected=True, name="NEXT^Two", minutes_ago=5)
    low = node.analysed(3, suspected=False, minutes_ago=30)
    open_live(page, address)
    page.keyboard.press("a")
    expect(page.locator("#toast")).to_contain_text("Choose a study first")
    for key in "jjk":
        page.keyboard.press(key)
    expect(row_of(page, top)).to_be_focused()
    page.keyboard.press("a")
    expect(row_of(page, top)).to_contain_text("Acknowledged")
    assert state(node, top) is ItemState.ACKNOWLEDGED
    expect(page).to_have_title("(1) suspected – triage-node worklist")
    assert keys(page) == [second, low, top]
    expect(row_of(page, second)).to_be_focused()  # what comes next, not what has moved to the end
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.evaluate("settledAt = 0")
    page.keyboard.press("r")
    expect(row_of(page, top)).to_have_count(0)
    assert state(node, top) is ItemState.READ
    expect(row_of(page, low)).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="NEXT, Two")).to_be_visible()
    expect(page.locator("#link")).to_have_attribute("data-state", "live")  # the page's script listens
    page.keyboard.press("Escape")
    expect(row_of(page, second)).to_be_focused()
    expect(row_of(page, second)).to_contain_text("Opened")
    assert state(node, second) is ItemState.OPENED


def test_acknowledge_and_read_with_the_mouse(node: Node, address: str, page: Page) -> None:
    study_uid = node.analysed(1, suspected=True, name="TOP^One")
    open_live(page, address, f"/studies/{study_uid}")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("button", name="Mark as read")).to_be_visible()
    assert state(node, study_uid) is ItemState.ACKNOWLEDGED
    open_live(page, address)
    page.get_by_role("button", name="Mark as read: TOP, One").click()
    expect(page.get_by_role("heading", name="No study is waiting")).to_be_visible()
    assert state(node, study_uid) is ItemState.READ


def test_help_says_the_keys(address: str, page: Page) -> None:
    open_live(page, address)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="How this list works")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Help and keys").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("ja?")
    expect(page.get_by_role("searchbox")).to_have_value("ja?")


def test_filter_search_and_typing_outlast_updates(node: Node, address: str, page: Page) -> None:
    first = node.analysed(1, suspected=True, name="MUELLER^Anna", minutes_ago=9)
    node.analysed(2, suspected=True, name="OTHER^Bob")
    open_live(page, address)
    page.get_by_role("link", name=re.compile("^Suspected")).click()
    page.get_by_role("searchbox").fill("muel")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"\?show=suspected&q=muel&date=$"))
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    assert keys(page) == [first]
    page.evaluate("window.opened = true")
    box = page.get_by_role("searchbox")
    box.focus()
    page.keyboard.press("End")
    page.keyboard.type("ler")
    node.analysed(3, suspected=True, name="ELSE^Cy")
    newer = node.analysed(4, suspected=True, name="MUELLER^Dora")
    expect(row_of(page, newer)).to_be_visible()
    assert keys(page) == [newer, first]
    expect(box).to_be_focused()
    expect(box).to_have_value("mueller")
    expect(page).to_have_title("(4) suspected – triage-node worklist")
    expect(page.locator("#announce")).to_contain_text("MUELLER, Dora")
    row_of(page, first).get_by_role("link", name="Open").click()
    expect(page.get_by_role("heading", name="MUELLER, Anna")).to_be_visible()
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile(r"\?show=suspected&q=muel"))
    expect(row_of(page, first)).to_be_focused()


def test_a_name_stands_beside_what_its_reader_does(node: Node, address: str, page: Page) -> None:
    study_uid = node.analysed(1, suspected=True)
    open_live(page, address)
    page.get_by_text("Your name?").click()
    expect(page.get_by_text("This is no login")).to_be_visible()
    page.get_by_label("Your name").fill("Dr Wéber")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#reader summary")).to_contain_text("Dr Wéber")
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    page.get_by_role("button", name="Acknowledge").click()
    expect(row_of(page, study_uid)).to_contain_text("Acknowledged by Dr Wéber")
    expect(page.get_by_role("link", name="Mine 1")).to_be_visible()


def test_sound_and_notification_are_off_until_switched_on(node: Node, address: str, page: Page) -> None:
    page.add_init_script(LISTENING)
    open_live(page, address)
    node.analysed(1, suspected=True, name="FIRST^One")
    expect(page.locator("#announce")).to_contain_text("FIRST, One")
    assert page.evaluate("told") == []
    page.get_by_text("Alerts off").click()
    page.get_by_label("a short sound").check()
    page.get_by_label("a notification of the browser").check()
    expect(page.locator("#alerts summary")).to_have_text("Alerts on")
    assert page.evaluate("told.splice(0)") == ["tone", "tone"], "how it sounds"
    node.analysed(2, suspected=True, name="SECOND^Two")
    expect(page.locator("#announce")).to_contain_text("SECOND, Two")
    told = ["Suspected intracranial haemorrhage", "Subdural 31 ml · 70 y F", "tone", "tone"]
    assert page.evaluate("told.splice(0)") == told, "and no name"
    node.analysed(3, suspected=False)
    expect(row_of(page, "1.2.826.3")).to_be_visible()
    assert page.evaluate("told") == []
    page.reload()
    expect(page.locator("#alerts summary")).to_have_text("Alerts on")


def test_a_button_that_has_just_moved_is_not_pressed(node: Node, address: str, page: Page) -> None:
    study_uid = node.analysed(1, suspected=True)
    open_live(page, address)
    page.evaluate("settledAt = Date.now() + 60000")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator("#toast")).to_contain_text("The list has just moved")
    assert state(node, study_uid) is ItemState.UNREAD


def test_an_update_keeps_focus_scroll_and_nodes(node: Node, address: str, page: Page) -> None:
    for number in range(1, 26):
        node.analysed(number, suspected=False, minutes_ago=50 - number)
    open_live(page, address)
    button = page.locator('tr[data-key="1.2.826.15"] [data-do=acknowledge]')
    button.focus()
    page.evaluate("document.querySelector('tr[data-key=\"1.2.826.15\"]').marked = true")
    before = button.evaluate("(element) => element.getBoundingClientRect().top")
    node.analysed(90, suspected=True, minutes_ago=1)
    expect(page).to_have_title(re.compile(r"^\(1\) suspected"))
    expect(button).to_be_focused()
    assert page.evaluate("document.querySelector('tr[data-key=\"1.2.826.15\"]').marked") is True
    assert abs(button.evaluate("(element) => element.getBoundingClientRect().top") - before) < 2
    assert keys(page)[0] == "1.2.826.90"


def test_a_row_that_comes_moves_no_other(node: Node, address: str, page: Page) -> None:
    for number in range(1, 9):
        node.analysed(number, suspected=False, minutes_ago=50 - number)
    open_live(page, address)
    node.analysed(90, suspected=True, minutes_ago=1)  # after it, the page's own blanks are gone
    expect(row_of(page, "1.2.826.90")).to_be_visible()
    page.evaluate(MOVES)
    node.analysed(91, suspected=True, minutes_ago=2)
    node.analysed(92, suspected=False, minutes_ago=48.5)
    expect(row_of(page, "1.2.826.92")).to_be_visible()
    assert keys(page)[:2] == ["1.2.826.91", "1.2.826.90"]
    moves = page.evaluate("moves")
    assert [move for move in moves if move[5:] not in ("1.2.826.90", "1.2.826.91")] == ["+row-1.2.826.92"]
    assert "+row-1.2.826.91" in moves  # it comes in steps, and may trade places with its neighbour when it is flagged


def test_an_update_keeps_open_details_pictures_and_what_a_script_has_said(node: Node, address: str, page: Page) -> None:
    study_uid = node.analysed(1, suspected=True)
    node.result(study_uid, suspected=True, picture=picture_bytes())
    open_live(page, address, f"/studies/{study_uid}")
    page.get_by_text("Picture of result 1").click()
    earlier = page.get_by_role("img", name="The picture of the earlier result 1")
    expect(earlier).to_be_visible()
    page.evaluate("for (const each of document.querySelectorAll('img, h1')) each.marked = true")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with node.other().write() as tx:
        worklist.acknowledge(tx, study_uid, clock.utc_now(), "Dr A")
    expect(page.get_by_role("button", name="Mark as read")).to_be_visible()
    expect(earlier).to_be_visible()
    assert page.evaluate("[...document.querySelectorAll('img, h1')].every((each) => each.marked)") is True
    assert page.evaluate("[...document.querySelectorAll('time.clock')].every((each) => each.title)") is True
    assert not any("picture.png" in each for each in asked)


def test_another_button_in_the_same_place_has_not_the_focus(node: Node, address: str, page: Page) -> None:
    study_uid = node.analysed(1, suspected=True)
    open_live(page, address, f"/studies/{study_uid}")
    page.get_by_role("button", name="Acknowledge").focus()
    with node.other().write() as tx:
        worklist.acknowledge(tx, study_uid, clock.utc_now(), "Dr A")
    expect(page.get_by_role("button", name="Mark as read")).to_be_visible()
    expect(page.get_by_role("button", name="Mark as read")).not_to_be_focused()
    expect(page.locator("#live")).to_be_focused()


def test_rows_end_in_the_servers_order_whatever_moved(node: Node, address: str, page: Page) -> None:
    for number in range(1, 9):
        node.analysed(number, suspected=number % 2 == 0, minutes_ago=number * 4)
    open_live(page, address)
    with node.other().write() as tx:
        tx.run("UPDATE worklist SET state = 'read' WHERE study_uid IN ('1.2.826.3', '1.2.826.8')")
        tx.run("UPDATE worklist SET state = 'acknowledged' WHERE study_uid IN ('1.2.826.6', '1.2.826.1')")
        tx.run("UPDATE worklist SET urgency = 'HIGH', tier = 0, headline = 'now' WHERE study_uid = '1.2.826.5'")
    expect(page.locator('tr[data-key="1.2.826.3"]')).to_have_count(0)
    assert keys(page) == [f"1.2.826.{number}" for number in (5, 4, 2, 7, 6, 1)]


def test_a_newer_result_shows_on_an_open_study(node: Node, address: str, page: Page) -> None:
    study_uid = node.analysed(1, suspected=False)
    open_live(page, address, f"/studies/{study_uid}")
    node.result(study_uid, suspected=True, picture=picture_bytes())
    expect(page.get_by_role("heading", name="Result 2", exact=True)).to_be_visible()
    expect(page.get_by_role("img", name="The most telling slices")).to_be_visible()
    assert page.evaluate("window.opened") is True


def test_says_when_the_connection_is_lost_and_when_it_is_back(node: Node, page: Page) -> None:
    node.analysed(1, suspected=True)
    port = own_port()
    with serving(node, port) as (address, _):
        open_live(page, address)
    notice = page.locator("#lost")
    expect(notice).to_be_visible()
    expect(notice).to_contain_text("Connection lost")
    expect(page).to_have_title("Connection lost – (1) suspected – triage-node worklist")
    node.analysed(2, suspected=True)
    with serving(node, port):
        expect(notice).to_be_hidden()
        expect(page.locator("#toast")).to_contain_text("Connected again at")
        expect(page).to_have_title("(2) suspected – triage-node worklist")
        page.goto("about:blank")


def test_a_study_in_a_background_tab_gives_its_connection_back(node: Node, address: str, page: Page) -> None:
    study_uid = node.analysed(1, suspected=False)
    open_live(page, address, f"/studies/{study_uid}")
    hide = "Object.defineProperty(document, 'hidden', {get: () => %s, configurable: true});"
    change = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate((hide % "true") + change)
    assert page.evaluate("source") is None
    node.result(study_uid, suspected=True)
    page.evaluate((hide % "false") + change)
    expect(page.get_by_role("heading", name="Result 2", exact=True)).to_be_visible()


def test_status_follows_the_processes(node: Node, address: str, page: Page) -> None:
    open_live(page, address, "/status")
    expect(page.get_by_text("The receiving process does not run")).to_have_count(0)
    node.beat("node", seconds=-1)
    expect(page.get_by_text("The receiving process does not run")).to_be_visible()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_nothing_is_cut_off(node: Node, address: str, page: Page, width: int, height: int) -> None:
    study_uid = node.analysed(1, suspected=True, name="VAN DER BERG-MONTGOMERY^Johannes Petrus Alexander")
    node.analysed(2, suspected=False)
    page.set_viewport_size({"width": width, "height": height})
    for path in ("/", f"/studies/{study_uid}", "/status"):
        open_live(page, address, path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        expect(page.get_by_text("not for diagnostic use").first).to_be_in_viewport()


def test_works_without_its_script(node: Node, address: str, browser: Browser) -> None:
    study_uid = node.analysed(1, suspected=True, name="TOP^One")
    page = browser.new_page(java_script_enabled=False)
    page.goto(address)
    page.get_by_role("button", name="Acknowledge: TOP, One").click()
    expect(page.get_by_role("button", name="Mark as read: TOP, One")).to_be_visible()
    assert state(node, study_uid) is ItemState.ACKNOWLEDGED
    page.get_by_text("Your name?").click()
    page.get_by_label("Your name").fill("Dr Weber")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#reader summary")).to_contain_text("Dr Weber")
    page.get_by_role("searchbox").fill("nobody")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", name="No study matches")).to_be_visible()
    page.close()


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_axe_finds_no_serious_fault(
    node: Node, address: str, browser: Browser, scheme: Literal["dark", "light"], width: int, height: int
) -> None:
    suspected = node.analysed(1, suspected=True)
    node.analysed(2, suspected=False, minutes_ago=90)
    node.choose(node.receive(3), ChoiceKind.DECLINED, "Contrast was given.")
    node.receive(4)
    seen = node.analysed(5, suspected=True)
    with node.other().write() as tx:
        worklist.acknowledge(tx, seen, clock.utc_now(), "Dr Weber")
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    for path in ("/", "/?q=doe", "/?show=mine", f"/studies/{suspected}", "/status"):
        open_live(page, address, path)
        for menu in page.locator("details.menu summary").all():
            menu.click()
            assert faults(page) == [], path
    open_live(page, address)
    page.keyboard.press("?")
    assert faults(page) == [], "help"
    page.evaluate("document.getElementById('help').close(); disconnected()")
    assert faults(page) == [], "connection lost"
    page.close()
