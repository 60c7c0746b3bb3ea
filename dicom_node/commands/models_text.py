"""What `triage-node models` prints: the models, a model's operating points, a dry run. Changes nothing."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from dicom_node.commands.text import table
from dicom_node.models.files import BUILT_IN
from dicom_node.models.store import ModelStore
from dicom_node.tables.models import InstalledModel, InUse
from inference.errors import ModelError
from inference.findings import chance_text
from inference.models.card import Figure, ModelCard, OperatingPoint
from inference.models.operating import predict
from inference.models.prevalence import shift_of, shifted

if TYPE_CHECKING:
    from dicom_node.models.trial import Trial

MINUTES = "%Y-%m-%d %H:%M %Z"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of `models list --json`; `in_use` are the pipelines it answers for, `chosen` who chose it for which.

    What only its card says is None where the card cannot be read; `problem` is empty if all is well.
    """

    id: str
    in_use: tuple[str, ...]
    chosen: tuple[InUse, ...]
    name: str
    version: str
    sha256: str
    kind: str
    study_auc: Figure | None
    installed_at: datetime | None
    installed_by: str | None
    problem: str


def entries_of(store: ModelStore, routed: Collection[str]) -> list[ModelEntry]:
    """Every model, the built-in one first."""
    return [_entry(store, model, routed) for model in (None, *store.installed())]


def _entry(store: ModelStore, model: InstalledModel | None, routed: Collection[str]) -> ModelEntry:
    card, problem = None, ""
    try:
        card = store.card(model)
        store.check(model)
    except ModelError as error:
        problem = str(error)
    who = model or (card.identity if card else None)
    return ModelEntry(
        id=model.model_id if model else BUILT_IN,
        in_use=tuple(store.uses(model, routed)),
        chosen=tuple(each for each in store.chosen() if each.model_id == (model.model_id if model else None)),
        name=who.name if who else "",
        version=who.version if who else "",
        sha256=who.sha256 if who else "",
        kind=model.kind if model else (card.kind if card else ""),
        study_auc=next((each for each in card.figures if each.name == "study_auc"), None) if card else None,
        installed_at=model.installed_at if model else None,
        installed_by=model.installed_by if model else None,
        problem=problem,
    )


def list_text(entries: Sequence[ModelEntry]) -> str:
    """The models as a table, and below it what is wrong with any."""
    head = ("in use for", "id", "name", "version", "hash", "kind", "study AUC (95 %)", "installed")
    rows = [
        (
            ", ".join(each.in_use) or "-",
            each.id,
            each.name,
            each.version,
            each.sha256[:8],
            each.kind,
            interval(each.study_auc),
            f"{each.installed_at:{MINUTES}}" if each.installed_at else "with the package",
        )
        for each in entries
    ]
    chosen = [
        f"{each.id} answers for {one.pipeline} since {one.set_at:{MINUTES}}, set by {one.set_by}"
        for each in entries
        for one in each.chosen
    ]
    return "\n".join([table(head, rows), *chosen, *(each.problem for each in entries if each.problem)])


def points_text(card: ModelCard, prevalence: float, threshold: float | None, assumed: float) -> str:
    """A card's operating points at a prevalence; `threshold` is the one in use, None of a model that is not.

    Thresholds are shown as results have them, at the `assumed` prevalence.
    """
    shift = shift_of(card, assumed)
    from reports.vocabulary.terms import vocabulary_of

    title = f"{card.identity.name} {card.identity.version} at a prevalence of {100 * prevalence:g} %"
    if not card.operating_points:
        return f"{title}: its card has no operating points; its threshold is {_shown(card.threshold, shift)}"
    head = ("", "aim", "threshold", "sensitivity (95 %)", "specificity (95 %)", "PPV", "NPV", "false alarms / 100")
    marked = [_same(point.threshold, threshold) for point in card.operating_points]
    rows = [
        _point_row(point, prevalence, used, shift) for point, used in zip(card.operating_points, marked, strict=True)
    ]
    lines = [title, table(head, rows)]
    if threshold is not None and not any(marked):
        lines.append(f"In use is the card's own threshold, {_shown(threshold, shift)}, which is none of these points.")
    shown = next((p for p, used in zip(card.operating_points, marked, strict=True) if used), card.operating_points[0])
    return "\n".join([*lines, point_in_words(shown, prevalence, vocabulary_of(card.question).noun)])


def _point_row(point: OperatingPoint, prevalence: float, used: bool, shift: float) -> tuple[str, ...]:
    expected = predict(point, prevalence)
    return (
        "in use" if used else "",
        f"{point.aim:g}",
        _shown(point.threshold, shift),
        interval(point.sensitivity),
        interval(point.specificity),
        interval(expected.ppv),
        interval(expected.npv),
        f"{expected.false_alarms_per_100:.1f}",
    )


def point_in_words(point: OperatingPoint, prevalence: float, noun: str) -> str:
    """What a reader will live with, as a sentence; `noun` is what is looked for."""
    expected, sick = predict(point, prevalence), 100 * prevalence
    told = (
        f"With the aim {point.aim:g}: of 100 studies about {sick:.3g} show {noun}; {expected.found_per_100:.1f} "
        f"of them are flagged, and {expected.false_alarms_per_100:.1f} others are flagged wrongly"
    )
    if math.isnan(expected.ppv.value):
        return f"{told}."
    return f"{told}: of 100 flags {100 * expected.ppv.value:.0f} are right."


def trials_text(trials: Sequence["Trial"]) -> str:
    """A dry run as a table."""
    head = ("study", "flag", "probability", "seconds", "")
    return table(head, [_trial_row(each) for each in trials])


def _trial_row(trial: "Trial") -> tuple[str, ...]:
    before = trial.before
    flag, probability = _flag(before.suspected), chance_text(before.probability)
    if trial.suspected is not None and trial.probability is not None:
        flag, probability = f"{flag} -> {_flag(trial.suspected)}", f"{probability} -> {chance_text(trial.probability)}"
    note = "changes" if trial.changes else trial.reason
    return before.accession or before.study_uid, flag, probability, f"{trial.seconds:.1f}", note


def _flag(suspected: bool) -> str:
    return "suspected" if suspected else "none"


def _shown(threshold: float, shift: float) -> str:
    return f"{shifted(threshold, shift):.4g}"


def _same(threshold: float, used: float | None) -> bool:
    return used is not None and math.isclose(threshold, used, abs_tol=1e-6)


def interval(figure: Figure | None) -> str:
    """A figure with its interval, "-" where there is none."""
    if figure is None or math.isnan(figure.value):
        return "-"
    low, high = (("-" if math.isnan(end) else f"{end:.2f}") for end in (figure.low, figure.high))
    return f"{figure.value:.2f} ({low} to {high})"
