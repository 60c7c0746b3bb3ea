"""The worklist: what a URL asks for, and what its page shows.

GET / is the page, GET /rows the part of it that changes. Both take: `show` (to-read, suspected, not-analysed, mine,
all), `q` (words of accession, patient ID or name), `date` (of the study, 2026-11-20), `page`, and `sort` (patient,
scanned, waiting; with a minus in front the other way round). Without `show` a search goes through all studies; these,
and all studies, come by arrival and are not sorted otherwise.
"""

from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from dicom_node import clock
from dicom_node.derived.priors import priors_of
from dicom_node.entities import ItemState
from dicom_node.tables import worklist
from dicom_node.tables.database import Transaction
from dicom_node.tables.views import overview, search
from dicom_node.tables.views.search import Sort
from dicom_node.tables.worklist import FilterCounts, ReadingOrder, Show, WorklistItem
from dicom_node.web.notices import dicom_port, standing
from dicom_node.web.site import reader_of, render, site_of
from dicom_node.web.viewer.opening import viewer_links

ROWS_A_PAGE = 50
LONGEST_SEARCH = 100
LAST_PAGE = 1_000_000
ALARMS = 20
ACTIVE = (ItemState.UNREAD, ItemState.OPENED)


@dataclass(frozen=True, slots=True)
class View:
    """What a URL asks for. `date` as in the URL, ISO 8601; `page` counts from 1; `sort` None: in reading order."""

    show: Show
    text: str = ""
    date: str = ""
    page: int = 1
    sort: Sort | None = None
    descending: bool = False

    @property
    def searches(self) -> bool:
        """Whether words or a date are looked for."""
        return bool(self.text or self.date)

    @property
    def newest_first(self) -> bool:
        """Whether the rows come by arrival, not in reading order."""
        return self.searches or self.show is Show.ALL

    @property
    def default(self) -> Show:
        """What is shown where a URL does not say."""
        return Show.ALL if self.searches else Show.TO_READ

    def query(self) -> str:
        """The URL's query, without what goes without saying."""
        said = {
            "show": self.show if self.show is not self.default else "",
            "q": self.text,
            "date": self.date,
            "sort": f"{'-' if self.descending else ''}{self.sort}" if self.sort else "",
            "page": self.page if self.page > 1 else "",
        }
        return urlencode({name: value for name, value in said.items() if value})

    def url(self, show: str | None = None, page: int = 1) -> str:
        """The page of the list with another filter, or another of its pages."""
        return _address(replace(self, show=Show(show) if show else self.show, page=page))

    def sorted_url(self, column: str) -> str:
        """The list sorted by a column, then the other way round, then in reading order again."""
        if self.sort != column:
            return _address(replace(self, page=1, sort=Sort(column), descending=False))
        if not self.descending:
            return _address(replace(self, page=1, descending=True))
        return self.unsorted_url()

    def unsorted_url(self) -> str:
        """The same list in reading order."""
        return _address(replace(self, page=1, sort=None, descending=False))


def _address(view: View) -> str:
    return f"/?{query}" if (query := view.query()) else "/"


def view_of(params: QueryParams) -> View:
    """What is asked for; what makes no sense is left out."""
    text = " ".join(params.get("q", "").replace("\0", " ").split())[:LONGEST_SEARCH]
    wanted, page = params.get("show", ""), params.get("page", "")
    number = int(page) if page.isascii() and page.isdigit() and len(page) < 9 else 1
    view = View(Show.ALL, text, _iso_date(params.get("date", "")), min(max(1, number), LAST_PAGE))
    view = replace(view, show=Show(wanted) if wanted in list(Show) else view.default)
    column = params.get("sort", "").removeprefix("-")
    if view.newest_first or column not in list(Sort):
        return view
    return replace(view, sort=Sort(column), descending=params["sort"].startswith("-"))


def _iso_date(text: str) -> str:
    try:
        return date.fromisoformat(text.strip()).isoformat()
    except ValueError:
        return ""


def show_worklist(request: Request) -> Response:
    """GET /: the whole page."""
    return render(request, "reader/worklist.html", context_of(request))


def show_rows(request: Request) -> Response:
    """GET /rows: only the list, 304 when the page shows it already."""
    return render(request, "reader/rows.html", context_of(request))


def context_of(request: Request) -> dict[str, object]:
    """What the worklist's templates are given."""
    site, view, reader, now = site_of(request), view_of(request.query_params), reader_of(request), clock.utc_now()
    order = site.reading_order(now)
    with site.database.read() as tx:
        items = items_of(tx, view, order, reader)
        rows = overview.rows(tx, items[:ROWS_A_PAGE])
        priors = priors_of(tx, [row.study for row in rows])
        alarms = overview.rows(tx, worklist.last_flagged(tx, order, ALARMS))
        counts = worklist.counts(tx, order, reader)
        total = total_of(tx, view, counts)
        trouble, port = standing(site), dicom_port(tx, site.settings)
    return {
        "view": view,
        "reader": reader,
        "rows": rows,
        "priors": priors,
        "more": len(items) > ROWS_A_PAGE,
        "total": total,
        "pages": max(view.page, -(-total // ROWS_A_PAGE)) if total else 0,
        "first": offset_of(view) + 1,
        "alarms": alarms,
        "counts": counts,
        "open_link": viewer_links(request),
        "large_ml": worklist.LARGE_ML,
        "is_overdue": partial(is_overdue, order),
        "now": now,
        "trouble": trouble,
        "dicom_port": port,
        "settings": site.settings,
    }


def items_of(tx: Transaction, view: View, order: ReadingOrder, reader: str) -> list[WorklistItem]:
    """The studies of a page, and the one that comes next."""
    limit, offset, mine = ROWS_A_PAGE + 1, offset_of(view), view.show is Show.MINE
    if mine and not reader:
        return []
    if view.sort:
        places, oldest = worklist.places_listed(view.show), order.now - order.leave_after
        of_reader = reader if mine else ""
        found = search.by_column(tx, view.sort, view.descending, places, oldest, limit, offset, of_reader)
        return worklist.of_studies(tx, found)
    if not view.newest_first:
        return worklist.listed(tx, order, limit, offset, view.show, reader)
    day, places = view.date.replace("-", ""), worklist.places_of(view.show)
    return worklist.of_studies(tx, search.find(tx, view.text, day, limit, offset, places, reader if mine else ""))


def total_of(tx: Transaction, view: View, counts: FilterCounts) -> int:
    """How many studies all pages of this view have; 0 for a search, which is not counted."""
    if view.searches:
        return 0
    totals = {
        Show.TO_READ: counts.to_read,
        Show.SUSPECTED: counts.suspected,
        Show.NOT_ANALYSED: counts.not_analysed,
        Show.MINE: counts.mine,
    }
    return totals[view.show] if view.show in totals else search.count(tx)


def offset_of(view: View) -> int:
    """How many rows come before a page."""
    return (view.page - 1) * ROWS_A_PAGE


def is_overdue(order: ReadingOrder, row: overview.WorklistRow) -> bool:
    """Whether a study waits longer than the ageing cap with nobody having taken it."""
    return row.item.listed and row.item.state in ACTIVE and order.now - row.item.waiting_since >= order.ageing_cap
