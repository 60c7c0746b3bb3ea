"""Real peers for the tests and the benchmark: Orthanc as PACS, DCMTK as scanner, and the node itself as processes."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, sync_playwright

START_S = 120.0
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

_held: list[socket.socket] = []


def needs(program: str) -> str:
    """The path of a program, or a skip with the reason.

    Not from this environment's own folder: pynetdicom puts other programs called storescu and echoscu there.
    """
    own = Path(sys.prefix, "bin")
    folders = [folder for folder in os.get_exec_path() if Path(folder).resolve() != own.resolve()]
    path = shutil.which(program, path=os.pathsep.join(folders))
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def own_port() -> int:
    """A port that nobody else is given while these tests run.

    It is bound and never listened on: connections are refused until a program listens there, which Linux allows to one
    that sets SO_REUSEADDR, as all servers here do.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _held.append(held)
    return int(held.getsockname()[1])


def wait_until(condition: Callable[[], Any], within_s: float, what: str) -> Any:
    """Poll until the condition gives something true; what it gave."""
    until = time.monotonic() + within_s
    while True:
        if found := condition():
            return found
        if time.monotonic() > until:
            raise AssertionError(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.1)


class Orthanc:
    """A running Orthanc; DICOM on `dicom_port`, REST for looking at what it holds."""

    def __init__(self, dicom_port: int, http_port: int) -> None:
        self.dicom_port = dicom_port
        self.rest = httpx2.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=10)

    def instances(self) -> list[dict[str, Any]]:
        """Main tags of every stored instance, with Modality and SOPClassUID."""
        found = []
        for each in self.rest.get("/instances", params={"expand": ""}).json():
            tags = self.rest.get(f"/instances/{each['ID']}/simplified-tags").json()
            found.append(tags | {"ID": each["ID"]})
        return found

    def file(self, orthanc_id: str) -> bytes:
        """One stored instance as a Part 10 file."""
        return self.rest.get(f"/instances/{orthanc_id}/file").content

    def count(self) -> int:
        """How many instances it holds."""
        return int(self.rest.get("/statistics").json()["CountInstances"])


@contextmanager
def running_orthanc(folder: Path, dicomweb: bool = False) -> Iterator[Orthanc]:
    """Start Orthanc on loopback with an empty storage; with its DICOMweb plug-in at /dicom-web if that is wanted."""
    program = needs("Orthanc")
    if dicomweb and not DICOMWEB_PLUGIN.exists():
        pytest.skip("orthanc-dicomweb is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    dicom_port, http_port = own_port(), own_port()
    configuration = {
        "Name": "PACS",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": "PACS",
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomCheckCalledAet": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(DICOMWEB_PLUGIN)] if dicomweb else [],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "StudiesMetadata": "Full", "SeriesMetadata": "Full"},
        "OverwriteInstances": True,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(path)], stdout=log, stderr=log)
        orthanc = Orthanc(dicom_port, http_port)
        try:
            wait_until(lambda: _answers(orthanc.rest), START_S, "Orthanc answers")
            yield orthanc
        finally:
            orthanc.rest.close()
            process.terminate()
            process.wait(20)


def _answers(client: httpx2.Client) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return client.get("/system").status_code == 200
    return False


class Served:
    """`triage-node serve` as a site runs it; may be killed and started again."""

    def __init__(self, folder: Path, extra: str = "") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "data"
        self.port = own_port()
        self.site = folder / "triage-node.toml"
        self.site.write_text(
            f'[node]\nhost = "127.0.0.1"\nport = {self.port}\ndata = "{self.data}"\n[web]\nport = 0\n{extra}'
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        command = [sys.executable, "-m", "dicom_node", "--config", str(self.site), "serve"]
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def wait_ready(self) -> None:
        """Until images are received and the worker waits for work."""
        wait_until(lambda: {"node", "worker", "web"} <= set(self.pids()), START_S, "all processes show life")
        wait_until(self._listens, START_S, "the DICOM port is open")

    def stop(self) -> None:
        """End it in good order."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def pids(self) -> dict[str, int]:
        """The process IDs behind the last signs of life."""
        from dicom_node.tables import processes
        from dicom_node.tables.database import Database

        path = self.data / "node.sqlite"
        if not path.exists():
            return {}
        with Database(path).read() as tx:
            known = tx.row("SELECT 1 FROM sqlite_master WHERE name = 'beats'")
            return {beat.process: beat.pid for beat in processes.beats(tx)} if known else {}

    def kill(self, process: str) -> None:
        """SIGKILL one process: serve, node, worker or web."""
        pid = self.process.pid if process == "serve" and self.process else self.pids().get(process)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if process == "serve" and self.process:
            self.process.wait(10)

    def command(self, *arguments: str) -> str:
        """Run a triage-node command against this node; its standard output."""
        return triage_node("--config", str(self.site), *arguments)

    def worklist(self) -> list[dict[str, Any]]:
        """`worklist --json`."""
        entries: list[dict[str, Any]] = json.loads(self.command("worklist", "--json"))
        return entries

    def settled(self, studies: int) -> bool:
        """Whether so many studies have their result and nothing is under way. Polled, so no command is run for it."""
        from dicom_node.tables.database import Database

        with Database(self.data / "node.sqlite").read() as tx:
            listed = tx.number("SELECT count(*) FROM worklist WHERE state <> 'read'")
            under_way = tx.number("SELECT count(*) FROM worklist WHERE state = 'waiting'")
            under_way += tx.number("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running', 'failed')")
            under_way += tx.number("SELECT count(*) FROM deliveries WHERE state <> 'sent'")
        return listed == studies and not under_way

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


@contextmanager
def running_node(folder: Path, extra: str = "") -> Iterator[Served]:
    """A whole node as processes of its own, ready to receive."""
    served = Served(folder, extra)
    served.start()
    try:
        served.wait_ready()
        yield served
    finally:
        served.stop()


@contextmanager
def chromium(*options: str) -> Iterator[Browser]:
    """A headless Chromium; drawn by software where no other option is given."""
    program = needs("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=[*CHROMIUM_OPTIONS, *(options or ("--disable-gpu",))]
        )
        yield browser
        browser.close()


def triage_node(*arguments: str) -> str:
    """Run a triage-node command; its standard output. Raises with standard error when it fails."""
    result = subprocess.run([sys.executable, "-m", "dicom_node", *arguments], capture_output=True, text=True)
    assert result.returncode == 0, f"triage-node {' '.join(arguments)}: {result.stderr}"
    return result.stdout


def storescu(folder: Path, port: int, *options: str, aet: str = "CT1") -> subprocess.Popen[bytes]:
    """DCMTK's storescu sending a folder; TCP_NODELAY because DCMTK writes a message in small pieces."""
    command = [
        needs("storescu"),
        "-aet",
        aet,
        "-aec",
        "TRIAGE",
        *options,
        "+sd",
        "+r",
        "127.0.0.1",
        str(port),
        str(folder),
    ]
    return subprocess.Popen(
        command, env=os.environ | {"TCP_NODELAY": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def pacs_peer(orthanc: Orthanc) -> str:
    """The settings of an Orthanc that gets all results."""
    return (
        f'[[peer]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {orthanc.dicom_port}\n'
        "destination = true\n"
    )
