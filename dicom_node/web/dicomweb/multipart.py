"""multipart/related messages (RFC 2387, PS3.18 8.6.1.2): written part by part, and read part by part as they come.

What comes goes into files, so that no part is ever held as a whole.
"""

import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field

from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from dicom_node.errors import OutOfResources, Refused
from dicom_node.spool import Spool

LONGEST_PREAMBLE = 16_384
LONGEST_HEADER, MOST_HEADERS = 16_384, 32
PIECE_BYTES = 1 << 16


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


async def received(
    stream: AsyncIterator[bytes], boundary: str, begin: Callable[[], Spool], most_bytes: int
) -> AsyncIterator[Spool | Refused]:
    """Each part as soon as it is complete, or why it could not be kept. `begin` opens the file that a part goes into.

    Who is given a file removes it; no more than one is open. 400 when it is no such message, 413 for a part that is too
    long.
    """
    gathered = _Gathered(begin, most_bytes)
    parser = MultipartParser(
        boundary.encode("latin-1"),
        {
            "on_part_begin": gathered.begin_part,
            "on_part_data": gathered.add,
            "on_part_end": gathered.end_part,
            "on_end": gathered.end,
        },
        max_header_count=MOST_HEADERS,
        max_header_size=LONGEST_HEADER,
    )
    parser.write(f"--{boundary}\r\n\r\n\r\n".encode("latin-1"))  # a part that takes up whatever precedes the first
    try:
        async for chunk in stream:
            for at in range(0, len(chunk), PIECE_BYTES):  # so that few parts are whole at once
                refusal = await run_in_threadpool(_write, parser, chunk[at : at + PIECE_BYTES])
                while gathered.whole:
                    yield gathered.whole.pop(0)
                if refusal:
                    raise HTTPException(400, refusal)
                if gathered.ended:
                    return
                gathered.check_lengths()
    finally:
        gathered.close()
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

    begin: Callable[[], Spool]
    most_bytes: int
    begun: int = 0
    length: int = 0
    ended: bool = False
    part: Spool | Refused | None = None
    whole: list[Spool | Refused] = field(default_factory=list)

    def begin_part(self) -> None:
        self.begun, self.length = self.begun + 1, 0
        if self.begun > 1:
            try:
                self.part = self.begin()
            except (Refused, OSError) as error:
                self._give_up(error)

    def add(self, data: bytes, start: int, end: int) -> None:
        self.length += end - start
        if isinstance(self.part, Spool) and self.length <= self.most_bytes:
            try:
                self.part.write(memoryview(data)[start:end])
            except (Refused, OSError) as error:
                self._give_up(error)

    def end_part(self) -> None:
        self.check_lengths()
        if self.part is not None:
            self.whole.append(self.part)
        self.part = None

    def end(self) -> None:
        self.ended = True

    def check_lengths(self) -> None:
        """400 for a long text before the first part, 413 for a part that is too long."""
        if self.begun == 1 and self.length > LONGEST_PREAMBLE:
            raise HTTPException(400, "The body does not begin with the boundary that the Content-Type announces.")
        if self.length > self.most_bytes:
            raise HTTPException(413, f"A part is longer than {self.most_bytes} bytes.")

    def close(self) -> None:
        """Remove what nobody has been given."""
        for part in (self.part, *self.whole):
            if isinstance(part, Spool):
                part.close()

    def _give_up(self, error: Refused | OSError) -> None:
        if isinstance(self.part, Spool):
            self.part.close()
        self.part = error if isinstance(error, Refused) else OutOfResources(str(error))
