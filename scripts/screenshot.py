"""Make the worklist.png, play.png and study.png of docs/pictures: synthetic heads through a real node and browser.

Run with the tests' environment: .venv/bin/python scripts/screenshot.py
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from peers import chromium, running_node, wait_until
from playwright.sync_api import Page

from dicom_node.commands import phantom
from dicom_node.processes.running import answering_page
from dicom_node.settings import load_settings
from dicom_node.tables.database import Database

PICTURES = ROOT / "docs" / "pictures"
SETTINGS = "[complete]\nquiet_s = 4.0\n"


def main() -> None:
    """Send the demo's heads and photograph the list and the first study."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, running_node(Path(temporary) / "node", SETTINGS) as served:
        for number, patient in enumerate(phantom.PATIENTS, start=1):
            phantom.write_patient(patient, number, Path(temporary) / str(number))
            served.command("submit", str(Path(temporary) / str(number)))
        wait_until(lambda: all(entry["state"] != "waiting" for entry in served.worklist()), 120, "all have results")
        settings = load_settings(served.site)
        database = Database(settings.database_path)
        address = wait_until(lambda: answering_page(settings, database), 60, "the page answers")
        with chromium() as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 640}, color_scheme="dark")
            page.goto(address)
            page.wait_for_load_state("load")
            page.wait_for_timeout(1000)
            page.screenshot(path=PICTURES / "worklist.png")
            photograph_slices(page)
            page.locator("a.name").first.click()
            page.wait_for_load_state("load")
            page.wait_for_timeout(1000)
            page.screenshot(path=PICTURES / "study.png", full_page=True)


def photograph_slices(page: Page) -> None:
    """The first study's slices, played in the list and standing at the most telling one."""
    page.set_viewport_size({"width": 1280, "height": 760})
    page.emulate_media(reduced_motion="reduce")
    page.locator("tr[data-key]").first.focus()
    page.keyboard.press(" ")
    page.wait_for_selector("#preview[data-loaded]")
    page.wait_for_timeout(500)
    page.screenshot(path=PICTURES / "play.png")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1280, "height": 640})


if __name__ == "__main__":
    main()
