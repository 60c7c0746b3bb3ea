"""Validation -> one HTML page that needs nothing else: sentences first, then tables, the curve, pictures and lists."""

import re
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from inference.training.evaluation.figures import Mistake
from inference.training.evaluation.metrics import Estimate
from inference.training.evaluation.page import (
    FEW_POSITIVES,
    MOST_EMBEDDED,
    caption,
    in_percent,
    interval,
    number,
    plural,
    shown,
    studies_text,
)
from inference.training.evaluation.plots import roc
from inference.training.validation.figures import Aim, Rates, Validation

MOST_LISTED = 500


def summary_lines(found: Validation) -> list[str]:
    """The whole check in a few plain sentences."""
    rates, missing = found.rates, len(found.not_analysed)
    missed = f", {missing:,} not analysed" if missing else ""
    lines = [f"{studies_text(found.listed)} with a clear truth: {rates.studies:,} analysed{missed}."]
    sensitivity, specificity, ppv, npv = rates.sensitivity, rates.specificity, rates.ppv, rates.npv
    if sensitivity.of:
        lines.append(
            f"Of {studies_text(sensitivity.of)} with haemorrhage {sensitivity.hits} were flagged "
            f"(sensitivity {in_percent(sensitivity)})."
        )
    if specificity.of:
        lines.append(
            f"Of {studies_text(specificity.of)} without haemorrhage {specificity.hits} were not flagged "
            f"(specificity {in_percent(specificity)})."
        )
    if ppv.of:
        lines.append(f"Of {studies_text(ppv.of)} flagged {ppv.hits} had haemorrhage (PPV {in_percent(ppv)}).")
    if npv.of:
        lines.append(f"Of {studies_text(npv.of)} not flagged {npv.hits} had none (NPV {in_percent(npv)}).")
    lines += [f"{each.warning}" for each in found.aims if each.warning]
    few = [
        f"{count} {kind} haemorrhage"
        for count, kind in ((sensitivity.of, "with"), (specificity.of, "without"))
        if count < FEW_POSITIVES
    ]
    return [*lines, f"Only {' and '.join(few)}: too few to judge a model by."] if few else lines


def aim_lines(aim: Aim) -> list[str]:
    """What to put where for one wish, and what it would have brought."""
    wish = f"a {aim.kind} of at least {aim.wish:g}"
    if aim.threshold is None or aim.rates is None:
        return [f"No threshold reaches {wish} on these studies."]
    lines = [
        f"{wish[0].upper()}{wish[1:]} is reached with the threshold {aim.threshold:.4f}: {_brought(aim.rates)}. To use "
        f"it, write study_threshold = {aim.threshold:.4f} under [decision] in a copy of the model's card, and install "
        "that copy as a model of your own (triage-node models install, then models use)."
    ]
    if aim.aim_of_card is None or aim.rates_of_card is None or aim.threshold_of_card is None:
        lines.append("None of the operating points of the model's card reaches it here.")
    else:
        lines.append(
            f"Without a card of your own: [model] sensitivity = {aim.aim_of_card:g} in the site's settings takes the "
            f"card's operating point that reaches it here, threshold {aim.threshold_of_card:g}: "
            f"{_brought(aim.rates_of_card)}."
        )
    return lines


def _brought(rates: Rates) -> str:
    """E.g. "sensitivity 0.92 (23 of 25, 95 % interval 0.75 to 0.98), specificity ..."."""
    return ", ".join(
        f"{name} {_told(each)}"
        for name, each in (("sensitivity", rates.sensitivity), ("specificity", rates.specificity))
    ) + (f", PPV {_told(rates.ppv)}" if rates.ppv.of else "")


def _told(estimate: Estimate) -> str:
    if not estimate.of:
        return "not measurable"
    return f"{number(estimate.value, 2)} ({estimate.hits} of {estimate.of}, 95 % interval {interval(estimate, 2)})"


def render(found: Validation, studies: Path) -> str:
    """The page; `studies` is the folder of pictures beside it."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "interval": interval, "caption": caption, "plural": plural}
    template = environment.from_string(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))

    def pictured(mistakes: tuple[Mistake, ...], kind: str) -> dict[str, object]:
        return {
            "embedded": shown(mistakes[:MOST_EMBEDDED], studies, kind),
            "beside": shown(mistakes[MOST_EMBEDDED:], studies, kind, embed=False),
        }

    by: dict[str, list[object]] = {}
    for group in found.groups:
        by.setdefault(group.by, []).append(group)
    return template.render(
        v=found,
        style=_style(),
        summary=summary_lines(found),
        aims=[(each, aim_lines(each)) for each in found.aims],
        groups=by,
        curve=roc(found.study, "roc-study", "studies") if found.study and found.study.curves else "",
        missed=pictured(found.missed, "Missed study"),
        alarms=pictured(found.false_alarms, "False alarm in study"),
        lists=(
            ("Truth unclear", "The report is not sure, or rows contradict each other", found.unclear),
            ("Without a row", "Studies of the folder that no row of the CSV names", found.untold),
            ("Rows without a study", "The CSV names them, the folder does not hold them", found.not_here),
            ("Counted, but look", "Rows that are not as they should be", found.notes),
        ),
        most_listed=MOST_LISTED,
    )


def _style() -> str:
    """The evaluation page's own: both pages look alike."""
    text = resources.files("inference.training.evaluation").joinpath("page.html").read_text(encoding="utf-8")
    found = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert found is not None
    return found.group(1)
