"""The page that says why something cannot be done."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from dicom_node.faults import Trouble, about, advise, fault_of
from dicom_node.web.notices import sentence
from dicom_node.web.security import FOR_PROGRAMS
from dicom_node.web.site import site_of

RETRY_AFTER_S = "10"
NO_STUDY = "There is no such study here. It may have been removed to make room, or it has never been received."


def refuse(request: Request, error: Exception) -> Response:
    """Any refusal in words: JSON for the page's own script, otherwise a page."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = error.detail if isinstance(error, HTTPException) else "Something went wrong here. The log has the details."
    if status == 404 and said == "Not Found":
        said = "There is no such page."
    return _in_words(request, said, status)


def say_fault(request: Request, error: Exception) -> Response:
    """503 and why: the disk is full, the database damaged. Any other error stays what it is."""
    database = site_of(request).database.path
    fault = fault_of(error, database)
    if fault is None:
        raise error
    trouble = Trouble(fault, about(fault, database))
    answer = _in_words(request, f"{sentence(trouble)}. {advise(trouble)}", 503)
    answer.headers["Retry-After"] = RETRY_AFTER_S
    return answer


def _in_words(request: Request, said: str, status: int) -> Response:
    if request.url.path.startswith(FOR_PROGRAMS):
        return PlainTextResponse(f"{said}\n", status)
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"said": said}, status)
    return site_of(request).templates.TemplateResponse(request, "refusal.html", {"said": said}, status)
