"""The slices played in the list, in a real Chromium: what is shown, what its keys do, and what updates leave alone."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from scripted import route
from series import Core, core
from starlette.testclient import TestClient
from test_preview import QUESTION, analyse, brain, index_of, last, turn, uid
from test_upgrade import unpack
from web_support import Node, faults, serving, until

from dicom_node import clock
from dicom_node.entities import JobState
from dicom_node.tables import feedback, jobs, results, worklist
from dicom_node.tables.feedback import Verdict
from dicom_node.web.app import build_app
from reports.preview import CT_WINDOWS

HERE = {"origin": "http://localhost"}
GREY = (  # of the canvas, at shares of its width and height
    "(x, y) => { const c = document.querySelector('#preview canvas');"
    " return c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data[0] }"
)
expect.set_options(timeout=20_000)


@pytest.fixture
def node(tmp_path: Path) -> Core:
    return core(tmp_path / "node")


@pytest.fixture
def address(node: Core) -> Iterator[str]:
    with serving(Node(node.database, node.archive, node.settings)) as (address, _):
        yield address


@pytest.fixture
def client(node: Core) -> Iterator[TestClient]:
    with TestClient(build_app(node.database, node.archive, node.settings), base_url="http://localhost") as client:
        yield client


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    yield from opened(browser)


def opened(browser: Browser, reduced: bool = True, phone: bool = False) -> Iterator[Page]:
    """A page without faults; slices stand still where motion is to be reduced."""
    size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 800}
    context = browser.new_context(
        viewport=size,  # type: ignore[arg-type]
        has_touch=phone,
        reduced_motion="reduce" if reduced else "no-preference",
    )
    page, trouble = context.new_page(), list[str]()
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda said: trouble.append(said.text) if "Policy" in said.text else None)
    yield page
    context.close()
    assert not trouble


def study(node: Core, number: int, suspected: bool, pictures: bool = True) -> str:
    """An analysed head with its small pictures; its UID."""
    node.receive(brain(study=number, blood=(10, 11, 12) if suspected else ()))
    route(node)
    analyse(node, suspected)
    while pictures and turn(node):
        pass
    return uid(number)


def go(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("#link")).to_have_attribute("data-state", "live")


def row(page: Page, study_uid: str) -> Locator:
    return page.locator(f'tr[data-key="{study_uid}"]')


def play(page: Page, study_uid: str) -> Locator:
    """Space on the study's row; the panel, once all slices are there."""
    row(page, study_uid).focus()
    page.keyboard.press(" ")
    expect(page.locator("#preview")).to_have_attribute("data-loaded", study_uid)
    return page.locator("#preview")


def pixel(page: Page, x: float, y: float) -> list[int]:
    """What the canvas shows there, as shares of its sides."""
    shown: list[int] = page.evaluate(
        "([x, y]) => { const c = document.querySelector('#preview canvas');"
        " return [...c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data] }",
        [x, y],
    )
    return shown


def said_of(node: Core, study_uid: str) -> list[tuple[str, Verdict]]:
    """What readers have said of the study, the first first."""
    with node.database.read() as tx:
        return [(each.reader, each.verdict) for each in reversed(feedback.of_study(tx, study_uid)) if each.in_force]


def name_reader(page: Page, name: str) -> None:
    page.locator("#reader summary").click()
    page.get_by_label("Your name, as your colleagues know you").fill(name)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#link")).to_have_attribute("data-state", "live")


def test_the_first_picture_needs_one_small_answer_and_no_viewer(node: Core, address: str, page: Page) -> None:
    study_uid = study(node, 1, True)
    go(page, address)
    page.route(re.compile(r"/preview/"), lambda way: None)  # the sheets never come
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(address)))
    row(page, study_uid).focus()
    with page.expect_response(re.compile(r"/preview$")) as answer:
        page.keyboard.press(" ")
    canvas = page.locator("#preview canvas")
    expect(canvas).to_have_attribute("data-shown", f"{index_of(node).first} 0")
    assert len(answer.value.body()) < 40_000
    needed = [each for each in asked if not each.startswith(("/rows", "/events")) and "/preview/" not in each]
    assert needed == [f"/studies/{study_uid}/preview"]
    assert pixel(page, 0.6, 0.3)[0] > 90 and page.url == address + "/"
    panel = page.locator("#preview")
    for said in ("not for diagnostic use", "Slice 11 of 24 (image 11)", "brain window", "Subdural"):
        expect(panel).to_contain_text(said)
    assert panel.locator(".side").all_inner_texts() == ["R", "L", "A", "P"]
    expect(panel).to_be_focused()


