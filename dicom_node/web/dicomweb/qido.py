"""QIDO-RS (PS3.18 10.6): studies, series and instances, the newest study first.

What the database knows it matches itself; other keys are looked up in the files, up to `MOST_READ` of them (413).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import structlog
from pydicom.dataset import Dataset
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dicom_node.dicom import json_model, matching, part10
from dicom_node.dicom.json_model import Json, element_json
from dicom_node.dicom.matching import SERIES_TAGS, STUDY_TAGS, MatchingKey, all_match
from dicom_node.errors import DamagedFile, Gone
from dicom_node.tables.database import Transaction
from dicom_node.tables.views import archive
from dicom_node.tables.views.archive import StoredObject, StoredSeries, StoredStudy
from dicom_node.web.dicomweb import negotiate
from dicom_node.web.dicomweb.context import base_url, object_url, service_of, uid
from dicom_node.web.dicomweb.query import MOST_RESULTS, Query, parse

BATCH = 500
MOST_READ = 20_000
FOR_STUDY = (
    *(0x00080005, 0x00080020, 0x00080030, 0x00080050, 0x00080090, 0x00080201, 0x00100010, 0x00100020, 0x00100030),
    *(0x00100040, 0x0020000D, 0x00200010),
)
FOR_SERIES = (
    *(0x00080005, 0x00080060, 0x00080201, 0x0008103E, 0x0020000E, 0x00200011, 0x00400244, 0x00400245, 0x00400275),
)
FOR_INSTANCE = (
    *(0x00080005, 0x00080016, 0x00080018, 0x00080201, 0x00200013, 0x00280008, 0x00280010, 0x00280011, 0x00280100),
)
WHERE_KNOWN = (0x00080005, 0x00080201, 0x00280008, 0x00280010, 0x00280011, 0x00280100)  # no empty element without them
log = structlog.get_logger()
T = TypeVar("T", StoredStudy, StoredSeries, StoredObject)
Find = Callable[[int, int], list[T]]


@dataclass(frozen=True, slots=True)
class Keys:
    """A query's conditions, by who answers for them."""

    column: tuple[MatchingKey, ...]
    file: tuple[MatchingKey, ...]


def search_studies(request: Request) -> Response:
    """GET /studies."""
    query = prepared(request, "study")
    keys = split(query)
    with service_of(request).database.read() as tx:
        found = page(query, keys.file, lambda limit, offset: archive.find_studies(tx, keys.column, limit, offset))
        return respond_with(request, query, found, [study_json(request, query, study) for study in found])


def search_series(request: Request) -> Response:
    """GET /series and /studies/{study}/series."""
    query = prepared(request, "series")
    study_uid, keys = uid(request, "study"), split(query)
    with service_of(request).database.read() as tx:
        found = page(
            query, keys.file, lambda limit, offset: archive.find_series(tx, keys.column, limit, offset, study_uid)
        )
        results = [series_json(request, query, tx, series, study_uid is None) for series in found]
    return respond_with(request, query, found, [each for each in results if each])


def search_instances(request: Request) -> Response:
    """GET /instances, /studies/{study}/instances and /studies/{study}/series/{series}/instances."""
    query = prepared(request, "instance")
    study_uid, series_uid, keys = uid(request, "study"), uid(request, "series"), split(query)
    columns = keys.column
    if series_uid:
        columns += (MatchingKey((0x0020000E,), matching.Matching.ANY_OF, (series_uid,)),)
    with service_of(request).database.read() as tx:
        found = page(
            query, keys.file, lambda limit, offset: archive.find_objects(tx, columns, limit, offset, study_uid)
        )
        wide = study_uid is None, series_uid is None
        results = [instance_json(request, query, tx, each, *wide) for each in found]
    return respond_with(request, query, found, [each for each in results if each])


def prepared(request: Request, level: str) -> Query:
    """The query, once it is sure that its answer can be given as JSON."""
    negotiate.choose(request, *negotiate.JSON_TYPES)
    return parse(request.query_params, level)


def split(query: Query) -> Keys:
    """Which keys the database answers."""
    known = tuple(each for each in query.conditions if archive.is_column(each))
    return Keys(known, tuple(each for each in query.conditions if each not in known))


def page(query: Query, file_keys: Sequence[MatchingKey], find: Find[T]) -> list[T]:
    """The results of one page and, where there is one, the result after it. 413 when too many files had to be read."""
    if not file_keys:
        return find(query.limit + 1, query.offset)

    def candidates() -> Iterator[T]:
        for offset in range(0, MOST_READ, BATCH):
            batch = find(BATCH, offset)
            yield from (each for each in batch if each.path and all_match(file_keys, header_of(each.path)))
            if len(batch) < BATCH:
                return
        raise HTTPException(413, "The search is too broad. Add a study date, a patient or an accession number.")

    return list(islice(candidates(), query.offset, query.offset + query.limit + 1))


