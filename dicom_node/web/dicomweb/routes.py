"""The DICOMweb service in one view: its resources (PS3.18 10) and how it says no."""

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from dicom_node.errors import CannotDecode, DamagedFile, Gone, NoSuchValue
from dicom_node.web.dicomweb import frames, qido, rendered, stow, wado

STUDY = "/studies/{study}"
SERIES = STUDY + "/series/{series}"
INSTANCE = SERIES + "/instances/{instance}"
ROUTES = [
    Route("/studies", qido.search_studies),
    *(Route(place, stow.store_instances, methods=["POST"]) for place in ("/studies", STUDY)),
    Route("/series", qido.search_series),
    Route("/instances", qido.search_instances),
    Route(f"{STUDY}/series", qido.search_series),
    Route(f"{STUDY}/instances", qido.search_instances),
    Route(f"{SERIES}/instances", qido.search_instances),
    *(Route(place, wado.retrieve_instances) for place in (STUDY, SERIES, INSTANCE)),
    *(Route(f"{place}/metadata", wado.retrieve_metadata) for place in (STUDY, SERIES, INSTANCE)),
    *(Route(f"{place}/rendered", rendered.retrieve_rendered) for place in (STUDY, SERIES, INSTANCE)),
    *(Route(f"{place}/thumbnail", rendered.retrieve_thumbnail) for place in (STUDY, SERIES, INSTANCE)),
    Route(f"{INSTANCE}/frames/{{frames}}", frames.retrieve_frames),
    Route(f"{INSTANCE}/frames/{{frames}}/rendered", rendered.retrieve_rendered),
    Route(f"{INSTANCE}/frames/{{frames}}/thumbnail", rendered.retrieve_thumbnail),
    Route(f"{INSTANCE}/bulkdata/{{place:path}}", frames.retrieve_bulk),
]
STATUSES: dict[type[Exception], int] = {Gone: 404, NoSuchValue: 404, CannotDecode: 406, DamagedFile: 500}


def mount_at(prefix: str) -> Mount:
    """The service's routes; the application's state must have its `Service` as `dicomweb`."""
    handlers = {HTTPException: refuse} | dict.fromkeys(STATUSES, explain)
    return Mount(prefix, routes=ROUTES, middleware=[Middleware(ExceptionMiddleware, handlers=handlers)])


def refuse(request: Request, error: Exception) -> Response:
    """A refusal in words (a status report, PS3.18 8.6.2)."""
    assert isinstance(error, HTTPException)
    said = "There is no such resource." if error.detail == "Not Found" else error.detail
    return PlainTextResponse(said + "\n", error.status_code, headers=error.headers)


def explain(request: Request, error: Exception) -> Response:
    """What is wrong with a stored instance; pixels that cannot be decoded can still be had as they are stored."""
    hint = ". Ask for transfer-syntax=*." if isinstance(error, CannotDecode) else ""
    return PlainTextResponse(f"{error}{hint}\n", STATUSES[type(error)])