def test_windows_are_those_of_the_hounsfield_units_and_arrows_step(node: Core, address: str, page: Page) -> None:
    """The canvas is compared with the values of the series; the outline surrounds the blood, and can be taken away."""
    study_uid = study(node, 1, True)
    go(page, address)
    panel = play(page, study_uid)
    canvas = panel.locator("canvas")
    first = index_of(node).first
    for number, window in enumerate(CT_WINDOWS):
        page.keyboard.press(str(number + 1))
        expect(canvas).to_have_attribute("data-shown", f"{first} {number}")
        for (x, y), value in {(0.6, 0.27): 35, (0.42, 0.5): 70, (0.5, 0.07): 1200, (0.01, 0.01): -1000}.items():
            wanted = float(np.clip((value - window.centre + window.width / 2) / window.width * 255, 0, 255))
            until(page, f"Math.abs(({GREY})(...given.slice(0, 2)) - given[2]) < 10", [x, y, wanted])
        expect(panel.get_by_role("button", name=window.name.capitalize())).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("1")
    coloured = (
        "() => { const c = document.querySelector('#preview canvas'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; let n = 0;"
        " for (let i = 0; i < d.length; i += 4) n += Math.abs(d[i] - d[i + 2]) > 60; return n }"
    )
    assert page.evaluate(coloured) > 100
    page.keyboard.press("o")
    assert page.evaluate(coloured) == 0
    page.keyboard.press("o")
    page.keyboard.press("ArrowRight")
    expect(canvas).to_have_attribute("data-shown", f"{first + 1} 0")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    expect(canvas).to_have_attribute("data-shown", f"{first - 1} 0")
    page.keyboard.press("Home")
    expect(panel).to_contain_text("Slice 1 of 24 (image 1)")
    assert page.evaluate(coloured) == 0
    page.keyboard.press("End")
    expect(panel).to_contain_text("Slice 24 of 24 (image 24)")
    canvas.hover()
    page.mouse.wheel(0, -100)
    expect(panel).to_contain_text("Slice 23 of 24")
    panel.get_by_role("slider", name="Slice").fill("4")
    expect(panel).to_contain_text("Slice 5 of 24")


def test_it_plays_by_itself_until_it_is_paused(node: Core, address: str, browser: Browser) -> None:
    study_uid = study(node, 1, True)
    for page in opened(browser, reduced=False):
        go(page, address)
        panel = play(page, study_uid)
        for far in (f"{index_of(node).first + 2} 0", "2 0"):  # through the end, and on from the beginning
            until(page, "document.querySelector('#preview canvas').dataset.shown === given", far)
        expect(panel.get_by_role("button", name="Pause")).to_be_visible()
        page.keyboard.press(" ")
        expect(panel.get_by_role("button", name="Play", exact=True)).to_be_visible()
        shown = panel.locator("canvas").get_attribute("data-shown")
        page.keyboard.press("2")
        expect(panel.locator("canvas")).to_have_attribute("data-shown", (shown or "").split()[0] + " 1")
        panel.locator("canvas").click()
        expect(panel.get_by_role("button", name="Pause")).to_be_visible()


