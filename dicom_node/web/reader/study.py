"""The page of one study, and how refusals are said."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dicom_node import clock
from dicom_node.derived import growth
from dicom_node.entities import Analysis, Choice, Delivery, Job
from dicom_node.tables import deliveries, feedback, instances, jobs, results, worklist
from dicom_node.tables.database import Transaction
from dicom_node.tables.views import overview
from dicom_node.web.refusals import NO_STUDY
from dicom_node.web.site import render, site_of


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
    comparison: growth.Comparison
    feedback: tuple[feedback.Feedback, ...]


def show_study(request: Request) -> Response:
    """GET /studies/{study_uid}; only the part that changes when asked by the page's own script."""
    site, study_uid = site_of(request), request.path_params["study_uid"]
    with site.database.read() as tx:
        study = instances.get_study(tx, study_uid)
        if study is None:
            raise HTTPException(404, NO_STUDY)
        page = study_page(tx, study_uid)
    context = {"study": study, "page": page, "now": clock.utc_now()}
    return render(request, "reader/study_body.html" if "part" in request.query_params else "reader/study.html", context)


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
        comparison=growth.comparison(tx, study_uid),
        feedback=tuple(feedback.of_study(tx, study_uid)),
    )
