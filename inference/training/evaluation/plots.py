"""The page's plots as inline SVG with real text, in the page's own colours (light, dark, print).

Colours that tell things apart are Okabe and Ito's, which every colour vision tells apart; everything else is a CSS
variable of the page: sentinel colours drawn by matplotlib are replaced by them.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from inference.training.evaluation.figures import Evaluation, Outlines, SizeBin, TypeFigures, VolumePair
from inference.training.evaluation.metrics import Level

TEXT, SOFT, LINE, PANEL = "#010203", "#010204", "#010205", "#010206"
ONE, TWO = "#010207", "#010208"
VARIABLES = {TEXT: "--text", SOFT: "--soft", LINE: "--line", PANEL: "--panel", ONE: "--one", TWO: "--two"}
STYLE: Mapping[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "triage-node",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": TEXT,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": TEXT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
SQUARE = (4.3, 4.1)
WIDE = (4.6, 3.6)


def svg(name: str, words: str, draw: Callable[[Figure], None], size: tuple[float, float]) -> str:
    """One inline SVG: `name` makes its ids unique on the page, `words` say what it shows to those who cannot see it."""
    with matplotlib.rc_context(dict(STYLE)):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = drawn.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    opening = f'<svg role="img" aria-labelledby="{name}-words" class="plot" '
    title = f'<title id="{name}-words">{escape(words)}</title>'
    head, rest = text.removeprefix("<svg ").split(">", 1)
    return f"{opening}{_attributes(head)}>{title}{rest}".strip()


def _attributes(head: str) -> str:
    """The root's own attributes less its namespaces, which HTML has no use for, and its size in points."""
    view = re.search(r'viewBox="([^"]+)"', head)
    return f'viewBox="{view.group(1)}"' if view else ""


def _rates(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y, aspect="equal")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))


def roc(level: Level, name: str, unit: str) -> str:
    """ROC curve with its band and the operating point."""
    curve = level.curves
    assert curve is not None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.fill_between(curve.band_rate, curve.band_low, curve.band_high, color=ONE, alpha=0.18, linewidth=0)
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle=(0, (4, 4)))
        axes.plot(curve.false_positive_rate, curve.sensitivity, color=ONE, linewidth=1.8)
        x, y = 1 - level.specificity.value, level.sensitivity.value
        axes.plot([x], [y], "o", color=TWO, markersize=7, markeredgecolor=PANEL, markeredgewidth=1.2)
        axes.annotate(
            f"operating point\nsensitivity {y:.2f}, specificity {1 - x:.2f}",
            (x, y),
            xytext=(14, -12) if x < 0.6 else (-14, -12),
            textcoords="offset points",
            ha="left" if x < 0.6 else "right",
            va="top",
            fontsize=9,
        )
        axes.text(0.98, 0.03, f"AUC {level.auc.value:.3f}", ha="right", fontsize=11, transform=axes.transAxes)
        _rates(axes, "1 − specificity (false positive rate)", "Sensitivity")

    words = (
        f"ROC curve of {unit}: area {level.auc.value:.3f}; at the operating point sensitivity "
        f"{level.sensitivity.value:.3f} and specificity {level.specificity.value:.3f}."
    )
    return svg(name, words, draw, SQUARE)


def precision_recall(level: Level, name: str, unit: str) -> str:
    """Precision against recall, and the line that guessing would draw."""
    curve = level.curves
    assert curve is not None
    share = level.positives / level.units

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(share, color=SOFT, linewidth=0.8, linestyle=(0, (4, 4)))
        axes.text(0.01, share + 0.015, f"guessing ({share:.2f})", fontsize=9)
        recall = [0.0, *curve.recall]
        precision = [curve.precision[0], *curve.precision]
        axes.step(recall, precision, where="pre", color=ONE, linewidth=1.8)
        x, y = level.sensitivity.value, level.ppv.value
        axes.plot([x], [y], "o", color=TWO, markersize=7, markeredgecolor=PANEL, markeredgewidth=1.2)
        axes.annotate(
            "operating point", (x, y), xytext=(-9, -9), textcoords="offset points", ha="right", va="top", fontsize=9
        )
        _rates(axes, "Recall (sensitivity)", "Precision (PPV)")

    words = f"Precision against recall of {unit}: average precision {level.average_precision.value:.3f}."
    return svg(name, words, draw, SQUARE)


