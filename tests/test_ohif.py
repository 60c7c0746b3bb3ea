"""OHIF itself, as a reader meets it: a head arrives at a running node, its row is opened, and Chromium draws it.

The pixels that OHIF drew are compared with the files: the segmentation's colour must lie where the segmentation lies.
Without npm, network or Chromium this is skipped, with the reason. KEEP_PICTURES=1 makes docs/pictures/viewer.png anew.
"""

import base64
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray
from peers import Served, chromium, needs, running_node, wait_until
from PIL import Image
from playwright.sync_api import Browser, FrameLocator, Page, expect
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid
from scipy import ndimage

from dicom_node import clock
from dicom_node.commands import phantom
from dicom_node.errors import CommandError
from dicom_node.processes.running import answering_page
from dicom_node.settings import load_settings
from dicom_node.tables.database import Database
from dicom_node.web.viewer.install import OHIF, fetch
from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType
from reports.vocabulary.haemorrhage import TERMS

WEBGL_IN_SOFTWARE = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
WITHIN_S = 300.0
KEY = '[data-cy^="study-browser-thumbnail"]'
BLEEDING, NORMAL = replace(phantom.PATIENTS[3], bleed=HaemorrhageType.INTRAPARENCHYMAL), phantom.PATIENTS[0]
pytestmark = pytest.mark.timeout(600)
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
Mask = NDArray[np.bool_]
expect.set_options(timeout=WITHIN_S * 1000)


@dataclass(frozen=True, slots=True)
class Site:
    """A running node with the viewer, two analysed heads and one with contrast; study UIDs by accession number."""

    served: Served
    address: str
    studies: dict[str, str]

    def made(self, accession: str, kind: str) -> Dataset:
        """An object that the node made of a study."""
        folder = self.served.data / "results" / self.studies[accession] / "haemorrhage" / "1"
        return dcmread(folder / f"{kind.lower()}.dcm")

    def source(self, accession: str, sop_uid: str) -> Dataset:
        """An image as received."""
        (path,) = (self.served.data / "instances" / self.studies[accession]).rglob(f"{sop_uid}.*.dcm")
        return dcmread(path)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as npm fetches it."""
    needs("npm")
    try:
        return fetch(OHIF, tmp_path_factory.mktemp("package"))
    except CommandError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def site(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("site")
    for number, patient in ((1, BLEEDING), (2, NORMAL), (3, NORMAL)):
        phantom.write_patient(patient, number, place / "heads" / str(number))
    with_contrast(place / "heads" / "3")
    with running_node(place / "node") as served:
        assert f"OHIF {OHIF.version} is installed" in served.command("viewer", "install", "--from", str(package))
        served.command("submit", str(place / "heads"))
        database = Database(served.data / "node.sqlite")
        studies = wait_until(lambda: analysed(database, 2), WITHIN_S, "both heads are analysed, and the third is not")
        settings = load_settings(served.site)
        address = wait_until(lambda: answering_page(settings, database), WITHIN_S, "the page answers")
        yield Site(served, address.rstrip("/"), studies)


def with_contrast(folder: Path) -> None:
    """The head's images say that contrast medium was given; a localizer of two images lies beside them."""
    series = generate_uid()
    for number, path in enumerate(sorted(folder.glob("*.dcm"))):
        image = dcmread(path)
        image.ContrastBolusAgent = "Iomeron 400"
        image.save_as(path)
        if number < 2:
            image.SeriesInstanceUID, image.SeriesDescription, image.SeriesNumber = series, "Topogram", 1
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            image.save_as(folder / f"topogram-{number}.dcm", enforce_file_format=True)


def analysed(database: Database, wanted: int) -> dict[str, str] | None:
    """All studies by accession number, once so many have a result and none is under way."""
    with database.read() as tx:
        rows = tx.rows("SELECT accession, study_uid, state FROM studies JOIN worklist USING (study_uid)")
        results = tx.number("SELECT count(*) FROM analyses")
    settled = results == wanted and len(rows) > wanted and not any(row["state"] == "waiting" for row in rows)
    return {row["accession"]: row["study_uid"] for row in rows} if settled else None


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(*WEBGL_IN_SOFTWARE) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A page that must not fail, be refused anything, or speak with anybody but the node."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    page.on(
        "response", lambda answer: trouble.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None
    )
    page.on("request", lambda request: trouble.append(request.url) if leaves(request.url, site) else None)
    yield page
    page.close()
    assert not trouble


def leaves(url: str, site: Site) -> bool:
    """Whether a request goes anywhere but to the node."""
    parts = urlsplit(url)
    return parts.scheme not in ("blob", "data") and f"{parts.scheme}://{parts.netloc}" != site.address


def open_row(page: Page, site: Site, accession: str) -> None:
    """What a reader does, and no more: the worklist, and the row's Enter key."""
    page.goto(site.address)
    page.locator(f'tr[data-key="{site.studies[accession]}"]').focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/viewer/study?**")


