"""A patient's earlier studies that are stored here, whatever was found: what a reader wants to see beside today's.

Who is the same patient: same_patient.py. Of studies that were not analysed the issuer of the Patient ID is not known.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from dicom_node.derived.same_patient import birth_date, is_placeholder, obstacle
from dicom_node.entities import Study
from dicom_node.tables import worklist
from dicom_node.tables.database import Transaction
from dicom_node.tables.views import overview
from dicom_node.tables.views.priors import Candidate, candidates


@dataclass(frozen=True, slots=True)
class Prior:
    """An earlier study as its row says it, and how long before the later one it was scanned; None: times unknown."""

    row: overview.WorklistRow
    elapsed: timedelta | None


def priors_of(tx: Transaction, studies: Sequence[Study]) -> dict[str, list[Prior]]:
    """By study the patient's earlier ones, the latest first; a study without any is left out."""
    known = {each.study_uid: each for each in studies if not is_placeholder(each.patient_id) and birth_date(each)}
    asked = candidates(tx, tuple(known)) if known else []
    found = [each for each in asked if is_prior(each, known[each.later_uid])]
    items = worklist.of_studies(tx, list(dict.fromkeys(each.study.study_uid for each in found)))
    rows = {row.item.study_uid: row for row in overview.rows(tx, items)}
    priors: dict[str, list[Prior]] = defaultdict(list)
    for each in sorted(found, key=_when, reverse=True):
        if row := rows.get(each.study.study_uid):
            priors[each.later_uid].append(Prior(row, _elapsed(each)))
    return dict(priors)


def is_prior(candidate: Candidate, later: Study) -> bool:
    """Whether it is the same patient's, and known to be earlier: by time, else by the day."""
    issuers = (candidate.issuer, candidate.later_issuer)
    if obstacle(candidate.study, later) or (None not in issuers and issuers[0] != issuers[1]):
        return False
    if candidate.scanned_at is not None and candidate.later_at is not None:
        return candidate.scanned_at < candidate.later_at
    return "" < candidate.study.study_date < candidate.later_date


def _elapsed(candidate: Candidate) -> timedelta | None:
    if candidate.later_at is None or candidate.scanned_at is None:
        return None
    return candidate.later_at - candidate.scanned_at


def _when(candidate: Candidate) -> tuple[str, str]:
    return (candidate.study.study_date, candidate.scanned_at.isoformat() if candidate.scanned_at else "")
