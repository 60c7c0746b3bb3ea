"""What every handler of the page is given: the node's rows and files, its settings, and the templates."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from dicom_node.archive import Archive
from dicom_node.settings import Settings
from dicom_node.tables.database import Database
from dicom_node.tables.worklist import ReadingOrder
from dicom_node.web import words
from dicom_node.web.public import public_address
from inference.pipelines.registry import QUESTIONS

HERE = Path(__file__).parent
READER_COOKIE = "reader"
LONGEST_NAME = 60
A_YEAR_S = 365 * 24 * 3600


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One node's page."""

    database: Database
    archive: Archive
    settings: Settings
    templates: Jinja2Templates

    def reading_order(self, now: datetime) -> ReadingOrder:
        """How this site orders its list."""
        wanted = self.settings.worklist
        cap, leave = timedelta(minutes=wanted.ageing_cap_minutes), timedelta(hours=wanted.leave_after_hours)
        return ReadingOrder(now, cap, leave, wanted.overdue_first)


def site_of(request: Request) -> Site:
    """The site that a request is for."""
    site: Site = request.app.state.site
    return site


def reader_of(request: Request) -> str:
    """The name that the reader has typed in this browser; a name only, no login. Empty where none was."""
    return plain_name(unquote(request.cookies.get(READER_COOKIE, "")))


def keep_reader(request: Request, answer: Response, name: str) -> None:
    """Let this browser keep the name, or forget it where it is empty."""
    path, secure = request.scope.get("root_path", "") + "/", request.url.scheme == "https"
    if not name:
        answer.delete_cookie(READER_COOKIE, path=path)
        return
    answer.set_cookie(
        READER_COOKIE, quote(name), max_age=A_YEAR_S, path=path, secure=secure, httponly=True, samesite="strict"
    )


def plain_name(text: str) -> str:
    """A name in one line of printable characters, no longer than is useful."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:LONGEST_NAME].strip()


def make_templates(settings: Settings) -> Jinja2Templates:
    """The templates with the words they use."""
    templates = Jinja2Templates(directory=HERE / "templates")
    environment = templates.env
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.auto_reload = False  # it would look at every file of a page again for every answer
    environment.filters.update(words.FILTERS)
    public = public_address(settings.web.public_url)
    root = public.prefix if public else ""
    environment.globals.update(ae_title=settings.node.ae_title, reader_of=reader_of, questions=QUESTIONS, root=root)
    environment.globals.update(zone=words.zone, minutes_ahead=words.minutes_ahead)
    return templates


def render(request: Request, template: str, context: dict[str, object]) -> Response:
    """A page, or 304 when the browser says that it has exactly this one."""
    response = site_of(request).templates.TemplateResponse(request, template, context)
    etag = f'"{sha256(response.body).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    response.headers["ETag"] = etag
    return response
