"""Finding studies: among all that are stored by word and by date, the newest arrival first; and a filter's by a column.

Words are matched at their beginning and in any order, without regard to case and accents ("mull an" finds
MÜLLER^Anna); a single word of three characters or more also within an accession number. Tables and triggers: schema.py
(`arrivals`; `words` and `accessions`, FTS5 indices whose row IDs are its numbers).
"""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

from dicom_node.tables.database import Transaction

SHORTEST_PART = 3  # an index of three characters each finds it


class Sort(StrEnum):
    """A column that a filter's studies can be sorted by."""

    PATIENT = "patient"
    SCANNED = "scanned"
    WAITING = "waiting"


COLUMNS = {
    Sort.PATIENT: "s.patient_name COLLATE NOCASE {0}, s.patient_id {0}",
    Sort.SCANNED: "coalesce(w.scanned_at, s.study_date) {0}",
    Sort.WAITING: "w.waiting_since {0}",
}


def find(
    tx: Transaction, text: str, date: str, limit: int, offset: int = 0, places: Collection[int] = (), reader: str = ""
) -> list[str]:
    """Study UIDs of one page; `date` as YYYYMMDD, empty for any; only those in `places` or of `reader` where given."""
    conditions = []
    if date:
        conditions.append("a.study_date = :date")
    if places:
        conditions.append(f"w.place IN ({_numbers(places)})")
    if reader:
        conditions.append("w.reader = :reader")
    tables = "arrivals a" + (" CROSS JOIN worklist w ON w.study_uid = a.study_uid" if places or reader else "")
    found: dict[int, str] = {}
    for index, condition in _sources(text):
        joined = f"{index} f CROSS JOIN {tables.replace('arrivals a', 'arrivals a ON a.number = f.rowid', 1)}"
        where = " AND ".join([condition, *conditions]) if index else " AND ".join(conditions)
        rows = tx.rows(
            f"SELECT a.number, a.study_uid FROM {joined if index else tables} {'WHERE ' + where if where else ''}"
            f" ORDER BY {'f.rowid' if index else 'a.number'} DESC LIMIT :most",
            match=matching(text),
            part=f"%{text.strip()}%",
            date=date,
            reader=reader,
            most=limit + offset,
        )
        found |= {row["number"]: row["study_uid"] for row in rows}
    return [found[number] for number in sorted(found, reverse=True)][offset : offset + limit]


def by_column(
    tx: Transaction,
    sort: Sort,
    descending: bool,
    places: Collection[int],
    oldest: datetime,
    limit: int,
    offset: int = 0,
    reader: str = "",
) -> list[str]:
    """Study UIDs of one page of those in these places, sorted; what waits longer than since `oldest` is left out."""
    order = COLUMNS[sort].format("DESC" if descending else "ASC")
    rows = tx.rows(
        "SELECT w.study_uid FROM worklist w JOIN studies s USING (study_uid)"
        f" WHERE w.place IN ({_numbers(places)}) AND w.waiting_since > :oldest AND (:reader = '' OR w.reader = :reader)"
        f" ORDER BY {order}, w.study_uid LIMIT :limit OFFSET :offset",
        oldest=oldest.isoformat(timespec="milliseconds"),
        reader=reader,
        limit=limit,
        offset=offset,
    )
    return [row["study_uid"] for row in rows]


def count(tx: Transaction) -> int:
    """How many studies are stored."""
    return tx.number("SELECT count(*) FROM arrivals")


def matching(text: str) -> str:
    """What a reader typed as an FTS5 expression: every term as a phrase whose last word may go on."""
    terms = [term for term in text.replace('"', " ").replace("\0", " ").split() if any(each.isalnum() for each in term)]
    return " ".join(f'"{term}" *' for term in terms)


def _sources(text: str) -> list[tuple[str, str]]:
    """Where to look and what for: (index, condition). Without an index all studies; none where nothing can be found."""
    if not text.strip():
        return [("", "")]
    if not matching(text):
        return []
    found = [("words", "words MATCH :match")]
    term = text.strip()
    if len(term) >= SHORTEST_PART and not set(term) & set("%_ \0"):
        found.append(("accessions", "f.accession LIKE :part"))
    return found


def _numbers(places: Collection[int]) -> str:
    return ", ".join(str(place) for place in sorted(places))
