"""The measures of the quality page, and how a measure becomes plots, tables and words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from markupsafe import Markup

from dicom_node.web import words
from dicom_node.web.quality import charts
from dicom_node.web.quality.charts import Axis, Caption, Line, Mark
from dicom_node.web.quality.intervals import Rate, RateChange, RateEstimate
from dicom_node.web.quality.tallies import LATE, PERCENTILES, Tally

UNITS_S = {"d": 86_400, "h": 3600, "min": 60, "s": 1}
Figure = Rate | RateEstimate
PERCENT_STEPS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
MS_STEPS = tuple(1000 * s for s in (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 86400))


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that is measured: its lines' names, and what a tally says of each."""

    key: str
    title: str
    explain: str
    lines: tuple[str, ...]
    figures: Callable[[Tally], tuple[Figure | None, ...]]
    of_what: str
    is_time: bool = False


@dataclass(frozen=True, slots=True)
class MeasureGroup:
    """A week or a scanner; `tally` None where there was no study. `link` shows it alone."""

    name: str
    link: str
    chosen: bool
    tally: Tally | None
    week: date | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A line's figure for the whole period, in words."""

    name: str
    value: str
    interval: str


@dataclass(frozen=True, slots=True)
class TableRow:
    """A group's row: for each line its figure, and how many they stand on."""

    group: MeasureGroup
    said: tuple[Said, ...]
    count: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot and the table beside it."""

    title: str
    by_week: bool
    head: tuple[str, ...]
    rows: tuple[TableRow, ...]
    svg: Markup


@dataclass(frozen=True, slots=True)
class MeasureSection:
    """One measure on the page: the whole period in words, then by week and by scanner; no plots of nothing."""

    measure: Measure
    whole: tuple[Said, ...]
    count: str
    plots: tuple[Plot, ...]
    legend: Markup
    compared: RateChange | None


def percent(share: float) -> str:
    """A share as people say it: 0.3 %, 7.5 %, 24 %."""
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.1f} %"


def tick_percent(share: float) -> str:
    """A share on an axis, exact, so that no two ticks read the same."""
    return f"{100 * share:.4g} %"


def taken(milliseconds: float) -> str:
    """A length of time in ms as people say it."""
    seconds = milliseconds / 1000
    return f"{seconds:.1f} s" if seconds < 9.95 else words.duration(round(seconds))


def tick_time(milliseconds: float) -> str:
    """A length of time on an axis, exact, so that no two ticks read the same: "2.5 s", "1 min 15 s", "1 h 30 min"."""
    seconds = milliseconds / 1000
    if seconds < UNITS_S["min"]:
        return f"{seconds:g} s"
    rest, said = round(seconds), []
    for unit, length in UNITS_S.items():
        number, rest = divmod(rest, length)
        said += [f"{number} {unit}"] if number else []
    return " ".join(said)


def value_text(measure: Measure, figure: Figure | None) -> str:
    """The figure itself."""
    if figure is None:
        return "–"
    return taken(figure.value) if measure.is_time else percent(figure.value)


def interval_text(measure: Measure, figure: Figure | None) -> str:
    """The 95 % interval, and in words where there are too few for one of its ends."""
    if figure is None:
        return ""
    tell = taken if measure.is_time else percent
    low, high = figure.low, figure.high
    if low is None and high is None:
        return "too few"
    if high is None:
        return f"at least {tell(low or 0)}"
    return f"{tell(low)} to {tell(high)}" if low is not None else f"at most {tell(high)}"


def count_text(figures: Sequence[Figure | None]) -> str:
    """How many the figures stand on."""
    figure = figures[0]
    if figure is None:
        return "0"
    return f"{figure.hits:,} of {figure.count:,}" if isinstance(figure, Rate) else f"{figure.count:,}"


def section(
    measure: Measure,
    total: Tally,
    weeks: Sequence[MeasureGroup],
    scanners: Sequence[MeasureGroup],
    compared: RateChange | None,
) -> MeasureSection:
    """A measure with its plots; none where nothing was counted."""
    figures = measure.figures(total)
    compared = compared if measure.key == "flag-rate" else None
    plots: tuple[Plot, ...] = ()
    if any(figures):
        plots = (
            plot(measure, "week", weeks, compared),
            plot(measure, "scanner", scanners, None),
        )
    return MeasureSection(
        measure=measure,
        whole=said_of(measure, figures),
        count=f"{count_text(figures)} {measure.of_what}",
        plots=plots,
        legend=charts.legend(measure.lines) if len(measure.lines) > 1 else Markup(""),
        compared=compared,
    )


def plot(measure: Measure, kind: str, groups: Sequence[MeasureGroup], compared: RateChange | None) -> Plot:
    """The measure by week or by scanner."""
    found = [measure.figures(group.tally) if group.tally else (None,) * len(measure.lines) for group in groups]
    lines = [
        Line(name, tuple(_mark(figures[number]) for figures in found)) for number, name in enumerate(measure.lines)
    ]
    caption = Caption(
        f"{measure.key}-{kind}", f"{measure.title} by {kind}", description(measure, kind, groups, [f[0] for f in found])
    )
    scale = _axis(measure, lines)
    if kind == "week":
        weeks = [group.week for group in groups if group.week]
        level = compared.before.value if compared else None
        svg = charts.by_week(caption, weeks, lines, scale, LATE if compared else 0, level)
    else:
        svg = charts.by_group(caption, [group.name for group in groups], lines, scale)
    head = ("Week of" if kind == "week" else "Scanner", *measure.lines, "Studies")
    rows = tuple(
        TableRow(group, said_of(measure, figures), count_text(figures))
        for group, figures in zip(groups, found, strict=True)
    )
    return Plot(caption.title, kind == "week", head, rows, svg)


def description(measure: Measure, kind: str, groups: Sequence[MeasureGroup], figures: Sequence[Figure | None]) -> str:
    """What a reader sees in the plot, for one who does not see it."""
    known = [(group.name, figure) for group, figure in zip(groups, figures, strict=True) if figure]
    if not known:
        return "Nothing to show. The table beside it has every figure."
    lowest, highest = min(known, key=lambda each: each[1].value), max(known, key=lambda each: each[1].value)
    name, last = known[-1]
    said = [
        f"{measure.lines[0].capitalize()} of {len(known)} {kind}{'s' if len(known) > 1 else ''}:",
        f"lowest {value_text(measure, lowest[1])} ({lowest[0]}), highest {value_text(measure, highest[1])}"
        f" ({highest[0]}).",
    ]
    if kind == "week":
        said.append(f"Last, {name}: {value_text(measure, last)}, 95 % interval {interval_text(measure, last)}.")
    return " ".join([*said, "The table beside it has every figure."])


def _mark(figure: Figure | None) -> Mark | None:
    return Mark(figure.value, figure.low, figure.high) if figure else None


def _axis(measure: Measure, lines: Sequence[Line]) -> Axis:
    """Rates: up to the intervals' ends, where these stay within twice the highest value. Times: up to the values."""
    marks = [mark for line in lines for mark in line.marks if mark]
    highest = max((mark.value for mark in marks), default=0.0)
    if measure.is_time:
        return charts.axis([highest * 1.1], MS_STEPS, tick_time)
    ends = [min(mark.high or 0, max(2 * highest, 0.05)) for mark in marks]
    return charts.axis([highest, *ends], PERCENT_STEPS, tick_percent)