def reliability(level: Level, name: str, unit: str) -> str:
    """Observed share against mean probability of each bin, and below how many units each bin holds."""
    bins = [b for b in level.calibration.bins if b.count]

    def draw(figure: Figure) -> None:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        x = np.array([b.mean_probability for b in bins])
        y = np.array([b.observed.value for b in bins])
        reach = np.array([[b.observed.value - b.observed.low, b.observed.high - b.observed.value] for b in bins]).T
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle=(0, (4, 4)))
        axes.errorbar(x, y, reach.clip(0), color=ONE, fmt="o", markersize=6, linewidth=1.3)
        axes.set(ylim=(-0.03, 1.03), ylabel="Observed share")
        counts = [b.count for b in level.calibration.bins]
        middles = [(b.low + b.high) / 2 for b in level.calibration.bins]
        below.bar(middles, counts, width=0.92 / len(counts), color=ONE, alpha=0.55)
        for middle, count in zip(middles, counts, strict=True):
            below.text(middle, count, str(count), ha="center", va="bottom", fontsize=8)
        below.set(xlim=(-0.02, 1.02), xlabel="Predicted probability", ylabel=unit.capitalize(), yticks=[])
        below.set_ylim(0, max(counts) * 1.45)
        below.grid(False)

    said = "; ".join(f"{b.mean_probability:.2f} predicted, {b.observed.value:.2f} observed ({b.count})" for b in bins)
    return svg(name, f"Reliability of {unit}, by bin: {said}.", draw, (4.3, 4.3))


def by_size(bins: Sequence[SizeBin], name: str, axis: str) -> str:
    """Sensitivity of each size with Wilson's interval."""
    shown = list(bins)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, each in enumerate(shown):
            part = each.sensitivity
            if part.of == 0:
                continue
            axes.plot([place, place], [part.low, part.high], color=ONE, linewidth=1.6)
            axes.plot([place], [part.value], "o", color=ONE, markersize=7)
        labels = [f"{each.label}\n{each.sensitivity.hits or 0} of {each.sensitivity.of}" for each in shown]
        axes.set_xticks(range(len(shown)), labels, fontsize=9)
        axes.set(xlim=(-0.5, len(shown) - 0.5), ylim=(-0.03, 1.03), ylabel="Sensitivity", xlabel=axis)
        axes.grid(False, axis="x")

    said = "; ".join(f"{each.label}: {each.sensitivity.hits or 0} of {each.sensitivity.of}" for each in shown)
    return svg(name, f"Flagged studies by size of bleed: {said}.", draw, WIDE)


def bland_altman(outlines: Outlines, name: str) -> str:
    """Difference of predicted and outlined volume against their mean."""
    true = np.array([pair.true_ml for pair in outlines.pairs])
    predicted = np.array([pair.predicted_ml for pair in outlines.pairs])

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=SOFT, linewidth=0.8)
        lines = (
            ("bias", outlines.bias_ml.value, "-"),
            ("upper limit", outlines.limit_high_ml.value, "--"),
            ("lower limit", outlines.limit_low_ml.value, "--"),
        )
        for label, value, style in lines:
            if np.isnan(value):
                continue
            axes.axhline(value, color=TWO, linewidth=1.2, linestyle=style)
            axes.annotate(
                f"{label} {value:+.1f}".replace("-", "−"),
                (1, value),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 3),
                textcoords="offset points",
                ha="right",
                fontsize=8.5,
            )
        axes.plot((true + predicted) / 2, predicted - true, "o", color=ONE, markersize=5.5, alpha=0.8)
        axes.set(xlabel="Mean of predicted and outlined volume (ml)", ylabel="Predicted − outlined (ml)")
        axes.margins(0.12, 0.2)

    words = f"Bland-Altman plot of {len(true)} studies: bias {outlines.bias_ml.value:.2f} ml."
    return svg(name, words, draw, WIDE)


