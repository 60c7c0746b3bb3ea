"""C-STORE and C-ECHO provider (PS3.4 Annexes A and B). Hands on the bytes as sent; never decodes pixels.

Every storage SOP class is accepted, private ones too, in whatever transfer syntax comes first: a refused presentation
context can fail a scanner's whole send job. What becomes of an object is for the functions that the server is given.
"""

import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import structlog
from pynetdicom import AE, _config, evt

from dicom_node.entities import Incoming
from dicom_node.errors import CommandError, Refused
from dicom_node.settings import Settings

_config.UNRESTRICTED_STORAGE_SERVICE = True
_config.LOG_HANDLER_LEVEL = "none"
VERIFICATION = "1.2.840.10008.1.1"
MAXIMUM_PDU_BYTES = 131072
REJECTED_PERMANENT, SERVICE_USER = 1, 1
CALLING_AET_UNKNOWN, CALLED_AET_UNKNOWN = 3, 7  # PS3.8 Table 9-21

log = structlog.get_logger()


class StorageServer:
    """Listens for associations until `close`.

    `store` returns nothing when the object is durable, or raises `Refused`; `ended` is told that an association is
    over and whether it was released in good order; `refused` is told (calling, called, address, reason).
    """

    def __init__(
        self,
        settings: Settings,
        store: Callable[[Incoming], None],
        ended: Callable[[int, bool], None],
        refused: Callable[[str, str, str, str], None],
    ) -> None:
        self._settings, self._store, self._ended, self._refused = settings, store, ended, refused
        entity = AE(ae_title=settings.node.ae_title)
        entity.maximum_pdu_size = MAXIMUM_PDU_BYTES
        entity.maximum_associations = settings.node.max_associations
        entity.network_timeout, entity.dimse_timeout = 120, 60
        entity.add_supported_context(VERIFICATION)
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._on_open),
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_REJECTED, self._on_rejected),
            (evt.EVT_C_ECHO, self._on_echo),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_RELEASED, self._on_released),
            (evt.EVT_ABORTED, self._on_aborted),
        ]
        place = (settings.node.host, settings.node.port)
        try:
            server: Any = entity.start_server(place, block=False, evt_handlers=handlers)
        except OSError as error:
            raise CommandError(f"cannot listen on {place[0]}:{place[1]}: {error.strerror or error}") from None
        self._server = server
        self.port = int(server.socket.getsockname()[1])

    def close(self) -> None:
        """Stop listening and end open associations."""
        self._server.shutdown()

    def _on_open(self, event: Any) -> None:
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_requested(self, event: Any) -> None:
        called = event.assoc.requestor.primitive.called_ae_title.strip()
        calling = event.assoc.requestor.primitive.calling_ae_title.strip()
        address = event.assoc.requestor.address
        found = self._objection(called, calling, address)
        if found:
            diagnostic, reason = found
            self._refused(calling, called, address, reason)
            event.assoc.acse.send_reject(REJECTED_PERMANENT, SERVICE_USER, diagnostic)
            event.assoc.kill()

    def _objection(self, called: str, calling: str, address: str) -> tuple[int, str] | None:
        access, node = self._settings.access, self._settings.node
        if not (access.any_called or called in (node.ae_title, *access.called_aets)):
            return CALLED_AET_UNKNOWN, f"called AE title {called!r}; this node is {node.ae_title!r}"
        if access.any_caller or (access.any_caller_on_loopback and is_loopback(address)):
            return None
        if calling not in {peer.ae_title for peer in self._settings.peer}:
            return CALLING_AET_UNKNOWN, f"calling AE title {calling!r} is no configured peer"
        return None

    def _on_rejected(self, event: Any) -> None:
        requestor = event.assoc.requestor
        reason = f"more than {self._settings.node.max_associations} associations at once"
        self._refused(requestor.ae_title, self._settings.node.ae_title, requestor.address, reason)

    def _on_echo(self, event: Any) -> int:
        return 0x0000

    def _on_store(self, event: Any) -> int:
        request, requestor = event.request, event.assoc.requestor
        called = event.assoc.requestor.primitive.called_ae_title.strip()
        try:
            self._store(
                Incoming(
                    data=request.DataSet.getvalue(),
                    sop_class_uid=str(request.AffectedSOPClassUID),
                    sop_uid=str(request.AffectedSOPInstanceUID),
                    transfer_syntax_uid=str(event.context.transfer_syntax),
                    calling_aet=requestor.ae_title.strip(),
                    called_aet=called,
                    association=id(event.assoc),
                )
            )
        except Refused as error:
            self._refused(
                requestor.ae_title.strip(), called, requestor.address, f"object 0x{error.status:04X}: {error}"
            )
            return error.status
        except Exception as error:
            log.exception("an object could not be stored", sop_uid=str(request.AffectedSOPInstanceUID))
            self._refused(requestor.ae_title.strip(), called, requestor.address, f"object 0xA700: {error}")
            return 0xA700
        return 0x0000

    def _on_released(self, event: Any) -> None:
        self._end(event, in_good_order=True)

    def _on_aborted(self, event: Any) -> None:
        self._end(event, in_good_order=False)

    def _end(self, event: Any, in_good_order: bool) -> None:
        try:
            self._ended(id(event.assoc), in_good_order)
        except Exception:
            log.exception("the end of an association could not be recorded; its series wait the long quiet")


def is_loopback(address: str) -> bool:
    """Whether a peer's address is this machine's loopback."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback
