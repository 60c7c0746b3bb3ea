"""What all tests share: the real data beside the checkout, and that nothing may be skipped in CI."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import structlog
from hypothesis import settings
from loading import load
from peers import chromium
from playwright.sync_api import Browser

import reports.vocabulary
from inference import pipelines
from inference.pipelines import registry

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # each takes its part of the cores, as do its own children
    threads = max(1, len(os.sched_getaffinity(0)) // int(workers))
    os.environ |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}

settings.register_profile("unhurried", settings.default, deadline=None)  # a busy machine is no fault
settings.load_profile("unhurried")

SECOND = Path(__file__).parent / "second_question"
SHARED = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the longest tests come first: begun last, one of them would leave the other workers idle."""
    longest: dict[Path, float] = {}
    for item in items:
        limit = item.get_closest_marker("timeout")
        longest[item.path] = max(longest.get(item.path, 0), limit.args[0] if limit else 0)
    items.sort(key=lambda item: -longest[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: every peer and all data are there."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def every_log_line() -> Iterator[None]:
    """Logs as they are before a command has set them up in this process, and again afterwards."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """Commands that are called within a test keep what they write for their user alone, from then on."""
    os.umask(0o022)
    yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real test data that lies beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"the test data are not on this machine ({SHARED} is missing)")
    return SHARED


@pytest.fixture(scope="session")
def ct_ich(shared: Path) -> ModuleType:
    """The script of the CT-ICH data, which writes its patients as DICOM."""
    return load(shared / "ct_ich" / "ct_ich.py")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, one for each file: while it runs, Playwright's event loop takes its thread."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def second_question() -> Iterator[None]:
    """The question as if its folder and its words lay in the package, and its line in the registry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelines, "__path__", [*pipelines.__path__, str(SECOND / "pipelines")])
        patch.setattr(reports.vocabulary, "__path__", [*reports.vocabulary.__path__, str(SECOND / "vocabulary")])
        registry.QUESTIONS.append("skull_present")
        yield
        registry.QUESTIONS.remove("skull_present")