def said_of(measure: Measure, figures: Sequence[Figure | None]) -> tuple[Said, ...]:
    """Each line's figure in words."""
    return tuple(
        Said(name, value_text(measure, figure), interval_text(measure, figure))
        for name, figure in zip(measure.lines, figures, strict=True)
    )


TYPE_AGREEMENT = "type-agreement"
MEASURES = (
    Measure(
        "ppv",
        "Positive predictive value",
        "Of the flagged studies on which a reader gave feedback, the share in which there was a haemorrhage (agreed,"
        " or only its type was wrong). Several readers: the last word counts. Feedback given mostly where a flag was"
        " wrong makes this lower than it is.",
        ("positive predictive value",),
        lambda tally: (tally.ppv,),
        "flagged studies with feedback",
    ),
    Measure(
        TYPE_AGREEMENT,
        "Type agreement",
        "Of the flagged studies in which a reader saw a haemorrhage, the share whose type was right, too: the reader"
        " agreed and did not answer “wrong type”. Several readers: the last word counts.",
        ("type agreement",),
        lambda tally: (tally.type_agreement,),
        "flagged studies with a confirmed haemorrhage",
    ),
    Measure(
        "flag-rate",
        "Flag rate",
        "Of the analysed studies, the share that was flagged as suspected at any time.",
        ("flag rate",),
        lambda tally: (tally.flag_rate,),
        "analysed studies",
    ),
    Measure(
        "not-analysed-rate",
        "Not-analysed rate",
        "Of all studies with an outcome, the share that has no result, for a reason that stands on the list or because"
        " the analysis failed. What is still being received or analysed is not counted, nor what was never taken for a"
        " head CT: another modality, another part of the body, a localizer alone.",
        ("not-analysed rate",),
        lambda tally: (tally.not_analysed_rate,),
        "studies with an outcome",
    ),
    Measure(
        "turnaround",
        "Turnaround",
        "From the arrival of the last image to the flag on the worklist, of flagged studies: half of them took no"
        " longer than the 50th percentile, nine of ten than the 90th, nineteen of twenty than the 95th.",
        tuple(f"{100 * share:.0f}th percentile" for share in PERCENTILES),
        lambda tally: tuple(tally.turnaround(share) for share in PERCENTILES),
        "flagged studies",
        is_time=True,
    ),
)
