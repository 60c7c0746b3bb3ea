"""The reader's pages: the worklist, one study, acknowledge and close."""

from dataclasses import dataclass

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from dicom_node import clock
from dicom_node.entities import Analysis, Choice, Delivery, ItemState, Job, Urgency
from dicom_node.tables import deliveries, instances, jobs, overview, results, worklist
from dicom_node.tables.database import Transaction
from dicom_node.web.site import LONGEST_LIST, Site, render, site_of
from dicom_node.web.status import dicom_port, not_living

log = structlog.get_logger()
NO_STUDY = "There is no such study here. It may have been removed to make room, or it has never been received."


@dataclass(frozen=True, slots=True)
class StudyPage:
    """Everything that stands about one study, the newest first."""

    row: overview.WorklistRow | None
    analyses: tuple[Analysis, ...]
    made: tuple[overview.MadeAt, ...]
    series: tuple[overview.SeriesRow, ...]
    choices: dict[str, Choice]
    jobs: tuple[Job, ...]
    deliveries: tuple[Delivery, ...]


def show_worklist(request: Request) -> Response:
    """GET /: the whole page."""
    return render(request, "worklist.html", worklist_context(site_of(request)))


def show_rows(request: Request) -> Response:
    """GET /rows: only the list, 304 when the page shows it already."""
    return render(request, "rows.html", worklist_context(site_of(request)))


def worklist_context(site: Site) -> dict[str, object]:
    """What the worklist's templates are given."""
    now = clock.utc_now()
    with site.database.read() as tx:
        rows = site.listed(tx, now)
        trouble, port = not_living(tx), dicom_port(tx, site.settings)
    suspected = sum(row.item.urgency is Urgency.HIGH and row.item.state is ItemState.UNREAD for row in rows)
    return {
        "rows": rows,
        "suspected": suspected,
        "not_analysed": sum(row.item.urgency is Urgency.MEDIUM and row.item.state is ItemState.UNREAD for row in rows),
        "unread": sum(row.item.state is ItemState.UNREAD for row in rows),
        "longest": LONGEST_LIST,
        "cap_s": site.settings.worklist.ageing_cap_minutes * 60,
        "now": now,
        "trouble": trouble,
        "dicom_port": port,
        "settings": site.settings,
    }


def show_study(request: Request) -> Response:
    """GET /studies/{study_uid}; only the part that changes when asked by the page's own script."""
    site, study_uid = site_of(request), request.path_params["study_uid"]
    with site.database.read() as tx:
        study = instances.get_study(tx, study_uid)
        if study is None:
            raise HTTPException(404, NO_STUDY)
        page = study_page(tx, study_uid)
    context = {"study": study, "page": page, "now": clock.utc_now()}
    return render(request, "study_body.html" if "part" in request.query_params else "study.html", context)


def study_page(tx: Transaction, study_uid: str) -> StudyPage:
    """Gather what stands about a study."""
    item = worklist.get(tx, study_uid)
    rows = overview.rows(tx, [item]) if item else []
    return StudyPage(
        row=rows[0] if rows else None,
        analyses=tuple(reversed(results.analyses_of_study(tx, study_uid))),
        made=tuple(overview.made(tx, study_uid)),
        series=tuple(overview.series(tx, study_uid)),
        choices={choice.series_uid: choice for choice in jobs.choices_of_study(tx, study_uid)},
        jobs=tuple(reversed(jobs.of_study(tx, study_uid))),
        deliveries=tuple(deliveries.of_study(tx, study_uid)),
    )


def acknowledge(request: Request) -> Response:
    """POST /studies/{study_uid}/acknowledge. Refused (409) when the page showed an older result than the latest."""
    site, study_uid = site_of(request), request.path_params["study_uid"]
    with site.database.write() as tx:
        item = worklist.get(tx, study_uid)
        if item is None:
            raise HTTPException(404, NO_STUDY)
        if request.query_params.get("version", str(item.version)) != str(item.version):
            raise HTTPException(409, "A newer result has come meanwhile. Please look at it before you acknowledge.")
        if item.state is ItemState.WAITING:
            raise HTTPException(409, "There is no result to acknowledge yet.")
        worklist.acknowledge(tx, study_uid, clock.utc_now())
    log.info("acknowledged", study_uid=study_uid, version=item.version, address=address_of(request))
    return done(request, study_uid, "Acknowledged")


def close(request: Request) -> Response:
    """POST /studies/{study_uid}/close. Refused (409) before the study is acknowledged."""
    site, study_uid = site_of(request), request.path_params["study_uid"]
    with site.database.write() as tx:
        item = worklist.get(tx, study_uid)
        if item is None:
            raise HTTPException(404, NO_STUDY)
        if not worklist.close(tx, study_uid) and item.state is not ItemState.CLOSED:
            raise HTTPException(409, "Only an acknowledged study can be closed. Please look at it first.")
    log.info("closed", study_uid=study_uid, version=item.version, address=address_of(request))
    return done(request, study_uid, "Closed")


def address_of(request: Request) -> str:
    """Where a request came from."""
    return request.client.host if request.client else ""


def done(request: Request, study_uid: str, said: str) -> Response:
    """Back to where the button was; the page's own script only wants to know."""
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"said": said})
    return RedirectResponse(f"/studies/{study_uid}" if "study" in request.query_params else "/", 303)


def refuse(request: Request, error: Exception) -> Response:
    """Any refusal in words: JSON for the page's own script, otherwise a page."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = error.detail if isinstance(error, HTTPException) else "Something went wrong here. The log has the details."
    if status == 404 and said == "Not Found":
        said = "There is no such page."
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"said": said}, status)
    return site_of(request).templates.TemplateResponse(request, "refusal.html", {"said": said}, status)
