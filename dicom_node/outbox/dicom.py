"""The way out by C-STORE (PS3.4 Annex B as user): each object in its own transfer syntax where the peer takes that.

Else it is transcoded to Explicit or Implicit VR Little Endian; its SOP Instance UID stays. Each transfer syntax is
offered in a presentation context of its own, so that the peer may accept any of them.

Every way out has a file here with one `send`, which yields what became of each file as soon as that is known.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom.dataset import FileDataset
from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.association import Association

from dicom_node import clock
from dicom_node.dicom.checks import UNREADABLE, checked_uid
from dicom_node.dicom.decoding import Decoders
from dicom_node.dicom.transcode import transcoded
from dicom_node.entities import SendProblem, SendStatus
from dicom_node.errors import NothingAccepted, TriageNodeError
from dicom_node.network.scu import UNCOMPRESSED, Key, associate, find_instances, refused_contexts
from dicom_node.settings import Peer
from inference.input.files import read_file

MAXIMUM_CONTEXTS = 128  # of one association: their IDs are odd and of one byte (PS3.8 9.3.2.2)
SLOWEST_BYTES_PER_S = 1e6  # an answer is waited for so much longer as sending the object may take ...
LONGEST_SENDING_S = 120.0  # ... at most
SYNTAXES_NOT_SUPPORTED = 4  # PS3.8 Table 9-18
NAMED = ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
CONTEXT = tuple[str, str]  # SOP class and transfer syntax


@dataclass(frozen=True, slots=True)
class _Object:
    """A file and the SOP class and transfer syntax that it says it has."""

    path: Path
    sop_class_uid: str
    syntax: UID

    @property
    def contexts(self) -> dict[CONTEXT, None]:
        """What is offered for it, its own transfer syntax first."""
        return {(self.sop_class_uid, str(syntax)): None for syntax in (self.syntax, *UNCOMPRESSED)}


def send(
    paths: Sequence[Path],
    peer: Peer,
    ae_title: str,
    timeout_s: float,
    decoders: Decoders | None = None,
    patience: float = 1.0,
) -> Generator[SendStatus]:
    """C-STORE each file, in as few associations as their contexts allow. PeerError when none comes about.

    Each answer is waited for `timeout_s` times `patience`. Without `decoders` there are own ones while this runs.
    """
    readable: list[_Object] = []
    for path in paths:
        try:
            readable.append(_describe(path))
        except (TriageNodeError, *UNREADABLE) as error:
            yield SendStatus(path, None, f"the file cannot be read: {error}", SendProblem.UNREADABLE)
    with ExitStack() as stack:
        decoders = decoders or stack.enter_context(Decoders())
        for group in _in_associations(readable):
            yield from _send_in_one(group, peer, ae_title, timeout_s * patience, decoders)


def find_stored(paths: Sequence[Path], peer: Peer, ae_title: str, timeout_s: float) -> set[Path]:
    """Which of these the peer says it has, by C-FIND at instance level. PeerError when it cannot be asked."""
    keys: dict[Path, Key] = {}
    for path in paths:
        try:
            meta = read_file(path, specific_tags=list(NAMED), stop_before_pixels=True)
            keys[path] = Key(str(meta.StudyInstanceUID), str(meta.SeriesInstanceUID), str(meta.SOPInstanceUID))
        except UNREADABLE:
            continue  # sending it will say why
    found = find_instances(peer, ae_title, timeout_s, list(keys.values())) if keys else frozenset()
    return {path for path, key in keys.items() if key.sop_uid in found}


def _describe(path: Path) -> _Object:
    meta = read_file(path, specific_tags=list(NAMED), stop_before_pixels=True)
    return _Object(path, checked_uid(meta.SOPClassUID), UID(checked_uid(meta.file_meta.TransferSyntaxUID)))


def _in_associations(objects: Iterable[_Object]) -> list[list[_Object]]:
    """The objects in groups, each with no more contexts than one association may have."""
    groups: list[tuple[dict[CONTEXT, None], list[_Object]]] = []
    for each in objects:
        for contexts, members in groups:
            if len(contexts | each.contexts) <= MAXIMUM_CONTEXTS:
                contexts |= each.contexts
                members.append(each)
                break
        else:
            groups.append((dict(each.contexts), [each]))
    return [members for _, members in groups]


def _send_in_one(
    objects: Sequence[_Object], peer: Peer, ae_title: str, timeout_s: float, decoders: Decoders
) -> Iterator[SendStatus]:
    contexts = [build_context(*pair) for pair in dict.fromkeys(pair for each in objects for pair in each.contexts)]
    try:
        association = associate(peer, ae_title, timeout_s, contexts)
    except NothingAccepted as error:
        yield from (_not_taken(each, error.refused) for each in objects)
        return
    refused = refused_contexts(association)
    try:
        for each in objects:
            syntax = _accepted_syntax(association, each)
            yield _store(association, each, syntax, timeout_s, decoders) if syntax else _not_taken(each, refused)
    finally:
        if association.is_established:
            association.release()


def _accepted_syntax(association: Association, wanted: _Object) -> UID | None:
    """The transfer syntax to send an object in: its own if the peer takes that; None where it takes none."""
    accepted = {(str(each.abstract_syntax), str(each.transfer_syntax[0])) for each in association.accepted_contexts}
    return next((UID(pair[1]) for pair in wanted.contexts if pair in accepted), None)


def _not_taken(wanted: _Object, refused: Iterable[tuple[str, int]]) -> SendStatus:
    results = {result for sop_class_uid, result in refused if sop_class_uid == wanted.sop_class_uid}
    problem = SendProblem.NO_SYNTAX if SYNTAXES_NOT_SUPPORTED in results else SendProblem.NOT_TAKEN
    return SendStatus(wanted.path, None, UID(wanted.sop_class_uid).name, problem)


def _store(association: Association, wanted: _Object, syntax: UID, timeout_s: float, decoders: Decoders) -> SendStatus:
    path = wanted.path
    if not association.is_established:
        return SendStatus(path, None, "the association ended before this object", SendProblem.NOT_OFFERED)
    try:
        dataset = _dataset(wanted, syntax, decoders)
    except (TriageNodeError, *UNREADABLE) as error:
        return SendStatus(path, None, f"the file cannot be read: {error}", SendProblem.UNREADABLE)
    if "SOPClassUID" not in dataset:  # pydicom drops every element of a file that ends within the last one
        return SendStatus(path, None, "the file cannot be read: it ends too soon", SendProblem.UNREADABLE)
    began, limit_s = clock.monotonic(), timeout_s + _sending_s(wanted, dataset)
    association.dimse_timeout = limit_s
    try:
        answer = association.send_c_store(dataset)
    except (ValueError, AttributeError) as error:  # an element cannot be written, or an identifier is absent
        return SendStatus(path, None, f"the file cannot be sent: {error}", SendProblem.UNREADABLE)
    except RuntimeError as error:
        return SendStatus(path, None, str(error), SendProblem.NOT_OFFERED)
    if "Status" in answer:
        return SendStatus(path, int(answer.Status), str(answer.get("ErrorComment", "")))
    late = clock.monotonic() - began >= limit_s
    why = f"no answer within {limit_s:.3g} s" if late else "the destination ended the association without an answer"
    return SendStatus(path, None, why, SendProblem.UNANSWERED)


def _sending_s(wanted: _Object, dataset: FileDataset) -> float:
    """How long an object may take to go out, which is more than its file where that is compressed."""
    size = max(wanted.path.stat().st_size, len(dataset.get("PixelData") or b""))
    return min(LONGEST_SENDING_S, size / SLOWEST_BYTES_PER_S)


def _dataset(wanted: _Object, syntax: UID, decoders: Decoders) -> FileDataset:
    """The data set, ready to be encoded in this transfer syntax; between uncompressed ones pynetdicom converts."""
    if syntax == wanted.syntax or wanted.syntax in UNCOMPRESSED:
        return read_file(wanted.path)
    with TemporaryDirectory(prefix="triage-node-") as folder:
        return read_file(transcoded(wanted.path, decoders, Path(folder, "object.dcm")))
