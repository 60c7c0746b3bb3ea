"""NIfTI volumes with a mask each: INSTANCE 2022 and BHSD.

INSTANCE 2022 (Li et al., doi 10.48550/arXiv.2301.03281; https://instance.grand-challenge.org): `data/001.nii.gz` and
`label/001.nii.gz`, here or in `train_2/`; 1 = haemorrhage of any type, so blood is UNTYPED.
BHSD (Wu et al., doi 10.1007/978-3-031-45673-2_15): `images/` and `ground truths/`, here or in `label_192/`, or
`imagesTr/` and `labelsTr/`, with ID_<patient>_ID_<study>.nii.gz. 1 = epidural, 2 = intraparenchymal, 3 =
intraventricular, 4 = subarachnoid, 5 = subdural (https://github.com/White65534/BHSD/blob/main/dataset.json). A
`dataset.json` beside the folders is believed before these.

NIfTI is RAS with axes (x, y, z) in any order and direction; stacks here are LPS with rows to posterior, columns to
left, slices to the vertex. A slice axis that leans from the planes' normal is a tilted gantry, as DICOM has it; rows
and columns that are not at right angles are an error.
"""

import json
import logging
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel import orientations
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from inference.input.hounsfield import AIR_HU
from inference.input.stack import NotAnalysable, SliceStack
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import UNTYPED, DatasetError, Entry, LabelledStudy, Truth, knowing
from inference.training.datasets.digest import digest_of

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

TYPES = tuple(HaemorrhageType)
INSTANCE_VALUES = {0: 0, 1: UNTYPED}
BHSD_VALUES = {0: 0, 1: 1, 2: 4, 3: 5, 4: 3, 5: 2}
PLACES = (("data", "label"), ("images", "ground truths"), ("imagesTr", "labelsTr"))
UNPACKED = (".", "train_2", "train", "label_192")
SUFFIX = re.compile(r"\.nii(\.gz)?$")
BHSD_NAME = re.compile(r"(ID_[0-9a-f]+)_ID_[0-9a-f]+")
FEWEST_SLICES = 3
LARGEST_SHEAR_COSINE = 0.02
SMALLEST_LEAN_COSINE = float(np.cos(np.deg2rad(45)))
TO_LPS = np.array([-1.0, -1.0, 1.0])
READING_ERRORS = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error)


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """How a file's axes become (slice, row, column): `orientation` turns them to R, A, S, `affine` is that grid's."""

    orientation: Floats
    affine: Floats

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """View of the file's array as (slice, row, column), rows to posterior, columns to left."""
        turn: Callable[..., NDArray[Any]] = orientations.apply_orientation
        turned = turn(array, self.orientation)
        return turned[::-1, ::-1].transpose(2, 1, 0)


@dataclass(frozen=True, eq=False)
class NiftiMasks:
    """Two folders of files with the same names; `values` gives for each value of a mask that of Truth's mask."""

    images: Path
    labels: Path
    values: Mapping[int, int]
    name: str

    def entries(self) -> Sequence[Entry]:
        """Every name with an image or a mask."""
        return [Entry(stem, _patient(stem)) for stem in sorted(self._images.keys() | self._masks.keys())]

    def load(self, entry: Entry) -> LabelledStudy:
        """One volume and its mask."""
        image, mask = self._images.get(entry.study_id), self._masks.get(entry.study_id)
        if image is None:
            raise DatasetError(f"{mask or entry.study_id}: has no image; expected the same name in {self.images}.")
        if mask is None:
            raise DatasetError(f"{image}: has no mask; expected the same name in {self.labels}.")
        volume, drawn = _open(image), _open(mask)
        _check_together(image, volume, mask, drawn)
        grid = _grid_of(image, volume)
        truth = self._truth(grid.apply(self._translated(mask, drawn)))
        with knowing(truth):
            stack = _stack(image, volume, grid, f"{self.name} {entry.study_id}")
        return LabelledStudy(entry, stack, truth)

    def labels_digest(self) -> str:
        """Of size and time of change of every mask, and of what their values mean."""
        described = self.labels.parent / "dataset.json"
        return digest_of([described] if described.exists() else [], self._masks.values())

    @cached_property
    def _images(self) -> dict[str, Path]:
        return _by_stem(self.images)

    @cached_property
    def _masks(self) -> dict[str, Path]:
        return _by_stem(self.labels)

    def _translated(self, path: Path, drawn: Any) -> NDArray[np.uint8]:
        found = _array(path, drawn, np.float64)
        out = np.zeros(found.shape, np.uint8)
        for value in np.unique(found):
            if value not in self.values:
                expected = ", ".join(map(str, self.values))
                raise DatasetError(f"{path}: holds the value {value:g}; expected {expected}.")
            out[found == value] = self.values[int(value)]
        return out

    def _truth(self, mask: NDArray[np.uint8]) -> Truth:
        blood = mask.any((1, 2))
        kinds = np.stack([(mask == place).any((1, 2)) for place in range(1, len(TYPES) + 1)], 1)
        typed = UNTYPED not in self.values.values()
        return Truth(
            haemorrhage=bool(blood.any()),
            types=tuple(bool(kind.any()) for kind in kinds.T) if typed else (None,) * len(TYPES),
            slices=np.column_stack([blood, kinds]),
            judged=np.ones(len(mask), bool),
            mask=np.ascontiguousarray(mask),
        )


