"""The bar below OHIF: what is said of the study, what its reader does with it, and the next study.

It is a page of its own in a frame of OHIF's page: neither's keys, styles and scripts reach the other.
"""

from starlette.requests import Request
from starlette.responses import Response

from dicom_node import clock
from dicom_node.tables import worklist
from dicom_node.tables.views import overview
from dicom_node.web.reader.study import context_of
from dicom_node.web.security import IN_A_FRAME
from dicom_node.web.site import render, site_of


def show_bar(request: Request) -> Response:
    """GET /studies/{study_uid}/bar; only the part that changes when asked by the bar's own script."""
    site, study_uid = site_of(request), request.path_params["study_uid"]
    context = context_of(request)
    with site.database.read() as tx:
        following = worklist.next_unread(tx, site.reading_order(clock.utc_now()), study_uid)
        rows = overview.rows(tx, [following] if following else [])
    context["next"] = rows[0] if rows else None
    response = render(request, "reader/bar_body.html" if "part" in request.query_params else "reader/bar.html", context)
    response.headers["Content-Security-Policy"] = IN_A_FRAME
    return response
