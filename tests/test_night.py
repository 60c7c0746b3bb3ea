"""A night at the list, in a real Chromium: two readers, forty studies, and the list is right for both at every step."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import own_port, wait_until
from playwright.sync_api import Browser, Locator, Page, expect
from web_support import Node, faults, make_node, serving

from dicom_node.entities import ChoiceKind, ItemState
from dicom_node.tables import feedback, worklist

expect.set_options(timeout=20_000)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = make_node(tmp_path / "node")
    node.beat("node", "worker", seconds=600)
    return node


@pytest.fixture
def address(node: Node) -> Iterator[str]:
    with serving(node, own_port()) as (address, _):
        yield address


def sit_down(browser: Browser, address: str, name: str, width: int = 1280) -> Page:
    """A reader with a browser and a name, at the live list."""
    page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    page.context.add_cookies([{"name": "reader", "value": name, "url": address}])
    page.goto(address)
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    return page


def row_of(page: Page, study_uid: str) -> Locator:
    return page.locator(f'tr[data-key="{study_uid}"]')


def press(page: Page, study_uid: str, name: str) -> None:
    """Press a row's button, when the list has come to rest."""
    button = row_of(page, study_uid).get_by_role("button", name=name)
    expect(button).to_be_visible()
    wait_until(lambda: page.evaluate("Date.now() > settledAt"), 10, "the list is at rest")
    button.click()


def expect_first(pages: list[Page], *study_uids: str) -> None:
    """Both readers see these rows on top, in this order."""
    for page in pages:
        for place, study_uid in enumerate(study_uids):
            expect(page.locator("tr[data-key]").nth(place)).to_have_attribute("data-key", study_uid)


def item(node: Node, study_uid: str) -> worklist.WorklistItem:
    with node.database.read() as tx:
        found = worklist.get(tx, study_uid)
    assert found is not None
    return found


def give(page: Page, address: str, study_uid: str, choice: str) -> None:
    """Say something of a result on the study's page, as a reader does."""
    page.goto(f"{address}/studies/{study_uid}")
    form = page.locator("form.feedback, form[action$='/feedback']").first
    form.evaluate(
        "form => { for (let at = form; at; at = at.parentElement) if (at.tagName === 'DETAILS') at.open = true; }"
    )
    page.locator(f"input[name=verdict][value={choice}]").first.check()
    form.get_by_role("button").first.click()
    page.wait_for_load_state()
    page.goto(address)
    expect(page.locator("#link")).to_have_attribute("data-state", "live")


