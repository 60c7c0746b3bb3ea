"""STOW-RS (PS3.18 10.5): instances that come by HTTP become as durable as those of C-STORE, with the same answers.

Each part is stored as soon as it is whole, by the function that the node hands in; FailureReason is the C-STORE status
(PS3.18 Annex I). The series of a request that was read to its end count as released.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dicom_node.dicom.checks import UNREADABLE, checked_uid, say_unreadable
from dicom_node.dicom.json_model import Json, element_json
from dicom_node.dicom.part10 import CHUNK_BYTES, data_chunks, part10_header, split_meta
from dicom_node.entities import Incoming
from dicom_node.errors import CannotUnderstand, NotAsNegotiated, Refused, say_error
from dicom_node.spool import Spool
from dicom_node.web.dicomweb import multipart, negotiate
from dicom_node.web.dicomweb.context import Service, Storing, base_url, service_of, uid
from inference.input.reading import read_dicom

CALLING_AET = "STOW-RS"  # stands where the sender's AE title would
DICOM = "application/dicom"
OUT_OF_RESOURCES = 0xA700
IDENTITY = {
    "SOPClassUID": "sop_class_uid",
    "SOPInstanceUID": "sop_uid",
    "StudyInstanceUID": "study_uid",
    "SeriesInstanceUID": "series_uid",
}
FAILED, STORED, OTHER_FAILURES, REASON = "00081198", "00081199", "0008119A", "00081197"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """What became of one part; `status` 0 means stored, UIDs are '' where they could not be read."""

    status: int
    sop_class_uid: str = ""
    sop_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""


async def store_instances(request: Request) -> Response:
    """POST /studies and /studies/{study}: 200 all stored, 202 some, 409 none."""
    service, storing = service_of(request), service_of(request).storing
    media_type, said = negotiate.parameters(request.headers.get("content-type", ""))
    answer_type = negotiate.choose(request, *negotiate.JSON_TYPES)
    if storing is None:
        raise HTTPException(501, "Nothing can be stored here.")
    if media_type != negotiate.MULTIPART or said.get("type", DICOM).lower() != DICOM:
        raise HTTPException(415, f'The body has to be multipart/related; type="{DICOM}".')
    if not 0 < len(said.get("boundary", "")) <= 70:
        raise HTTPException(400, "The Content-Type names no boundary.")
    study_uid = uid(request, "study")
    outcomes = await store_parts(request, service, storing, said["boundary"], study_uid)
    if not outcomes:
        raise HTTPException(400, "The body has no parts.")
    stored = sum(outcome.status == 0 for outcome in outcomes)
    status = 200 if stored == len(outcomes) else 202 if stored else 409
    return JSONResponse(report(base_url(request), outcomes), status, media_type=answer_type)


async def store_parts(
    request: Request, service: Service, storing: Storing, boundary: str, study_uid: str | None
) -> list[StoreOutcome]:
    """Store each part as it comes."""
    number, whole, outcomes = next(service.numbers), False, list[StoreOutcome]()
    address = request.client.host if request.client else ""
    begin = partial(storing.spool, storing.most_bytes)
    try:
        async for part in multipart.received(request.stream(), boundary, begin, storing.most_bytes):
            outcomes.append(await run_in_threadpool(store_part, storing, part, study_uid, number, address))
        whole = True
    finally:
        await run_in_threadpool(storing.ended, number, whole)
    return outcomes


def store_part(
    storing: Storing, part: Spool | Refused, study_uid: str | None, number: int, address: str
) -> StoreOutcome:
    """Store one instance; a refusal is kept for the status page, as with C-STORE."""
    identity: dict[str, str] = {}
    status = 0
    try:
        if isinstance(part, Refused):
            raise part
        with part:
            for name, found in identify(part.path):
                identity[name] = found
            if study_uid not in (None, identity["study_uid"]):
                raise NotAsNegotiated(f"the study is {identity['study_uid']}, announced was {study_uid}")
            store_file(storing, part.path, identity["sop_class_uid"], identity["sop_uid"], number)
    except (Refused, OSError, sqlite3.Error) as error:
        status = error.status if isinstance(error, Refused) else OUT_OF_RESOURCES
        log.warning("not stored", sop_uid=identity.get("sop_uid", ""), reason=say_error(error))
        storing.refused(CALLING_AET, storing.called_aet, address, f"object 0x{status:04X}: {say_error(error)}")
    return StoreOutcome(status, **identity)


def store_file(storing: Storing, path: Path, sop_class_uid: str, sop_uid: str, number: int) -> None:
    """Store the data set of a part behind file meta information of its own, a little at a time."""
    with path.open("rb") as file:
        syntax, _ = split_meta(file.read(CHUNK_BYTES))
    with storing.spool(storing.most_bytes) as spool:
        spool.begin(part10_header(sop_class_uid, sop_uid, syntax, CALLING_AET))
        for chunk in data_chunks(path):
            spool.write(chunk)
        storing.store(
            Incoming(
                path=spool.path,
                sha256=spool.digest(),
                sop_class_uid=sop_class_uid,
                sop_uid=sop_uid,
                transfer_syntax_uid=syntax,
                calling_aet=CALLING_AET,
                called_aet=storing.called_aet,
                association=number,
            )
        )


def identify(path: Path) -> Iterator[tuple[str, str]]:
    """The UIDs of the data set, one after the other, so that those before a wrong one are known."""
    try:
        dataset = read_dicom(path, stop_before_pixels=True, force=True, specific_tags=list(IDENTITY))
        for keyword, name in IDENTITY.items():
            yield name, checked_uid(dataset.get(keyword))
    except UNREADABLE as error:
        raise CannotUnderstand(f"the data set cannot be read: {say_unreadable(error)}") from error


def report(base: str, outcomes: list[StoreOutcome]) -> Json:
    """The Store Instances Response (PS3.18 Table 10.5.3-2)."""
    found: Json = {}
    studies = {outcome.study_uid for outcome in outcomes if outcome.status == 0}
    if len(studies) == 1:
        found["00081190"] = element_json(0x00081190, f"{base}/studies/{studies.pop()}")
    failed = [outcome for outcome in outcomes if outcome.status and outcome.sop_uid and outcome.sop_class_uid]
    other = [outcome for outcome in outcomes if outcome.status and outcome not in failed]
    done = [outcome for outcome in outcomes if not outcome.status]
    if failed:
        found[FAILED] = {"vr": "SQ", "Value": [reference(each) | reason(each) for each in failed]}
    if done:
        found[STORED] = {"vr": "SQ", "Value": [reference(each) | place(base, each) for each in done]}
    if other:
        found[OTHER_FAILURES] = {"vr": "SQ", "Value": [reason(each) for each in other]}
    return found


def reference(outcome: StoreOutcome) -> Json:
    """Which instance."""
    return {
        "00081150": element_json(0x00081150, outcome.sop_class_uid),
        "00081155": element_json(0x00081155, outcome.sop_uid),
    }


def reason(outcome: StoreOutcome) -> Json:
    """Why it was not stored."""
    return {REASON: {"vr": "US", "Value": [outcome.status]}}


def place(base: str, outcome: StoreOutcome) -> Json:
    """Where it can be retrieved."""
    url = f"{base}/studies/{outcome.study_uid}/series/{outcome.series_uid}/instances/{outcome.sop_uid}"
    return {"00081190": element_json(0x00081190, url)}
