"""How far a training is: one line of JSON per hundred steps, and a page with the curves.

Research use only; the page says so. Each fold writes into its own file, so that folds may run side by side.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from inference.training.evaluation.plots import ONE, TWO, svg
from inference.training.evaluation.records import write_whole

COLOURS = (ONE, TWO, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#D55E00", "#999999")
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="30"><title>Training</title>
<style>
:root { color-scheme: light dark; --text: #1a1a1a; --soft: #666; --line: #ddd; --panel: #f6f6f6; --one: #0072B2;
  --two: #D55E00; }
@media (prefers-color-scheme: dark) { :root { --text: #eee; --soft: #aaa; --line: #444; --panel: #222; --one: #56B4E9;
  --two: #E69F00; } body { background: #161616; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem 1rem .2rem 0; text-align: left; }
svg { max-width: 100%; height: auto; }
</style>
<h1>Training</h1>
<p>Research software, not a medical device. This page is written anew while the training runs.</p>
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a fold is: losses are means of the last steps, `seconds` is the time of one step."""

    fold: str
    step: int
    steps: int
    loss: float
    voxels: float
    planes: float
    learning_rate: float
    seconds: float

    @property
    def words(self) -> str:
        """One line for a log."""
        left = (self.steps - self.step) * self.seconds / 60
        return (
            f"{self.fold}: step {self.step} of {self.steps}, loss {self.loss:.3f} "
            f"(voxels {self.voxels:.3f}, planes {self.planes:.3f}), {self.seconds:.2f} s a step, {left:.0f} min left"
        )


def note(progress: Progress, folder: Path) -> None:
    """Adds a line to the fold's file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{progress.fold}.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(progress)) + "\n")


def read_notes(folder: Path) -> dict[str, list[Progress]]:
    """Every fold's lines in the order of their steps; of lines for one step the last counts, cut-off ones do not."""
    names = {field.name for field in fields(Progress)}
    found: dict[str, list[Progress]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        steps: dict[int, Progress] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                content = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(content, dict) and content.keys() == names:
                steps[content["step"]] = Progress(**content)
        if steps:
            found[path.stem] = [steps[step] for step in sorted(steps)]
    return found


def write_page(folder: Path, page: Path) -> None:
    """The page of all folds' curves, replaced as a whole."""
    notes = read_notes(folder)
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{last.step} of {last.steps}</td><td>{last.loss:.3f}</td>"
        f"<td>{last.seconds:.2f} s</td><td>{(last.steps - last.step) * last.seconds / 60:.0f} min</td></tr>"
        for name, last in ((name, each[-1]) for name, each in notes.items())
    )
    head = "<tr><th>fold</th><th>step</th><th>loss</th><th>a step</th><th>left</th></tr>"
    drawn = _curves(notes) if notes else "<p>No step is done yet.</p>"
    write_whole(page, f"{PAGE}<table>{head}{rows}</table>\n{drawn}\n</html>\n".encode())


def _curves(notes: Mapping[str, Sequence[Progress]]) -> str:
    def draw(figure: Figure) -> None:
        for axes, name in zip(figure.subplots(1, 2), ("voxels", "planes"), strict=True):
            for i, (fold, lines) in enumerate(notes.items()):
                values = [getattr(each, name) for each in lines]
                axes.plot([each.step for each in lines], values, color=COLOURS[i % len(COLOURS)], label=fold)
            axes.set_xlabel("step")
            axes.set_ylabel(f"loss of {name}")
        axes.legend(fontsize=8)

    words = "Loss of voxels and of planes over the steps of every fold's training."
    return svg("curves", words, draw, (9.5, 3.8))
