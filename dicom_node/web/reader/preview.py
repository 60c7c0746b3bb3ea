"""A study's slices played in the list: the panel's contents, its pictures, and the wish to have them made.

GET /studies/{study_uid}/preview is what the panel shows, with the most telling slice in it, so that this stands after
one short answer; the sheets of all slices are asked for behind it. A sheet's address names the file's state, so that a
browser keeps it for good.
"""

import json
from base64 import b64encode
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dicom_node import clock
from dicom_node.archive import Archive
from dicom_node.derived import previews
from dicom_node.entities import UNDER_WAY, Analysis, JobState
from dicom_node.tables import instances, jobs, results, worklist
from dicom_node.tables.database import Transaction
from dicom_node.tables.feedback import Verdict
from dicom_node.tables.views import overview
from dicom_node.web.reader import feedback
from dicom_node.web.refusals import NO_STUDY
from dicom_node.web.site import reader_of, render, site_of
from dicom_node.web.viewer.opening import most_urgent, viewer_links
from reports.preview import CT_WINDOWS, FIRST, OUTLINES, WHOLE_RANGE
from reports.preview_file import DAMAGED, Index, read_index, read_picture

NOT_THERE = "The pictures of this study are not there yet. They are made after its analysis."
REPLACED = "These pictures have been replaced by newer ones, or removed. Please open the study again."
MEDIA = {".webp": "image/webp", ".png": "image/png", ".jpg": "image/jpeg"}
KEPT = "private, max-age=31536000, immutable"
log = structlog.get_logger()


class State(StrEnum):
    """Whether a study can be played."""

    READY = "ready"
    WAITING = "waiting"  # being made, or queued
    ABSENT = "absent"  # never asked for: of a study from before there were any, or not on the list
    IMPOSSIBLE = "impossible"
    TOO_EARLY = "too-early"  # images arrive or are analysed


@dataclass(frozen=True, slots=True)
class Pictures:
    """The small pictures of a study: their file and its stamp where they are there, else why they cannot be made."""

    state: State
    analysis: Analysis | None
    path: Path | None = None
    stamp: str = ""
    index: Index | None = None
    reason: str = ""


def show_preview(request: Request) -> Response:
    """GET /studies/{study_uid}/preview: what the panel of the list shows, or why there is nothing to see yet."""
    site, study_uid, reader = site_of(request), request.path_params["study_uid"], reader_of(request)
    with site.database.read() as tx:
        item = worklist.get(tx, study_uid)
        rows = overview.rows(tx, [item]) if item else []
        if not rows:
            raise HTTPException(404, NO_STUDY)
        pictures = pictures_of(tx, site.archive, study_uid)
        said = feedback.in_force(tx, pictures.analysis, reader) if pictures.analysis else None
    pictures, first = with_first(pictures)
    context = {
        "row": rows[0],
        "pictures": pictures,
        "first": first,
        "data": data_of(pictures.index) if pictures.index else "",
        "disagree": Verdict.FALSE_ALARM if pictures.analysis and pictures.analysis.suspected else Verdict.MISSED,
        "said": said,
        "reader": reader,
        "open_link": viewer_links(request),
    }
    return render(request, "reader/preview.html", context)


def show_sheet(request: Request) -> Response:
    """GET /studies/{study_uid}/preview/{name}: a sheet of slices, kept by the browser; 404 in words without one."""
    site, name = site_of(request), request.path_params["name"]
    if name not in {FIRST, OUTLINES, *(window.file for window in (*CT_WINDOWS, WHOLE_RANGE))}:
        raise HTTPException(404, "There is no such picture.")
    with site.database.read() as tx:
        if instances.get_study(tx, request.path_params["study_uid"]) is None:
            raise HTTPException(404, NO_STUDY)
        pictures = pictures_of(tx, site.archive, request.path_params["study_uid"])
    if pictures.path is None:
        raise HTTPException(404, pictures.reason or NOT_THERE)
    if request.query_params.get("stamp", pictures.stamp) != pictures.stamp:
        raise HTTPException(404, REPLACED)
    headers = {"ETag": f'"{pictures.stamp}-{name}"', "Cache-Control": KEPT}
    if "stamp" not in request.query_params:
        headers["Cache-Control"] = "private, no-cache"
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    try:
        content = read_picture(pictures.path, name)
    except (OSError, *DAMAGED) as error:
        log.warning("a small picture cannot be read", path=str(pictures.path), name=name, error=str(error))
        raise HTTPException(404, REPLACED) from None
    return Response(content, media_type=MEDIA[Path(name).suffix], headers=headers)


