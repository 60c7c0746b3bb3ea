"""What every handler of the page is given: the node's rows and files, its settings, and the templates."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from dicom_node.archive import Archive
from dicom_node.settings import Settings
from dicom_node.tables import overview, worklist
from dicom_node.tables.database import Database, Transaction
from dicom_node.web import words

HERE = Path(__file__).parent
LONGEST_LIST = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One node's page."""

    database: Database
    archive: Archive
    settings: Settings
    templates: Jinja2Templates

    def listed(self, tx: Transaction, now: datetime) -> list[overview.WorklistRow]:
        """The worklist in reading order."""
        wanted = self.settings.worklist
        cap, leave = timedelta(minutes=wanted.ageing_cap_minutes), timedelta(hours=wanted.leave_after_hours)
        return overview.rows(tx, worklist.listed(tx, now, cap, leave, wanted.overdue_first, LONGEST_LIST))


def site_of(request: Request) -> Site:
    """The site that a request is for."""
    site: Site = request.app.state.site
    return site


def make_templates(settings: Settings) -> Jinja2Templates:
    """The templates with the words they use."""
    templates = Jinja2Templates(directory=HERE / "templates")
    environment = templates.env
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters.update(words.FILTERS)
    environment.globals.update(ae_title=settings.node.ae_title)
    return templates


def render(request: Request, template: str, context: dict[str, object]) -> Response:
    """A page, or 304 when the browser says that it has exactly this one."""
    response = site_of(request).templates.TemplateResponse(request, template, context)
    etag = f'"{sha256(response.body).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    response.headers["ETag"] = etag
    return response
