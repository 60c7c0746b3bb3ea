"""Evaluation -> one HTML page that needs nothing else: sentences first, then tables, plots and pictures."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

from inference.findings import volume_text
from inference.training.evaluation.agreement import LARGE_ML, NEAR_MM
from inference.training.evaluation.figures import Drawings, Evaluation, Mistake
from inference.training.evaluation.metrics import Estimate, Level
from inference.training.evaluation.plots import all_plots
from inference.training.evaluation.records import AnswerOutcome

MOST_EMBEDDED = 100
MOST_LISTED = 300
FEW_POSITIVES = 10


@dataclass(frozen=True, slots=True)
class Shown:
    """A wrong answer with its picture: `source` is a data URI, a path beside the page, or '' where there is none."""

    mistake: Mistake
    source: str
    alt: str


def plural(count: int, singular: str, several: str = "") -> str:
    """E.g. "1 study", "2 studies"."""
    return f"{count:,} {singular if count == 1 else several or singular + 's'}"


def studies_text(count: int) -> str:
    """E.g. "1 study", "2 studies"."""
    return plural(count, "study", "studies")


def percent(value: float) -> str:
    """Two significant figures under 10 %, so that a prevalence of 2.7 % stays one; never rounded to 0 or 100 %."""
    if math.isnan(value):
        return "not measurable"
    if 0.995 <= value < 1:
        return f"{100 * value:.1f} %" if value < 0.9995 else "> 99.9 %"
    return f"{100 * value:.1f} %" if 0 < value < 0.0995 else f"{100 * value:.0f} %"


def number(value: float, digits: int = 3) -> str:
    """Rounded, with a true minus sign; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def interval(estimate: Estimate, digits: int = 3) -> str:
    """E.g. "0.80 to 1.00", or a dash."""
    if math.isnan(estimate.low):
        return "–"
    return f"{number(estimate.low, digits)} to {number(estimate.high, digits)}"


def in_percent(estimate: Estimate) -> str:
    """E.g. "92 %, 95 % interval 80 to 100 %"."""
    if math.isnan(estimate.low):
        return percent(estimate.value)
    return f"{percent(estimate.value)}, 95 % interval {interval_percent(estimate)}"


def interval_percent(estimate: Estimate) -> str:
    """E.g. "80 to 100 %"."""
    return f"{percent(estimate.low).removesuffix(' %')} to {percent(estimate.high)}"


def summary_lines(evaluation: Evaluation) -> list[str]:
    """The whole evaluation in a few plain sentences."""
    counts = evaluation.counts
    everyone = f"{studies_text(counts.studies)} of {plural(counts.patients, 'patient')}"
    some = f"Of {everyone} {counts.analysed:,} were analysed."
    lines = [some if evaluation.not_analysed else f"{everyone}, all analysed."]
    lines += _rates(evaluation.study)
    lines += _few(evaluation.study)
    lines += _drawn(evaluation.drawings) if evaluation.drawings is not None else []
    for each in evaluation.study.predicted:
        if math.isnan(each.ppv.value):
            continue
        lines.append(
            f"Where {percent(each.prevalence)} of studies have haemorrhage, {percent(each.ppv.value)} of flags would "
            f"be right (95 % interval {interval_percent(each.ppv)}; predicted, not measured)."
        )
    return lines + _missing(evaluation)


def _rates(study: Level) -> list[str]:
    lines = []
    if study.positives:
        lines.append(
            f"Of {studies_text(study.positives)} with haemorrhage {study.true_positives:,} were flagged and "
            f"{study.false_negatives:,} missed (sensitivity {in_percent(study.sensitivity)})."
        )
    negatives = study.units - study.positives
    if negatives:
        lines.append(
            f"Of {studies_text(negatives)} without haemorrhage {study.true_negatives:,} were not flagged and "
            f"{study.false_positives:,} were false alarms (specificity {in_percent(study.specificity)})."
        )
    flagged = study.true_positives + study.false_positives
    if flagged:
        lines.append(
            f"Of {studies_text(flagged)} flagged {study.true_positives:,} had haemorrhage (PPV "
            f"{in_percent(study.ppv)}), in a set in which {percent(study.positives / study.units)} of studies have it; "
            "where haemorrhage is rarer, fewer flags are right."
        )
    if not math.isnan(study.auc.value):
        said = f"95 % interval {interval(study.auc)}" if study.auc.interval else study.auc.note
        lines.append(f"The area under the ROC curve of studies is {number(study.auc.value)} ({said}).")
    return lines


def _few(study: Level) -> list[str]:
    few = [
        f"{count} {kind} haemorrhage"
        for count, kind in ((study.positives, "with"), (study.units - study.positives, "without"))
        if count < FEW_POSITIVES
    ]
    return [f"Only {' and '.join(few)}: too few to judge a model by."] if few else []


