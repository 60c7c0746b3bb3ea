"""The page that says why something cannot be done."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dicom_node.web.site import site_of

NO_STUDY = "There is no such study here. It may have been removed to make room, or it has never been received."


def refuse(request: Request, error: Exception) -> Response:
    """Any refusal in words: JSON for the page's own script, otherwise a page."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = error.detail if isinstance(error, HTTPException) else "Something went wrong here. The log has the details."
    if status == 404 and said == "Not Found":
        said = "There is no such page."
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"said": said}, status)
    return site_of(request).templates.TemplateResponse(request, "refusal.html", {"said": said}, status)
