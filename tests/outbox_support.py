"""An outbox with files in it, and destinations that are as strict, slow or rude as a test wants them."""

import itertools
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers import needs, own_port, wait_until
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from series import DECODERS, Core, answering, write

from dicom_node.entities import Delivery, ResultObject
from dicom_node.network import scu
from dicom_node.processes.node import empty_outbox
from dicom_node.settings import Peer
from dicom_node.tables import deliveries

KINDS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.88.34": "SR",
    "1.2.840.10008.5.1.4.1.1.7": "SC",
    "1.2.840.10008.5.1.4.1.1.88.59": "KO",
}
folders = itertools.count()


def queue_files(node: Core, datasets: Sequence[Dataset], paths: Sequence[Path], destination: str = "pacs") -> None:
    """Put files into the outbox of a destination."""
    with node.database.write() as tx:
        for dataset, path in zip(datasets, paths, strict=True):
            sop_class = str(dataset.SOPClassUID)
            kind, uid = KINDS.get(sop_class, "CT"), str(dataset.SOPInstanceUID)
            made = ResultObject(kind, uid, sop_class, str(dataset.SeriesInstanceUID), path)
            deliveries.add(tx, str(dataset.StudyInstanceUID), destination, made)


def queue(node: Core, datasets: Sequence[Dataset], destination: str = "pacs") -> list[Path]:
    """Write data sets and put them into the outbox of a destination."""
    paths = write(datasets, node.archive.root / "made" / str(next(folders)))
    queue_files(node, datasets, paths, destination)
    return paths


def destination_at(port: int, name: str = "pacs", **more: Any) -> Peer:
    """A destination on this machine, as the settings have it."""
    return Peer(name=name, ae_title="PACS", host="127.0.0.1", port=port, destination=True, **more)


def empty(node: Core, port: int, **more: Any) -> list[Delivery]:
    """Send what is due as the node does; all rows."""
    empty_outbox(node.settings, node.database, destination_at(port, **more), DECODERS)
    return rows(node)


def rows(node: Core) -> list[Delivery]:
    """Every delivery."""
    with node.database.read() as tx:
        return tx.all(Delivery, "SELECT * FROM deliveries ORDER BY delivery_id")


def make_due(node: Core) -> None:
    """As if all waits were over."""
    with node.database.write() as tx:
        tx.run("UPDATE deliveries SET next_at = 0")


@dataclass
class Received:
    """What reached a destination: SOP Instance UIDs with the transfer syntax they came in, and the data sets."""

    port: int = 0
    objects: list[tuple[str, UID]] = field(default_factory=list)
    datasets: list[Dataset] = field(default_factory=list)
    associations: int = 0

    @property
    def uids(self) -> list[str]:
        """The SOP Instance UIDs in the order in which they came."""
        return [uid for uid, _ in self.objects]


@contextmanager
def taking(
    contexts: Mapping[str, Sequence[str]],
    answer: Callable[[Any], int] = lambda event: 0x0000,
    held: Callable[[Any], Iterator[Any]] | None = None,
) -> Iterator[Received]:
    """A destination that takes these SOP classes in these transfer syntaxes; `held` answers to C-FIND."""
    received = Received()
    entity = AE(ae_title="PACS")
    for sop_class, syntaxes in contexts.items():
        entity.add_supported_context(sop_class, list(syntaxes))

    def store(event: Any) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        received.objects.append((str(event.request.AffectedSOPInstanceUID), event.context.transfer_syntax))
        received.datasets.append(dataset)
        return answer(event)

    def accepted(event: Any) -> None:
        received.associations += 1

    handlers: list[Any] = [(evt.EVT_C_STORE, store), (evt.EVT_ACCEPTED, accepted)]
    if held is not None:
        entity.add_supported_context(scu.STUDY_ROOT_FIND)
        handlers.append((evt.EVT_C_FIND, held))
    with answering(entity, handlers) as received.port:
        yield received


@contextmanager
def stalling(port: int, forwarded: Sequence[int | None]) -> Iterator[int]:
    """A port before another one, which passes on so many bytes of each answer, then nothing more in any direction.

    None passes a whole answer on. While it stalls, one byte of the answer follows now and then.
    """
    over = threading.Event()

    def run() -> None:
        with suppress(OSError):
            near, _ = server.accept()
            with near, socket.create_connection(("127.0.0.1", port)) as far:
                for length in forwarded:
                    answer = b""
                    while not answer:
                        if not (request := near.recv(1 << 20)):
                            return
                        far.sendall(request)
                        if select.select([far], [], [], 0.05)[0]:
                            answer = far.recv(1 << 16)
                    near.sendall(answer[:length])
                    rest = answer[len(answer[:length]) :]
                while not over.wait(0.2):
                    near.sendall(rest[:1])
                    rest = rest[1:]

    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(("127.0.0.1", 0))
        server.listen()
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join(10)


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    """DCMTK's storescp, which writes what it gets into a folder; its port."""
    folder.mkdir(parents=True, exist_ok=True)
    port = own_port()
    command = [needs("storescp"), "-aet", "PACS", "-od", str(folder), *options, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _echoes(port), 30, "storescp answers")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _echoes(port: int) -> bool:
    try:
        scu.echo(destination_at(port), "TRIAGE", 5.0)
    except Exception:
        return False
    return True
