"""A study's page in a real Chromium: what stands first, what is folded, what is printed, and the prefilled form."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect
from series import head
from web_support import QUESTION, SHA256, Node, faults, make_node, picture_bytes, serving

from dicom_node import clock
from dicom_node.entities import ChoiceKind, FindingRow
from dicom_node.tables import deliveries, feedback, results

expect.set_options(timeout=20_000)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return make_node(tmp_path / "node")


@pytest.fixture
def address(node: Node) -> Iterator[str]:
    with serving(node) as (address, _):
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    page = browser.new_page(base_url=address, viewport={"width": 1280, "height": 900})
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    yield page
    page.close()
    assert not trouble


def delivered(node: Node, study_uid: str) -> None:
    """One object is stored at the PACS, one was refused for good."""
    with node.other().write() as tx:
        report, picture = deliveries.of_study(tx, study_uid)
        deliveries.sent(tx, report, None, clock.utc_now())
        deliveries.postpone(tx, picture, "refused with 0xA700 out of resources", 0, 1)


def test_what_it_needs_stands_below_the_feedback_and_folded(node: Node, page: Page) -> None:
    study_uid = node.analysed(1, suspected=True)
    page.goto(f"/studies/{study_uid}")
    for said in (SHA256, "haemorrhage-unet 0.1.0", f"{study_uid}.1"):
        for each in page.get_by_text(said, exact=True).all():
            expect(each).to_be_hidden()
    origin, form = page.locator("details.origin"), page.locator(".feedback form")
    places = [each.bounding_box() for each in (form, origin, page.locator("#identifiers"))]
    heights = [place["y"] for place in places if place]
    assert len(heights) == 3 and heights == sorted(heights)
    page.get_by_text("How this result was made").click()
    expect(page.get_by_text(SHA256)).to_be_visible()
    page.get_by_text("Identifiers and rules").click()
    expect(page.locator("#identifiers").get_by_text(study_uid, exact=True)).to_be_visible()
    expect(page.locator("#identifiers")).to_contain_text("rule “the rule”")


def test_series_and_deliveries_are_readable_for_a_doctor(node: Node, page: Page) -> None:
    study_uid = node.analysed(1, suspected=True)
    first = head()[0]
    first.SeriesDescription, first.SeriesNumber = "Head 5.0 axial", 3
    first.save_as(node.archive.root / f"{study_uid}.0.dcm", enforce_file_format=True)
    delivered(node, study_uid)
    page.goto(f"/studies/{study_uid}")
    series = page.locator("#series tbody tr")
    expect(series).to_have_text(["3 Head 5.0 axial CT, 2 images from SCANNER Analysed"], use_inner_text=True)
    rows = page.locator("#deliveries tbody tr")
    expect(rows.nth(0)).to_contain_text("Report")
    expect(rows.nth(0)).to_contain_text("stored")
    expect(rows.nth(1)).to_contain_text("Picture")
    expect(rows.nth(1)).to_contain_text("not delivered after 1 attempt")
    expect(rows.nth(1)).to_contain_text("refused with 0xA700 out of resources")
    declined = node.receive(2)
    node.choose(declined, ChoiceKind.DECLINED, "Contrast was given.")
    page.goto(f"/studies/{declined}")
    expect(page.locator("#series tbody tr")).to_contain_text("Not analysed")
    expect(page.locator("#series tbody tr")).to_contain_text("Contrast was given.")


def differential(node: Node, study_uid: str) -> None:
    """The latest result names no type, and calls extra-axial blood the most likely."""
    kinds = {"epidural": 0.6, "subdural": 0.2, "intraparenchymal": 0.1}
    whole = FindingRow("intracranial", "1386000", 0.9, True, 30.0)
    told = [FindingRow(name, "1", chance, False, 0.0, differential=True) for name, chance in kinds.items()]
    with node.other().write() as tx:
        (analysis,) = results.analyses_of_study(tx, study_uid)
        tx.run("DELETE FROM analyses")
        tx.put(
            "analyses",
            type(analysis)(
                **{name: getattr(analysis, name) for name in type(analysis).__slots__} | {"findings": (whole, *told)}
            ),
            key=("study_uid", "question", "version"),
        )


@pytest.mark.parametrize("named", ["stated", "differential"])
def test_the_form_for_a_wrong_type_begins_with_what_the_result_said(node: Node, page: Page, named: str) -> None:
    study_uid = node.analysed(1, suspected=True)
    if named == "differential":
        differential(node, study_uid)
    expected = {"Subdural"} if named == "stated" else {"Epidural", "Subdural"}
    page.goto(f"/studies/{study_uid}")
    page.get_by_role("radio", name="Disagree: wrong type").check()
    boxes = page.get_by_role("group", name="Which types are right?")
    ticked = {name for name in ("Epidural", "Subdural", "Subarachnoid") if boxes.get_by_label(name).is_checked()}
    assert ticked == expected
    page.get_by_label("Your name", exact=True).last.fill("Dr. Weiß")
    page.get_by_role("button", name="Give feedback").click()
    expect(page.get_by_text("These are the types that the result names. Do you agree with it?")).to_be_visible()
    page.goto(f"/studies/{study_uid}")
    page.get_by_role("radio", name="Disagree: wrong type").check()
    boxes.get_by_label("Subdural").uncheck()
    boxes.get_by_label("Subarachnoid").check()
    page.get_by_label("Your name", exact=True).last.fill("Dr. Weiß")
    page.get_by_role("button", name="Give feedback").click()
    right = "subarachnoid" if named == "stated" else "epidural, subarachnoid"
    expect(page.locator(".feedback .given li").first).to_contain_text(f"wrong type, right: {right}")
    with node.database.read() as tx:
        (one,) = feedback.of_study(tx, study_uid)
    assert ", ".join(one.right_types) == right and one.question == QUESTION
    assert [each.is_checked() for each in boxes.get_by_role("checkbox").all()[1:3]] == [False, True], "as was said"


def test_the_print_has_no_buttons_and_is_black_on_white(node: Node, page: Page) -> None:
    study_uid = node.analysed(1, suspected=True)
    delivered(node, study_uid)
    page.goto(f"/studies/{study_uid}")
    page.emulate_media(media="print", color_scheme="dark")
    for kind in ("button", ".button", "input", "textarea", "nav", "#reader"):
        for each in page.locator(kind).all():
            expect(each).to_be_hidden()
    for said in ("DOE, Jane", "Suspected intracranial haemorrhage", "not for diagnostic use", "Subdural"):
        expect(page.get_by_text(said).first).to_be_visible()
    expect(page.get_by_role("img", name="The most telling slices")).to_be_visible()
    colours = page.evaluate("""[...document.querySelectorAll('body, main *')]
        .filter((each) => each.checkVisibility() && each.textContent.trim() && !each.closest('svg'))
        .map((each) => [getComputedStyle(each).color, getComputedStyle(each).backgroundColor].join(' on '))""")
    dark = "rgb(0, 0, 0)", "rgb(34, 34, 34)"
    light = "rgba(0, 0, 0, 0)", "rgb(255, 255, 255)"
    assert {each for each in colours if not each.startswith(dark) or not each.endswith(light)} == set()


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_it_is_accessible_and_nothing_is_cut_off(
    node: Node, address: str, browser: Browser, scheme: Literal["dark", "light"], width: int
) -> None:
    study_uid = node.analysed(1, suspected=True, name="VAN DER BERG-MONTGOMERY^Johannes Petrus Alexander")
    node.result(
        study_uid, suspected=True, picture=picture_bytes(), warning="Patient is 7 years old.", range_ml=(19.0, 107.0)
    )
    page = browser.new_page(base_url=address, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(f"/studies/{study_uid}")
    for each in page.locator("details summary").all():
        each.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = (
        "[...document.querySelectorAll('.card')].filter((each) => each.scrollWidth > each.clientWidth).map((e) => e.id)"
    )
    assert page.evaluate(cut) == []
    assert faults(page) == []
    page.close()
