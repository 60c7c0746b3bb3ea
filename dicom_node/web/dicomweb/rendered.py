"""WADO-RS rendered and thumbnail (PS3.18 10.4.1.1.3, 10.4.1.1.8): a frame as JPEG or PNG for the eye."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.dicom import part10
from dicom_node.dicom.frames import frames_in
from dicom_node.dicom.pixels import Look, Window, render_frame
from dicom_node.tables.views.archive import StoredObject
from dicom_node.web.dicomweb import negotiate
from dicom_node.web.dicomweb.context import resource_objects, service_of
from dicom_node.web.dicomweb.frames import frame_numbers

PICTURES = ("image/jpeg", "image/png")
FUNCTIONS = ("linear", "linear-exact", "sigmoid")
THUMBNAIL = (128, 128)
LARGEST = 8192
NOT_SHOWN = ("SR", "KO", "PR", "DOC", "SEG")  # for a study or series, what shows the patient goes before


def retrieve_rendered(request: Request) -> Response:
    """GET .../rendered."""
    look = Look(
        media_type=negotiate.choose(request, *PICTURES),
        window=window_of(request),
        box=viewport_of(request),
        quality=quality_of(request),
    )
    return show(request, look)


def retrieve_thumbnail(request: Request) -> Response:
    """GET .../thumbnail."""
    return show(request, Look(negotiate.choose(request, *PICTURES), box=viewport_of(request) or THUMBNAIL))


def show(request: Request, look: Look) -> Response:
    """The frame that stands for the resource; 406 when it has no picture."""
    found = representative(resource_objects(request))
    header = part10.read_header(found.path)
    frames, there = request.path_params.get("frames"), frames_in(found.path, header)
    if header.pixels is None:
        raise HTTPException(406, "There are no pixels that could be shown.")
    if frames is None:
        index = there // 2 if there > 1 else 0
    else:
        (index, *others) = (number - 1 for number in frame_numbers(frames, there))
        if others:
            raise HTTPException(406, "One frame at a time can be shown.")
    shown = service_of(request).decoders.run(render_frame, found.path, index, look)
    return Response(shown, media_type=look.media_type)


def representative(objects: list[StoredObject]) -> StoredObject:
    """The middle one of the longest series that shows something."""
    images = [each for each in objects if each.modality not in NOT_SHOWN] or objects
    by_series: dict[str, list[StoredObject]] = {}
    for each in images:
        by_series.setdefault(each.series_uid, []).append(each)
    longest = max(by_series.values(), key=len)
    return longest[len(longest) // 2]


def window_of(request: Request) -> Window | None:
    """`window=centre,width,function` (PS3.18 8.3.5.1.4)."""
    text = request.query_params.get("window")
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    try:
        centre, width = float(parts[0]), float(parts[1])
    except (ValueError, IndexError):
        raise HTTPException(400, "window is centre,width,function.") from None
    function = parts[2].lower() if len(parts) > 2 else "linear"
    if function not in FUNCTIONS or width < 1 or abs(centre) > 1e6 or not width < 1e7:
        raise HTTPException(400, f"window is centre,width,function; function one of {', '.join(FUNCTIONS)}.")
    return centre, width, function.replace("-", "_").upper()


def viewport_of(request: Request) -> tuple[int, int] | None:
    """`viewport=width,height`; a part of the image (sx, sy, sw, sh) cannot be asked for."""
    text = request.query_params.get("viewport")
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and 0 < int(part) <= LARGEST for part in parts):
        raise HTTPException(
            400, f"viewport is width,height, each from 1 to {LARGEST}; parts of an image are not served."
        )
    return int(parts[0]), int(parts[1])


def quality_of(request: Request) -> int:
    """`quality`, 1 to 100."""
    text = request.query_params.get("quality", "90")
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 100):
        raise HTTPException(400, "quality is a number from 1 to 100.")
    return int(text)
