"""What the archive holds, as a DICOM query sees it: images as received and the node's own results in one list.

A `MatchingKey` is a condition (PS3.4 C.2.2.2). Those on columns are answered by the database; whoever asks looks
into the files for the others. An own result that came back from a PACS counts once, as the node wrote it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.dicom.matching import MODALITIES_IN_STUDY, MODALITY, PATIENT_NAME, Matching, MatchingKey
from dicom_node.entities import Study
from dicom_node.tables.database import Transaction


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One SOP instance in the archive; `transfer_syntax_uid` is '' where only the file tells."""

    sop_uid: str
    sop_class_uid: str
    study_uid: str
    series_uid: str
    modality: str
    transfer_syntax_uid: str
    path: Path


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """One series; `path` is its first instance's file."""

    series_uid: str
    study_uid: str
    modality: str
    instances: int
    path: Path


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """One study; `path` is one of its files, None when it has none."""

    study: Study
    modalities: tuple[str, ...]
    series: int
    instances: int
    path: Path | None


STUDY_COLUMNS = {
    0x0020000D: "s.study_uid",
    0x00100020: "s.patient_id",
    PATIENT_NAME: "s.patient_name",
    0x00100030: "s.birth_date",
    0x00100040: "s.sex",
    0x00080050: "s.accession",
    0x00081030: "s.description",
    0x00080020: "s.study_date",
}
OBJECT_COLUMNS = {
    0x0020000E: "o.series_uid",
    MODALITY: "o.modality",
    0x00080018: "o.sop_uid",
    0x00080016: "o.sop_class_uid",
}
COLUMNS = STUDY_COLUMNS | OBJECT_COLUMNS
OF_OBJECTS = {MODALITIES_IN_STUDY: "modality", 0x00080062: "sop_class_uid"}  # what the study's objects have
COUNTS = {  # attributes that count, by what they count in which objects
    0x00201206: ("DISTINCT series_uid", "study_uid = s.study_uid"),
    0x00201208: ("*", "study_uid = s.study_uid"),
    0x00201209: ("*", "study_uid = o.study_uid AND series_uid = o.series_uid"),
}
AVAILABILITY = 0x00080056
FIRST_MODALITY = "coalesce((SELECT modality FROM series WHERE study_uid = r.study_uid LIMIT 1), 'OT')"
OBJECTS = f"""
SELECT sop_uid, sop_class_uid, study_uid, series_uid, modality, transfer_syntax_uid, path,
    coalesce(json_extract(geometry, '$[0].instance_number'), 0) AS number
  FROM instances i WHERE current AND {{scope}} AND NOT EXISTS (SELECT 1 FROM results WHERE sop_uid = i.sop_uid)
UNION ALL
SELECT sop_uid, sop_class_uid, study_uid, series_uid, CASE kind WHEN 'SC' THEN {FIRST_MODALITY} ELSE kind END, '', path,
    version FROM results r WHERE {{scope}}"""


def is_column(condition: MatchingKey) -> bool:
    """Whether the database answers for this key."""
    return len(condition.path) == 1 and condition.path[0] in (*COLUMNS, *OF_OBJECTS, *COUNTS, AVAILABILITY)


def objects(
    tx: Transaction, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None
) -> list[StoredObject]:
    """The instances of a study, of one of its series, or one of them; by series and instance number."""
    scope = "study_uid = :study" + (" AND series_uid = :series" if series_uid else "")
    scope += " AND sop_uid = :sop" if sop_uid else ""
    return tx.all(
        StoredObject,
        f"SELECT * FROM ({OBJECTS.format(scope=scope)}) ORDER BY series_uid, number, sop_uid",
        study=study_uid,
        series=series_uid,
        sop=sop_uid,
    )


def find_studies(tx: Transaction, conditions: Sequence[MatchingKey], limit: int, offset: int) -> list[StoredStudy]:
    """Studies for which all conditions hold, the newest study date first.

    Every condition must be on a column of studies or on the modalities in the study.
    """
    where, values = _where(conditions)
    found = tx.all(
        Study,
        f"SELECT * FROM studies s WHERE {where} ORDER BY study_date DESC, study_uid LIMIT :limit OFFSET :offset",
        limit=limit,
        offset=offset,
        **values,
    )
    return [_with_counts(tx, study) for study in found]


def find_series(
    tx: Transaction, conditions: Sequence[MatchingKey], limit: int, offset: int, study_uid: str | None = None
) -> list[StoredSeries]:
    """Series for which all conditions hold, of one study or of all."""
    return tx.all(
        StoredSeries,
        "SELECT o.series_uid, o.study_uid, o.modality, count(*) AS instances, min(o.number), o.path"
        f" {_joined(conditions, study_uid)} GROUP BY o.study_uid, o.series_uid"
        " ORDER BY s.study_date DESC, o.study_uid, o.series_uid LIMIT :limit OFFSET :offset",
        limit=limit,
        offset=offset,
        study=study_uid,
        **_where(conditions)[1],
    )


