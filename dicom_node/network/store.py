"""C-STORE from the wire into a file (PS3.7 9.3.1, PS3.4 Annex B), and what all associations share for it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event

import structlog
from pynetdicom import AE

from dicom_node.dicom.part10 import part10_header
from dicom_node.entities import Incoming
from dicom_node.errors import CannotUnderstand, OutOfResources, Refused
from dicom_node.network.messages import SOP_CLASS_UID, SOP_UID, MessageReader, Request
from dicom_node.network.pdus import ConnectionEnded, ProtocolError
from dicom_node.settings import Network
from dicom_node.spool import Spool

PASSED_OVER = 8  # times the size that is taken, until an object counts as endless
Rejection = tuple[int, int, int]  # result, source, reason (PS3.8 Table 9-21)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end, as far as it has said so."""

    address: str
    calling_aet: str = ""
    called_aet: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Services:
    """What all connections of a server share, and what becomes of what they bring.

    `admit` lets a connection, by its number, become an association or says why not; `store` makes an object durable or
    raises Refused; `ended` is told that an association is over and whether it was released in good order; `refused` is
    told who was refused and why.
    """

    entity: AE
    limits: Network
    admit: Callable[[int, Caller], tuple[Rejection, str] | None]
    spool: Callable[[], Spool]
    store: Callable[[Incoming], None]
    ended: Callable[[int, bool], None]
    refused: Callable[[Caller, str], None]
    stopping: Event


def receive_object(
    messages: MessageReader, request: Request, transfer_syntax_uid: str, caller: Caller, number: int, services: Services
) -> Refused | None:
    """Take one object; why it is refused, None when it is durable. ConnectionEnded where the sender breaks off."""
    command = request.command
    sop_class_uid, sop_uid = command.text(SOP_CLASS_UID), command.text(SOP_UID)
    pieces: Iterator[memoryview] = iter(())
    if command.has_data_set:
        pieces = messages.data_set(request.context_id)
    try:
        if not command.has_data_set:
            raise CannotUnderstand("the request has no data set")
        with services.spool() as spool:
            spool.begin(part10_header(sop_class_uid, sop_uid, transfer_syntax_uid, caller.calling_aet))
            for piece in pieces:
                spool.write(piece)
            services.store(
                Incoming(
                    path=spool.path,
                    sha256=spool.digest(),
                    sop_class_uid=sop_class_uid,
                    sop_uid=sop_uid,
                    transfer_syntax_uid=transfer_syntax_uid,
                    calling_aet=caller.calling_aet,
                    called_aet=caller.called_aet,
                    association=number,
                )
            )
        return None
    except ConnectionEnded:
        raise
    except Refused as error:
        refusal = error
    except OSError as error:
        refusal = OutOfResources(f"the object cannot be written: {error}")
    except Exception as error:
        log.exception("an object could not be stored", sop_uid=sop_uid)
        refusal = OutOfResources(f"{type(error).__name__}: {error}")
    _pass_over(pieces, PASSED_OVER * services.limits.object_bytes)
    return refusal


def _pass_over(pieces: Iterator[memoryview], most_bytes: int) -> None:
    """Read what is left of a refused object, so that the next one can be read."""
    for piece in pieces:
        most_bytes -= len(piece)
        if most_bytes < 0:
            raise ProtocolError("an object without end")
