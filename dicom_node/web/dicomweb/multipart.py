"""multipart/related messages (RFC 2387, PS3.18 8.6.1.2): written part by part, and read part by part as they come."""

import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field

from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

LONGEST_PREAMBLE = 16_384
LONGEST_HEADER, MOST_HEADERS = 16_384, 32
LONGEST_PART = 1 << 30


@dataclass(frozen=True, slots=True)
class MessagePart:
    """A part to be sent: its media type, where else it can be had, and its bytes a little at a time."""

    content_type: str
    location: str
    content: Iterable[bytes]


def response(media_type: str, parts: Iterable[MessagePart]) -> StreamingResponse:
    """A streamed message of parts of this type."""
    boundary = uuid.uuid4().hex
    return StreamingResponse(
        written(parts, boundary), media_type=f'multipart/related; type="{media_type}"; boundary={boundary}'
    )


def written(parts: Iterable[MessagePart], boundary: str) -> Iterator[bytes]:
    """The bytes of a message."""
    for part in parts:
        head = f"--{boundary}\r\nContent-Type: {part.content_type}\r\nContent-Location: {part.location}\r\n\r\n"
        yield head.encode("ascii")
        yield from part.content
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode("ascii")


async def received(stream: AsyncIterator[bytes], boundary: str) -> AsyncIterator[bytes]:
    """The content of each part as soon as it is complete; one is held at a time. 400 when it is no such message."""
    gathered = _Gathered()
    parser = MultipartParser(
        boundary.encode("latin-1"),
        {
            "on_part_begin": gathered.begin,
            "on_part_data": gathered.add,
            "on_part_end": gathered.end_part,
            "on_end": gathered.end,
        },
        max_header_count=MOST_HEADERS,
        max_header_size=LONGEST_HEADER,
    )
    parser.write(f"--{boundary}\r\n\r\n\r\n".encode("latin-1"))  # a part that takes up whatever precedes the first
    async for chunk in stream:
        refusal = _write(parser, chunk)
        for content in gathered.take_whole():
            yield content
        if refusal:
            raise HTTPException(400, refusal)
        if gathered.ended:
            return
        if gathered.begun == 1 and len(gathered.content) > LONGEST_PREAMBLE:
            raise HTTPException(400, "The body does not begin with the boundary that the Content-Type announces.")
        if len(gathered.content) > LONGEST_PART:
            raise HTTPException(413, f"A part is longer than {LONGEST_PART} bytes.")
    raise HTTPException(400, "The body ended before its closing boundary; the parts before it are stored.")


def _write(parser: MultipartParser, chunk: bytes) -> str:
    """Why the message cannot be read on; '' when it can."""
    try:
        parser.write(chunk)
    except MultipartParseError as error:
        return f"The body cannot be read: {error}."
    return ""


@dataclass(slots=True)
class _Gathered:
    """What the parser has found: the part that it is in, and those that are whole. The first is what precedes them."""

    begun: int = 0
    ended: bool = False
    content: bytearray = field(default_factory=bytearray)
    whole: list[bytes] = field(default_factory=list)

    def begin(self) -> None:
        self.begun += 1

    def add(self, data: bytes, start: int, end: int) -> None:
        self.content += memoryview(data)[start:end]

    def end_part(self) -> None:
        if self.begun > 1:
            self.whole.append(bytes(self.content))
        self.content.clear()

    def end(self) -> None:
        self.ended = True

    def take_whole(self) -> list[bytes]:
        taken, self.whole = self.whole, []
        return taken
