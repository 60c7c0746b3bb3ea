"""The secondary capture that the node made, as PNG, and its most telling slice as a small JPEG for the list.

`version` picks a result (otherwise the latest that has a picture). The path of the file comes from the database alone.
A small picture is made when it is first asked for, by a request of its own, and kept beside the capture, with which it
is removed.
"""

from contextlib import suppress
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import structlog
from PIL import Image
from pydicom import dcmread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.dicom.checks import UNREADABLE, say_unreadable
from dicom_node.tables.views import overview
from dicom_node.web.site import site_of

THUMB = (320, 362)
MOST_TELLING = (0.0, 232 / 1024, 0.5, 956 / 1024)  # of width and height: the large slice of reports/picture.py
log = structlog.get_logger()


def show_picture(request: Request) -> Response:
    """GET /studies/{study_uid}/picture.png; 304 when the browser has it, 404 in words when there is none."""
    capture, stamp = capture_of(request)
    headers = {"ETag": f'"{stamp}"', "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(encoded(image_of(capture), "PNG", compress_level=2), media_type="image/png", headers=headers)


def show_thumb(request: Request) -> Response:
    """GET /studies/{study_uid}/thumb.jpg: the slice with the outlines; the browser keeps it for an hour."""
    capture, stamp = capture_of(request)
    headers = {"ETag": f'"{stamp}-small"', "Cache-Control": "private, max-age=3600"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(kept_thumb(capture), media_type="image/jpeg", headers=headers)


def capture_of(request: Request) -> tuple[Path, str]:
    """The file of the wanted picture, and what tells its contents apart."""
    site, wanted = site_of(request), request.query_params.get("version", "")
    if wanted and not (wanted.isascii() and wanted.isdigit() and len(wanted) < 10):
        raise HTTPException(404, "There is no result of that number.")
    with site.database.read() as tx:
        made = overview.latest_picture(
            tx, request.path_params["study_uid"], request.query_params.get("question"), int(wanted) if wanted else None
        )
    if made is None or not made.path.is_relative_to(site.archive.root):
        raise HTTPException(404, "There is no picture for this study.")
    try:
        return made.path, f"{made.sop_uid}-{made.path.stat().st_mtime_ns}"
    except FileNotFoundError:
        raise HTTPException(404, "The picture of this study has been removed.") from None


def kept_thumb(capture: Path) -> bytes:
    """The small picture that lies beside a capture; made and put there when it is missing or older."""
    kept = capture.with_suffix(".thumb.jpg")
    with suppress(FileNotFoundError):
        if kept.stat().st_mtime_ns >= capture.stat().st_mtime_ns:
            return kept.read_bytes()
    whole = image_of(capture)
    left, top, right, bottom = MOST_TELLING
    box = (left * whole.width, top * whole.height, right * whole.width, bottom * whole.height)
    made = encoded(whole.resize(THUMB, Image.Resampling.LANCZOS, box), "JPEG", quality=82, subsampling=0)
    temporary = kept.with_name(f"{uuid4().hex}.part")
    try:
        temporary.write_bytes(made)
        temporary.replace(kept)
    except OSError as error:  # a full disk, or the study is being removed: the picture is shown all the same
        log.warning("a small picture could not be kept", path=str(kept), error=str(error))
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return made


def image_of(capture: Path) -> Image.Image:
    """The first frame of an RGB or grey 8-bit object; 404 where it cannot be read."""
    try:
        dataset = dcmread(capture)
        pixels = dataset.pixel_array
        return Image.fromarray(pixels[0] if int(dataset.get("NumberOfFrames", 1) or 1) > 1 else pixels)
    except FileNotFoundError:
        raise HTTPException(404, "The picture of this study has been removed.") from None
    except UNREADABLE as error:
        log.error("a picture cannot be read", path=str(capture), error=say_unreadable(error))
        raise HTTPException(404, "The picture of this study cannot be read.") from None


def encoded(image: Image.Image, form: str, **options: int) -> bytes:
    """The image as the bytes of a file."""
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
