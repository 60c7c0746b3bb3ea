"""Two stress sets with fixed seeds: which simulated bleeds a model sees, and which mimics it takes for one.

Their tables are the map of where the model is weak. Simulated bleeds lie in normal heads; a carrier that the model was
trained on is judged by the network that never saw it. A head that is flagged as it is carries nothing: its flag would
say nothing about the bleed. Cases are appended to a file one by one, so that a stopped run goes on.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.findings import NotAnalysable, Result
from inference.input.stack import SliceStack
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.ct_ich import stack_of
from inference.training.rounds.bank import SPACING_MM
from inference.training.rounds.data import TYPES, TrainingHead
from inference.training.simulate.acquisition import thin
from inference.training.simulate.anatomy import Anatomy, anatomy
from inference.training.simulate.fields import Field, Spacing
from inference.training.simulate.mimics import Mimic
from inference.training.simulate.scene import DRAWN_ML, Scene, ScenePlan, Wish, simulate

log = logging.getLogger(__name__)

SEED = 77_000
STEPS_ML = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
SLICES_MM = (5.0, 1.25)
MIMICS = tuple(Mimic)
AIR_HU = -1000.0
MARGIN = 24
PLAIN, MIMIC, DETECTION = "plain", "mimic", "detection"

Ask = Callable[[int, SliceStack], Result]
AnswerAll = Callable[[Sequence["StressCase"]], Iterable["HeadAnswer | None"]]


@dataclass(frozen=True, slots=True)
class HeadAnswer:
    """What the model said of one simulated head; `stress` is PLAIN, MIMIC or DETECTION.

    `located`: the drawn haemorrhage meets the true one; `typed`: the true type is among those present.
    `thickest_mm`: of epidural and subdural ones, within the plane.
    """

    stress: str
    what: str
    wanted_ml: float
    volume_ml: float
    thickest_mm: float
    slice_mm: float
    carrier: int
    probability: float
    suspected: bool
    located: bool
    typed: bool
    not_analysed: str = ""


@dataclass(frozen=True, slots=True)
class StressCase:
    """One simulated head to be made: a bleed of `wanted_ml`, or (0 ml) a mimic, or neither."""

    stress: str
    what: str
    wanted_ml: float
    slice_mm: float
    carrier: int
    number: int = 0

    @property
    def key(self) -> str:
        """Names the case in the file, and seeds it."""
        return f"{self.stress}/{self.what}/{self.wanted_ml:g}/{self.slice_mm:g}/{self.carrier}/{self.number}"


def plain_cases(carriers: Sequence[int], slice_mm: float) -> Iterator[StressCase]:
    """Each carrier as it is."""
    for carrier in carriers:
        yield StressCase(PLAIN, "nothing", 0.0, slice_mm, carrier)


def mimic_cases(carriers: Sequence[int], count: int) -> Iterator[StressCase]:
    """Each mimic in `count` carriers, in turn."""
    for place, mimic in enumerate(MIMICS):
        for i in range(min(count, len(carriers))):
            yield StressCase(MIMIC, mimic.value, 0.0, SPACING_MM[0], carriers[(place * count + i) % len(carriers)])


def detection_cases(carriers: Sequence[int], slice_mm: float, per_cell: int) -> Iterator[StressCase]:
    """Type x volume at one slice thickness, `per_cell` of each, carriers in turn."""
    turn = 0
    for kind in HaemorrhageType:
        low, high = DRAWN_ML[kind]
        for wanted in [ml for ml in STEPS_ML if low <= ml <= high]:
            for number in range(per_cell):
                yield StressCase(DETECTION, kind.value, wanted, slice_mm, carriers[turn % len(carriers)], number)
                turn += 1


def as_stack(hu: Field, plane_mm: float) -> SliceStack:
    """A simulated head as a series of slices with air around it."""
    edge = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
    return stack_of(np.pad(hu, edge, constant_values=AIR_HU), SPACING_MM[1], plane_mm)


@dataclass(slots=True)
class Stress:
    """Makes the heads of a run and asks the model about each; `heads` are normal ones by patient."""

    heads: Mapping[int, TrainingHead]
    ask: Ask

    def answer(self, case: StressCase) -> HeadAnswer | None:
        """The model's answer; None where the carrier's anatomy has no place for what is wanted."""
        rng = np.random.default_rng([SEED, *case.key.encode()])
        body = self._body(case, rng)
        scene = simulate(body, _plan(case), rng)
        volume = sum(scene.volumes_ml)
        changed = bool(np.any(np.abs(scene.hu - body.hu) > 1))
        if (case.stress == DETECTION and volume == 0) or (case.stress == MIMIC and not changed):
            return None
        try:
            result = self.ask(case.carrier, as_stack(scene.hu, scene.plane_mm))
        except NotAnalysable as reason:
            return _answer(case, scene, body, None, str(reason))
        return _answer(case, scene, body, result, "")

    def _body(self, case: StressCase, rng: np.random.Generator) -> Anatomy:
        head = self.heads[case.carrier]
        hu, inside, spacing = head.image.astype(np.float32), head.inside, SPACING_MM
        if case.slice_mm != spacing[0]:
            hu, inside = thin(hu, inside, spacing, case.slice_mm, rng)
            spacing = (case.slice_mm, *spacing[1:])
        return anatomy(hu, inside, spacing)


def _plan(case: StressCase) -> ScenePlan:
    if case.stress == DETECTION:
        return ScenePlan((Wish(HaemorrhageType(case.what), case.wanted_ml),))
    return ScenePlan(mimics=(Mimic(case.what),)) if case.stress == MIMIC else ScenePlan()


def _answer(case: StressCase, scene: Scene, body: Anatomy, result: Result | None, reason: str) -> HeadAnswer:
    located = typed = False
    thickest = 0.0
    if case.stress == DETECTION:
        t = [kind.value for kind in TYPES].index(case.what)
        true = scene.voxels == 1 + t
        if case.what in ("epidural", "subdural") and true.any():
            thickest = _thickest_mm(true, body.spacing_mm)
        if result is not None:
            drawn = _drawn(result, true.shape)
            located = bool((drawn & true).any())
            typed = result.findings[t].present
    return HeadAnswer(
        stress=case.stress,
        what=case.what,
        wanted_ml=case.wanted_ml,
        volume_ml=round(sum(scene.volumes_ml), 3),
        thickest_mm=round(thickest, 1),
        slice_mm=case.slice_mm,
        carrier=case.carrier,
        probability=round(result.probability, 4) if result else 0.0,
        suspected=bool(result and result.suspected),
        located=located,
        typed=typed,
        not_analysed=reason,
    )


def _thickest_mm(mask: NDArray[np.bool_], spacing_mm: Spacing) -> float:
    """Twice the largest distance within the plane from a voxel of the mask to its edge."""
    planes = [ndimage.distance_transform_edt(np.pad(plane, 1), spacing_mm[1:]).max() for plane in mask]
    return float(2 * max(planes) - spacing_mm[1])


def _drawn(result: Result, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """All that the model drew, without the margin."""
    drawn = np.zeros((shape[0], shape[1] + 2 * MARGIN, shape[2] + 2 * MARGIN), bool)
    for finding in result.findings:
        if finding.mask is not None:
            drawn |= finding.mask
    return drawn[:, MARGIN:-MARGIN, MARGIN:-MARGIN]


def run_stress(answer_all: AnswerAll, carriers: Sequence[int], per_cell: int, kept: Path) -> list[HeadAnswer]:
    """Every answer of both sets; what `kept` (one JSON object per line) already holds is not asked again."""
    answers = []
    for slice_mm in SLICES_MM:
        plain = _ask(answer_all, list(plain_cases(carriers, slice_mm)), kept)
        silent = {answer.carrier for answer in plain if not answer.suspected and not answer.not_analysed}
        quiet = [carrier for carrier in carriers if carrier in silent]
        answers += plain
        if quiet:
            cases = list(detection_cases(quiet, slice_mm, per_cell))
            if slice_mm == SPACING_MM[0]:
                cases += mimic_cases(quiet, 2 * per_cell)
            answers += _ask(answer_all, cases, kept)
    return answers


def _ask(answer_all: AnswerAll, cases: Sequence[StressCase], kept: Path) -> list[HeadAnswer]:
    known = read_answers(kept)
    todo = [case for case in cases if case.key not in known]
    with kept.open("a", encoding="utf-8") as lines:
        for number, (case, answer) in enumerate(zip(todo, answer_all(todo), strict=True), start=1):
            known[case.key] = answer
            content = {"key": case.key, "answer": asdict(answer) if answer else None}
            lines.write(json.dumps(content) + "\n")
            lines.flush()
            if number % 25 == 0 or number == len(todo):
                log.info("%d of %d simulated heads", number, len(todo))
    return [answer for case in cases if (answer := known[case.key]) is not None]


def read_answers(kept: Path) -> dict[str, HeadAnswer | None]:
    """The answers of an earlier run by key; a last line that was cut off is dropped."""
    known: dict[str, HeadAnswer | None] = {}
    if not kept.exists():
        return known
    whole = kept.read_text(encoding="utf-8").splitlines(keepends=True)
    if whole and not whole[-1].endswith("\n"):
        whole.pop()
        kept.write_text("".join(whole), encoding="utf-8")
    for line in whole:
        content = json.loads(line)
        known[content["key"]] = HeadAnswer(**content["answer"]) if content["answer"] else None
    return known
