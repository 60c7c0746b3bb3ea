"""The stress sets' answers as two tables, in Markdown: where a model sees bleeds, and what it takes for one.

Every cell has its counts; intervals are Wilson's (1927), 95 %. Simulated heads say where a model is weak, not how good
it is on patients.
"""

from collections.abc import Callable, Iterable, Sequence

from inference.findings import ModelIdentity
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.evaluation.statistics import wilson
from inference.training.simulate.mimics import Mimic
from inference.training.studies.stress import DETECTION, MIMIC, PLAIN, SLICES_MM, STEPS_ML, HeadAnswer

THICKNESS_MM = ((0.0, 4.0), (4.0, 7.0), (7.0, 12.0), (12.0, float("inf")))


def share(answers: Sequence[HeadAnswer], hit: Callable[[HeadAnswer], bool]) -> str:
    """Hits of all, with the interval where there are any."""
    if not answers:
        return "–"
    hits = sum(map(hit, answers))
    low, high = wilson(hits, len(answers))
    return f"{hits}/{len(answers)} ({low:.2f}–{high:.2f})"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    titles = list(head)
    return [
        "| " + " | ".join(titles) + " |",
        "|---" * len(titles) + "|",
        *("| " + " | ".join(r) + " |" for r in rows),
        "",
    ]


def detection_table(answers: Sequence[HeadAnswer], slice_mm: float) -> list[str]:
    """Flagged of all, by type and volume."""
    chosen = [a for a in answers if a.stress == DETECTION and a.slice_mm == slice_mm]
    rows = []
    for kind in HaemorrhageType:
        own = [a for a in chosen if a.what == kind.value]
        cells = [share([a for a in own if a.wanted_ml == ml], lambda a: a.suspected) for ml in STEPS_ML]
        rows.append(
            [kind.value, *cells, share(own, lambda a: a.suspected and a.located), share(own, lambda a: a.typed)]
        )
    return _table(["", *(f"{ml:g} ml" for ml in STEPS_ML), "flagged and drawn where it is", "type right"], rows)


def thickness_table(answers: Sequence[HeadAnswer]) -> list[str]:
    """Flagged of all, by how thick the blood is within the plane."""
    rows = []
    for kind in (HaemorrhageType.EPIDURAL, HaemorrhageType.SUBDURAL):
        own = [a for a in answers if a.stress == DETECTION and a.what == kind.value]
        bins = ([a for a in own if low <= a.thickest_mm < high] for low, high in THICKNESS_MM)
        rows.append([kind.value, *(share(each, lambda a: a.suspected) for each in bins)])
    titles = (f"{low:g} to {high:g} mm" if high < 99 else f"{low:g} mm and more" for low, high in THICKNESS_MM)
    return _table(["", *titles], rows)


def mimic_table(answers: Sequence[HeadAnswer]) -> list[str]:
    """False alarms of all, by mimic, in heads that are not flagged without it."""
    rows = []
    for mimic in Mimic:
        own = [a for a in answers if a.stress == MIMIC and a.what == mimic.value]
        refused = sum(bool(a.not_analysed) for a in own)
        rows.append([mimic.value.replace("_", " "), share(own, lambda a: a.suspected), str(refused) if refused else ""])
    return _table(["", "false alarms", "not analysed"], rows)


def _flagged_as_they_are(plain: Sequence[HeadAnswer], slice_mm: float) -> str:
    own = [answer for answer in plain if answer.slice_mm == slice_mm]
    flagged = share(own, lambda a: a.suspected)
    return f"Normal heads flagged as they are, slices of {slice_mm:g} mm: {flagged}. These carry nothing below."


def stress_text(answers: Sequence[HeadAnswer], model: ModelIdentity, method: str) -> str:
    """Both sets' tables as a Markdown page."""
    plain = [a for a in answers if a.stress == PLAIN]
    lines = [
        "# Stress sets",
        "",
        f"Research only; not a medical device. Model {model.name} {model.version} ({model.sha256[:12]}). {method}",
        "",
        *(f"{_flagged_as_they_are(plain, slice_mm)}\n" for slice_mm in SLICES_MM),
        "## Simulated bleeds that are flagged",
        "",
    ]
    for slice_mm in SLICES_MM:
        lines += [f"Slices of {slice_mm:g} mm:", "", *detection_table(answers, slice_mm)]
    lines += ["By the thickness of the blood within the plane, all slices:", "", *thickness_table(answers)]
    lines += ["## Mimics that are flagged, in heads that are not without them", "", *mimic_table(answers)]
    return "\n".join(lines)
