"""Studies, series and instances as received, with every version of an instance that was ever sent.

A series is one of its study, an instance one of its series: the same UID in another study is another. Beside an
instance stand the geometry of its frames, so that a series is measured without reading its files, and the patient it
was sent under.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dicom_node.entities import Instance, Patient, Series, SeriesState, Study
from dicom_node.tables.database import Transaction
from dicom_node.tables.rows import as_row
from inference.input.geometry import SliceGeometry


@dataclass(frozen=True, slots=True)
class _Frames:
    sop_uid: str
    geometry: tuple[SliceGeometry, ...]


NOBODY = Patient()
AS_SENT = "study_uid IN (SELECT study_uid FROM studies WHERE sent_uid = :sent)"


def put_study(tx: Transaction, study: Study) -> None:
    """Insert the study or take over what was sent last."""
    tx.put("studies", replace(study, sent_uid=study.sent_uid or study.study_uid), key=("study_uid",))


def get_study(tx: Transaction, study_uid: str) -> Study | None:
    """The study, or None."""
    return tx.one(Study, "SELECT * FROM studies WHERE study_uid = :uid", uid=study_uid)


def studies_as_sent(tx: Transaction, sent_uid: str) -> list[Study]:
    """The studies whose images state this Study Instance UID, the one that bears it first."""
    wanted = "SELECT * FROM studies WHERE sent_uid = :sent ORDER BY study_uid <> sent_uid, study_uid"
    return tx.all(Study, wanted, sent=sent_uid)


def touch_series(tx: Transaction, instance: Instance, now: float) -> None:
    """An image of the series has come: it is (again) receiving. A series that was complete before is re-opened."""
    tx.run(
        "INSERT INTO series (series_uid, study_uid, modality, calling_aet, called_aet, state, last_at)"
        " VALUES (:uid, :study, :modality, :calling, :called, 'receiving', :now)"
        " ON CONFLICT (study_uid, series_uid) DO UPDATE SET last_at = :now, released = 0, calling_aet = :calling,"
        " reopened = reopened OR state <> 'receiving', revision = revision + (state <> 'receiving'),"
        " state = 'receiving', expected = NULL, counted = 0",
        uid=instance.series_uid,
        study=instance.study_uid,
        modality=instance.modality,
        calling=instance.calling_aet,
        called=instance.called_aet,
        now=now,
    )


def add_instance(
    tx: Transaction, instance: Instance, geometry: Sequence[SliceGeometry], patient: Patient = NOBODY
) -> None:
    """Add a version of an instance; it becomes the current one. Its study and series must stand already."""
    tx.run(
        "UPDATE instances SET current = 0 WHERE study_uid = :study AND series_uid = :series AND sop_uid = :sop",
        study=instance.study_uid,
        series=instance.series_uid,
        sop=instance.sop_uid,
    )
    tx.put("instances", instance, geometry=tuple(geometry), **as_row(patient))


def versions(tx: Transaction, sent_uid: str, series_uid: str, sop_uid: str) -> list[Instance]:
    """All versions of an instance, oldest first, in whichever of the studies that state this Study Instance UID."""
    wanted = f"SELECT * FROM instances WHERE {AS_SENT} AND series_uid = :series AND sop_uid = :sop"
    return tx.all(Instance, f"{wanted} ORDER BY study_uid, version", sent=sent_uid, series=series_uid, sop=sop_uid)


def of_series(tx: Transaction, study_uid: str, series_uid: str) -> list[Instance]:
    """The current version of every instance of a series."""
    wanted = "SELECT * FROM instances WHERE study_uid = :study AND series_uid = :series AND current ORDER BY sop_uid"
    return tx.all(Instance, wanted, study=study_uid, series=series_uid)


def geometry_of_series(tx: Transaction, study_uid: str, series_uid: str) -> list[SliceGeometry]:
    """The geometry of all frames of a series' current instances."""
    found = geometry_by_instance(tx, study_uid, series_uid, current=True).values()
    return [frame for versions_of_one in found for frames in versions_of_one for frame in frames]


