"""The page for IT and the health check: does the node live, and if nothing arrives, why."""

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dicom_node import clock
from dicom_node.entities import Job, JobState
from dicom_node.faults import say
from dicom_node.settings import Settings
from dicom_node.tables import contradictions, damages, jobs, processes, worklist
from dicom_node.tables.damages import Damaged
from dicom_node.tables.database import Transaction
from dicom_node.tables.processes import Refusal
from dicom_node.tables.views import overview
from dicom_node.web import words
from dicom_node.web.it.outbox import Destination, on_outboxes, outboxes
from dicom_node.web.notices import LEVELS, NEEDED, Notice, Process, dicom_port, lasting, living, signs_of, standing
from dicom_node.web.security import is_loopback
from dicom_node.web.site import Site, render, site_of
from dicom_node.web.viewer.install import installed_version

LITTLE_SPACE_GB = 2.0
MOST_DAMAGED = 50
RECENT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Status:
    """What the page for IT shows."""

    notices: tuple[Notice, ...]
    processes: tuple[Process, ...]
    dicom_port: str
    receiving: tuple[overview.SeriesRow, ...]
    refusals: tuple[Refusal, ...]
    jobs: dict[str, int]
    troubled_jobs: tuple[Job, ...]
    outbox: tuple[Destination, ...]
    free_gb: float
    monotonic: float
    damaged: tuple[Damaged, ...] = ()


def show_status(request: Request) -> Response:
    """GET /status; only the part that changes when asked by the page's own script."""
    site, now = site_of(request), clock.utc_now()
    with site.database.read() as tx:
        status = gather(tx, site, now, clock.monotonic())
    context = {"status": status, "settings": site.settings, "callers": callers(site.settings), "now": now}
    return render(request, "it/status_body.html" if "part" in request.query_params else "it/status.html", context)


def health(request: Request) -> Response:
    """GET /health: 200 while the processes that a flag depends on live and no fault lasts, otherwise 503 and why."""
    found, now = signs_of(site_of(request)), clock.monotonic()
    known = living(found, now)
    missing = [each.name for each in known if each.name in NEEDED and not each.living]
    faults = {str(each.fault): say(each) for each in lasting(found, now)}
    healthy = not missing and not faults
    states = {each.name: each.living for each in known}
    answer = {"healthy": healthy, "missing": missing, "processes": states, "faults": faults}
    return JSONResponse(answer, 200 if healthy else 503)


def gather(tx: Transaction, site: Site, now: datetime, monotonic: float) -> Status:
    """Read what the page shows."""
    refusals = processes.refusals(tx, 20)
    outbox = outboxes(tx, site.settings)
    free_gb = shutil.disk_usage(site.archive.root).free / 1e9
    troubled = [job for job in jobs.recent(tx, 200) if job.error and job.state is not JobState.DONE][:20]
    counts = overview.jobs_by_state(tx)
    notices = [
        *standing(site),
        *on_arrival(overview.last_arrival(tx), monotonic),
        *on_refusals(refusals, now),
        *on_work(counts),
        *on_outboxes(outbox),
        *on_identities(sum(not each.decision for each in contradictions.every(tx))),
        *on_unlisted(worklist.unlisted(tx)),
        *on_damages(damages.number(tx)),
        *on_space(free_gb),
        *on_exposure(site.settings.web.host),
        *on_viewer(site),
    ]
    return Status(
        notices=tuple(sorted(notices, key=lambda each: LEVELS.index(each.level))),
        processes=tuple(living(signs_of(site), monotonic)),
        dicom_port=dicom_port(tx, site.settings),
        receiving=tuple(overview.series(tx, receiving=True)),
        refusals=tuple(refusals),
        jobs=counts,
        troubled_jobs=tuple(troubled),
        outbox=outbox,
        free_gb=free_gb,
        monotonic=monotonic,
        damaged=tuple(damages.every(tx, MOST_DAMAGED)),
    )


