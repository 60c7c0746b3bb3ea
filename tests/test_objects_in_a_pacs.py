"""What the node sends, as people look at it in a PACS: Orthanc's own Explorer."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from peers import Orthanc, running_orthanc
from playwright.sync_api import Browser
from pydicom import Dataset, dcmwrite
from reports_support import ct_series, reports, suspected_context

QUESTION_MARK = """[...document.querySelectorAll("[data-role=page]:not([style*='none']) li, h3, p")]
    .map((each) => each.innerText.trim()).filter((said) => said === "?" || /: \\?$/.test(said) || said === "No date")"""


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as orthanc:
        yield orthanc


def stored(orthanc: Orthanc, objects: list[Dataset]) -> str:
    """Store them; Orthanc's name of their study."""
    for each in objects:
        buffer = BytesIO()
        dcmwrite(buffer, each, enforce_file_format=True)
        answer = orthanc.rest.post("/instances", content=buffer.getvalue()).json()
    return str(answer["ParentStudy"])


def test_nothing_stands_under_a_question_mark(orthanc: Orthanc, browser: Browser, tmp_path: Path) -> None:
    source = ct_series()
    for each in source:
        each.PatientBirthDate, each.StudyDate = "19560312", "20261120"
    made = reports(suspected_context(source))
    study = stored(orthanc, list(made.values()))
    page = browser.new_page()
    page.goto(f"{orthanc.rest.base_url}/app/explorer.html#study?uuid={study}")
    page.get_by_text("Key images: AI haemorrhage").first.wait_for()
    assert page.evaluate(QUESTION_MARK) == []
    for kind in ("Segmentation", "Report", "Picture", "Key images"):
        assert page.get_by_role("heading", name=kind).count() == 1, "told apart by the first letters"
    for series in orthanc.rest.get(f"/studies/{study}/series").json():
        page.goto(f"{orthanc.rest.base_url}/app/explorer.html#series?uuid={series['ID']}")
        page.get_by_text(series["MainDicomTags"]["SeriesDescription"]).first.wait_for(state="attached")
        assert page.evaluate(QUESTION_MARK) == [], series["MainDicomTags"]
    page.close()