def geometry_by_instance(
    tx: Transaction, study_uid: str, series_uid: str, current: bool = False
) -> dict[str, list[tuple[SliceGeometry, ...]]]:
    """The frames' geometry of each version of each instance of a series, by SOP Instance UID; `current` ones alone."""
    rows = tx.all(
        _Frames,
        "SELECT sop_uid, geometry FROM instances WHERE study_uid = :study AND series_uid = :series"
        " AND current >= :current ORDER BY sop_uid, version",
        study=study_uid,
        series=series_uid,
        current=current,
    )
    found: dict[str, list[tuple[SliceGeometry, ...]]] = {}
    for row in rows:
        found.setdefault(row.sop_uid, []).append(row.geometry)
    return found


def patients_of(tx: Transaction, study_uid: str, series_uid: str | None = None) -> list[Patient]:
    """Under whom the current images of a study, or of one of its series, were sent, the first that came first.

    The node's own results, which come back from a PACS, do not count.
    """
    return tx.all(
        Patient,
        "SELECT patient_id, issuer, patient_name, birth_date, sex FROM instances i WHERE study_uid = :study"
        " AND (:series IS NULL OR series_uid = :series) AND current"
        " AND NOT EXISTS (SELECT 1 FROM results r WHERE r.sop_uid = i.sop_uid)"
        " GROUP BY patient_id, issuer, patient_name, birth_date, sex ORDER BY min(received_at)",
        study=study_uid,
        series=series_uid,
    )


def move_images(tx: Transaction, study_uid: str, target: str, patient: Patient | None = None) -> None:
    """Let all images of a study, or those that stand under a patient, be another study's, which must stand already.

    Their series wait for the router again, in both. An image that stands there already becomes a version of that one.
    """
    given = {"study": study_uid, "target": target, **(as_row(patient) if patient else {})}
    which = "study_uid = :study"
    if patient is not None:
        which += (
            " AND current AND (patient_id, issuer, patient_name, birth_date, sex)"
            " = (:patient_id, :issuer, :patient_name, :birth_date, :sex)"
        )
    moved = f"(SELECT series_uid FROM instances WHERE {which})"
    tx.run(
        "INSERT OR IGNORE INTO series (study_uid, series_uid, modality, calling_aet, called_aet, state, last_at)"
        " SELECT :target, series_uid, modality, calling_aet, called_aet, 'complete', last_at FROM series"
        f" WHERE study_uid = :study AND series_uid IN {moved}",
        **given,
    )
    tx.run(
        "UPDATE series SET state = 'complete', revision = revision + 1, expected = NULL, counted = 0"
        f" WHERE study_uid IN (:study, :target) AND series_uid IN {moved}",
        **given,
    )
    tx.run(
        "WITH there AS MATERIALIZED (SELECT series_uid, sop_uid, max(version) AS last FROM instances"
        " WHERE study_uid = :target GROUP BY series_uid, sop_uid)"
        " UPDATE instances AS i SET study_uid = :target, version = version + coalesce((SELECT last FROM there t"
        f" WHERE (t.series_uid, t.sop_uid) = (i.series_uid, i.sop_uid)), 0) WHERE {which}",
        **given,
    )
    tx.run("UPDATE OR IGNORE equipment SET study_uid = :target WHERE study_uid = :study", **given)
    for each in (study_uid, target):
        _make_last_current(tx, each)
    _drop_empty_series(tx, study_uid)


def _make_last_current(tx: Transaction, study_uid: str) -> None:
    """Of every image of a study the last version is the current one."""
    tx.run(
        "UPDATE instances AS i SET current = version = (SELECT max(version) FROM instances o"
        " WHERE (o.study_uid, o.series_uid, o.sop_uid) = (i.study_uid, i.series_uid, i.sop_uid))"
        " WHERE study_uid = :uid",
        uid=study_uid,
    )