def on_arrival(last: overview.SeriesRow | None, monotonic: float) -> list[Notice]:
    """When the last image came."""
    if last is None:
        hint = (
            "Send a test image, or ask the sender for its log: an association that never reaches us is not seen here."
        )
        return [Notice("warn", "No image has ever arrived.", hint)]
    if not last.last_at:
        return [Notice("warn", "No image has arrived since this machine was started.")]
    ago = words.duration(monotonic - last.last_at)
    return [Notice("good", f"The last image came {ago} ago from {last.calling_aet or 'an unnamed sender'}.")]


def on_refusals(refusals: list[Refusal], now: datetime) -> list[Notice]:
    """What was refused in the last hour, each sender and reason once, the newest first."""
    recent = [each for each in refusals if now - each.at <= RECENT]
    once = {(each.calling_aet, each.address, each.reason): each for each in reversed(recent)}
    return [refused(each, now) for each in reversed(once.values())][:5]


def refused(refusal: Refusal, now: datetime) -> Notice:
    """One refusal, and what IT can do where it is a matter of names."""
    who = f"{refusal.calling_aet or 'an unnamed sender'} at {refusal.address}"
    names = "Add the sender as a [[peer]], or correct the AE title that it calls; then restart the node."
    hint = names if "AE title" in refusal.reason else ""
    return Notice("warn", f"Refused {words.since(refusal.at, now)} ago: {who}: {refusal.reason}.", hint)


def on_work(counts: dict[str, int]) -> list[Notice]:
    """Analyses that have failed."""
    failed = counts.get(JobState.FAILED, 0)
    hint = "When the cause is mended: triage-node retry ID"
    return [Notice("bad", f"Analyses that failed: {failed}.", hint)] if failed else []


def on_identities(undecided: int) -> list[Notice]:
    """Studies whose results are held back, since they name different patients."""
    if not undecided:
        return []
    text = f"Studies with images of different patients: {undecided}. Nothing of them is sent."
    return [Notice("bad", text, "Look at them with: triage-node identity list; then decide there or on their pages.")]


def on_unlisted(studies: int) -> list[Notice]:
    """What is stored and kept off the reader's list."""
    if not studies:
        return []
    text = f"Studies stored and not on the list, since none of their modalities is wanted there: {studies}."
    return [Notice("good", text, "They are under All. What is wanted: [worklist] modalities")]


def on_damages(files: int) -> list[Notice]:
    """Stored files that are not what was stored."""
    if not files:
        return []
    hint = "Send those images again from their source; a damaged result comes back from a backup."
    return [Notice("bad", f"Stored files that are damaged: {files}. They are listed below.", hint)]


def on_space(free_gb: float) -> list[Notice]:
    """Whether the disk is about to fill."""
    if free_gb >= LITTLE_SPACE_GB:
        return []
    return [Notice("bad", f"Only {free_gb:.1f} GB are free: images will be refused (0xA700) when the disk is full.")]


def on_exposure(host: str) -> list[Notice]:
    """Whether the page, which has no login, can be seen from elsewhere."""
    if is_loopback(host):
        return []
    hint = "Set [web] host to 127.0.0.1, or put a proxy that asks for a login in front of it."
    return [Notice("warn", f"This page has no login, and other machines can reach it ({host}).", hint)]


def on_viewer(site: Site) -> list[Notice]:
    """Whether a row opens what the settings say."""
    if site.settings.viewer.opens != "node":
        return []
    if version := installed_version(site.settings.node.data):
        return [Notice("good", f"A row opens the viewer OHIF {version}.")]
    hint = "Install OHIF with: triage-node viewer install; or name the site's own in the settings: [viewer] opens"
    return [Notice("warn", "No viewer is installed: a row opens the study's page.", hint)]


def callers(settings: Settings) -> str:
    """Who may send, in words."""
    access = settings.access
    if access.any_caller:
        return "anybody"
    named = [f"{peer.ae_title} ({peer.name})" for peer in settings.peer]
    here = ["any program on this machine"] if access.any_caller_on_loopback else []
    return ", ".join(named + here) or "nobody: add a [[peer]] to the settings"
