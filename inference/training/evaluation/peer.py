"""A peer's labels beside the model: another house's network, not shipped with the product and made from other data.

Read are labels as they were made by BLAST-CT (Monteiro et al., Lancet Digital Health 2020;2:e314): one `PATIENT.npz` a
patient with `prob`, uint8 (class, slice, row, column), 255 = certain, of CLASSES, on any grid that covers the stack's
pictures; and `slices`, the indices of its slices in the stack. Only slices with outlined blood are compared, and of the
model the same ones: what a peer draws elsewhere is not known.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import Dataset, DatasetError, LabelledStudy, outlined_blood
from inference.training.evaluation.agreement import LARGE_ML, body_figures, median, volume_figures
from inference.training.evaluation.drawing import drawing_of
from inference.training.evaluation.figures import Comparison, Drawer
from inference.training.evaluation.records import Body, Drawing, JudgedStudy
from inference.training.evaluation.sizes import bin_label, mean_of_studies
from inference.training.evaluation.statistics import Resampling

PARENCHYMAL, EXTRA_AXIAL, OEDEMA, VENTRICULAR = "intraparenchymal", "extra-axial", "oedema", "intraventricular"
CLASSES = (PARENCHYMAL, EXTRA_AXIAL, OEDEMA, VENTRICULAR)
BLOOD = tuple(name for name in CLASSES if name != OEDEMA)
PLACES: Mapping[str, str] = {
    HaemorrhageType.EPIDURAL: EXTRA_AXIAL,
    HaemorrhageType.SUBDURAL: EXTRA_AXIAL,
    HaemorrhageType.SUBARACHNOID: EXTRA_AXIAL,
    HaemorrhageType.INTRAPARENCHYMAL: PARENCHYMAL,
    HaemorrhageType.INTRAVENTRICULAR: VENTRICULAR,
}
PROBABLE = 0.2


@dataclass(frozen=True, slots=True)
class Peer:
    """The labels in a folder."""

    folder: Path
    name: str = "BLAST-CT"

    def drawing(self, study: LabelledStudy) -> Drawing | None:
        """What it drew on the slices with outlined blood; None where nobody drew, or it did not label them all."""
        path, outlined = self.folder / f"{study.entry.patient_id}.npz", study.truth.mask
        if outlined is None or not path.exists():
            return None
        labels, slices = labels_of(path, (len(outlined), *outlined.shape[1:]))
        blood = np.flatnonzero(outlined_blood(outlined).any((1, 2)))
        if not len(blood) or not set(blood) <= set(slices):
            return None
        return drawing_of(labels, BLOOD, outlined, study.stack.voxels_ml)


def labels_of(path: Path, shape: tuple[int, int, int]) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Labels (slice, row, column) of the stack's shape, n the n-th of BLOOD, and which slices were labelled.

    A voxel is blood where the three classes of blood have more than PROBABLE together.
    """
    try:
        with np.load(path) as content:
            chances, slices = content["prob"], content["slices"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: the peer's labels cannot be read ({error})") from error
    right = chances.dtype == np.uint8 and chances.ndim == 4 and chances.shape[:2] == (len(CLASSES), len(slices))
    if not right or (len(slices) and not 0 <= slices.min() <= slices.max() < shape[0]):
        raise DatasetError(f"{path}: expected prob (class, slice, row, column) of {len(CLASSES)} classes, and slices.")
    labels = np.zeros(shape, np.uint8)
    for at, each in enumerate(slices):
        planes = np.stack([_resized(chances[CLASSES.index(name), at], shape[1:]) for name in BLOOD])
        labels[each] = np.where(planes.sum(0) > PROBABLE * 255, 1 + planes.argmax(0), 0)
    return labels, slices.astype(np.intp)


def _resized(plane: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.float32]:
    picture = Image.fromarray(plane.astype(np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def compared(peer: Peer, dataset: Dataset, cases: Sequence[JudgedStudy], sampling: Resampling) -> Comparison | None:
    """Both on the same studies; None where no outlined study has labels of the peer. Reads these studies again."""
    entries = {entry.study_id: entry for entry in dataset.entries()}
    both = []
    for case in cases:
        outline = case.record.outline
        if outline is None or not outline.drawing.slice_dices:
            continue
        drawing = peer.drawing(dataset.load(entries[case.record.study_id]))
        if drawing is not None:
            both.append((case.record.patient_id, outline.drawing, drawing))
    if not both:
        return None
    patients = [patient for patient, _, _ in both]
    return Comparison(
        len(both),
        sum(len(own.slice_dices) for _, own, _ in both),
        _drawer("the model", patients, [own for _, own, _ in both], sampling),
        _drawer(peer.name, patients, [other for _, _, other in both], sampling),
    )


def _drawer(name: str, patients: Sequence[str], drawn: Sequence[Drawing], sampling: Resampling) -> Drawer:
    slices = [(p, dice) for p, each in zip(patients, drawn, strict=True) for dice in each.slice_dices]
    dices = [each.outlined.dice for each in drawn]
    large = [(p, (e.outlined.true_ml, e.outlined.predicted_ml)) for p, e in zip(patients, drawn, strict=True)]
    large = [(p, pair) for p, pair in large if pair[0] >= LARGE_ML]
    bodies = [(p, _placed(body)) for p, each in zip(patients, drawn, strict=True) for body in each.bodies]
    return Drawer(
        name,
        mean_of_studies([p for p, _ in slices], [dice for _, dice in slices], sampling, ""),
        mean_of_studies(patients, dices, sampling, ""),
        median(patients, dices, sampling, ""),
        volume_figures(
            bin_label(LARGE_ML, float("inf"), "ml"), [p for p, _ in large], [pair for _, pair in large], sampling
        ),
        body_figures("all places", bodies, sampling),
        tuple(
            body_figures(place, [b for b in bodies if b[1].kind == place], sampling)
            for place in (EXTRA_AXIAL, PARENCHYMAL, VENTRICULAR)
        ),
    )


def _placed(body: Body) -> Body:
    """A body with places instead of types."""
    return replace(body, kind=PLACES.get(body.kind, body.kind), named=PLACES.get(body.named, body.named))