def find_objects(
    tx: Transaction, conditions: Sequence[MatchingKey], limit: int, offset: int, study_uid: str | None = None
) -> list[StoredObject]:
    """Instances for which all conditions hold, of one study or of all."""
    return tx.all(
        StoredObject,
        f"SELECT o.* {_joined(conditions, study_uid)}"
        " ORDER BY s.study_date DESC, o.study_uid, o.series_uid, o.number, o.sop_uid LIMIT :limit OFFSET :offset",
        limit=limit,
        offset=offset,
        study=study_uid,
        **_where(conditions)[1],
    )


def study_row(tx: Transaction, study_uid: str) -> StoredStudy | None:
    """One study, or None."""
    study = tx.one(Study, "SELECT * FROM studies WHERE study_uid = :uid", uid=study_uid)
    return _with_counts(tx, study) if study else None


def _joined(conditions: Sequence[MatchingKey], study_uid: str | None) -> str:
    """Objects with their studies. What is asked of the study narrows the objects before they are joined."""
    terms = [_term(each, f"c{number}")[0] for number, each in enumerate(conditions)]
    of_study = [term for term, each in zip(terms, conditions, strict=True) if each.path[0] in STUDY_COLUMNS]
    scope = "study_uid = :study" if study_uid else "TRUE"
    if of_study and not study_uid:
        scope = f"study_uid IN (SELECT study_uid FROM studies s WHERE {' AND '.join(of_study)})"
    where = " AND ".join(["TRUE", *terms])
    return f"FROM ({OBJECTS.format(scope=scope)}) o JOIN studies s ON s.study_uid = o.study_uid WHERE {where}"


def _with_counts(tx: Transaction, study: Study) -> StoredStudy:
    rows = tx.rows(
        f"SELECT series_uid, modality, count(*) AS instances, path FROM ({OBJECTS.format(scope='study_uid = :uid')})"
        " GROUP BY series_uid, modality",
        uid=study.study_uid,
    )
    return StoredStudy(
        study=study,
        modalities=tuple(sorted({row["modality"] for row in rows} - {""})),
        series=len({row["series_uid"] for row in rows}),
        instances=sum(row["instances"] for row in rows),
        path=Path(rows[0]["path"]) if rows else None,
    )


def _where(conditions: Sequence[MatchingKey]) -> tuple[str, dict[str, str]]:
    terms, values = ["TRUE"], dict[str, str]()
    for number, condition in enumerate(conditions):
        term, more = _term(condition, f"c{number}")
        terms.append(term)
        values |= more
    return " AND ".join(terms), values


def _term(condition: MatchingKey, name: str) -> tuple[str, dict[str, str]]:
    """A condition in SQL, on a column or on what the database reckons from several."""
    tag = condition.path[0]
    if tag in OF_OBJECTS:
        held, values = _holds(f"x.{OF_OBJECTS[tag]}", condition, name)
        return f"EXISTS (SELECT 1 FROM ({OBJECTS.format(scope='study_uid = s.study_uid')}) x WHERE {held})", values
    if tag in COUNTS:
        what, scope = COUNTS[tag]
        return _holds(f"CAST((SELECT count({what}) FROM ({OBJECTS.format(scope=scope)})) AS TEXT)", condition, name)
    return _holds("'ONLINE'" if tag == AVAILABILITY else COLUMNS[tag], condition, name)


def _holds(column: str, condition: MatchingKey, name: str) -> tuple[str, dict[str, str]]:
    """A condition in SQL. Names match in any case and in any of their component groups (PS3.4 C.2.2.2.1)."""
    values = {f"{name}_{i}": value for i, value in enumerate(condition.values)}
    if condition.matching is Matching.RANGE:
        low, high = condition.values
        bounds = f" AND {column} >= :{name}_0" * bool(low) + f" AND {column} <= :{name}_1" * bool(high)
        return f"{column} <> ''{bounds}", {key: value for key, value in values.items() if value}
    if condition.path == (PATIENT_NAME,):
        likes = {key: _like(value.rstrip("^")) for key, value in values.items()}
        groups = f"'=' || rtrim({column}, '^') || '='"
        terms = [f"{groups} LIKE '%=' || :{key} || '=%' ESCAPE '\\'" for key in likes]
        return f"({' OR '.join(terms)})", likes
    if condition.matching is Matching.WILDCARD:
        patterns = {key: value.replace("[", "[[]") for key, value in values.items()}
        return f"({' OR '.join(f'{column} GLOB :{key}' for key in patterns)})", patterns
    return f"{column} IN ({', '.join(f':{key}' for key in values)})", values


def _like(pattern: str) -> str:
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")
