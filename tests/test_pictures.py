"""The pictures of the docs: the demo's heads through a real node, as list, study, played slices and on a phone.

Every picture is taken in light and in dark. KEEP_PICTURES=1 puts those of the docs into docs/pictures.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import running_node, wait_until
from playwright.sync_api import Browser, Page, expect
from web_support import until

from dicom_node.commands import phantom
from dicom_node.processes.running import answering_page
from dicom_node.settings import load_settings
from dicom_node.tables.database import Database

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
SETTINGS = "[complete]\nquiet_s = 4.0\n"
SHOWN_IN_DOCS = {"worklist": "dark", "play": "dark", "study": "dark", "phone": "light"}
WITHIN_S = 120.0
pytestmark = pytest.mark.timeout(600)
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a node that has analysed the demo's heads."""
    place = tmp_path_factory.mktemp("pictures")
    with running_node(place / "node", SETTINGS) as served:
        for number, patient in enumerate(phantom.PATIENTS, start=1):
            phantom.write_patient(patient, number, place / str(number))
            served.command("submit", str(place / str(number)))
        wait_until(lambda: all_shown(served.data), WITHIN_S, "all have results, and small pictures")
        settings = load_settings(served.site)
        database = Database(settings.database_path)
        yield wait_until(lambda: answering_page(settings, database), WITHIN_S, "the page answers")


def all_shown(data: Path) -> bool:
    """Whether nothing is left to do, and both heads that bleed can be played."""
    with Database(data / "node.sqlite").read() as tx:
        waiting = tx.number("SELECT count(*) FROM worklist WHERE state = 'waiting'")
        listed = tx.number("SELECT count(*) FROM worklist")
    return listed == len(phantom.PATIENTS) and not waiting and len([*data.rglob("preview.zip")]) >= 2


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    page = browser.new_page(
        viewport={"width": 1280, "height": 640}, color_scheme=request.param, reduced_motion="reduce"
    )
    yield page
    page.close()


def keep(page: Page, name: str, theme: str, tmp_path: Path, whole: bool = False) -> None:
    """Take the picture; into the docs where it is one of theirs and that is asked for."""
    until(page, "[...document.images].every(each => each.complete)")
    ours = SHOWN_IN_DOCS[name] == theme and bool(os.environ.get("KEEP_PICTURES"))
    folder = PICTURES if ours else Path(os.environ.get("PICTURES", tmp_path))
    page.screenshot(path=folder / (f"{name}.png" if ours else f"{name}-{theme}.png"), full_page=whole)


def theme_of(page: Page) -> str:
    return "dark" if page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"


def test_list(page: Page, address: str, tmp_path: Path) -> None:
    """Both heads that bleed stand first, nothing is cut off."""
    page.goto(address)
    rows = page.locator("tr[data-key]")
    expect(rows).to_have_count(len(phantom.PATIENTS))
    assert ["suspected" in text.lower() for text in rows.all_inner_texts()][:2] == [True, True]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    keep(page, "worklist", theme_of(page), tmp_path)


def test_slices_played_in_the_list(page: Page, address: str, tmp_path: Path) -> None:
    """The first row's slices stand at the most telling one."""
    page.set_viewport_size({"width": 1280, "height": 760})
    page.goto(address)
    page.locator("tr[data-key]").first.focus()
    page.keyboard.press(" ")
    page.wait_for_selector("#preview[data-loaded]")
    keep(page, "play", theme_of(page), tmp_path)


def test_study(page: Page, address: str, tmp_path: Path) -> None:
    """The flagged study: what was found, the form, and that it is research software."""
    page.goto(address)
    page.locator("a.name").first.click()
    expect(page.locator("body")).to_contain_text("not a medical device")
    expect(page.get_by_role("button", name="Give feedback")).to_be_visible()
    keep(page, "study", theme_of(page), tmp_path, whole=True)


def test_phone(page: Page, address: str, tmp_path: Path) -> None:
    """The list fits a phone, and the first row is the flagged one."""
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(address)
    expect(page.locator("tr[data-key]").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    keep(page, "phone", theme_of(page), tmp_path)
