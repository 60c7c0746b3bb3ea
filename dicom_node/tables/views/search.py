"""Finding studies among all that are stored, the newest arrival first, by word and by date.

Words are matched at their beginning and in any order, without regard to case and accents ("mull an" finds
MÜLLER^Anna). Tables and triggers: schema.py (`arrivals`, and `words`, an FTS5 index whose row IDs are its numbers).
"""

from collections.abc import Collection

from dicom_node.tables.database import Transaction


def find(
    tx: Transaction, text: str, date: str, limit: int, offset: int = 0, places: Collection[int] = (), reader: str = ""
) -> list[str]:
    """Study UIDs of one page; `date` as YYYYMMDD, empty for any; only those in `places` or of `reader` where given."""
    tables, conditions, match = ["arrivals a"], [], matching(text)
    if text.strip() and not match:
        return []
    if match:
        tables = ["words f", "arrivals a ON a.number = f.rowid"]
        conditions.append("words MATCH :match")
    if date:
        conditions.append("a.study_date = :date")
    if places or reader:
        tables.append("worklist w ON w.study_uid = a.study_uid")
    if places:
        conditions.append(f"w.place IN ({', '.join(str(place) for place in sorted(places))})")
    if reader:
        conditions.append("w.reader = :reader")
    newest = "f.rowid" if match else "a.number"
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = tx.rows(
        f"SELECT a.study_uid FROM {' CROSS JOIN '.join(tables)} {where}"
        f" ORDER BY {newest} DESC LIMIT :limit OFFSET :offset",
        match=match,
        date=date,
        reader=reader,
        limit=limit,
        offset=offset,
    )
    return [row["study_uid"] for row in rows]


def matching(text: str) -> str:
    """What a reader typed as an FTS5 expression: every term as a phrase whose last word may go on."""
    terms = [term for term in text.replace('"', " ").replace("\0", " ").split() if any(each.isalnum() for each in term)]
    return " ".join(f'"{term}" *' for term in terms)
