"""The suspected studies that nobody has acknowledged: every page of the node and the viewer tell of a new one."""

from starlette.requests import Request
from starlette.responses import Response

from dicom_node import clock
from dicom_node.tables import worklist
from dicom_node.tables.views import overview
from dicom_node.web.site import reader_of, render, site_of
from dicom_node.web.viewer.opening import viewer_links

MOST = 20


def show_alarms(request: Request) -> Response:
    """GET /alarms: the latest of them, and how many there are; 304 when the page has exactly these."""
    site = site_of(request)
    order = site.reading_order(clock.utc_now())
    with site.database.read() as tx:
        alarms = overview.rows(tx, worklist.last_flagged(tx, order, MOST))
        unseen = worklist.counts(tx, order, reader_of(request)).unseen
    context = {"alarms": alarms, "unseen": unseen, "open_link": viewer_links(request)}
    return render(request, "reader/alarms.html", context)
