"""Preview: makes the small pictures that the list plays, after the flag, while nothing else waits for the worker.

Comes in: the series' files, the result's segmentation and key images. Goes out: one file beside the result, in place of
that of an earlier one. It gives way between two slices to whatever else is due.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dicom_node import clock
from dicom_node.archive import Archive
from dicom_node.derived import previews
from dicom_node.derived.previews import Subject
from dicom_node.dicom.marked import Place, Region, key_images_of, regions_of
from dicom_node.entities import Job, JobState, ResultObject
from dicom_node.errors import TriageNodeError
from dicom_node.tables import instances, jobs, results
from dicom_node.tables.database import Database
from inference.findings import NotAnalysable
from inference.input.planes import Slice, find_slices, read_planes
from reports.context import Kind
from reports.picture import sides_of
from reports.preview import COLUMNS, CT_WINDOWS, TILE, Tile, choose_slices, draw_preview, own_window
from reports.preview_file import Index, ShownSlice, pack
from reports.vocabulary.terms import vocabulary_of

NOTHING_TO_SHOW = "None of its images can be shown as a slice."


class GaveWay(TriageNodeError):
    """Something more urgent is due."""


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """What a result says of single slices; nothing where there is no result, or nothing suspected."""

    keys: tuple[Place, ...] = ()
    segmentation: ResultObject | None = None

    def regions(self, places: Sequence[Place]) -> Mapping[Place, Sequence[Region]]:
        """What is outlined on these slices."""
        return regions_of(self.segmentation.path, set(places)) if self.segmentation else {}


def make_preview(database: Database, archive: Archive, job: Job, owner: str) -> None:
    """Make the small pictures of a study as it now stands, and put them beside its result."""
    with database.read() as tx:
        subject = previews.subject_of(tx, job.study_uid, job.question)
        if subject is not None and subject.series_uid == job.series_uid:
            stored = instances.of_series(tx, subject.study_uid, subject.series_uid)
            made = results.objects_of(tx, subject.study_uid, subject.question, subject.version)
        else:
            subject = None
    if subject is None:
        conclude(database, job, owner, JobState.SUPERSEDED)
        return
    pause = partial(look_for_more_urgent, database)
    path = archive.preview_path(subject.study_uid, subject.question, subject.version)
    try:
        slices = find_slices([each.path for each in stored], pause)
        archive.put(path, drawn(subject, slices, marked_by(made), pause))
    except NotAnalysable as reason:
        conclude(database, job, owner, JobState.DECLINED, str(reason))
    except GaveWay:
        with database.write() as tx:
            jobs.give_way(tx, job, owner)
    else:
        if not conclude(database, job, owner, JobState.DONE):
            archive.drop_preview(path)  # the study has been removed meanwhile, or another worker does it again
            return
        for other in path.parents[1].glob(f"*/{path.name}"):
            if other != path:
                archive.drop_preview(other)


def conclude(database: Database, job: Job, owner: str, state: JobState, reason: str | None = None) -> bool:
    """Leave the job in this state; False where it is no longer this worker's."""
    with database.write() as tx:
        return jobs.finish(tx, job, owner, state, reason)


def marked_by(made: Sequence[ResultObject]) -> Marked:
    """The key slices and the segmentation among the objects of a result."""
    by_kind = {each.kind: each for each in made}
    keys = key_images_of(by_kind[Kind.KO].path) if Kind.KO in by_kind else []
    return Marked(tuple(keys), by_kind.get(Kind.SEG))


def look_for_more_urgent(database: Database) -> None:
    """GaveWay when anything but small pictures waits for a worker."""
    with database.read() as tx:
        if jobs.any_due(tx, clock.monotonic()):
            raise GaveWay


def drawn(subject: Subject, slices: Sequence[Slice], marked: Marked, pause: Callable[[], None]) -> bytes:
    """The pictures as one file. NotAnalysable when no slice can be read; `pause` is called now and then, may raise."""
    places = {place_of(each): number for number, each in enumerate(slices)}
    keys = [places[each] for each in marked.keys if each in places]
    chosen = [slices[number] for number in choose_slices(len(slices), keys)]
    planes = dict(read_planes(chosen, pause))
    shown = [each for each in chosen if each in planes]
    if not shown:
        raise NotAnalysable(NOTHING_TO_SHOW)
    tiles = tiles_of(shown, planes, marked.regions([place_of(each) for each in shown]), subject.question)
    windows = CT_WINDOWS if all(each.is_ct for each in shown) else (own_window(list(planes.values())),)
    telling = next((slices[key] for key in keys if slices[key] in planes), shown[len(shown) // 2])
    index = Index(
        series_uid=subject.series_uid,
        revision=subject.revision,
        total=len(slices),
        first=shown.index(telling),
        tile=TILE,
        columns=COLUMNS,
        sides=sides_of(telling.row_direction, telling.column_direction),
        windows=windows,
        outlined=any(tile.regions for tile in tiles),
        slices=tuple(
            ShownSlice(places[place_of(each)] + 1, each.number or 0, each.sop_uid, each.frame) for each in shown
        ),
    )
    return pack(index, draw_preview(tiles, windows, index.first, pause))


def place_of(each: Slice) -> Place:
    """How a slice is named in references."""
    return each.sop_uid, each.frame


def tiles_of(
    shown: Sequence[Slice],
    planes: Mapping[Slice, NDArray[np.float32]],
    regions: Mapping[Place, Sequence[Region]],
    question: str,
) -> list[Tile]:
    """The slices with what is outlined on them, each in the colour of its finding."""
    words = vocabulary_of(question)
    colours = {term.title: term.colour for term in words.terms.values()}
    tiles = []
    for each in shown:
        marks = [(colours.get(one.label, words.target.colour), one.mask) for one in regions.get(place_of(each), ())]
        tiles.append(Tile(planes[each], each.pixel_spacing, tuple(marks)))
    return tiles
