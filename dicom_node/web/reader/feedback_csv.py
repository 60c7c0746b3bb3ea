"""All feedback with the results it is about as CSV: RFC 4180, UTF-8, a few rows at a time.

Every cell below the head is quoted. What people or other machines have typed may begin like a spreadsheet's formula,
also after a sign at which a spreadsheet may split the cell (a semicolon in German Excel); it gets an apostrophe in
front of it there (OWASP, "CSV Injection"). Rows stand in the order in which they were given; `in_force` tells a
reader's last word on a result from what he changed later. The accession is empty once a study has left the archive.
"""

import csv
import re
from collections.abc import Iterator
from io import StringIO

from dicom_node.entities import FindingRow
from dicom_node.tables import feedback
from dicom_node.tables.database import Database
from dicom_node.tables.feedback import Feedback

ROWS_AT_ONCE = 500
SIGNS = "=+@＝＋－＠﹦﹢﹣﹫−-"
FORMULA = re.compile(rf"[\t\r\n]|[\s\"'`\u200b\ufeff]*+[{SIGNS}]")
FORMULA_AFTER_SEPARATOR = re.compile(
    rf"(?<=[;,|\t\r\n\v\f\x85\u2028\u2029；，、])(?=(?:[^\S\r\n]|[\"'`\u200b\ufeff])*+[{SIGNS}])"
)
HEAD = (
    "feedback_id",
    "given_at",
    "reader",
    "verdict",
    "right_types",
    "comment",
    "in_force",
    "study_uid",
    "accession",
    "result_version",
    "result_made_at",
    "pipeline",
    "suspected",
    "probability",
    "threshold",
    "types_found",
    "volume_ml",
    "model_name",
    "model_version",
    "model_sha256",
    "question",
)


def csv_pages(database: Database) -> Iterator[str]:
    """The file, piece by piece; what is given meanwhile is not in it."""
    with database.read() as tx:
        up_to = feedback.last_id(tx)
    yield ",".join(HEAD) + "\r\n"
    last = 0
    while last < up_to:
        with database.read() as tx:
            page = feedback.page_after(tx, last, up_to, ROWS_AT_ONCE)
        if not page:
            return
        yield _text([_row(each) for each in page])
        last = page[-1].feedback_id


def harmless(text: str) -> str:
    """A text of which no spreadsheet takes any part for a formula."""
    begin = "'" if FORMULA.match(text) else ""
    return begin + FORMULA_AFTER_SEPARATOR.sub("'", text)


def _row(each: Feedback) -> tuple[str, ...]:
    found = [finding for finding in each.findings if finding.present]
    return (
        str(each.feedback_id),
        each.given_at.isoformat(timespec="seconds"),
        harmless(each.reader),
        each.verdict,
        harmless("; ".join(each.right_types)),
        harmless(each.comment),
        "yes" if each.in_force else "no",
        harmless(each.study_uid),
        harmless(each.accession),
        str(each.version),
        each.result_made_at.isoformat(timespec="seconds"),
        harmless(each.pipeline),
        "yes" if each.suspected else "no",
        f"{each.probability:.4f}",
        f"{each.threshold:.4f}",
        harmless("; ".join(finding.name for finding in found)),
        _volumes(found),
        harmless(each.model_name),
        harmless(each.model_version),
        each.model_sha256,
        harmless(each.question),
    )


def _volumes(found: list[FindingRow]) -> str:
    """In the order of the types found."""
    return "; ".join(f"{finding.volume_ml:.1f}" for finding in found)


def _text(rows: list[tuple[str, ...]]) -> str:
    buffer = StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()
