"""What opening a row of the worklist opens: OHIF as this node serves it, the study's page, or the site's own viewer."""

from collections.abc import Callable
from urllib.parse import quote, urlencode

import structlog
from pydicom import dcmread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dicom_node.dicom.checks import UNREADABLE, say_unreadable
from dicom_node.entities import Analysis, ResultObject, Study
from dicom_node.settings import PLACEHOLDER
from dicom_node.tables import instances, jobs, results
from dicom_node.tables.database import Transaction
from dicom_node.tables.views import overview
from dicom_node.tables.views.overview import SeriesRow
from dicom_node.web.site import Site, site_of
from dicom_node.web.viewer.install import installed_version

WEASIS = '$dicom:rs --url "{dicomweb}" -r "studyUID={study_uid}"'  # weasis.org, "Weasis Web Protocol"
WITHOUT_IMAGES = ("SEG", "SR", "KO", "PR", "DOC", "REG", "RTSTRUCT", "RTPLAN", "RTDOSE", "FID", "AU", "ECG", "PLAN")
log = structlog.get_logger()


def viewer_links(request: Request) -> Callable[[Study], str]:
    """Where a row leads by the setting `[viewer] opens`; the study's own page where the node has no viewer."""
    site = site_of(request)
    opens, here = site.settings.viewer.opens, has_viewer(site)

    def link(study: Study) -> str:
        page = f"{request.scope.get('root_path', '')}/studies/{study.study_uid}"
        if opens in ("node", "page"):
            return f"{page}/viewer" if opens == "node" and here else page
        if opens == "weasis":
            command = WEASIS.format(dicomweb=f"{request.base_url}dicom-web", study_uid=study.study_uid)
            return f"weasis://?{quote(command, safe='')}"
        return filled(opens, study)

    return link


def filled(template: str, study: Study) -> str:
    """A site's URL template with what it asks for, percent-encoded."""
    values = {
        "study_uid": study.sent_uid or study.study_uid,
        "accession": study.accession,
        "patient_id": study.patient_id,
    }
    return PLACEHOLDER.sub(lambda found: quote(values[found[1]], safe=""), template)


def has_viewer(site: Site) -> bool:
    """Whether OHIF is installed here."""
    return installed_version(site.settings.node.data) is not None


def open_viewer(request: Request) -> Response:
    """GET /studies/{study_uid}/viewer: to OHIF, at the slice and with the segmentation of the latest result.

    Without a result it shows the series that was looked at, else the largest, at its middle slice.
    """
    site, study_uid = site_of(request), request.path_params["study_uid"]
    with site.database.read() as tx:
        if instances.get_study(tx, study_uid) is None:
            raise HTTPException(404, "There is no such study here.")
        latest = most_urgent(results.analyses_of_study(tx, study_uid))
        made = results.objects_of(tx, study_uid, latest.question, latest.version) if latest else []
        series = series_to_show(tx, study_uid, latest)
    return RedirectResponse(f"/viewer/study?{urlencode(shown(study_uid, series, made))}", 303)


def most_urgent(analyses: list[Analysis]) -> Analysis | None:
    """Of the latest result of each question one that suspects something, else the first."""
    latest = list({each.question: each for each in analyses}.values())
    return next((each for each in latest if each.suspected), latest[0] if latest else None)


def series_to_show(tx: Transaction, study_uid: str, latest: Analysis | None) -> SeriesRow | None:
    """The series of the result; without one that of the last analysis, else the largest, one of CT before others."""
    known = {each.series_uid: each for each in overview.series(tx, study_uid)}
    asked = [latest.series_uid] if latest else [job.series_uid for job in reversed(jobs.of_study(tx, study_uid))]
    looked_at = next((known[uid] for uid in asked if uid in known), None)
    images = [each for each in known.values() if each.images and each.modality not in WITHOUT_IMAGES]
    largest = max(images, key=lambda each: (each.modality == "CT", each.images, each.series_uid), default=None)
    return looked_at or largest


def shown(study_uid: str, series: SeriesRow | None, made: list[ResultObject]) -> dict[str, str]:
    """What OHIF is asked for: the study, the series, the most telling slice and the segmentation of the result.

    `modality` is for the node's own settings of OHIF: only CT is shown in a brain window.
    """
    wanted = {"StudyInstanceUIDs": study_uid}
    if series:
        wanted["initialSeriesInstanceUID"] = series.series_uid
        if series.modality != "CT":
            wanted["modality"] = series.modality
    by_kind = {each.kind: each for each in made}
    if "KO" in by_kind and (sop_uid := most_telling(by_kind["KO"])):
        wanted["initialSOPInstanceUID"] = sop_uid
    if "SEG" in by_kind:
        wanted["segmentation"] = by_kind["SEG"].sop_uid
    return wanted


def most_telling(selection: ResultObject) -> str | None:
    """The first image of a key object selection (PS3.16 TID 2010); None where it cannot be read."""
    try:
        content = dcmread(selection.path).ContentSequence
        images = (item.ReferencedSOPSequence[0] for item in content if item.ValueType == "IMAGE")
        return next((str(image.ReferencedSOPInstanceUID) for image in images), None)
    except UNREADABLE as error:
        log.error("a key object selection cannot be read", path=str(selection.path), error=say_unreadable(error))
        return None