def ask_for_preview(request: Request) -> Response:
    """POST /studies/{study_uid}/preview: a reader waits for the pictures. 409 where they cannot be made."""
    site, study_uid = site_of(request), request.path_params["study_uid"]
    with site.database.write() as tx:
        if instances.get_study(tx, study_uid) is None:
            raise HTTPException(404, NO_STUDY)
        pictures = pictures_of(tx, site.archive, study_uid)
        question = question_of(tx, study_uid, pictures.analysis)
        if pictures.state is not State.READY and not (
            question and previews.ask_now(tx, study_uid, question, clock.utc_now())
        ):
            raise HTTPException(409, pictures.reason or NOT_THERE)
    return JSONResponse({"said": "The pictures are being made."})


def pictures_of(tx: Transaction, archive: Archive, study_uid: str) -> Pictures:
    """The pictures of what stands now: of the most urgent result, or of what was not analysed."""
    analysis = most_urgent(results.analyses_of_study(tx, study_uid))
    question = question_of(tx, study_uid, analysis)
    subject = previews.subject_of(tx, study_uid, question) if question else None
    if subject is None:
        return Pictures(State.TOO_EARLY, analysis)
    path = archive.preview_path(study_uid, subject.question, subject.version)
    try:
        state, index = path.stat(), read_index(path)
        if subject.version or (index.series_uid, index.revision) == (subject.series_uid, subject.revision):
            return Pictures(State.READY, analysis, path, f"{state.st_mtime_ns:x}", index)
    except FileNotFoundError:
        pass
    except (OSError, *DAMAGED) as error:
        log.warning("small pictures cannot be read", path=str(path), error=str(error))
    job = jobs.last_preview(tx, study_uid, subject.question)
    if job is None or (job.series_uid, job.revision) != (subject.series_uid, subject.revision):
        return Pictures(State.ABSENT, analysis)
    if job.state in UNDER_WAY:
        return Pictures(State.WAITING, analysis)
    if job.state is JobState.DECLINED:
        return Pictures(State.IMPOSSIBLE, analysis, reason=job.error or "")
    if job.state is JobState.FAILED:
        return Pictures(State.IMPOSSIBLE, analysis, reason="The pictures could not be made.")
    return Pictures(State.ABSENT, analysis)


def question_of(tx: Transaction, study_uid: str, analysis: Analysis | None) -> str | None:
    """The question whose result is shown, or for which the best series was declined; None before anything is known."""
    if analysis is not None:
        return analysis.question
    return next((choice.question for choice in jobs.choices_of_study(tx, study_uid)), None)


def data_of(index: Index) -> str:
    """What the page's script needs of it, as JSON."""
    data = {
        "tile": index.tile,
        "columns": index.columns,
        "first": index.first,
        "total": index.total,
        "sheets": [window.file for window in index.windows],
        "windows": [window.name for window in index.windows],
        "outlines": OUTLINES if index.outlined else "",
        "slices": [[each.place, each.number] for each in index.slices],
    }
    return json.dumps(data, separators=(",", ":"))


def with_first(pictures: Pictures) -> tuple[Pictures, str]:
    """The most telling slice in base 64; where it has just been removed, the pictures are not there any more."""
    if pictures.path is None:
        return pictures, ""
    try:
        return pictures, b64encode(read_picture(pictures.path, FIRST)).decode()
    except (OSError, *DAMAGED):
        return replace(pictures, state=State.ABSENT, path=None, index=None), ""