@pytest.mark.timeout(300)
def test_a_night_with_two_readers(node: Node, address: str, browser: Browser) -> None:
    """Forty studies, three flagged, one missed and reported, one acknowledged by mistake and taken back."""
    calm = [node.analysed(number, suspected=False, minutes_ago=50 - number) for number in range(1, 35)]
    refused = [node.receive(number, minutes_ago=2) for number in range(35, 38)]
    for each in refused:
        node.choose(each, ChoiceKind.DECLINED, "The images were made with contrast.")
    one, other = sit_down(browser, address, "Dr%20One"), sit_down(browser, address, "Dr%20Other")
    both = [one, other]
    expect_first(both, *refused)

    flagged = [node.analysed(number, suspected=True, minutes_ago=43 - number) for number in range(38, 41)]
    expect_first(both, *flagged, refused[0])
    for page in both:
        expect(page).to_have_title("(3) suspected – triage-node worklist")
        expect(page.locator("tr[data-key]")).to_have_count(40)

    # acknowledged by mistake, and taken back: by the offer, by key, and by the row's own button
    for way in ("offer", "button", "key"):
        press(one, flagged[1], "Acknowledge")
        expect_first(both, flagged[0], flagged[2], refused[0])
        expect(row_of(other, flagged[1])).to_contain_text("Acknowledged by Dr One")
        if way == "offer":
            one.locator("#toast").get_by_role("button", name="Undo").click()
        elif way == "key":
            one.keyboard.press("u")
        else:
            press(one, flagged[1], "Undo")
        expect_first(both, *flagged, refused[0])
        assert item(node, flagged[1]).state is ItemState.UNREAD

    # missed: one reader reports it, and it stands on top for both, also after he had read it
    missed = calm[20]
    for verb in ("Acknowledge", "Mark as read"):
        press(other, missed, verb)
    expect(row_of(one, missed)).to_have_count(0)
    give(other, address, missed, "missed")
    expect_first(both, missed, *flagged)  # with the large ones, of which it waits longest
    for page in both:
        expect(row_of(page, missed)).to_contain_text("Dr Other reports a missed haemorrhage")
        expect(page).to_have_title("(4) suspected – triage-node worklist")
    expect(one.locator("#announce")).to_contain_text("Dr Other reports a missed haemorrhage")
    assert item(node, missed).missed_by == "Dr Other"
    assert item(node, missed).state in (ItemState.UNREAD, ItemState.OPENED)

    # taken and read: gone for both; what is left keeps its order
    press(one, missed, "Acknowledge")
    expect(row_of(other, missed)).to_contain_text("Acknowledged by Dr One")
    expect_first(both, *flagged, refused[0])
    press(one, missed, "Mark as read")
    for page in both:
        expect(row_of(page, missed)).to_have_count(0)

    # the report is taken back: nothing stays of it
    with node.database.read() as tx:
        (report,) = feedback.missed(tx, missed)
    give(other, address, missed, "agree")
    assert item(node, missed).missed_by == "" and report.reader == "Dr Other"
    expect_first(both, *flagged, refused[0])
    for page in both:
        page.context.close()


def test_sorted_by_a_column_and_back(node: Node, address: str, browser: Browser) -> None:
    """Each column up, down and back to the reading order; the page says that it is not the reading order."""
    late = node.analysed(1, suspected=True, name="ZULU^Zoe", minutes_ago=1)
    early = node.analysed(2, suspected=False, name="ALFA^Ann", minutes_ago=30)
    page = sit_down(browser, address, "Dr")
    expect_first([page], late, early)
    for order, sort in (((early, late), "ascending"), ((late, early), "descending")):
        page.locator("th a", has_text="Patient").click()
        expect(page.locator("th", has_text="Patient")).to_have_attribute("aria-sort", sort)
        expect(page.locator(".said")).to_contain_text("not in reading order")
        expect_first([page], *order)
    page.locator("th a", has_text="Patient").click()
    expect(page.locator("th[aria-sort]")).to_have_count(0)
    expect_first([page], late, early)
    page.goto(f"{address}/?sort=waiting")
    expect_first([page], early, late)
    third = node.analysed(3, suspected=False, name="MIKE^Max", minutes_ago=10)
    expect_first([page], early, third, late)
    page.context.close()


