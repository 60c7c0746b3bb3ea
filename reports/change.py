"""What has changed since the patient's last scan, in words: for headlines, reports, pictures and pages alike."""

from collections.abc import Iterator
from datetime import timedelta

from inference.change import Change, ChangeKind, Growth
from inference.findings import volume_text
from reports.vocabulary.terms import Vocabulary


def phrase(growth: Growth, vocabulary: Vocabulary) -> str:
    """The change in a headline's few words; empty where neither scan shows anything."""
    if not growth.same_model:
        return f"the scan {elapsed_text(growth.elapsed)} earlier was measured by another model"
    change = growth.most_telling
    if change is None:
        return ""
    name, ago = vocabulary.in_comparison(change.name), elapsed_text(growth.elapsed)
    if change.kind is ChangeKind.NEW:
        return f"{name} new since the scan {ago} earlier"
    if change.kind is ChangeKind.GONE:
        return f"{name} {volume_text(change.earlier.ml)} in the scan {ago} earlier, no longer outlined"
    size = f"{name} {volume_text(change.earlier.ml)} to {volume_text(change.later.ml)} ({_difference(change)}) in {ago}"
    return f"GROWTH: {size}" if change.grown else f"{size}, {_certainty(change)}"


def sentences(growth: Growth | None, vocabulary: Vocabulary) -> Iterator[str]:
    """The whole comparison in plain words (ASCII); nothing where there is none."""
    if growth is None:
        return
    when = f"{growth.earlier_at.astimezone():%Y-%m-%d %H:%M %Z}, {elapsed_text(growth.elapsed)} earlier"
    if not growth.same_model:
        yield f"Earlier scan of {when}: measured by different models, so the volumes are not compared."
        return
    yield f"Compared with the earlier scan of {when}, as measured by the same model."
    for change in growth.changes:
        yield f"{vocabulary.in_comparison(change.name).capitalize()}: {_account(change)}."
    for change in growth.changes:
        if change.grown:
            yield vocabulary.growth_of(change.name)


def elapsed_text(elapsed: timedelta) -> str:
    """A time between two scans, no more exact than it is useful: "0.5 h", "26 h", "5 days"."""
    hours = elapsed / timedelta(hours=1)
    if hours < 9.95:
        return f"{hours:.1f} h"
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"


def _account(change: Change) -> str:
    """One finding's change, with what can be said of it."""
    if change.kind is ChangeKind.NOTHING:
        return "nothing outlined in either scan"
    if change.kind is ChangeKind.NEW:
        return f"{volume_text(change.later.ml)}, new: nothing was outlined in the earlier scan"
    if change.kind is ChangeKind.GONE:
        return f"was {volume_text(change.earlier.ml)}, no longer outlined; the scan must be read as usual"
    volumes = f"{volume_text(change.earlier.ml)} to {volume_text(change.later.ml)}"
    return f"{volumes} ({_difference(change)}), {_certainty(change)}"


def _certainty(change: Change) -> str:
    """What the volume error leaves of a change."""
    if change.kind is ChangeKind.UNCHANGED:
        return "no change seen"
    if change.kind is not ChangeKind.UNCERTAIN:
        return f"{change.kind} beyond the volume error"
    ranges = (change.earlier.high_ml, change.earlier.low_ml, change.later.low_ml, change.later.high_ml)
    known = change.repeat_sd is not None or None not in ranges
    return f"change not certain ({'within' if known else 'unknown'} volume error)"


def _difference(change: Change) -> str:
    """E.g. "+8.1 ml, +67 %"."""
    share = "" if change.percent is None else f", {change.percent:+.0f} %"
    return f"{change.ml:+.1f} ml{share}"