def volumes(pairs: Sequence[VolumePair], name: str) -> str:
    """Drawn against outlined volume of bleeds that are outlined as a whole."""
    true, drawn = (np.array([getattr(pair, key) for pair in pairs]) for key in ("true_ml", "predicted_ml"))
    most = 1.3 * max(1.0, float(true.max()), float(drawn.max()))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        line = np.geomspace(0.01, most, 200)
        axes.plot(line, line, color=SOFT, linewidth=1)
        for factor in (0.5, 2.0):
            axes.plot(line, factor * line, color=SOFT, linewidth=0.8, linestyle=(0, (4, 4)))
        axes.plot(true, drawn, "o", color=ONE, markersize=5.5, alpha=0.8)
        marks = [0.0, *(each for each in (1, 2, 5, 10, 20, 50, 100, 200) if each <= most)]
        for scale, ticks in ((axes.set_xscale, axes.set_xticks), (axes.set_yscale, axes.set_yticks)):
            scale("symlog", linthresh=1.0)
            ticks(marks, [f"{each:g}" for each in marks])
            ticks([], minor=True)
        axes.set(xlim=(-0.1, most), ylim=(-0.1, most), aspect="equal")
        axes.set(xlabel="Outlined volume (ml)", ylabel="Drawn volume (ml)")

    said = "; ".join(f"{pair.true_ml:.1f} outlined, {pair.predicted_ml:.1f} drawn" for pair in pairs)
    return svg(name, f"Drawn against outlined volume in ml of {len(pairs)} studies: {said}.", draw, SQUARE)


def confusion(types: Sequence[TypeFigures], name: str) -> str:
    """Of the studies with each type, how many were given each name; a study may have several of both."""
    rows = [(each.name, each.studies, each.confusion, each.flagged.hits or 0) for each in types]
    cells = np.array([[*given, count - flagged] for _, count, given, flagged in rows], float)
    totals = np.array([[count] for _, count, _, _ in rows], float)
    share = np.divide(cells, totals, out=np.zeros_like(cells), where=totals > 0)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row in range(len(rows)):
            for column in range(cells.shape[1]):
                colour = TWO if column == cells.shape[1] - 1 else ONE
                sides, depth = [column - 0.47, column + 0.47], 0.55 * share[row, column]
                axes.fill_between(sides, row - 0.47, row + 0.47, color=colour, alpha=depth, linewidth=0)
                shown = f"{cells[row, column]:.0f}"
                axes.text(column, row, shown, ha="center", va="center", color=TEXT if cells[row, column] else SOFT)
        names = [each.name for each in types]
        axes.set_xticks(range(len(names) + 1), [*names, "not flagged"], rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), [f"{each.name} ({each.studies})" for each in types])
        axes.set(xlim=(-0.5, len(names) + 0.5), ylim=(len(names) - 0.5, -0.5), aspect="equal")
        axes.set(xlabel="Named by the model", ylabel="Said by readers (studies)")
        axes.grid(False)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)

    said = "; ".join(
        f"{kind}: {', '.join(f'{n} {other.name}' for n, other in zip(given, types, strict=True) if n) or 'none named'}"
        f", {count - flagged} of {count} not flagged"
        for kind, count, given, flagged in rows
    )
    return svg(name, f"Types said by readers against types named by the model. {said}.", draw, (5.4, 4.6))


def all_plots(evaluation: Evaluation) -> dict[str, str]:
    """Every plot that there are data for, by name."""
    made: dict[str, str] = {}
    for level, name, unit in ((evaluation.study, "study", "studies"), (evaluation.slices, "slice", "slices")):
        if level is None or level.units == 0:
            continue
        if level.curves is not None:
            made[f"roc_{name}"] = roc(level, f"roc-{name}", unit)
            if level.true_positives + level.false_positives:
                made[f"precision_{name}"] = precision_recall(level, f"precision-{name}", unit)
        made[f"reliability_{name}"] = reliability(level, f"reliability-{name}", unit)
    for bins, name, axis in (
        (evaluation.sizes_ml, "size_ml", "Volume outlined by readers"),
        (evaluation.sizes_mm, "size_mm", "Length of scan in which readers marked blood"),
    ):
        if bins:
            made[name] = by_size(bins, name.replace("_", "-"), axis)
    if evaluation.outlines is not None:
        made["bland_altman"] = bland_altman(evaluation.outlines, "bland-altman")
        whole = [pair for pair in evaluation.outlines.pairs if pair.complete]
        if whole:
            made["volumes"] = volumes(whole, "volumes")
    if any(each.studies for each in evaluation.types):
        made["confusion"] = confusion(evaluation.types, "confusion")
    return made