def open_nifti(path: Path) -> NiftiMasks:
    """The data set in this folder; DatasetError where it does not have the layout."""
    found = next(
        (
            (path / below, images, labels)
            for below in UNPACKED
            for images, labels in PLACES
            if (path / below / images).is_dir() and (path / below / labels).is_dir()
        ),
        None,
    )
    if found is None:
        expected = ", or ".join(f"{images!r} and {labels!r}" for images, labels in PLACES)
        raise DatasetError(f"{path}: holds no pair of folders for images and masks; expected {expected}.")
    root, images, labels = found
    if not _by_stem(root / images):
        raise DatasetError(f"{root / images}: holds no volumes; expected .nii.gz files.")
    described = root / "dataset.json"
    name, values = ("INSTANCE 2022", INSTANCE_VALUES) if images == "data" else ("BHSD", BHSD_VALUES)
    if described.exists():
        name, values = _described(described)
    return NiftiMasks(root / images, root / labels, values, name)


def _described(path: Path) -> tuple[str, dict[int, int]]:
    """Name and values by a dataset.json, whose `labels` give a name by value or, in nnU-Net 2, a value by name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(key, said) if str(key).isdecimal() else (said, key) for key, said in content["labels"].items()]
        named = {int(value): str(name).lower() for value, name in pairs}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f'{path}: expected "labels" with a name for each value of the masks.') from error
    places = {kind.value: place for place, kind in enumerate(TYPES, start=1)} | {"background": 0}
    values = {value: places.get(name, UNTYPED) for value, name in named.items()}
    return ("BHSD" if values == BHSD_VALUES else str(content.get("name", path.parent.name))), values


def _by_stem(folder: Path) -> dict[str, Path]:
    files = (path for path in folder.iterdir() if SUFFIX.search(path.name) and not path.name.startswith("."))
    return {SUFFIX.sub("", path.name): path for path in files}


def _patient(stem: str) -> str:
    found = BHSD_NAME.fullmatch(stem)
    return found[1] if found else stem


def _open(path: Path) -> Any:
    try:
        found: Any = nibabel.load(path)
    except READING_ERRORS as error:
        raise DatasetError(f"{path}: cannot be read as NIfTI ({error}).") from error
    if len(found.shape) != 3:
        raise DatasetError(f"{path}: has {len(found.shape)} dimensions; expected 3.")
    return found


def _array(path: Path, volume: Any, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    try:
        array = np.asarray(volume.dataobj, dtype)
    except READING_ERRORS as error:
        raise DatasetError(f"{path}: is damaged ({error}).") from error
    if not np.isfinite(array).all():
        raise DatasetError(f"{path}: holds values that are no finite numbers.")
    return array


def _is_placed(volume: Any) -> bool:
    """Whether the file says where it lies (qform or sform code)."""
    return not hasattr(volume, "get_sform") or bool(volume.header["sform_code"] or volume.header["qform_code"])


def _check_together(image: Path, volume: Any, mask: Path, drawn: Any) -> None:
    if volume.shape != drawn.shape:
        shapes = " and ".join(" x ".join(map(str, each.shape)) for each in (drawn, volume))
        raise DatasetError(f"{mask}: is not of its image's shape: {shapes} in {image}.")
    if not _is_placed(volume):
        log.warning("%s: does not say how it lies; left and right may be exchanged", image)
    if not _is_placed(drawn):
        return
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    corners[:, :3] *= np.array(volume.shape) - 1
    apart = np.linalg.norm(corners @ (volume.affine - drawn.affine)[:3].T, axis=1).max()
    voxel = np.linalg.norm(volume.affine[:3, :3], axis=0).min()
    if not apart <= voxel / 2:
        raise DatasetError(f"{mask}: lies {apart:.1f} mm away from its image {image}; expected the same place.")


def _grid_of(path: Path, volume: Any) -> _Grid:
    affine = np.asarray(volume.affine, np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise DatasetError(f"{path}: its affine is no invertible matrix of finite numbers.")
    orientation_of: Callable[..., Floats] = orientations.io_orientation
    inverse_of: Callable[..., Floats] = orientations.inv_ornt_aff
    orientation = orientation_of(affine)
    turned = affine @ inverse_of(orientation, volume.shape)
    x, y, z = (axis / np.linalg.norm(axis) for axis in turned[:3, :3].T)
    normal = np.cross(x, y)
    if abs(x @ y) > LARGEST_SHEAR_COSINE or z @ normal / np.linalg.norm(normal) < SMALLEST_LEAN_COSINE:
        raise DatasetError(f"{path}: its affine is sheared; expected rows and columns at right angles.")
    return _Grid(orientation, turned)


def _stack(path: Path, volume: Any, grid: _Grid, identity: str) -> SliceStack:
    hu = np.ascontiguousarray(grid.apply(_array(path, volume, np.float32)))
    if len(hu) < FEWEST_SLICES:
        raise NotAnalysable(f"{path}: has only {len(hu)} slices; at least {FEWEST_SLICES} are needed.")
    np.maximum(hu, np.float32(AIR_HU), out=hu)
    slices, rows, columns = hu.shape
    first = np.array([[columns - 1, rows - 1, z, 1] for z in range(slices)], float)
    x, y = (TO_LPS * grid.affine[:3, axis] for axis in (0, 1))
    return SliceStack(
        study_uid=generate_uid(entropy_srcs=[identity]),
        series_uid=generate_uid(entropy_srcs=[identity, "series"]),
        hu=hu,
        sop_uids=tuple(generate_uid(entropy_srcs=[identity, str(place)]) for place in range(slices)),
        frames=(1,) * slices,
        positions=(first @ grid.affine.T)[:, :3] * TO_LPS,
        row_direction=-x / np.linalg.norm(x),
        column_direction=-y / np.linalg.norm(y),
        pixel_spacing=(float(np.linalg.norm(y)), float(np.linalg.norm(x))),
    )
