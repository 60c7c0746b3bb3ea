"""Studies, series and instances as received, with every version of an instance that was ever sent.

Beside an instance stands the geometry of its frames, so that a series is measured without reading its files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.entities import Instance, Series, SeriesState, Study
from dicom_node.tables.database import Transaction
from inference.input.geometry import SliceGeometry


@dataclass(frozen=True, slots=True)
class _Frames:
    geometry: tuple[SliceGeometry, ...]


def put_study(tx: Transaction, study: Study) -> None:
    """Insert the study or take over what was sent last."""
    tx.put("studies", study, key=("study_uid",))


def get_study(tx: Transaction, study_uid: str) -> Study | None:
    """The study, or None."""
    return tx.one(Study, "SELECT * FROM studies WHERE study_uid = :uid", uid=study_uid)


def touch_series(tx: Transaction, instance: Instance, now: float) -> None:
    """An image of the series has come: it is (again) receiving. A series that was complete before is re-opened."""
    tx.run(
        "INSERT INTO series (series_uid, study_uid, modality, calling_aet, called_aet, state, last_at)"
        " VALUES (:uid, :study, :modality, :calling, :called, 'receiving', :now)"
        " ON CONFLICT (series_uid) DO UPDATE SET last_at = :now, released = 0, calling_aet = :calling,"
        " reopened = reopened OR state <> 'receiving', revision = revision + (state <> 'receiving'),"
        " state = 'receiving', expected = NULL, counted = 0",
        uid=instance.series_uid,
        study=instance.study_uid,
        modality=instance.modality,
        calling=instance.calling_aet,
        called=instance.called_aet,
        now=now,
    )


def add_instance(tx: Transaction, instance: Instance, geometry: Sequence[SliceGeometry]) -> None:
    """Add a version of an instance; it becomes the current one. Its study and series must stand already."""
    tx.run("UPDATE instances SET current = 0 WHERE sop_uid = :uid", uid=instance.sop_uid)
    tx.put("instances", instance, geometry=tuple(geometry))


def versions(tx: Transaction, sop_uid: str) -> list[Instance]:
    """All versions of an instance, oldest first."""
    return tx.all(Instance, "SELECT * FROM instances WHERE sop_uid = :uid ORDER BY version", uid=sop_uid)


def of_series(tx: Transaction, series_uid: str) -> list[Instance]:
    """The current version of every instance of a series."""
    wanted = "SELECT * FROM instances WHERE series_uid = :uid AND current ORDER BY sop_uid"
    return tx.all(Instance, wanted, uid=series_uid)


def geometry_of_series(tx: Transaction, series_uid: str) -> list[SliceGeometry]:
    """The geometry of all frames of a series' current instances."""
    wanted = "SELECT geometry FROM instances WHERE series_uid = :uid AND current ORDER BY sop_uid"
    return [frame for image in tx.all(_Frames, wanted, uid=series_uid) for frame in image.geometry]


def of_study(tx: Transaction, study_uid: str) -> list[Instance]:
    """Every version of every instance of a study."""
    return tx.all(Instance, "SELECT * FROM instances WHERE study_uid = :uid", uid=study_uid)


def oldest_studies(tx: Transaction) -> list[str]:
    """Study UIDs, the one whose last image came first at the beginning, for retention."""
    rows = tx.rows("SELECT study_uid FROM instances GROUP BY study_uid ORDER BY max(received_at), study_uid")
    return [row["study_uid"] for row in rows]


def all_paths(tx: Transaction) -> set[Path]:
    """The files that rows speak of."""
    return {Path(row["path"]) for row in tx.rows("SELECT path FROM instances")}


def forget_file(tx: Transaction, path: Path, now: float) -> str | None:
    """The file of this instance is gone: drop the row, and let the version before it be current again.

    The series is re-opened if it has images left. Returns the study's UID, None when no row spoke of the file.
    """
    row = tx.row("DELETE FROM instances WHERE path = :path RETURNING sop_uid, series_uid, study_uid", path=path)
    if row is None:
        return None
    tx.run(
        "UPDATE instances SET current = 1 WHERE sop_uid = :uid AND version ="
        " (SELECT max(version) FROM instances WHERE sop_uid = :uid)",
        uid=row["sop_uid"],
    )
    has_images = "EXISTS (SELECT 1 FROM instances WHERE series_uid = :uid AND current)"
    tx.run(
        f"UPDATE series SET state = CASE WHEN {has_images} THEN 'receiving' ELSE 'routed' END,"
        " revision = revision + (state <> 'receiving'), reopened = 1, last_at = :now WHERE series_uid = :uid",
        uid=row["series_uid"],
        now=now,
    )
    return str(row["study_uid"])


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop the study's instances, series and the study itself; rows of other tables must be gone before."""
    for table in ("instances", "series", "studies"):
        tx.run(f"DELETE FROM {table} WHERE study_uid = :uid", uid=study_uid)


def mark_released(tx: Transaction, series_uid: str) -> None:
    """The last association that sent images of this series was released in good order."""
    tx.run("UPDATE series SET released = 1 WHERE series_uid = :uid AND state = 'receiving'", uid=series_uid)


def in_state(tx: Transaction, state: SeriesState) -> list[Series]:
    """All series that stand there, the longest waiting first."""
    return tx.all(Series, "SELECT * FROM series WHERE state = :state ORDER BY last_at", state=state)


def get_series(tx: Transaction, series_uid: str) -> Series | None:
    """The series, or None."""
    return tx.one(Series, "SELECT * FROM series WHERE series_uid = :uid", uid=series_uid)


def series_of_study(tx: Transaction, study_uid: str) -> list[Series]:
    """All series of a study."""
    return tx.all(Series, "SELECT * FROM series WHERE study_uid = :uid", uid=study_uid)


def is_receiving(tx: Transaction, study_uid: str) -> bool:
    """Whether images of a study may still come, or a series of it waits for the router."""
    return any(series.state is not SeriesState.ROUTED for series in series_of_study(tx, study_uid))


def move(tx: Transaction, series: Series, state: SeriesState) -> bool:
    """Move a series on, if nothing has changed since it was read; False when something has."""
    return bool(
        tx.run(
            "UPDATE series SET state = :state WHERE series_uid = :uid AND revision = :revision AND last_at = :last_at"
            " AND state = :was",
            state=state,
            uid=series.series_uid,
            revision=series.revision,
            last_at=series.last_at,
            was=series.state,
        )
    )


def uncounted(tx: Transaction, quiet_since: float) -> list[Series]:
    """Receiving series, quiet since then, whose sender was not yet asked how many images there are."""
    wanted = "SELECT * FROM series WHERE state = 'receiving' AND NOT counted AND last_at <= :at"
    return tx.all(Series, wanted, at=quiet_since)


def set_expected(tx: Transaction, series: Series, expected: int | None) -> None:
    """What the sender says (0020,1209) is; None when it does not say. Void if an image came meanwhile."""
    tx.run(
        "UPDATE series SET counted = 1, expected = :expected WHERE series_uid = :uid AND last_at = :last_at",
        expected=expected,
        uid=series.series_uid,
        last_at=series.last_at,
    )
