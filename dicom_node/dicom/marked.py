"""What a result's objects say of single slices: the outlines of a segmentation (PS3.3 A.51, BINARY) and the images of a
key object selection (PS3.16 TID 2010). A slice is named by SOP Instance UID and frame, which counts from 1.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from inference.input.elements import frame_macros

Place: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One segment on one slice; `mask` is bool (row, column), `label` the segment's."""

    label: str
    mask: NDArray[np.bool_]


def regions_of(path: Path, wanted: Collection[Place]) -> dict[Place, list[Region]]:
    """What a segmentation marks on the wanted slices, without what is empty. UNREADABLE where it cannot be read."""
    segmentation = dcmread(path)
    labels = {int(each.SegmentNumber): str(each.SegmentLabel) for each in segmentation.SegmentSequence}
    found: dict[Place, list[Region]] = {}
    frames = zip(
        frame_macros(segmentation, "DerivationImageSequence"),
        frame_macros(segmentation, "SegmentIdentificationSequence"),
        strict=True,
    )
    for index, (derivation, segment) in enumerate(frames):
        place = _place(derivation.SourceImageSequence[0])
        if place not in wanted:
            continue
        mask = _frame(segmentation, index)
        if mask.any():
            number = int(segment.ReferencedSegmentNumber)
            found.setdefault(place, []).append(Region(labels[number], mask))
    return found


def key_images_of(path: Path) -> list[Place]:
    """The images of a key object selection, the most telling first. UNREADABLE where it cannot be read."""
    items = (item for item in dcmread(path).ContentSequence if item.ValueType == "IMAGE")
    return [_place(item.ReferencedSOPSequence[0]) for item in items]


def _place(reference: Dataset) -> Place:
    frame = reference.get("ReferencedFrameNumber")
    return str(reference.ReferencedSOPInstanceUID), int(frame) if frame is not None else 1


def _frame(segmentation: Dataset, index: int) -> NDArray[np.bool_]:
    """One frame of bits, which follow each other without regard to bytes (PS3.5 8.1.1)."""
    shape = (int(segmentation.Rows), int(segmentation.Columns))
    size = shape[0] * shape[1]
    start, rest = divmod(index * size, 8)
    packed = np.frombuffer(segmentation.PixelData, np.uint8)[start : start + (rest + size + 7) // 8]
    return np.unpackbits(packed, bitorder="little")[rest : rest + size].reshape(shape).astype(bool)
