"""multipart/related messages (RFC 2387, PS3.18 8.6.1.2): written part by part, and read part by part as they come."""

import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from dicom_node.web.dicomweb.negotiate import parameters

LONGEST_HEADER = 16_384
LONGEST_PART = 1 << 30


@dataclass(frozen=True, slots=True)
class Part:
    """A part to be sent: its media type, where else it can be had, and its bytes a little at a time."""

    content_type: str
    location: str
    content: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class ReceivedPart:
    """A part that came."""

    content_type: str
    content: bytes


def response(media_type: str, parts: Iterable[Part]) -> StreamingResponse:
    """A streamed message of parts of this type."""
    boundary = uuid.uuid4().hex
    return StreamingResponse(
        written(parts, boundary), media_type=f'multipart/related; type="{media_type}"; boundary={boundary}'
    )


def written(parts: Iterable[Part], boundary: str) -> Iterator[bytes]:
    """The bytes of a message."""
    for part in parts:
        head = f"--{boundary}\r\nContent-Type: {part.content_type}\r\nContent-Location: {part.location}\r\n\r\n"
        yield head.encode("ascii")
        yield from part.content
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode("ascii")


async def received(stream: AsyncIterator[bytes], boundary: str) -> AsyncIterator[ReceivedPart]:
    """Each part as soon as it is complete; one part is held at a time. 400 when it is no such message."""
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    held, looked = bytearray(b"\r\n"), 0  # the first delimiter may stand at the very beginning
    inside = False
    async for chunk in stream:
        held += chunk
        while (at := held.find(delimiter, looked)) >= 0:
            follows = bytes(held[at + len(delimiter) : at + len(delimiter) + 2])
            if len(follows) < 2:  # whether it is the last one is not known yet
                break
            if not (follows == b"--" or follows == b"\r\n" or follows[:1] in b" \t"):
                looked = at + 1  # the beginning of some other word
                continue
            if inside:
                yield _part(bytes(held[:at]))
            if follows == b"--":
                return
            del held[: at + len(delimiter)]
            inside, looked = True, 0
        if at < 0:
            looked = max(looked, len(held) - len(delimiter))
        if not inside and len(held) > LONGEST_HEADER:
            raise HTTPException(400, "The body does not begin with the boundary that the Content-Type announces.")
        if len(held) > LONGEST_PART:
            raise HTTPException(413, f"A part is longer than {LONGEST_PART} bytes.")
    raise HTTPException(400, "The body ended before its closing boundary; the parts before it are stored.")


def _part(text: bytes) -> ReceivedPart:
    """A part from after its delimiter: the rest of that line, headers, an empty line, the content."""
    end = text.find(b"\r\n\r\n", 0, LONGEST_HEADER)
    if end < 0:
        raise HTTPException(400, "A part has no header.")
    for line in text[:end].decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-type":
            return ReceivedPart(parameters(value)[0], text[end + 4 :])
    return ReceivedPart("", text[end + 4 :])