def drawn(page: Page) -> NDArray[np.int16]:
    """What stands on OHIF's canvas (row, column, RGB), without the texts and buttons that lie over it."""
    canvas = page.locator("#viewerLayoutResizableViewportGridPanel canvas.cornerstone-canvas")
    if canvas.count() != 1:
        return np.zeros((1, 1, 3), np.int16)
    data = canvas.evaluate("(canvas) => canvas.toDataURL('image/png').split(',')[1]")
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))).convert("RGB"), np.int16)


def of_colour(picture: NDArray[np.int16], kind: str) -> Mask:
    """Where the opaque outline of a type of haemorrhage is."""
    return np.asarray(np.abs(picture - np.array(TERMS[kind].colour)).max(-1) <= 12)


def tinted(picture: NDArray[np.int16]) -> Mask:
    """Where anything is not grey."""
    return np.asarray(np.ptp(picture, axis=-1) > 8)


def skull(picture: NDArray[np.int16]) -> Mask:
    """Where bone is, white in a brain window."""
    return np.asarray(picture.min(-1) > 240)


def filled_bone(bright: Mask) -> tuple[Mask, Mask]:
    """The head, as all that the skull encloses, and the inside of the skull."""
    parts, _ = ndimage.label(bright)
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    head = ndimage.binary_fill_holes(largest)
    return head, head & ~largest


def stretched(mask: Mask, head: Mask, onto: Mask) -> Mask:
    """A mask of the slice where OHIF has drawn it, so that the slice's head lies on the drawn one."""
    (top, bottom), (left, right) = edges(head)
    (to_top, to_bottom), (to_left, to_right) = edges(onto)
    rows = top + (np.arange(onto.shape[0]) - to_top) * (bottom - top) / (to_bottom - to_top)
    columns = left + (np.arange(onto.shape[1]) - to_left) * (right - left) / (to_right - to_left)
    at = np.meshgrid(np.round(rows), np.round(columns), indexing="ij")
    return np.asarray(ndimage.map_coordinates(mask.astype(np.uint8), at, order=0), bool)


def edges(mask: Mask) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first and last row, and the first and last column, of what is set."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (int(rows[0]), int(rows[-1])), (int(columns[0]), int(columns[-1]))


