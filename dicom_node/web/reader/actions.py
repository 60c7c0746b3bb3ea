"""What a reader does to a study: open, acknowledge, mark as read, put back; and the name that stands beside it.

The name is what the reader once typed, kept in a cookie of the browser. It is no login: anybody can type any name.
"""

from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from dicom_node import clock
from dicom_node.entities import ItemState
from dicom_node.tables import worklist
from dicom_node.tables.database import Transaction
from dicom_node.tables.worklist import WorklistItem
from dicom_node.web.forms import read_form
from dicom_node.web.refusals import NO_STUDY
from dicom_node.web.site import keep_reader, plain_name, reader_of, site_of

LONGEST_FORM = 4096
Act = Callable[[Transaction, WorklistItem, datetime, str], bool]
log = structlog.get_logger()


def opened(request: Request) -> Response:
    """POST /studies/{study_uid}/opened: somebody looks at it. No matter who was first."""

    def act(tx: Transaction, item: WorklistItem, now: datetime, reader: str) -> bool:
        worklist.opened(tx, item.study_uid, now, reader)
        return True

    return perform(request, "Opened", act, "")


def acknowledge(request: Request) -> Response:
    """POST /studies/{study_uid}/acknowledge. Refused (409) when the page showed an older result than the latest."""

    def act(tx: Transaction, item: WorklistItem, now: datetime, reader: str) -> bool:
        if request.query_params.get("version", str(item.version)) != str(item.version):
            raise HTTPException(409, "A newer result has come meanwhile. Please look at it before you acknowledge.")
        done = worklist.acknowledge(tx, item.study_uid, now, reader)
        return done or item.state in (ItemState.ACKNOWLEDGED, ItemState.READ)

    return perform(request, "Acknowledged", act, "There is no result to acknowledge yet.")


def mark_read(request: Request) -> Response:
    """POST /studies/{study_uid}/read. Refused (409) before the study is acknowledged."""

    def act(tx: Transaction, item: WorklistItem, now: datetime, reader: str) -> bool:
        return worklist.mark_read(tx, item.study_uid, now, reader) or item.state is ItemState.READ

    return perform(request, "Marked as read", act, "Only an acknowledged study can be marked as read. Acknowledge it.")


def put_back(request: Request) -> Response:
    """POST /studies/{study_uid}/unread: it was a mistake. Refused (409) while there is no result."""

    def act(tx: Transaction, item: WorklistItem, now: datetime, reader: str) -> bool:
        return worklist.put_back(tx, item.study_uid) or item.state is ItemState.UNREAD

    return perform(request, "Put back as unread", act, "There is no result yet.")


def perform(request: Request, said: str, act: Act, refusal: str) -> Response:
    """Act on the study in one transaction, log who did, and answer."""
    site, study_uid, reader = site_of(request), request.path_params["study_uid"], reader_of(request)
    with site.database.write() as tx:
        item = worklist.get(tx, study_uid)
        if item is None:
            raise HTTPException(404, NO_STUDY)
        if not act(tx, item, clock.utc_now(), reader):
            raise HTTPException(409, refusal)
    address = request.client.host if request.client else ""
    log.info(said.lower(), study_uid=study_uid, version=item.version, reader=reader, address=address)
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"said": said})
    return RedirectResponse(f"/studies/{study_uid}" if "study" in request.query_params else back(request), 303)


async def name_reader(request: Request) -> Response:
    """POST /reader: keep the name that was typed in this browser, or forget it when it is empty."""
    form = await read_form(request, LONGEST_FORM, "That is no name.")
    name = plain_name(form.get("name", [""])[0])
    answer = RedirectResponse(back(request), 303)
    keep_reader(request, answer, name)
    return answer


def back(request: Request) -> str:
    """The page of this node that the request came from, the worklist where it does not say."""
    try:
        came_from = urlsplit(request.headers.get("referer", ""))
    except ValueError:  # it is no URL
        return "/"
    prefix = request.scope.get("root_path", "")
    if came_from.netloc != request.headers.get("host") or not came_from.path.startswith(f"{prefix}/"):
        return "/"
    path = "/" + came_from.path.removeprefix(prefix).lstrip("/\\")
    return f"{path}?{came_from.query}" if came_from.query else path
