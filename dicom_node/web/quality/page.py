"""The quality page: how the node does here, by week and by scanner, and in words whether the flag rate drifts.

Drift is judged by a two-sided test of two proportions (see intervals.py): the last four weeks, the running one
included, against the twelve before, at p < 0.01 for all scanners together; for each scanner alone 0.01 is divided by
the number of scanners that have enough studies (Bonferroni). Too few studies are said to be too few.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from dicom_node import clock
from dicom_node.derived.flag import in_order
from dicom_node.tables import models, quality
from dicom_node.tables.database import Transaction
from dicom_node.web.notices import Notice
from dicom_node.web.quality.intervals import Rate, RateChange
from dicom_node.web.quality.measures import (
    MEASURES,
    TYPE_AGREEMENT,
    MeasureGroup,
    MeasureSection,
    percent,
    section,
)
from dicom_node.web.quality.tallies import BEFORE, LATE, Figures, Tally
from dicom_node.web.site import render, site_of
from inference.pipelines.registry import QUESTIONS
from reports.vocabulary.terms import vocabulary_of

PERIODS = (16, 26, 52)
MOST_SCANNERS = 30


@dataclass(frozen=True, slots=True)
class QualityPage:
    """What the templates show. `scanner` is the chosen one, None for all."""

    now: datetime
    question: str
    weeks: int
    scanner: quality.Scanner | None
    names: dict[int, str]
    left_out: int
    total: Tally
    sections: tuple[MeasureSection, ...]
    drift: tuple[Notice, ...]


def show_quality(request: Request) -> Response:
    """GET /quality?question=haemorrhage&weeks=26&scanner=3."""
    asked = request.query_params
    weeks = next((period for period in PERIODS if str(period) == asked.get("weeks")), PERIODS[1])
    with site_of(request).database.read() as tx:
        known = sorted(quality.questions(tx), key=in_order) or list(QUESTIONS)
        question = next((each for each in known if each == asked.get("question")), known[0])
        page = quality_page(tx, clock.utc_now(), question, weeks, asked.get("scanner", ""))
    context = {"page": page, "periods": PERIODS, "late": LATE, "before": BEFORE, "percent": percent, "known": known}
    return render(request, "quality/quality.html", context)


def quality_page(tx: Transaction, now: datetime, question: str, weeks: int, scanner: str) -> QualityPage:
    """Read and reckon."""
    this_week = quality.monday_of(now)
    first = this_week - timedelta(weeks=max(weeks, LATE + BEFORE) - 1)
    everything = Figures(quality.counts(tx, question, first), quality.turnarounds(tx, question, first))
    shown = everything.since(this_week - timedelta(weeks=weeks - 1))
    known = {each.scanner_id: each for each in quality.scanners(tx)}
    chosen = next((each for key, each in known.items() if str(key) == scanner), None)
    names = {key: scanner_name(each) for key, each in known.items()}
    of_scanners = sorted(shown.by_scanner().items(), key=lambda each: (-each[1].studies, names[each[0]]))
    of_weeks = shown.of_scanner(chosen.scanner_id) if chosen else shown
    total = of_weeks.total()
    by_week, by_scanner = (
        week_groups(of_weeks, this_week, weeks),
        scanner_groups(of_scanners, names, question, weeks, chosen),
    )
    change = everything.of_scanner(chosen.scanner_id).flag_rate_change(this_week) if chosen else None
    drawn = (change if chosen else everything.flag_rate_change(this_week)) if total.studies else None
    return QualityPage(
        now=now,
        question=question,
        weeks=weeks,
        scanner=chosen,
        names=names,
        left_out=max(0, len(of_scanners) - MOST_SCANNERS),
        total=total,
        sections=tuple(
            section(measure, total, by_week, by_scanner, drawn)
            for measure in MEASURES
            if measure.key != TYPE_AGREEMENT or vocabulary_of(question).types
        ),
        drift=tuple(drift_notices(everything, names, this_week, model_change(tx, first))),
    )


def scanner_name(scanner: quality.Scanner) -> str:
    """The AE title that sent, and what made the images as far as they say so."""
    made_by = scanner.equipment
    model = " ".join(part for part in (made_by.manufacturer, made_by.model) if part)
    return ", ".join(part for part in (scanner.aet or "unnamed sender", model, made_by.station) if part)


def week_groups(figures: Figures, this_week: date, weeks: int) -> list[MeasureGroup]:
    """The weeks from the first with a study to the running one."""
    tallies = figures.by_week()
    first = min(tallies, default=this_week)
    every = [this_week - timedelta(weeks=back) for back in range(weeks - 1, -1, -1)]
    return [MeasureGroup(day.isoformat(), "", False, tallies.get(day), day) for day in every if day >= first]


def scanner_groups(
    of_scanners: list[tuple[int, Tally]],
    names: dict[int, str],
    question: str,
    weeks: int,
    chosen: quality.Scanner | None,
) -> list[MeasureGroup]:
    """The scanners with the most studies, each with a link that shows it alone."""
    link = f"/quality?weeks={weeks}&question={question}&scanner="
    return [
        MeasureGroup(names[key], f"{link}{key}", chosen is not None and key == chosen.scanner_id, each)
        for key, each in of_scanners[:MOST_SCANNERS]
    ]


def model_change(tx: Transaction, since: date) -> str:
    """In words, when the model that answers was last changed, if that lies in the weeks that are compared."""
    used = [each for each in models.in_use(tx) if each.set_at.date() >= since]
    return "".join(f" The model for {each.pipeline} was changed on {each.set_at:%Y-%m-%d}." for each in used)


def drift_notices(figures: Figures, names: dict[int, str], this_week: date, model: str) -> list[Notice]:
    """Whether the flag rate drifts: for all together always a word, for a scanner alone where it does."""
    notices = [drift_notice("The flag rate", figures.flag_rate_change(this_week), 1, model)]
    alone = {key: figures.of_scanner(key).flag_rate_change(this_week) for key in figures.by_scanner()}
    judged = {key: change for key, change in alone.items() if change and change.p is not None}
    if len(alone) > 1:
        drifting = [(key, change) for key, change in judged.items() if change.drifts(len(judged))]
        notices += [
            drift_notice(f"The flag rate of {names[key]}", change, len(judged), model) for key, change in drifting
        ]
    return notices


def drift_notice(what: str, change: RateChange | None, comparisons: int, model: str) -> Notice:
    """One comparison in words."""
    if change is None:
        periods = f"the last {LATE} weeks and the {BEFORE} before"
        return Notice("warn", f"{what} cannot be judged for drift yet: {periods} must both have analysed studies.")
    compared = f"{of(change.late)} in the last {LATE} weeks, {of(change.before)} in the {BEFORE} weeks before"
    if change.p is None:
        return Notice("warn", f"Too few studies to say whether it drifts: {compared}.".replace("it", what.lower(), 1))
    chance = "p < 0.001" if change.p < 0.001 else f"p = {change.p:.3f}"
    if not change.drifts(comparisons):
        return Notice("good", f"{what} shows no drift: {compared} ({chance}).")
    direction = "has risen" if change.late.value > change.before.value else "has fallen"
    hint = (
        "Chance alone hardly explains it. Look for another scanner, protocol, group of patients or model before"
        f" trusting flags as before.{model}"
    )
    return Notice("bad", f"{what} {direction}: {compared} ({chance}).", hint)


def of(rate: Rate) -> str:
    """A rate with what it is made of."""
    return f"{percent(rate.value)} ({rate.hits:,} of {rate.count:,})"