def flagged_slice(site: Site, accession: str) -> Dataset:
    """The most telling image, by the key object selection."""
    images = [item for item in site.made(accession, "KO").ContentSequence if item.ValueType == "IMAGE"]
    return site.source(accession, str(images[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID))


def segmented(segmentation: Dataset, sop_uid: str) -> Mask:
    """All segments' pixels on one source image (PS3.3 C.8.20)."""
    frames = segmentation.pixel_array
    found = np.zeros(frames.shape[1:], bool)
    for frame, groups in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        if source.ReferencedSOPInstanceUID == sop_uid:
            found |= frame.astype(bool)
    return found


def test_a_row_shows_ct_and_segmentation_at_the_flagged_slice(site: Site, page: Page) -> None:
    open_row(page, site, "1")
    colour = INTRACRANIAL
    wait_until(lambda: of_colour(drawn(page), colour).sum() > 200, WITHIN_S, "the segmentation is drawn")
    picture = drawn(page)
    key = flagged_slice(site, "1")
    head, inside = filled_bone(skull(picture))
    outline, overlay = of_colour(picture, colour), tinted(picture)

    assert not overlay[~head].any(), "colour outside the head"
    assert outline[inside].sum() > 200, "no outline inside the skull"
    slice_head, _ = filled_bone(key.pixel_array + key.RescaleIntercept > 300)
    expected = stretched(segmented(site.made("1", "SEG"), key.SOPInstanceUID), slice_head, head)
    drawn_fill = ndimage.binary_fill_holes(overlay)
    assert (drawn_fill & expected).sum() / (drawn_fill | expected).sum() > 0.9, "drawn elsewhere than the file says"

    brain = inside & ~ndimage.binary_dilation(overlay, iterations=3)
    assert 60 < np.median(picture[brain]) < 180, "the brain is not in a brain window"
    said = "".join(page.locator("body").inner_text().split())
    assert "W:80L:40" in said and f"I:{key.InstanceNumber}(" in said
    if os.environ.get("KEEP_PICTURES"):
        page.mouse.move(0, 0)
        page.screenshot(path=PICTURES / "viewer.png")


def test_nothing_stands_between_the_reader_and_the_image(site: Site, page: Page) -> None:
    """No tour, no notice, no question; SR and KO are listed and break nothing; what it is stays in words."""
    open_row(page, site, "1")
    wait_until(lambda: of_colour(drawn(page), INTRACRANIAL).sum() > 200, WITHIN_S, "it is drawn")
    for none in ('[role="dialog"]', ".shepherd-element", "[data-sonner-toast]"):
        expect(page.locator(none)).to_have_count(0)
    for listed in ("SR", "KO", "SEG"):
        expect(page.get_by_text(listed, exact=True).first).to_be_visible()
    expect(page.locator(f"{KEY}:has-text('Key images')")).to_be_visible()
    expect(page.locator(f'{KEY} svg[role="presentation"]')).to_have_count(0)  # OHIF's triangle of warning
    expect(page.get_by_text("Intracranial haemorrhage", exact=True).first).to_be_visible()
    expect(page.get_by_text("Research software, not for diagnostic use")).to_be_visible()
    expect(page.get_by_text("Synthetic, Head 1")).to_be_visible()
    page.get_by_role("link", name="Result and feedback").click()
    expect(page.get_by_role("heading", name="Synthetic, Head 1")).to_be_visible()
    page.go_back()
    page.get_by_role("link", name="Worklist").click()
    expect(page.locator("tr[data-key]")).to_have_count(3)


def test_a_study_without_finding_opens_in_a_brain_window_without_overlay(site: Site, page: Page) -> None:
    open_row(page, site, "2")

    wait_until(lambda: skull(drawn(page)).sum() > 5_000, WITHIN_S, "a head is drawn")
    picture = drawn(page)
    _, inside = filled_bone(skull(picture))
    assert inside.sum() > 20_000 and 60 < np.median(picture[inside]) < 180
    assert not tinted(picture).any()


def test_a_study_not_analysed_opens_from_its_page_at_the_middle_of_its_largest_series(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/studies/{site.studies['3']}")
    expect(page.get_by_text("Contrast was given").first).to_be_visible()
    page.get_by_role("link", name="Open images").click()
    wait_until(lambda: skull(drawn(page)).sum() > 5_000, WITHIN_S, "a head is drawn")
    expect(page.get_by_text("(16/30)")).to_be_visible()
    expect(bar(page).locator(".said")).to_contain_text("Not analysed")


def bar(page: Page) -> FrameLocator:
    """The node's own bar below OHIF."""
    return page.frame_locator("#triage-bar")


def shown_slice(page: Page) -> str:
    """E.g. "(13/30)"."""
    return page.get_by_text(re.compile(r"\(\d+/30\)")).first.inner_text()


def test_the_bar_takes_no_keys_from_ohif_and_gives_it_none(site: Site, page: Page) -> None:
    open_row(page, site, "1")
    wait_until(lambda: of_colour(drawn(page), INTRACRANIAL).sum() > 200, WITHIN_S, "it is drawn")
    before, picture = shown_slice(page), drawn(page)
    bar(page).locator("#say summary").click()
    bar(page).get_by_label("Comment").type("i r h l = - ")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    expect(bar(page).locator("#say-sheet")).to_be_hidden()
    assert shown_slice(page) == before and np.array_equal(drawn(page), picture), "what is typed is not OHIF's"
    bar(page).get_by_role("button", name="Acknowledge").click()
    expect(bar(page).get_by_role("button", name="Mark as read")).to_be_visible()
    page.keyboard.press("ArrowDown")
    wait_until(lambda: shown_slice(page) != before, WITHIN_S, "OHIF has its keys again at once")
    place, height = bar(page).locator("main").bounding_box(), page.locator("canvas.cornerstone-canvas").bounding_box()
    assert place and height and height["y"] + height["height"] <= place["y"] + 1, "the bar hides nothing of the image"


def test_a_reader_goes_on_without_leaving_the_viewer(site: Site, page: Page) -> None:
    """Feedback, the news of another suspected study, and the next study of the list."""
    open_row(page, site, "2")
    wait_until(lambda: skull(drawn(page)).sum() > 5_000, WITHIN_S, "a head is drawn")
    bar(page).locator("#say summary").click()
    bar(page).get_by_role("radio", name="Agree", exact=True).check()
    bar(page).get_by_label("Your name").fill("Dr. Viewer")
    bar(page).get_by_role("button", name="Give feedback").click()
    expect(bar(page).locator("#say-sheet")).to_be_hidden()
    bar(page).locator("#say summary").click()
    expect(bar(page).locator(".given li")).to_contain_text("Dr. Viewer agrees")
    page.keyboard.press("Escape")
    with Database(site.served.data / "node.sqlite").write() as tx:  # as if its result had come this moment
        flagged = (clock.utc_now() + timedelta(seconds=1)).isoformat(timespec="milliseconds")
        tx.run(
            "UPDATE worklist SET state = 'unread', flagged_at = :now WHERE study_uid = :uid",
            now=flagged,
            uid=site.studies["1"],
        )
    expect(bar(page).locator("#news")).to_contain_text("New suspected")
    expect(page).to_have_title(re.compile(r"^\(1\) suspected"))
    expect(bar(page).get_by_role("link", name="Next study: Suspected")).to_be_visible()
    bar(page).locator("#next").click()
    page.wait_for_url(f"**/viewer/study?**{site.studies['1']}**")
    wait_until(lambda: of_colour(drawn(page), INTRACRANIAL).sum() > 200, WITHIN_S, "the next study is drawn")
    expect(bar(page).locator(".said")).to_contain_text("Suspected")
