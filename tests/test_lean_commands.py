"""What a command imports: nobody waits for a network's library, a decoder or a neural network to read a list.

No time is asserted here; what takes the time is.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from series import core, head

NETWORKS = ("torch", "monai", "onnxruntime", "scipy")
IMAGES = ("pydicom", "highdicom", "gdcm", "PIL", "pynetdicom")
SERVERS = ("starlette", "uvicorn", "jinja2", "apscheduler")
NOTHING = (*NETWORKS, *IMAGES, *SERVERS, "numpy", "pydantic", "sqlite_utils", "structlog")
LISTS = (*NETWORKS, *IMAGES, *SERVERS)  # sqlite_utils takes numpy where it is there
WORDS = (*NETWORKS, "highdicom", "pynetdicom", *SERVERS)  # pydicom has the codes of the findings
WIRE = (*NETWORKS, "highdicom", *SERVERS)
COMMANDS = {
    "--version": NOTHING,
    "--help": NOTHING,
    "submit --help": NOTHING,
    "validate --help": NOTHING,
    "models --help": NOTHING,
    "identity --help": NOTHING,
    "outbox --help": NOTHING,
    "scrub --help": NOTHING,
    "config show": LISTS,
    "config check": LISTS,
    "jobs": LISTS,
    "jobs --json": LISTS,
    "feedback": LISTS,
    "retry D1": LISTS,
    "identity list": LISTS,
    "outbox list": LISTS,
    "outbox send-now": LISTS,
    "models list": LISTS,
    "models list --json": LISTS,
    "worklist": WORDS,
    "worklist --json": WORDS,
    "models points": WORDS,
    "echo": WIRE,
    "submit scan": WIRE,
}
SPY = """
import atexit, json, sys
def tell():
    found = {name.partition(".")[0] for name in sys.modules}
    open(sys.argv[1], "w").write(json.dumps(sorted(found)))
atexit.register(tell)
from dicom_node.commands.main import main
main(sys.argv[2:], "triage-node")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with settings and a node's database; nobody listens."""
    folder = tmp_path_factory.mktemp("site")
    core(folder / "data").receive(head(3))
    (folder / "scan").mkdir()
    (folder / "scan" / "letter").write_text("no image")
    (folder / "triage-node.toml").write_text('[node]\ndata = "data"\nport = 0\n[web]\nport = 0\n')
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_only_what_it_needs(site: Path, tmp_path: Path, command: str) -> None:
    """Whether it succeeds or finds nothing to do."""
    told = tmp_path / "modules.json"
    done = subprocess.run([sys.executable, "-c", SPY, told, *command.split()], cwd=site, capture_output=True, text=True)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert set(json.loads(told.read_text())) & set(COMMANDS[command]) == set()