def test_arrow_keys_move_between_rows(node: Node, address: str, browser: Browser) -> None:
    """As j and k do; in the search they are the text's."""
    first = node.analysed(1, suspected=True, minutes_ago=9)
    second = node.analysed(2, suspected=True, minutes_ago=5)
    page = sit_down(browser, address, "Dr")
    page.keyboard.press("ArrowDown")
    expect(row_of(page, first)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(row_of(page, second)).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(row_of(page, first)).to_be_focused()
    page.locator("#q").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#q")).to_be_focused()
    page.context.close()


def test_colours_as_chosen(node: Node, address: str, browser: Browser) -> None:
    """Light, dark or the system's, kept in this browser, on every page, without a fault of contrast."""
    node.analysed(1, suspected=True)
    page = sit_down(browser, address, "Dr")

    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page.emulate_media(color_scheme="dark")
    system_dark = ground()
    page.get_by_label("Colours").select_option("light")
    light = ground()
    assert light != system_dark
    page.goto(f"{address}/status")
    assert ground() == light
    page.emulate_media(color_scheme="light")
    page.get_by_label("Colours").select_option("dark")
    assert ground() == system_dark
    page.goto(address)
    assert ground() == system_dark and not faults(page)
    page.get_by_label("Colours").select_option("system")
    assert ground() == light and not faults(page)
    page.context.close()


def test_progress_is_said(node: Node, address: str, browser: Browser) -> None:
    """Images so far, whose turn it is, and what is being analysed."""
    arriving = node.receive(1, name="ARRIVING^A", images=3)
    first, second = node.receive(2, name="FIRST^B"), node.receive(3, name="SECOND^C")
    for each in (first, second):
        node.choose(each, ChoiceKind.ANALYSE, "Head CT without contrast.")
    page = sit_down(browser, address, "Dr")
    expect(row_of(page, arriving)).to_contain_text("3 images so far")
    expect(row_of(page, first)).to_contain_text("next to be analysed")
    expect(row_of(page, second)).to_contain_text("1 before it")
    with node.other().write() as tx:
        tx.run("UPDATE jobs SET state = 'running', lease_owner = 'w', lease_until = 1e12 WHERE study_uid = :u", u=first)
        tx.run("UPDATE series SET expected = 7 WHERE study_uid = :u", u=arriving)
        tx.run("UPDATE changes SET number = number + 1")
    expect(row_of(page, first)).to_contain_text("being analysed now")
    expect(row_of(page, arriving)).to_contain_text("3 of 7 images so far")
    page.context.close()


def test_on_a_phone_a_row_opens_the_study(node: Node, address: str, browser: Browser) -> None:
    """Anywhere on it: a viewer on a phone helps nobody. Its buttons stay buttons."""
    study_uid = node.analysed(1, suspected=True)
    page = sit_down(browser, address, "Dr", width=390)
    expect(row_of(page, study_uid).get_by_role("link", name="Open")).to_be_hidden()
    box = row_of(page, study_uid).locator(".what").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page).to_have_url(f"{address}/studies/{study_uid}")
    page.go_back()
    press(page, study_uid, "Acknowledge")
    expect(row_of(page, study_uid)).to_contain_text("Acknowledged")
    assert not faults(page)
    page.context.close()


@pytest.mark.parametrize("width", [1024, 1280, 390])
def test_no_column_is_cut_off(node: Node, address: str, browser: Browser, width: int) -> None:
    """Long names, numbers and findings wrap; no sideways scrolling, no text under another."""
    long = "LONGFAMILYNAMEWITHOUTANYBREAK^GIVENNAMETHATISLONG"
    study_uid = node.analysed(1, suspected=True, name=long)
    node.analysed(2, suspected=False, name=long)
    with node.other().write() as tx:
        tx.run("UPDATE studies SET accession = 'ACCESSION0123456', patient_id = 'PATIENTIDENTIFIER-0123456789'")
    page = sit_down(browser, address, "Dr", width=width)
    press(page, study_uid, "Acknowledge")
    expect(row_of(page, study_uid)).to_contain_text("Undo")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    outside = page.evaluate(
        "[...document.querySelectorAll('.list td, .list td *')].filter((each) => {"
        " const box = each.getBoundingClientRect();"
        " return box.width && (box.right > innerWidth + 1 || box.left < -1); }).map((each) => each.outerHTML)"
    )
    assert outside == []
    crossing = page.evaluate(
        "[...document.querySelectorAll('.list td')].filter((cell) => cell.scrollWidth > cell.clientWidth + 1)"
        ".map((cell) => cell.className)"
    )
    assert crossing == []
    page.context.close()


def test_print_has_no_buttons(node: Node, address: str, browser: Browser) -> None:
    """The list on paper: rows and nothing to press."""
    study_uid = node.analysed(1, suspected=True)
    page = sit_down(browser, address, "Dr")
    page.emulate_media(media="print")
    assert [each for each in page.get_by_role("button").all() if each.is_visible()] == []
    expect(row_of(page, study_uid)).to_be_visible()
    expect(page.locator(".research")).to_be_visible()
    assert page.locator(".search").is_hidden()
    page.context.close()
