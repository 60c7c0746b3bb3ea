"""What IT decides where patients contradict each other under one Study Instance UID."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dicom_node import clock
from dicom_node.derived import identity
from dicom_node.entities import Decision
from dicom_node.tables import contradictions
from dicom_node.web.site import reader_of, site_of


def decide(request: Request) -> Response:
    """POST /studies/{study_uid}/identity?decision=apart or one.

    400 for another decision, 404 where nothing contradicts (any more).
    """
    site, study_uid = site_of(request), request.path_params["study_uid"]
    given = request.query_params.get("decision", "")
    if given not in (Decision.APART, Decision.ONE):
        raise HTTPException(400, "Please choose: several people, or one person.")
    with site.database.write() as tx:
        known = contradictions.of_study(tx, study_uid)
        if known is None:
            raise HTTPException(404, "Nothing contradicts in this study (any more).")
        gone = identity.decide(tx, known.sent_uid, Decision(given), reader_of(request), clock.utc_now())
    for each in gone:
        site.archive.set_aside(each)
    return RedirectResponse(f"/studies/{known.sent_uid}", 303)