def header_of(path: Path) -> Dataset:
    """A file's data set without pixels; empty when it is gone or damaged: one file is no reason to find nothing."""
    try:
        return part10.read_header(path).dataset
    except Gone:
        return Dataset()
    except DamagedFile as error:
        log.error("not looked through", path=str(path), reason=str(error))
        return Dataset()


def respond_with(request: Request, query: Query, found: Sequence[object], results: list[Json]) -> Response:
    """The results as DICOM JSON, 204 when there are none, with the warnings of PS3.18 8.3.4.2 and 8.3.4.4."""
    headers = {}
    if query.fuzzy:
        said = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
        headers["Warning"] = f"299 {base_url(request)}: {said}"
    elif len(found) > query.limit and query.limit == MOST_RESULTS:
        headers["Warning"] = f"299 {base_url(request)}: There are additional results that can be requested"
    if not results:
        return Response(status_code=204, headers=headers)
    media_type = negotiate.choose(request, *negotiate.JSON_TYPES)
    return JSONResponse(results[: query.limit], headers=headers, media_type=media_type)


def study_json(request: Request, query: Query, found: StoredStudy) -> Json:
    """One study's attributes; what the last image said goes before what stands in a file."""
    study = found.study
    known = {
        0x00080020: study.study_date,
        0x00080050: study.accession,
        0x00081030: study.description,
        0x00100010: study.patient_name,
        0x00100020: study.patient_id,
        0x00100030: study.birth_date,
        0x00100040: study.sex,
        0x0020000D: study.study_uid,
    }
    result = picked(found.path, FOR_STUDY, query, STUDY_TAGS)
    result |= {f"{tag:08X}": element_json(tag, value) for tag, value in known.items()}
    return in_order(result | counts(request, found))


def counts(request: Request, found: StoredStudy) -> Json:
    """What no file says of a study."""
    return {
        "00080056": element_json(0x00080056, "ONLINE"),
        "00080061": element_json(0x00080061, *found.modalities),
        "00081190": element_json(0x00081190, f"{base_url(request)}/studies/{found.study.study_uid}"),
        "00201206": {"vr": "IS", "Value": [found.series]},
        "00201208": {"vr": "IS", "Value": [found.instances]},
    }


def series_json(request: Request, query: Query, tx: Transaction, found: StoredSeries, with_study: bool) -> Json:
    """One series' attributes, its study's too where all were searched; empty when its files are gone."""
    result = picked(found.path, FOR_SERIES, query, STUDY_TAGS | SERIES_TAGS)
    if not result:
        return {}
    url = f"{base_url(request)}/studies/{found.study_uid}"
    result |= upper(request, query, tx, found.study_uid) if with_study else {}
    result["0020000D"] = element_json(0x0020000D, found.study_uid)
    result["00081190"] = element_json(0x00081190, f"{url}/series/{found.series_uid}")
    result["00201209"] = {"vr": "IS", "Value": [found.instances]}
    return in_order(result)


def instance_json(
    request: Request, query: Query, tx: Transaction, found: StoredObject, with_study: bool, with_series: bool
) -> Json:
    """One instance's attributes, its series' and study's too where they were not given; empty when its file is gone."""
    wanted = FOR_INSTANCE + (FOR_SERIES if with_series else ())
    result = picked(found.path, wanted, query, None)
    if not result:
        return {}
    result |= upper(request, query, tx, found.study_uid) if with_study else {}
    result["0020000D"] = element_json(0x0020000D, found.study_uid)
    result["0020000E"] = element_json(0x0020000E, found.series_uid)
    result["00080056"] = element_json(0x00080056, "ONLINE")
    result["00081190"] = element_json(0x00081190, object_url(request, found))
    return in_order(result)


def upper(request: Request, query: Query, tx: Transaction, study_uid: str) -> Json:
    """The attributes of the study that a series or instance belongs to."""
    study = archive.study_row(tx, study_uid)
    return study_json(request, query, study) if study else {}


def picked(path: Path | None, usual: Sequence[int], query: Query, level: set[int] | None) -> Json:
    """From a file: the usual attributes and those asked for, as far as they belong to the level (None: any)."""
    dataset = header_of(path) if path else Dataset()
    if not dataset:
        return {}
    wanted = set(usual) | {tag for tag in query.include if level is None or tag in level}
    if query.include_all:
        wanted |= level if level is not None else set(map(int, dataset.keys()))
    absent = {f"{tag:08X}": element_json(tag) for tag in usual if tag not in dataset and tag not in WHERE_KNOWN}
    return absent | json_model.dataset_json(dataset, lambda place: "", only=wanted)


def in_order(result: Json) -> Json:
    """Sorted by tag."""
    return dict(sorted(result.items()))
