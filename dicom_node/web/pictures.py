"""GET /studies/{study_uid}/picture.png: the secondary capture that the node made, as PNG.

`version` picks a result (otherwise the latest that has a picture), `size=thumb` a small one. The path of the file comes
from the database alone.
"""

from functools import lru_cache
from io import BytesIO
from pathlib import Path

import structlog
from PIL import Image
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.tables import overview
from dicom_node.web.site import site_of

THUMB = (400, 320)
UNREADABLE = (InvalidDicomError, AttributeError, ValueError, RuntimeError)
log = structlog.get_logger()


def picture(request: Request) -> Response:
    """The picture; 304 when the browser has it, 404 in words when there is none."""
    site, thumb = site_of(request), request.query_params.get("size") == "thumb"
    wanted = request.query_params.get("version", "")
    if wanted and not (wanted.isascii() and wanted.isdigit() and len(wanted) < 10):
        raise HTTPException(404, "There is no result of that number.")
    with site.database.read() as tx:
        made = overview.picture(tx, request.path_params["study_uid"], int(wanted) if wanted else None)
    if made is None or not made.path.is_relative_to(site.archive.root):
        raise HTTPException(404, "There is no picture for this study.")
    try:
        changed_at = made.path.stat().st_mtime_ns
        etag = f'"{made.sop_uid}-{changed_at}{"-thumb" if thumb else ""}"'
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(png(made.path, changed_at, thumb), media_type="image/png", headers=headers)
    except FileNotFoundError:
        raise HTTPException(404, "The picture of this study has been removed.") from None
    except UNREADABLE as error:
        log.error("a picture cannot be read", path=str(made.path), error=str(error))
        raise HTTPException(404, "The picture of this study cannot be read.") from None


@lru_cache(maxsize=128)
def _thumb(path: Path, changed_at: int) -> bytes:
    return _encode(path, THUMB)


def png(path: Path, changed_at: int, thumb: bool) -> bytes:
    """The first frame of an RGB or grey 8-bit object as PNG; `changed_at` tells contents of the file apart."""
    return _thumb(path, changed_at) if thumb else _encode(path, None)


def _encode(path: Path, size: tuple[int, int] | None) -> bytes:
    dataset = dcmread(path)
    pixels = dataset.pixel_array
    image = Image.fromarray(pixels[0] if int(dataset.get("NumberOfFrames", 1) or 1) > 1 else pixels)
    if size:
        image.thumbnail(size, Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=6 if size else 2)
    return buffer.getvalue()
