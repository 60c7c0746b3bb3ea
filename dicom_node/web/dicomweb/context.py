"""The way from a request to the archive: whose service it is, and which objects a resource of PS3.18 10.1.1 holds."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.requests import Request

from dicom_node.archive import Archive
from dicom_node.dicom.checks import checked_uid
from dicom_node.dicom.decoding import Decoders
from dicom_node.entities import Incoming
from dicom_node.errors import CannotUnderstand
from dicom_node.spool import Spool
from dicom_node.tables.database import Database
from dicom_node.tables.views import archive as archive_view
from dicom_node.tables.views.archive import StoredObject

GONE = "There is no such {} here. It may have been removed to make room, or it has never been received."


@dataclass(frozen=True, slots=True)
class Storing:
    """How an object becomes durable, as for C-STORE.

    `spool` gives a place for one of so many bytes while it comes, `most_bytes` are taken; `store` returns or raises
    Refused; `ended` follows the last.
    """

    spool: Callable[[int], Spool]
    store: Callable[[Incoming], None]
    ended: Callable[[int, bool], None]
    refused: Callable[[str, str, str, str], None]
    called_aet: str
    most_bytes: int = 2 << 30


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """What every handler is given; `storing` None where nothing may be stored."""

    database: Database
    archive: Archive
    storing: Storing | None
    decoders: Decoders
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))


def service_of(request: Request) -> Service:
    """The service that a request is for."""
    service: Service = request.app.state.dicomweb
    return service


def uid(request: Request, name: str) -> str | None:
    """A UID of the resource's path, None where the path has none. 400 when it is no UID."""
    given = request.path_params.get(name)
    if given is None:
        return None
    try:
        return checked_uid(given)
    except CannotUnderstand as error:
        raise HTTPException(400, str(error)) from None


def resource_objects(request: Request) -> list[StoredObject]:
    """The objects of a study, series or instance resource. 404 when there are none."""
    service = service_of(request)
    study, series, sop = uid(request, "study"), uid(request, "series"), uid(request, "instance")
    with service.database.read() as tx:
        found = archive_view.objects(tx, study or "", series, sop)
    inside = [each for each in found if each.path.is_relative_to(service.archive.root)]
    if not inside:
        raise HTTPException(404, GONE.format("instance" if sop else "series" if series else "study"))
    return inside


def resource_object(request: Request) -> StoredObject:
    """The one object of an instance resource."""
    return resource_objects(request)[0]


def base_url(request: Request) -> str:
    """The address of this service as the client knows it, without a slash at the end.

    Some clients leave the port out of their Host header; without a public address it is the server's own.
    """
    url, server = request.url, request.scope.get("server")
    if url.port is None and server and server[1] not in (None, 80, 443) and url.scheme == "http":
        url = url.replace(port=server[1])
    return f"{url.scheme}://{url.netloc}{request.scope.get('root_path', '')}"


def object_url(request: Request, found: StoredObject) -> str:
    """The address of an instance."""
    return f"{base_url(request)}/studies/{found.study_uid}/series/{found.series_uid}/instances/{found.sop_uid}"
