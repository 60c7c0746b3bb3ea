"""WADO-RS frames and bulk data (PS3.18 10.4.1.1.4 and .5): as they are stored, or decoded to plain little endian."""

import itertools
import re
from collections.abc import Iterator, Sequence

from pydicom.uid import ExplicitVRLittleEndian
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dicom_node.dicom import json_model, part10
from dicom_node.dicom.frames import frames_in, stored_frame
from dicom_node.dicom.part10 import StoredHeader
from dicom_node.dicom.pixels import frame_bytes
from dicom_node.errors import NoSuchValue
from dicom_node.tables.views.archive import StoredObject
from dicom_node.web.dicomweb import multipart, negotiate
from dicom_node.web.dicomweb.context import Service, object_url, resource_object, service_of
from dicom_node.web.dicomweb.multipart import MessagePart
from dicom_node.web.dicomweb.negotiate import ANY, Accepted

OCTETS = "application/octet-stream"
IMAGE_TYPES = {  # PS3.18 Table 8.7.3-5, by the end of the transfer syntax
    **dict.fromkeys((".4.50", ".4.51", ".4.57", ".4.70"), "image/jpeg"),
    **dict.fromkeys((".4.80", ".4.81"), "image/jls"),
    **dict.fromkeys((".4.90", ".4.91"), "image/jp2"),
    **dict.fromkeys((".4.92", ".4.93"), "image/jpx"),
    **dict.fromkeys((".4.201", ".4.202", ".4.203"), "image/jphc"),
    **dict.fromkeys((".4.110", ".4.111", ".4.112"), "image/jxl"),
    ".5": "image/dicom-rle",
}
MOST_FRAMES = 10_000


def retrieve_frames(request: Request) -> Response:
    """GET .../frames/{list}: each frame a part, or the one frame itself for a client that wants no multipart."""
    found = resource_object(request)
    header = part10.read_header(found.path)
    numbers = frame_numbers(request.path_params["frames"], frames_in(found.path, header))
    return frames_response(request, found, header, numbers, f"{object_url(request, found)}/frames/")


def frame_numbers(text: str, there: int) -> list[int]:
    """The frames of a list "1,3", from 1. 400 when it is none, NoSuchValue for a frame that is not there."""
    if not re.fullmatch(r"[1-9]\d{0,6}(,[1-9]\d{0,6})*", text) or text.count(",") >= MOST_FRAMES:
        raise HTTPException(400, "Frames are a list of numbers from 1, with commas between them.")
    numbers = [int(each) for each in text.split(",")]
    if max(numbers) > there:
        raise NoSuchValue(f"This instance has {there or 'no'} frames.")
    return numbers


def frames_response(
    request: Request, found: StoredObject, header: StoredHeader, numbers: Sequence[int], url: str
) -> Response:
    """Frames in the first form that the client takes; 406 when there is none."""
    if not numbers:
        raise NoSuchValue("This instance has no frames.")
    service = service_of(request)
    stored_type = stored_media_type(header)
    for wish in negotiate.accepted(request):
        if not wish.multipart and wish.media_type != "*/*" and len(numbers) > 1:
            continue
        if (media_type := media_type_for(wish, header, stored_type)) is None:
            continue
        raw = is_raw(wish, header, media_type)
        syntax = header.syntax if raw and header.syntax.is_encapsulated else ExplicitVRLittleEndian
        content = frame_contents(service, found, header, numbers, raw)
        content_type = f"{media_type}; transfer-syntax={syntax}"
        if not wish.multipart and wish.media_type != "*/*":
            return Response(next(content), media_type=content_type)
        parts = (MessagePart(content_type, f"{url}{n}", [each]) for n, each in zip(numbers, content, strict=True))
        return multipart.response(media_type, parts)
    raise negotiate.not_acceptable(f'multipart/related; type="{OCTETS}"', f"as stored: {stored_type} {header.syntax}")


def stored_media_type(header: StoredHeader) -> str:
    """The media type of the frames as they are stored."""
    return IMAGE_TYPES.get(header.syntax.removeprefix("1.2.840.10008.1.2"), OCTETS)


def media_type_for(wish: Accepted, header: StoredHeader, stored_type: str) -> str | None:
    """In which media type a wish can be met, None when it cannot."""
    if wish.takes(OCTETS) and wish.transfer_syntax in ("", ANY, ExplicitVRLittleEndian):
        return OCTETS
    same_syntax = wish.transfer_syntax in ("", ANY, header.syntax)
    if wish.takes(stored_type) and header.syntax.is_encapsulated and same_syntax:
        return stored_type
    return OCTETS if wish.takes(OCTETS) and wish.transfer_syntax == header.syntax else None


def is_raw(wish: Accepted, header: StoredHeader, media_type: str) -> bool:
    """Whether frames leave as they are stored."""
    if not header.syntax.is_encapsulated:
        return header.is_plain
    return media_type != OCTETS or wish.transfer_syntax in (ANY, header.syntax)


def frame_contents(
    service: Service, found: StoredObject, header: StoredHeader, numbers: Sequence[int], raw: bool
) -> Iterator[bytes]:
    """The frames one by one. The first is made at once, so that a failure still has its own status."""

    def make(number: int) -> bytes:
        if raw:
            return stored_frame(found.path, header, number - 1)
        return service.decoders.run(frame_bytes, found.path, number - 1)

    return itertools.chain([make(numbers[0])], (make(number) for number in numbers[1:]))


def retrieve_bulk(request: Request) -> Response:
    """GET .../bulkdata/{place}: the value of one element; for pixels all frames."""
    place: str = request.path_params["place"]
    if not json_model.PLACE.fullmatch(place):
        raise HTTPException(400, "This is no address of bulk data.")
    found = resource_object(request)
    header = part10.read_header(found.path)
    url = f"{object_url(request, found)}/bulkdata/{place}"
    if header.pixels is not None and place == f"{header.pixels.tag:08X}":
        return retrieve_pixels(request, found, header, url)
    value = json_model.value_at(header, place)
    negotiable = [each for each in negotiate.accepted(request) if each.takes(OCTETS)]
    if not negotiable:
        raise negotiate.not_acceptable(OCTETS)
    return answer_with(negotiable[0], [value], url)


def retrieve_pixels(request: Request, found: StoredObject, header: StoredHeader, url: str) -> Response:
    """The pixel element: as one piece where it is uncompressed, otherwise its frames."""
    if header.pixels is None or not header.is_plain:
        return frames_response(request, found, header, range(1, frames_in(found.path, header) + 1), f"{url}#")
    for wish in negotiate.accepted(request):
        if wish.takes(OCTETS) and wish.transfer_syntax in ("", ANY, ExplicitVRLittleEndian):
            return answer_with(wish, part10.chunks(found.path, header.pixels.offset, header.pixels.length), url)
    raise negotiate.not_acceptable(OCTETS)


def answer_with(wish: Accepted, content: Iterator[bytes] | list[bytes], url: str) -> Response:
    """One value, as a multipart message or by itself."""
    content_type = f"{OCTETS}; transfer-syntax={ExplicitVRLittleEndian}"
    if wish.multipart:
        return multipart.response(OCTETS, [MessagePart(content_type, url, content)])
    return StreamingResponse(iter(content), media_type=content_type)
