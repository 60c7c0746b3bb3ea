"""Has a haematoma grown between two scans of a patient? The rule, on volumes alone.

Growth is marked for intraparenchymal haemorrhage where both scans tell it apart, else for all blood together: more than
6 ml (Dowlatshahi et al., Neurology 2011;76:1238), or more than 33 % (Brott et al., Stroke 1997;28:1) from at least
5 ml, since a share of a small volume is mostly noise; and only where the change is beyond the volume error.
"""

from collections.abc import Mapping
from dataclasses import replace

from inference.change import Change, ChangeKind, Volume, total
from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType

GROWTH_ML = 6.0
GROWTH_PERCENT = 33.0
PERCENT_FROM_ML = 5.0
ALL_TYPED = 0.99
BORNE_OUT = 0.5  # of what a type has gained all blood together must have gained
MARKED = HaemorrhageType.INTRAPARENCHYMAL


def changes(earlier: Mapping[str, Volume], later: Mapping[str, Volume]) -> tuple[Change, ...]:
    """All blood, and the intraparenchymal where it is told apart in both scans."""
    whole = Change(INTRACRANIAL, all_blood(earlier), all_blood(later), whole=True)
    if not (tells_types(earlier) and tells_types(later)):
        return (marked(whole),)
    part = Change(MARKED.value, earlier[MARKED], later[MARKED])
    if part.kind in (ChangeKind.NEW, ChangeKind.GONE):  # it may have been called another type in the other scan
        return marked(whole), part
    part = marked(part)
    renamed = whole.ml < part.ml * BORNE_OUT  # blood that was called another type in the earlier scan
    return replace(whole, notable=is_notable(whole)), replace(part, grown=part.grown and not renamed)


def all_blood(volumes: Mapping[str, Volume]) -> Volume:
    """All types together, whether they are told apart, given as one, or both."""
    types = total(volume for name, volume in volumes.items() if name != INTRACRANIAL)
    return max(types, volumes.get(INTRACRANIAL, types), key=lambda each: each.ml)


def tells_types(volumes: Mapping[str, Volume]) -> bool:
    """Whether all that was drawn has a type."""
    typed = sum(volume.ml for name, volume in volumes.items() if name != INTRACRANIAL)
    return MARKED in volumes and typed >= all_blood(volumes).ml * ALL_TYPED


def marked(change: Change) -> Change:
    """The change with what the definition of growth says of it."""
    notable = replace(change, notable=is_notable(change))
    return replace(notable, grown=is_expanded(change) and notable.kind is ChangeKind.LARGER)


def is_notable(change: Change) -> bool:
    """Whether the drawn volumes have changed by as much as growth is, in either direction, whatever their error."""
    return is_expanded(change) or is_expanded(replace(change, earlier=change.later, later=change.earlier))


def is_expanded(change: Change) -> bool:
    """Whether the drawn volumes meet the definition of growth, whatever their error."""
    share = change.earlier.ml >= PERCENT_FROM_ML and change.ml > change.earlier.ml * GROWTH_PERCENT / 100
    return change.ml > GROWTH_ML or share
