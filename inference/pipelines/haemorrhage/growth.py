"""Has a haematoma grown between two scans of a patient? The rule, on volumes alone.

Growth is marked for intraparenchymal haemorrhage: more than 6 ml (Dowlatshahi et al., Neurology 2011;76:1238), or more
than 33 % (Brott et al., Stroke 1997;28:1) from at least 5 ml, since a share of a small volume is mostly noise; and only
where the change is beyond the volume error.
"""

from collections.abc import Mapping
from dataclasses import replace

from inference.change import Change, ChangeKind, Volume, total
from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType

GROWTH_ML = 6.0
GROWTH_PERCENT = 33.0
PERCENT_FROM_ML = 5.0
MARKED = HaemorrhageType.INTRAPARENCHYMAL


def changes(earlier: Mapping[str, Volume], later: Mapping[str, Volume]) -> tuple[Change, ...]:
    """All blood, and the intraparenchymal where the model tells it apart in both scans."""
    found = [Change(INTRACRANIAL, total(earlier.values()), total(later.values()), whole=True)]
    if MARKED in earlier and MARKED in later:
        change = Change(MARKED.value, earlier[MARKED], later[MARKED])
        found.append(replace(change, grown=is_expanded(change) and change.kind is ChangeKind.LARGER))
    return tuple(found)


def is_expanded(change: Change) -> bool:
    """Whether the drawn volumes meet the definition of growth, whatever their error."""
    share = change.earlier.ml >= PERCENT_FROM_ML and change.ml > change.earlier.ml * GROWTH_PERCENT / 100
    return change.ml > GROWTH_ML or share