def _drop_empty_series(tx: Transaction, study_uid: str) -> None:
    """Drop the series of a study that have no images left, and what was decided for them."""
    for table in ("choices", "series"):
        tx.run(
            f"DELETE FROM {table} AS e WHERE study_uid = :uid AND NOT EXISTS (SELECT 1 FROM instances i"
            " WHERE (i.study_uid, i.series_uid) = (e.study_uid, e.series_uid))",
            uid=study_uid,
        )


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
    row = tx.row("DELETE FROM instances WHERE path = :path RETURNING study_uid, series_uid, sop_uid", path=path)
    if row is None:
        return None
    one = "study_uid = :study_uid AND series_uid = :series_uid"
    tx.run(
        f"UPDATE instances SET current = 1 WHERE {one} AND sop_uid = :sop_uid AND version ="
        f" (SELECT max(version) FROM instances WHERE {one} AND sop_uid = :sop_uid)",
        **row,
    )
    has_images = f"EXISTS (SELECT 1 FROM instances WHERE {one} AND current)"
    tx.run(
        f"UPDATE series SET state = CASE WHEN {has_images} THEN 'receiving' ELSE 'routed' END,"
        f" revision = revision + (state <> 'receiving'), reopened = 1, last_at = :now WHERE {one}",
        study_uid=row["study_uid"],
        series_uid=row["series_uid"],
        now=now,
    )
    return str(row["study_uid"])


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop the study's instances, series and the study itself; rows of other tables must be gone before."""
    for table in ("instances", "series", "studies"):
        tx.run(f"DELETE FROM {table} WHERE study_uid = :uid", uid=study_uid)


def mark_released(tx: Transaction, sent_uid: str, series_uid: str) -> None:
    """The last association that sent images of this series was released in good order."""
    released = (
        f"UPDATE series SET released = 1, aborted = 0 WHERE {AS_SENT} AND series_uid = :series AND state = 'receiving'"
    )
    tx.run(released, sent=sent_uid, series=series_uid)


def mark_aborted(tx: Transaction, sent_uid: str, series_uid: str) -> None:
    """The last association that sent images of this series broke off: the sender may try again."""
    aborted = f"UPDATE series SET aborted = 1 WHERE {AS_SENT} AND series_uid = :series AND state = 'receiving'"
    tx.run(aborted, sent=sent_uid, series=series_uid)


def mark_all_aborted(tx: Transaction) -> None:
    """The node was started: associations that were open before are broken off."""
    tx.run("UPDATE series SET aborted = 1 WHERE state = 'receiving' AND NOT released")


def in_state(tx: Transaction, state: SeriesState) -> list[Series]:
    """All series that stand there, the longest waiting first."""
    return tx.all(Series, "SELECT * FROM series WHERE state = :state ORDER BY last_at", state=state)


def get_series(tx: Transaction, study_uid: str, series_uid: str) -> Series | None:
    """The series, or None."""
    wanted = "SELECT * FROM series WHERE study_uid = :study AND series_uid = :series"
    return tx.one(Series, wanted, study=study_uid, series=series_uid)


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
            "UPDATE series SET state = :state WHERE study_uid = :study AND series_uid = :series"
            " AND revision = :revision AND last_at = :last_at AND state = :was",
            state=state,
            study=series.study_uid,
            series=series.series_uid,
            revision=series.revision,
            last_at=series.last_at,
            was=series.state,
        )
    )


def uncounted(tx: Transaction, quiet_since: float, asked_since: float, often: int) -> list[Series]:
    """Receiving series, quiet since then, whose sender is to be asked how many images there are.

    It is asked again, if it was not since `asked_since`, until it has said so often what is here; not if it does not
    say at all.
    """
    return tx.all(
        Series,
        "SELECT * FROM series e WHERE state = 'receiving' AND last_at <= :quiet AND (NOT counted OR (asked_at <= :asked"
        " AND expected IS NOT NULL AND (counted < :often OR expected <> (SELECT count(*) FROM instances i"
        " WHERE (i.study_uid, i.series_uid) = (e.study_uid, e.series_uid) AND i.current))))",
        quiet=quiet_since,
        asked=asked_since,
        often=often,
    )


def set_expected(tx: Transaction, series: Series, expected: int | None, now: float) -> None:
    """What the sender says (0020,1209) is; None when it does not say. Void if an image came meanwhile."""
    tx.run(
        "UPDATE series SET counted = CASE WHEN expected = :expected THEN counted + 1 ELSE 1 END, asked_at = :now,"
        " expected = :expected WHERE study_uid = :study AND series_uid = :series"
        " AND last_at = :last_at",
        expected=expected,
        now=now,
        study=series.study_uid,
        series=series.series_uid,
        last_at=series.last_at,
    )
