"""Nothing of a patient gets into the log or a refusal, however a data set is damaged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.errors import InvalidDicomError

from dicom_node.errors import CannotUnderstand, plain, say_error
from inference.input.elements import UNREADABLE, say_unreadable

NAMES = ("SECRETNAME", "SECRETID", "19440404", "SECRETTEXT")
SCRIPT = """
import sys
from functools import partial
from pathlib import Path
from series import core, ct, encoded
from dicom_node import clock
from dicom_node.errors import Refused
from dicom_node.logs import configure_logs
from dicom_node.processes.node import note_refusal
from dicom_node.routes import load_rules
from dicom_node.steps.complete import complete_due
from dicom_node.steps.route import route_due
from dicom_node.tables import processes

configure_logs("node", wanted=core(Path(sys.argv[1])).settings.log)
node = core(Path(sys.argv[1]))
dataset = ct(0, PatientName="SECRETNAME^JANE", PatientID="SECRETID", PatientBirthDate="19440404")
dataset.PatientComments = "SECRETTEXT " * 20
whole = encoded(dataset)
elements = whole[: whole.index(b"\\xe0\\x7f\\x10\\x00")]

def damaged():
    place = 0
    while place < len(elements):
        length = int.from_bytes(elements[place + 6 : place + 8], "little")
        for offset, bits in ((6, 0x01), (6, 0x20), (6, 0x40), (7, 0x01), (4, 0x01), (5, 0x02), (0, 0x08), (2, 0x20)):
            at = place + offset
            yield whole[:at] + bytes([whole[at] ^ bits]) + whole[at + 1 :]
        yield whole[: place + 8 + length // 2]
        yield whole[: place + 8] + b"\\xff" * length + whole[place + 8 + length :]
        place += 8 + length

met = stored = 0
for data in damaged():
    met += 1
    try:
        node.take(dataset, data)
        stored += 1
    except Refused as error:
        note_refusal(node.database, "CT1", "TRIAGE", "127.0.0.1", f"object 0x{error.status:04X}: {error}")
node.receiver.ended(1, True)
complete_due(node.database, node.settings.complete, 1e12)
route_due(node.database, load_rules(None), clock.utc_now(), False)
with node.database.read() as tx:
    for each in processes.refusals(tx, 1000):
        print(each.reason)
print(met, stored)
"""


def test_damaged_data_sets_say_nothing_of_the_patient(tmp_path: Path) -> None:
    """Each length, VR and tag of a data set is damaged in turn, and each value; some are stored, most are refused."""
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
        timeout=250,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    met, stored = map(int, found.stdout.splitlines()[-1].split())
    assert met > 300 and 0 < stored < met and "refused" in found.stderr
    for name in NAMES:
        assert name not in found.stdout + found.stderr
    for line in found.stderr.splitlines():
        assert json.loads(line)["event"] != "an error that nobody expected" and len(line) < 2000


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("HEAD 5.0", "HEAD 5.0"),
        ("KOPF – Schädel 頭部", "KOPF – Schädel 頭部"),
        ("two\r\nlines\tand a tab", "two lines and a tab"),
        ("HEAD\x10\x00\x10\x00PN\x08\x00DOE^JANE", "HEAD ..."),
        (repr("HEAD\x10\x00\x10\x00PN\x08\x00DOE^JANE"), "'HEAD ..."),
        (repr(b"HEAD\x10\x00DOE^JANE"), "b'HEAD ..."),
        ("\x1b[31mred", " ..."),
        ("x" * 600, "x" * 500 + " ..."),
    ],
)
def test_plain_text(text: str, seen: str) -> None:
    """One line, not long, and nothing behind what is no text."""
    assert plain(text) == seen


def test_errors_of_libraries_are_not_quoted() -> None:
    """Our own, the system's and SQLite's are: they say what happened, and quote nothing."""
    with pytest.raises(ValueError, match="DOE") as found:
        float("DOE^JANE")
    assert say_error(found.value) == "ValueError"
    assert say_error(CannotUnderstand("not a UID: absent")) == "not a UID: absent"
    assert say_error(FileNotFoundError(2, "No such file or directory", "/data/x")).startswith("[Errno 2]")
    for kind in UNREADABLE:
        assert "DOE" not in say_unreadable(kind("DOE^JANE"))
    assert say_unreadable(InvalidDicomError("DOE^JANE")) == "it is no DICOM file"
    assert say_unreadable(OSError(5, "Input/output error")) == "Input/output error"


def test_unexpected_error_and_foreign_logs_are_lines(tmp_path: Path) -> None:
    """In any thread: where, and what kind. Warnings of libraries that read data sets are left out."""
    script = "import logging, threading, warnings, sys\nfrom dicom_node.logs import configure_logs\n"
    script += "configure_logs('node')\nwarnings.warn('DOE^JANE')\nlogging.getLogger('pydicom').error('DOE^JANE')\n"
    script += "logging.getLogger('uvicorn.error').error('a peer\\nhas gone')\n"
    script += "thread = threading.Thread(target=lambda: float('DOE^JANE'))\nthread.start()\nthread.join()\n"
    script += "int('DOE^JANE')\n"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    lines = [json.loads(line) for line in found.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["a peer", *["an error that nobody expected"] * 2]
    assert all(line["process"] == "node" for line in lines) and "DOE" not in found.stderr
    assert lines[1]["error"] == "ValueError" and lines[1]["where"][-1].endswith("<lambda>")
    assert found.returncode == 1
