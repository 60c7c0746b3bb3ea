"""The web process in one view: routes, middleware, and what runs while it is up. No login: bound to loopback."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from dicom_node.archive import Archive
from dicom_node.dicom.decoding import Decoders
from dicom_node.settings import Settings
from dicom_node.tables import worklist as table
from dicom_node.tables.database import Database
from dicom_node.web import events, refusals, security
from dicom_node.web.dicomweb.context import Service, Storing
from dicom_node.web.dicomweb.routes import mount_at
from dicom_node.web.it import outbox, status
from dicom_node.web.public import public_address
from dicom_node.web.quality import page
from dicom_node.web.reader import actions, alarms, bar, feedback, identity, pictures, preview, study, worklist
from dicom_node.web.site import HERE, Site, make_templates
from dicom_node.web.viewer import files, opening

ROUTES = [
    Route("/", worklist.show_worklist),
    Route("/rows", worklist.show_rows),
    Route("/events", events.events),
    Route("/alarms", alarms.show_alarms),
    Route("/studies/{study_uid}", study.show_study),
    Route("/studies/{study_uid}/picture.png", pictures.show_picture),
    Route("/studies/{study_uid}/preview", preview.show_preview),
    Route("/studies/{study_uid}/preview", preview.ask_for_preview, methods=["POST"]),
    Route("/studies/{study_uid}/preview/{name}", preview.show_sheet),
    Route("/studies/{study_uid}/viewer", opening.open_viewer),
    Route("/studies/{study_uid}/bar", bar.show_bar),
    Route("/studies/{study_uid}/thumb.jpg", pictures.show_thumb),
    Route("/studies/{study_uid}/opened", actions.opened, methods=["POST"]),
    Route("/studies/{study_uid}/acknowledge", actions.acknowledge, methods=["POST"]),
    Route("/studies/{study_uid}/read", actions.mark_read, methods=["POST"]),
    Route("/studies/{study_uid}/unread", actions.put_back, methods=["POST"]),
    Route("/studies/{study_uid}/identity", identity.decide, methods=["POST"]),
    Route("/reader", actions.name_reader, methods=["POST"]),
    Route("/studies/{study_uid}/feedback", feedback.give, methods=["POST"]),
    Route("/feedback.csv", feedback.export),
    Route("/quality", page.show_quality),
    Route("/status", status.show_status),
    Route("/status/outbox", outbox.act, methods=["POST"]),
    Route("/health", status.health),
    Mount("/static", StaticFiles(directory=HERE / "static")),
    Route("/viewer/{path:path}", files.show_viewer),
    Route("/app-config.js", files.config),
    Route("/{name:path}", files.file),  # the last: whatever is no page of the node may be a file of OHIF
]


def build_app(
    database: Database,
    archive: Archive,
    settings: Settings,
    storing: Storing | None = None,
    decoders: Decoders | None = None,
) -> Starlette:
    """The page of one node as an ASGI application; `storing` is how STOW-RS makes an object durable.

    The caller closes the `decoders`; without them the application has its own while it is up.
    """
    site = Site(database, archive, settings, make_templates(settings))
    entrance = security.Entrance(
        settings.web.host, public_address(settings.web.public_url), settings.web.trusted_proxies
    )
    watcher = events.Watcher(database, table.changes)
    service = Service(database, archive, storing, decoders or Decoders())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(watcher.run())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        if decoders is None:
            service.decoders.close()

    app = Starlette(
        routes=[mount_at("/dicom-web"), *ROUTES],
        middleware=[
            Middleware(security.Guard, entrance=entrance),
        ],
        exception_handlers={
            HTTPException: refusals.refuse,
            500: refusals.refuse,
            sqlite3.Error: refusals.say_fault,
            OSError: refusals.say_fault,
        },
        lifespan=lifespan,
    )
    app.state.site, app.state.watcher, app.state.dicomweb = site, watcher, service
    return app