def _drawn(found: Drawings) -> list[str]:
    exact, within, inside, near = (
        found.types_exact_flagged,
        found.volumes.within_factor_2,
        found.peak_inside,
        found.peak_near,
    )
    lines = [
        f"What is drawn and what readers outlined have a Dice of {_valued(found.dice_slice)} by outlined slice and of "
        f"{_valued(found.dice_patient)} by study (median {number(found.dice_patient_median.value, 2)})."
    ]
    if within.of:
        lines.append(
            f"Of {plural(within.of, 'bleed')} of {LARGE_ML:g} ml and more {within.hits:,} were drawn with at least "
            f"half and at most twice the outlined volume ({_shared(within)})."
        )
    if exact.of:
        lines.append(
            f"Of {studies_text(exact.of)} with haemorrhage that were flagged {exact.hits:,} were given exactly the "
            f"types that readers named ({_shared(exact)})."
        )
    if inside.of:
        lines.append(
            f"In {inside.hits:,} of {studies_text(inside.of)} with outlined blood that were flagged the network's "
            f"surest place lies within the outline, in {near.hits:,} at most {NEAR_MM:g} mm from it ({_shared(near)})."
        )
    return lines


def _valued(estimate: Estimate) -> str:
    """E.g. "0.54 (0.40 to 0.66)", or with the reason why there is no interval."""
    return f"{number(estimate.value, 2)} ({estimate.note or interval(estimate, 2)})"


def _shared(estimate: Estimate) -> str:
    """E.g. "88 %, 95 % interval 70 to 100 %; only 3 patients"."""
    return f"{in_percent(estimate)}; {estimate.note}" if estimate.note else in_percent(estimate)


def _missing(evaluation: Evaluation) -> list[str]:
    counts, worst = evaluation.counts, evaluation.worst_case
    if not evaluation.not_analysed:
        return []
    return [
        f"{studies_text(len(evaluation.not_analysed))} got no answer ({counts.not_analysed:,} not analysable, "
        f"{counts.errors:,} unreadable, {counts.failed:,} whose analysis failed) and are in none of the figures above. "
        "Had all of them been answered wrongly, "
        f"sensitivity would be {percent(worst.sensitivity.value)} and specificity {percent(worst.specificity.value)}."
    ]


def caption(mistake: Mistake) -> str:
    """What readers and model said, in a line."""
    truth = ", ".join(mistake.types) or ("no haemorrhage" if mistake.types_complete else "type not named")
    parts = [f"readers: {truth}"]
    if mistake.slices_marked:
        parts.append(f"{plural(mistake.slices_marked, 'slice')} marked")
    if mistake.volume_ml:
        parts.append(volume_text(mistake.volume_ml))
    said = f"model {mistake.probability:.2f}, flags from {mistake.threshold:.2f}"
    if mistake.types_named:
        said += f", named {', '.join(mistake.types_named)}, drew {volume_text(mistake.predicted_ml)}"
    return f"{', '.join(parts)}; {said}"


def shown(mistakes: Sequence[Mistake], studies: Path, kind: str, *, embed: bool = True) -> list[Shown]:
    """With their pictures, inside the page or as paths beside it."""
    result = []
    for each in mistakes:
        source = ""
        if each.picture is not None and (studies / each.picture).exists():
            path = studies / each.picture
            source = quote(f"{studies.name}/{each.picture}")
            if embed:
                source = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
        alt = f"{kind} {each.study_id}: brain-window slices; {caption(each)}"
        result.append(Shown(each, source, alt))
    return result


def render(evaluation: Evaluation, studies: Path, worst: int) -> str:
    """The page; `studies` is the folder of records and pictures, `worst` how many false alarms are pictured."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "number": number,
        "interval": interval,
        "percent": percent,
        "in_percent": in_percent,
        "caption": caption,
        "zip": lambda first, second: list(zip(first, second, strict=True)),
    }
    template = environment.from_string(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(
        e=evaluation,
        summary=summary_lines(evaluation),
        plots=all_plots(evaluation),
        missed=shown(evaluation.false_negatives[:MOST_EMBEDDED], studies, "Missed study"),
        more_missed=shown(evaluation.false_negatives[MOST_EMBEDDED:], studies, "Missed study", embed=False),
        alarms=shown(evaluation.false_positives[:worst], studies, "False alarm in study"),
        errors=[each for each in evaluation.not_analysed if each.outcome is AnswerOutcome.ERROR],
        failed=[each for each in evaluation.not_analysed if each.outcome is AnswerOutcome.FAILED],
        declined=[each for each in evaluation.not_analysed if each.outcome is AnswerOutcome.NOT_ANALYSED],
        most_listed=MOST_LISTED,
    )
