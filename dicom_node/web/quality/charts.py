"""Plots as inline SVG, drawn here: points with their 95 % intervals, by week or by group.

Colours and fonts come from quality.css by class, since the page's policy forbids style attributes; several lines on
one plot differ in shape as well as in colour. Every plot has a title and a description for those who do not see it.
Kept by hand: matplotlib writes those style attributes, and the node does without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 230
LEFT, RIGHT, TOP, BOTTOM = 66, 12, 14, 34
LABELS = 224  # width of the groups' names, which are cut after so many characters
LONGEST_NAME = 27
ROW = 26
SHAPES = ("circle", "triangle", "square")
MOST_DATES = 7


@dataclass(frozen=True, slots=True)
class Mark:
    """A point and its interval, in the axis' unit; a bound that is not known is None and drawn to the plot's edge."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """The marks of one measure, None where there is nothing."""

    name: str
    marks: tuple[Mark | None, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """From 0 to the last tick; `label` puts a value in words."""

    ticks: tuple[float, ...]
    label: Callable[[float], str]

    @property
    def top(self) -> float:
        """The highest value that is drawn in full."""
        return self.ticks[-1]

    def share(self, value: float) -> float:
        """Where a value lies between the axis' ends, 0 to 1."""
        return min(1.0, max(0.0, value / self.top))


@dataclass(frozen=True, slots=True)
class Caption:
    """What names a plot: a key for its IDs, and the title and description for those who do not see it."""

    key: str
    title: str
    description: str