def test_agree_disagree_and_go_on_by_keys(node: Core, address: str, page: Page) -> None:
    """Each key says what stands in the database, under the reader's name; the panel stays open from study to study."""
    first, second = study(node, 1, True), study(node, 2, True)
    third = study(node, 3, False)
    node.receive(brain(study=4, ContrastBolusAgent="Iodine"))
    route(node)
    while turn(node):
        pass
    go(page, address)
    order = [each.get_attribute("data-key") for each in page.locator("tr[data-key]").all()]
    assert order[:2] == [first, second] and set(order[2:]) == {third, uid(4)}
    panel = play(page, first)
    page.keyboard.press("y")
    expect(panel.get_by_role("textbox", name="Your name")).to_be_focused()
    expect(panel.locator(".answer")).to_have_text("Please type your name first.")
    page.keyboard.type("Dr Yes no")
    page.keyboard.press("Enter")
    expect(panel.locator(".answer")).to_have_text("Thank you, this is kept.")
    assert said_of(node, first) == [("Dr Yes no", Verdict.AGREE)]
    expect(panel.get_by_role("button", name="Agree", exact=True)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("n")
    expect(panel.get_by_role("button", name="Disagree: false alarm")).to_have_attribute("aria-pressed", "true")
    assert said_of(node, first) == [("Dr Yes no", Verdict.FALSE_ALARM)]
    for following in order[1:]:
        page.keyboard.press("j")
        expect(panel).to_have_attribute("data-loaded", str(following))
        if following != uid(4):
            page.keyboard.press("n" if following == third else "y")
            expect(panel.locator(".answer")).to_have_text("Thank you, this is kept.")
        else:
            expect(panel).to_contain_text("Contrast was given")
            page.keyboard.press("y")
            expect(panel.locator(".answer")).to_have_text("There is no result to agree with.")
    assert said_of(node, second) == [("Dr Yes no", Verdict.AGREE)]
    assert said_of(node, third) == [("Dr Yes no", Verdict.MISSED)]
    assert said_of(node, uid(4)) == []


def test_the_last_study_says_so_and_escape_gives_the_focus_back(node: Core, address: str, page: Page) -> None:
    first, second = study(node, 1, True), study(node, 2, True)
    go(page, address)
    panel = play(page, first)
    page.keyboard.press("j")
    expect(panel).to_have_attribute("data-loaded", second)
    page.keyboard.press("j")
    expect(panel.locator(".answer")).to_have_text("This is the last study of this page.")
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(row(page, second)).to_be_focused()
    page.keyboard.press("k")
    expect(row(page, first)).to_be_focused()


def test_two_readers_each_say_their_own(node: Core, address: str, browser: Browser) -> None:
    study_uid = study(node, 1, True)
    for one in opened(browser):
        for other in opened(browser):
            for page, name in ((one, "Dr One"), (other, "Dr Two")):
                go(page, address)
                name_reader(page, name)
                play(page, study_uid)
            one.keyboard.press("y")
            other.keyboard.press("n")
            for page, pressed in ((one, "Agree"), (other, "Disagree: false alarm")):
                button = page.locator("#preview").get_by_role("button", name=pressed, exact=True)
                expect(button).to_have_attribute("aria-pressed", "true")
            one.keyboard.press("Escape")
            play(one, study_uid)
            agree = one.locator("#preview").get_by_role("button", name="Agree", exact=True)
            expect(agree).to_have_attribute("aria-pressed", "true")
    assert sorted(said_of(node, study_uid)) == [("Dr One", Verdict.AGREE), ("Dr Two", Verdict.FALSE_ALARM)]


def test_updates_of_the_list_neither_close_nor_restart_it(node: Core, address: str, page: Page) -> None:
    """New studies come before and after, a colleague takes the played one away: the same slice stays; next goes on."""
    first, second = study(node, 1, False), study(node, 2, False)
    go(page, address)
    panel = play(page, first)
    page.keyboard.press("3")
    page.keyboard.press("ArrowRight")
    shown = panel.locator("canvas").get_attribute("data-shown")
    page.evaluate("document.querySelector('#preview canvas').dataset.same = 'yes'")
    top = study(node, 3, True, pictures=False)
    expect(page.locator("tr[data-key]").first).to_have_attribute("data-key", top)
    expect(panel.locator("canvas[data-same=yes]")).to_have_attribute("data-shown", shown or "")
    expect(panel).to_be_focused()
    with node.database.write() as tx:
        worklist.acknowledge(tx, first, clock.utc_now(), "Dr Other")
        worklist.mark_read(tx, first, clock.utc_now(), "Dr Other")
    expect(row(page, first)).to_have_count(0)
    expect(panel.locator("canvas[data-same=yes]")).to_have_attribute("data-shown", shown or "")
    page.keyboard.press("j")
    expect(panel).to_have_attribute("data-loaded", second)
    page.keyboard.press("Escape")
    expect(row(page, second)).to_be_focused()


def test_what_its_reader_has_done_does_not_lose_the_next_study(node: Core, address: str, page: Page) -> None:
    """Acknowledging sends the row to the end of the list; the next is still the one that followed."""
    first, second, third = (study(node, number, True) for number in (1, 2, 3))
    go(page, address)
    panel = play(page, first)
    page.keyboard.press("a")
    expect(row(page, first)).to_contain_text("Acknowledged")
    expect(page.locator("tr[data-key]").last).to_have_attribute("data-key", first)
    for following in (second, third, first):
        page.keyboard.press("j")
        expect(panel).to_have_attribute("data-loaded", following)
    page.keyboard.press("k")
    expect(panel).to_have_attribute("data-loaded", third)


def test_a_newer_result_of_the_played_study_is_said(node: Core, address: str, page: Page) -> None:
    study_uid = study(node, 1, False)
    go(page, address)
    panel = play(page, study_uid)
    expect(panel).to_contain_text("No haemorrhage suspected")
    node.receive(brain(26, blood=(24, 25))[24:])
    route(node)
    analyse(node, True)
    expect(panel).to_contain_text("The pictures are being made")
    while turn(node):
        pass
    expect(panel).to_contain_text("of 26")
    expect(panel).to_contain_text("Subdural")


def test_pictures_appear_as_soon_as_they_are_made(node: Core, address: str, page: Page) -> None:
    study_uid = study(node, 1, True, pictures=False)
    go(page, address)
    row(page, study_uid).focus()
    page.keyboard.press(" ")
    panel = page.locator("#preview")
    expect(panel).to_contain_text("The pictures are being made.")
    expect(panel).to_contain_text("not for diagnostic use")
    assert faults(page) == []
    turn(node)
    expect(panel).to_have_attribute("data-loaded", study_uid)
    expect(panel).to_contain_text("Slice 11 of 24")


def test_a_study_of_before_the_upgrade_gets_its_pictures_when_it_is_played(
    node: Core, address: str, page: Page
) -> None:
    study_uid = study(node, 1, True, pictures=False)
    with node.database.write() as tx:  # as a database of before looks
        tx.run("DELETE FROM jobs WHERE kind = 'preview'")
    go(page, address)
    row(page, study_uid).get_by_role("link", name="Play the slices").click()
    panel = page.locator("#preview")
    expect(panel.get_by_role("link", name="Open the study's page")).to_be_visible()
    expect(panel).to_contain_text("The pictures are being made.")
    assert last(node).state is JobState.QUEUED
    turn(node)
    expect(panel).to_have_attribute("data-loaded", study_uid)


def test_by_touch_on_a_phone(node: Core, address: str, browser: Browser) -> None:
    first, second = study(node, 1, True), study(node, 2, False)
    for page in opened(browser, phone=True):
        go(page, address)
        row(page, first).get_by_role("link", name="Play the slices").tap()
        panel = page.locator("#preview")
        expect(panel).to_have_attribute("data-loaded", first)
        panel.get_by_role("button", name="Next slice").tap()
        expect(panel).to_contain_text("Slice 12 of 24")
        panel.get_by_role("button", name="Bone").tap()
        expect(panel).to_contain_text("bone window")
        assert panel.evaluate("p => p.scrollWidth <= p.clientWidth")
        panel.get_by_role("button", name="Next study").tap()
        expect(panel).to_have_attribute("data-loaded", second)
        panel.get_by_role("button", name="Close").tap()
        expect(panel).to_be_hidden()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_keeps_anybody_from_using_it(node: Core, address: str, page: Page, theme: str) -> None:
    study_uid = study(node, 1, True)
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    go(page, address)
    panel = play(page, study_uid)
    expect(page.get_by_role("dialog", name="Case, 1")).to_be_visible()
    assert faults(page) == []
    for name in ("Close", "Previous slice", "Play", "Next slice"):
        page.keyboard.press("Tab")
        expect(panel.get_by_role("button", name=name, exact=name == "Play")).to_be_focused()
    page.keyboard.press(" ")
    expect(panel).to_contain_text("Slice 12 of 24")
    page.keyboard.press("Escape")
    expect(row(page, study_uid)).to_be_focused()


def test_without_scripts_the_button_leads_to_the_study(node: Core, client: TestClient) -> None:
    study_uid = study(node, 1, True)
    assert f'href="/studies/{study_uid}#picture"' in client.get("/").text


def test_sheets_are_kept_by_the_browser_and_missing_ones_say_why(node: Core, client: TestClient) -> None:
    study_uid = study(node, 1, True, pictures=False)
    sheet = f"/studies/{study_uid}/preview/brain.webp"
    absent = client.get(sheet, headers={"accept": "application/json"})
    assert absent.status_code == 404 and "not there yet" in absent.json()["said"]
    turn(node)
    stamp = re.findall(r'data-stamp="(\w+)"', client.get(f"/studies/{study_uid}/preview").text)[0]
    there = client.get(sheet, params={"stamp": stamp})
    assert there.status_code == 200 and there.headers["content-type"] == "image/webp"
    assert "immutable" in there.headers["cache-control"] and there.content[8:12] == b"WEBP"
    again = client.get(sheet, params={"stamp": stamp}, headers={"if-none-match": there.headers["etag"]})
    assert again.status_code == 304 and not again.content
    assert client.get(sheet).headers["cache-control"] == "private, no-cache"
    old = client.get(sheet, params={"stamp": "1f"}, headers={"accept": "application/json"})
    assert old.status_code == 404 and "replaced" in old.json()["said"]
    for path in (
        f"/studies/{study_uid}/preview/index.json",
        "/studies/1.2.3/preview",
        "/studies/1.2.3/preview/bone.webp",
    ):
        assert client.get(path).status_code == 404
    assert client.get(f"/studies/{study_uid}/preview/..%2f..%2fnode.sqlite").status_code == 404


def test_asking_is_refused_from_elsewhere_and_where_nothing_can_be_made(node: Core, client: TestClient) -> None:
    node.receive(brain()[:2])
    ask = f"/studies/{uid()}/preview"
    assert client.post(ask, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post(ask, headers=HERE).status_code == 409  # images are still coming
    assert client.post("/studies/1.2.3/preview", headers=HERE).status_code == 404
    route(node)
    with node.database.write() as tx:
        tx.run("DELETE FROM jobs")
    assert client.post(ask, headers=HERE).json() == {"said": "The pictures are being made."}
    with node.database.read() as tx:
        job = jobs.last_preview(tx, uid(), QUESTION)
    assert job is not None and job.state is JobState.QUEUED


def test_a_damaged_file_is_made_again_when_it_is_asked_for(node: Core, client: TestClient) -> None:
    study_uid = study(node, 1, True)
    path = node.archive.preview_path(study_uid, QUESTION, 1)
    path.write_bytes(path.read_bytes()[:5000])
    assert 'data-state="absent"' in client.get(f"/studies/{study_uid}/preview").text
    assert client.post(f"/studies/{study_uid}/preview", headers=HERE).status_code == 200
    turn(node)
    assert 'data-state="ready"' in client.get(f"/studies/{study_uid}/preview").text


def test_what_is_drawn_is_the_latest_result(node: Core, client: TestClient) -> None:
    """A result without pictures of its own does not show those of the one before."""
    study_uid = study(node, 1, True)
    node.receive(brain(26)[24:])
    route(node)
    analyse(node, False)
    with node.database.read() as tx:
        assert len(results.analyses_of_study(tx, study_uid)) == 2
    assert 'data-state="waiting"' in client.get(f"/studies/{study_uid}/preview").text


def test_every_study_of_an_old_database_can_be_asked_for(tmp_path: Path) -> None:
    """The first release's: no pictures, which are made on request where the images are still there."""
    unpack(tmp_path / "old")
    node = core(tmp_path / "old")
    with node.database.read() as tx:
        studies = [row["study_uid"] for row in tx.rows("SELECT study_uid FROM worklist")]
    said = set()
    with TestClient(build_app(node.database, node.archive, node.settings), base_url="http://localhost") as client:
        for each in studies:
            said |= set(re.findall(r'data-state="([\w-]+)"', client.get(f"/studies/{each}/preview").text))
            assert client.post(f"/studies/{each}/preview", headers=HERE).status_code in (200, 409)
            assert client.get(f"/studies/{each}/preview/bone.webp").status_code == 404
    assert len(studies) > 5 and "absent" in said and said <= {"absent", "too-early"}
