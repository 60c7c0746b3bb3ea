"""The way out by C-STORE (PS3.4 Annex B as user): each file as it is, one association for each call.

Every way out has a file here with one `send`, which yields what became of each file as soon as that is known.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pynetdicom import build_context
from pynetdicom.association import Association

from dicom_node.dicom.checks import UNREADABLE
from dicom_node.entities import SendStatus
from dicom_node.network.scu import associate
from dicom_node.settings import Peer
from inference.input.files import read_file

MAXIMUM_CONTEXTS = 128


def send(paths: Sequence[Path], peer: Peer, ae_title: str, timeout_s: float) -> Iterator[SendStatus]:
    """C-STORE each file as it is, in one association. PeerError when none comes about.

    A file that cannot be read or that the peer took no context for, or an association that breaks, gives a status of
    None with the reason.
    """
    readable: list[Path] = []
    wanted: dict[tuple[str, str], None] = {}
    for path in paths:
        try:
            meta = read_file(path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
            wanted[str(meta.SOPClassUID), str(meta.file_meta.TransferSyntaxUID)] = None
        except UNREADABLE as error:
            yield SendStatus(path, None, f"the file cannot be read: {error}")
        else:
            readable.append(path)
    if not readable:
        return
    contexts = [build_context(*pair) for pair in wanted][:MAXIMUM_CONTEXTS]
    association = associate(peer, ae_title, timeout_s, contexts)
    try:
        for path in readable:
            yield _store(association, path)
    finally:
        if association.is_established:
            association.release()


def _store(association: Association, path: Path) -> SendStatus:
    if not association.is_established:
        return SendStatus(path, None, "the association ended before this object", offered=False)
    try:
        dataset = read_file(path)
    except UNREADABLE as error:
        return SendStatus(path, None, f"the file cannot be read: {error}")
    if "SOPClassUID" not in dataset:  # pydicom drops every element of a file that ends within the last one
        return SendStatus(path, None, "the file cannot be read: it ends too soon")
    try:
        answer = association.send_c_store(dataset)
    except ValueError as error:
        return SendStatus(path, None, f"the destination does not take this kind of object: {error}")
    except AttributeError as error:  # an identifier is absent, or the data are not in the syntax that the file names
        return SendStatus(path, None, f"the file cannot be sent: {error}")
    except RuntimeError as error:
        return SendStatus(path, None, str(error), offered=False)
    except UNREADABLE as error:  # an element that cannot be written again
        return SendStatus(path, None, f"the file cannot be sent: {error}")
    if "Status" not in answer:
        return SendStatus(path, None, "no answer came in time")
    return SendStatus(path, int(answer.Status), str(answer.get("ErrorComment", "")))
