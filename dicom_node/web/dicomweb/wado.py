"""WADO-RS (PS3.18 10.4): whole instances and metadata of studies, series and instances; frames and bulk data of one.

Nothing larger than one instance's header, one frame or a quarter of a megabyte is ever held.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import structlog
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dicom_node.dicom import json_model, part10
from dicom_node.dicom.transcode import can_be_transcoded, transcoded
from dicom_node.errors import CannotDecode, DamagedFile
from dicom_node.tables.views.archive import StoredObject
from dicom_node.web.dicomweb import multipart, negotiate
from dicom_node.web.dicomweb.context import Service, object_url, resource_objects, service_of
from dicom_node.web.dicomweb.multipart import MessagePart
from dicom_node.web.dicomweb.negotiate import ANY, Accepted

DICOM = "application/dicom"
NOT_FOR_THE_WEB = (ImplicitVRLittleEndian, ExplicitVRBigEndian)  # PS3.18 8.7.3.5.2
log = structlog.get_logger()


def retrieve_metadata(request: Request) -> Response:
    """GET .../metadata, one object after the other."""
    media_type = negotiate.choose(request, *negotiate.JSON_TYPES)
    found = resource_objects(request)
    first = part10.read_header(found[0].path)

    def written() -> Iterator[bytes]:
        for number, each in enumerate(found):
            try:
                header = first if number == 0 else part10.read_header(each.path)
            except DamagedFile as error:
                log.error("metadata without an instance", path=str(each.path), reason=str(error))
                continue
            told = json_model.metadata(header, f"{object_url(request, each)}/bulkdata")
            told["0020000D"] = json_model.element_json(0x0020000D, each.study_uid)  # as the node keeps it
            text = json.dumps(told, allow_nan=False)
            yield (b"[" if number == 0 else b",") + text.encode()
        yield b"]"

    return StreamingResponse(written(), media_type=media_type)


def retrieve_instances(request: Request) -> Response:
    """GET a study, a series or an instance as Part 10 files, each in a transfer syntax that the client takes."""
    service, found = service_of(request), resource_objects(request)
    single = "instance" in request.path_params
    for wish in negotiate.accepted(request):
        if not wish.takes(DICOM) or not (wish.multipart or single or wish.media_type == "*/*"):
            continue
        if all(can_have(each, wish) for each in found):
            break
    else:
        raise negotiate.not_acceptable(f'multipart/related; type="{DICOM}"; transfer-syntax=*')
    plans = [(each, as_stored(syntax_of(each), wish)) for each in found]
    if single and (not plans[0][1] or (not wish.multipart and wish.media_type == DICOM)):
        return one_instance(request, service, *plans[0], wish)
    parts = (instance_part(service, each, stored, object_url(request, each)) for each, stored in plans)
    return multipart.response(DICOM, parts)


def one_instance(request: Request, service: Service, found: StoredObject, stored: bool, wish: Accepted) -> Response:
    """One instance; it is transcoded before the answer begins, so that a failure has its own status."""
    part = instance_part(service, found, stored, object_url(request, found), strict=True)
    if wish.multipart or wish.media_type == "*/*":
        return multipart.response(DICOM, [part])
    return StreamingResponse(iter(part.content), media_type=part.content_type)


def can_have(found: StoredObject, wish: Accepted) -> bool:
    """Whether an object can be given in the transfer syntax that is wished for."""
    syntax = syntax_of(found)
    if wish.transfer_syntax in ("", ExplicitVRLittleEndian):
        return can_be_transcoded(found.path, syntax)
    return wish.transfer_syntax in (ANY, syntax)


def as_stored(syntax: str, wish: Accepted) -> bool:
    """Whether the file itself is the answer. Implicit and big endian never travel unless named (PS3.18 8.7.3.5.2)."""
    if wish.transfer_syntax == ANY:
        return syntax not in NOT_FOR_THE_WEB
    return syntax == (wish.transfer_syntax or ExplicitVRLittleEndian)


def syntax_of(found: StoredObject) -> str:
    """The transfer syntax an object is stored in."""
    return found.transfer_syntax_uid or str(part10.read_header(found.path, tags=()).syntax)


def instance_part(service: Service, found: StoredObject, stored: bool, url: str, strict: bool = False) -> MessagePart:
    """A whole instance. What cannot be decoded is sent as stored and says so, unless `strict`."""
    if not stored:
        try:
            made = transcoded(found.path, service.decoders, service.archive.new_incoming())
        except CannotDecode as error:
            if strict:
                raise
            log.warning("sent as stored: it cannot be decoded", path=str(found.path), error=str(error))
        else:
            return MessagePart(f"{DICOM}; transfer-syntax={ExplicitVRLittleEndian}", url, removed(made))
    return MessagePart(f"{DICOM}; transfer-syntax={syntax_of(found)}", url, part10.chunks(found.path))


def removed(path: Path) -> Iterator[bytes]:
    """The content of a temporary file, whose name is gone at once: nothing stays, however the response ends."""
    file = path.open("rb")
    path.unlink()
    return iter(lambda: file.read(part10.CHUNK_BYTES), b"")
