"""What opening a row of the worklist opens: OHIF as this node serves it, the study's page, or the site's own viewer."""

from urllib.parse import quote

from starlette.requests import Request

from dicom_node.entities import Study
from dicom_node.settings import PLACEHOLDER
from dicom_node.web.site import site_of

WEASIS = '$dicom:rs --url "{dicomweb}" -r "studyUID={study_uid}"'  # weasis.org, "Weasis Web Protocol"


def viewer_link(request: Request, study: Study) -> str:
    """Where a row leads by the setting `[viewer] opens`; the study's own page where the node has no viewer."""
    opens = site_of(request).settings.viewer.opens
    page = f"/studies/{study.study_uid}"
    if opens in ("node", "page"):
        return page
    if opens == "weasis":
        command = WEASIS.format(dicomweb=f"{request.base_url}dicom-web", study_uid=study.study_uid)
        return f"weasis://?{quote(command, safe='')}"
    return filled(opens, study)


def filled(template: str, study: Study) -> str:
    """A site's URL template with what it asks for, percent-encoded."""
    values = {"study_uid": study.study_uid, "accession": study.accession, "patient_id": study.patient_id}
    return PLACEHOLDER.sub(lambda found: quote(values[found[1]], safe=""), template)