def axis(values: Sequence[float], steps: Sequence[float], label: Callable[[float], str], most: int = 6) -> Axis:
    """The finest of the steps that reaches over all values with at most so many ticks, or a multiple of the last."""
    highest = max(values, default=0.0)
    step = next((step for step in steps if highest <= step * (most - 1)), None)
    if step is None:
        step = steps[-1] * -(-highest // (steps[-1] * (most - 1)))
    count = max(2, int(-(-highest // step)))
    return Axis(tuple(step * i for i in range(count + 1)), label)


def by_week(
    caption: Caption,
    weeks: Sequence[date],
    lines: Sequence[Line],
    scale: Axis,
    shaded: int = 0,
    level: float | None = None,
) -> Markup:
    """Time runs to the right. The last `shaded` weeks have a ground of their own, `level` is a dashed line."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    step = wide / len(weeks)

    def y(value: float) -> float:
        return TOP + high * (1 - scale.share(value))

    late = LEFT + step * max(0, len(weeks) - shaded)
    parts = [f'<rect class="late" x="{late:.1f}" y="{TOP}" width="{WIDTH - RIGHT - late:.1f}" height="{high}"/>']
    for tick in scale.ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 7, y(tick) + 4, scale.label(tick), "end"))
    for index in range(len(weeks) - 1, -1, -max(1, -(-len(weeks) // MOST_DATES))):
        at = LEFT + step * (index + 0.5)
        parts.append(f'<path class="grid" d="M{at:.1f} {TOP + high}v5"/>')
        parts.append(_text(min(at, WIDTH - 20), HEIGHT - 14, day_and_month(weeks[index]), "middle"))
    if level is not None:
        parts.append(f'<path class="before" d="M{LEFT} {y(level):.1f}H{WIDTH - RIGHT}"/>')
    for number, line in enumerate(lines):
        shift = (number - (len(lines) - 1) / 2) * min(6.0, step / (len(lines) + 1))
        places = [LEFT + step * (index + 0.5) + shift for index in range(len(weeks))]
        parts += _drawn(number, places, line.marks, y, scale.top)
    return _svg(caption, HEIGHT, parts, "plot weeks")


def by_group(caption: Caption, names: Sequence[str], lines: Sequence[Line], scale: Axis) -> Markup:
    """One row a group, its name on the left; values run to the right."""
    height = TOP + ROW * len(names) + BOTTOM
    wide = WIDTH - LABELS - RIGHT - 24

    def x(value: float) -> float:
        return LABELS + wide * scale.share(value)

    parts = []
    for tick in scale.ticks:
        parts.append(f'<path class="grid" d="M{x(tick):.1f} {TOP}V{height - BOTTOM}"/>')
        parts.append(_text(x(tick), height - 14, scale.label(tick), "middle"))
    for index, name in enumerate(short_names(names)):
        middle = TOP + ROW * (index + 0.5)
        parts.append(_text(LABELS - 12, middle + 4, name, "end", "name"))
        for number, line in enumerate(lines):
            if mark := line.marks[index]:
                at = middle + (number - (len(lines) - 1) / 2) * 7
                low, high = x(mark.low or 0), x(scale.top if mark.high is None else mark.high)
                parts += [_reach(mark, number, f"M{low:.1f} {at:.1f}H{high:.1f}"), _shape(number, x(mark.value), at)]
    return _svg(caption, height, parts, "plot")


def legend(names: Sequence[str]) -> Markup:
    """Which shape is which measure."""
    signs = [
        f'<span><svg class="key" viewBox="0 0 12 12" aria-hidden="true" focusable="false">{_shape(number, 6, 6)}</svg>'
        f" {escape(name)}</span>"
        for number, name in enumerate(names)
    ]
    return Markup(" ".join(signs))


def day_and_month(day: date) -> str:
    """E.g. "3 Aug"."""
    return f"{day.day} {day:%b}"


def short_names(names: Sequence[str]) -> list[str]:
    """The names as far as there is room, no two alike: of those that begin alike the ends are shown, or a number."""
    cut = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in names]
    ends = [f"{name[:8]}…{name[9 - LONGEST_NAME :]}" if len(name) > LONGEST_NAME else name for name in names]
    shown = [end if cut.count(short) > 1 else short for short, end in zip(cut, ends, strict=True)]
    return [
        f"{name[: LONGEST_NAME - 5]} ({number})" if shown.count(name) > 1 else name
        for number, name in enumerate(shown, start=1)
    ]


def _svg(caption: Caption, height: float, parts: Sequence[str], kind: str) -> Markup:
    names = f"{caption.key}-title {caption.key}-description"
    return Markup(
        f'<svg class="{kind}" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{names}">'
        f'<title id="{caption.key}-title">{escape(caption.title)}</title>'
        f'<desc id="{caption.key}-description">{escape(caption.description)}</desc>{"".join(parts)}</svg>'
    )


def _drawn(
    number: int, places: Sequence[float], marks: Sequence[Mark | None], y: Callable[[float], float], top: float
) -> list[str]:
    """A line of the plot: joined points, broken where there is none, each with its interval."""
    path, parts, drawing = "", [], False
    for at, mark in zip(places, marks, strict=True):
        if mark:
            path += f"{'L' if drawing else 'M'}{at:.1f} {y(mark.value):.1f}"
            low, high = y(mark.low or 0), y(top if mark.high is None else mark.high)
            parts += [_reach(mark, number, f"M{at:.1f} {low:.1f}V{high:.1f}"), _shape(number, at, y(mark.value))]
        drawing = mark is not None
    return [f'<path class="line of-{number}" d="{path}"/>', *parts] if path else []


def _shape(number: int, x: float, y: float) -> str:
    kind, name = f'class="mark of-{number}"', SHAPES[number % len(SHAPES)]
    if name == "circle":
        return f'<circle {kind} cx="{x:.1f}" cy="{y:.1f}" r="3.6"/>'
    if name == "square":
        return f'<path {kind} d="M{x - 3.4:.1f} {y - 3.4:.1f}h6.8v6.8h-6.8z"/>'
    return f'<path {kind} d="M{x:.1f} {y - 4.4:.1f}l4.4 7.8h-8.8z"/>'


def _reach(mark: Mark, number: int, path: str) -> str:
    """The interval as a bar, dotted where an end is not known; none where neither is."""
    if mark.low is None and mark.high is None:
        return ""
    dotted = " open" if mark.low is None or mark.high is None else ""
    return f'<path class="reach of-{number}{dotted}" d="{path}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
