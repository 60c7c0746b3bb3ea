"""Contact sheets of wrong answers: brain-window slices with the predicted outline and, where known, the readers'.

A missed study shows the slices that readers marked, a false alarm those that the model pointed at. Slices are about
5 mm thick whatever the scan's, upright, the patient's right on the left of the picture, cropped to the head.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from inference.findings import Result
from inference.pipelines.haemorrhage.head_grid import Orientation, orientation_of
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import LabelledStudy, outlined_blood

WINDOW = (0.0, 80.0)
MOST_SLICES = 6
SLAB_MM = 5.0
TILE = 300
GAP = 4
CAPTION = 19
HEADING = 42
BLACK, TEXT, SOFT = (0, 0, 0), (235, 238, 241), (168, 178, 188)
MODEL_COLOUR, READER_COLOUR = (230, 159, 0), (86, 180, 233)
GREYS = 128
FEWEST_SLICES = 3

_TYPES = tuple(HaemorrhageType)
_FONT = ImageFont.load_default(size=13)
_BOLD = ImageFont.load_default(size=15)


def telling_slices(study: LabelledStudy, result: Result, predicted: NDArray[np.uint8]) -> tuple[int, ...]:
    """Up to MOST_SLICES indices in the stack's order. Of a missed bleed: what readers marked, evenly spread, and what
    lies around it where that is little. Else: what the model points at, drew on, or finds most probable."""
    truth = study.truth
    marked = np.flatnonzero(truth.slices[:, 0] & truth.judged) if truth.slices is not None else np.zeros(0, np.intp)
    if truth.haemorrhage and not len(marked) and truth.mask is not None:
        marked = np.flatnonzero(outlined_blood(truth.mask).any((1, 2)))
    if truth.haemorrhage and len(marked):
        spread = np.unique(np.linspace(0, len(marked) - 1, min(MOST_SLICES, len(marked))).round().astype(int))
        return _with_neighbours(marked[spread], study.stack.depths_mm)
    highest = np.argsort(-np.array(result.slice_probabilities), kind="stable")
    drawn = [i for i in highest if predicted[i].any()]
    order = list(dict.fromkeys(int(i) for i in (*result.key_slices, *drawn, *highest)))
    return tuple(sorted(order[:MOST_SLICES]))


def _with_neighbours(chosen: NDArray[np.intp], depths_mm: NDArray[np.float64]) -> tuple[int, ...]:
    """Fewer than FEWEST_SLICES get those beside them, a slab away."""
    if len(chosen) < FEWEST_SLICES:
        wanted = [depths_mm[chosen[0]] - SLAB_MM, depths_mm[chosen[-1]] + SLAB_MM]
        beside = [int(np.abs(depths_mm - depth).argmin()) for depth in wanted]
        chosen = np.unique([*chosen, *beside])
    return tuple(int(i) for i in chosen)


def types_text(types: Sequence[bool | None]) -> str:
    """The types by name; says when nobody named one."""
    named = [kind.value for kind, there in zip(_TYPES, types, strict=True) if there]
    if named:
        return ", ".join(named)
    return "no type named" if any(there is None for there in types) else "none"


def draw_study(study: LabelledStudy, result: Result, predicted: NDArray[np.uint8]) -> Image.Image:
    """The sheet of one study; `predicted` is uint8 (slice, row, column), 0 = none."""
    chosen = telling_slices(study, result, predicted)
    orientation = orientation_of(study.stack)
    box = _head_box(study, chosen, orientation)
    columns = 2 if len(chosen) == 4 else min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    width = max(columns, 2) * (TILE + GAP) + GAP
    sheet = Image.new("RGB", (width, HEADING + rows * (TILE + CAPTION + GAP) + GAP), BLACK)
    _heading(sheet, study, result)
    for place, index in enumerate(chosen):
        x = GAP + place % columns * (TILE + GAP)
        y = HEADING + place // columns * (TILE + CAPTION + GAP)
        sheet.paste(_tile(study, predicted, index, orientation, box), (x, y))
        ImageDraw.Draw(sheet).text((x + 2, y + TILE + 2), _caption(study, result, index), TEXT, _FONT)
    return sheet.quantize(palette=_palette(), dither=Image.Dither.NONE)


def _palette() -> Image.Image:
    """Greys and the two colours of outlines, which would else be lost among greys."""
    greys = [round(i * 255 / (GREYS - 1)) for i in range(GREYS)]
    colours = [*((g, g, g) for g in greys), MODEL_COLOUR, READER_COLOUR]
    colours += [colours[0]] * (256 - len(colours))
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in colours for part in colour])
    return palette


def _heading(sheet: Image.Image, study: LabelledStudy, result: Result) -> None:
    drawing = ImageDraw.Draw(sheet)
    kind = "Missed" if study.truth.haemorrhage else "False alarm"
    drawing.text((GAP + 2, 4), f"{kind}: {study.entry.study_id}", TEXT, _BOLD)
    said = f"model {result.probability:.2f}, flags from {result.threshold:.2f}"
    truth = f"readers: {types_text(study.truth.types)}" if study.truth.haemorrhage else "readers: no haemorrhage"
    drawing.text((GAP + 2, 23), f"{truth}  |  {said}", SOFT, _FONT)


def _caption(study: LabelledStudy, result: Result, index: int) -> str:
    said = f"slice {index + 1} of {len(study.stack.hu)}, model {result.slice_probabilities[index]:.2f}"
    truth = study.truth
    if truth.slices is None:
        return said
    if not truth.judged[index]:
        return f"{said}, not judged"
    return f"{said}, marked" if truth.slices[index, 0] else said


def _upright(plane: NDArray[np.generic], orientation: Orientation) -> NDArray[np.generic]:
    """One source slice with the nose up and the patient's right on the left."""
    return np.asarray(orientation.apply(plane[None])[0])


def _slab(study: LabelledStudy, index: int) -> NDArray[np.float32]:
    """The mean of the slices within SLAB_MM around one, of a 5 mm scan the slice alone."""
    depths = study.stack.depths_mm
    near = np.abs(depths - depths[index]) < SLAB_MM / 2
    return np.asarray(np.nan_to_num(study.stack.hu[near], nan=-1024).mean(0), np.float32)


def _head_box(
    study: LabelledStudy, chosen: Sequence[int], orientation: Orientation
) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) in upright pixels, square in mm, around the largest body of the slices."""
    solid = np.mean([_slab(study, index) > -300 for index in chosen], axis=0) > 0
    opened = ndimage.binary_opening(solid, iterations=3)
    bodies, count = ndimage.label(_upright(opened if opened.any() else np.ones_like(solid), orientation))
    largest = 1 + int(np.bincount(bodies.ravel(), minlength=count + 1)[1:].argmax())
    rows, columns = ndimage.find_objects(bodies)[largest - 1]
    dy, dx = _upright_spacing(study, orientation)
    middle = ((rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2)
    half = max((rows.stop - rows.start) * dy, (columns.stop - columns.start) * dx) / 2 + 3
    return middle[1] - half / dx, middle[0] - half / dy, middle[1] + half / dx, middle[0] + half / dy


def _upright_spacing(study: LabelledStudy, orientation: Orientation) -> tuple[float, float]:
    dy, dx = study.stack.pixel_spacing
    return (dx, dy) if orientation.transpose else (dy, dx)


def _tile(
    study: LabelledStudy,
    predicted: NDArray[np.uint8],
    index: int,
    orientation: Orientation,
    box: tuple[float, float, float, float],
) -> Image.Image:
    low, high = WINDOW
    grey = ((_slab(study, index) - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
    size = (TILE, TILE)
    tile = _cropped(Image.fromarray(np.ascontiguousarray(_upright(grey, orientation))), box, Image.Resampling.BILINEAR)
    pixels = np.asarray(tile.convert("RGB")).copy()
    drawn = study.truth.mask
    true = np.zeros_like(predicted[index], bool) if drawn is None else outlined_blood(drawn[index])
    for mask, colour in ((true, READER_COLOUR), (predicted[index] > 0, MODEL_COLOUR)):
        flat = Image.fromarray(np.ascontiguousarray(_upright(mask, orientation)).astype(np.uint8) * 255)
        filled = np.asarray(_cropped(flat, box, Image.Resampling.BILINEAR)) > 127
        pixels[ndimage.binary_dilation(filled) & ~filled] = colour
    return Image.fromarray(pixels).resize(size)


def _cropped(image: Image.Image, box: tuple[float, float, float, float], resampling: Image.Resampling) -> Image.Image:
    """The box at TILE x TILE; what lies outside the image is black."""
    left, top, right, bottom = box
    scale = ((right - left) / TILE, (bottom - top) / TILE)
    return image.transform(
        (TILE, TILE), Image.Transform.AFFINE, (scale[0], 0, left, 0, scale[1], top), resample=resampling
    )


def contact_sheet(paths: Sequence[Path], left_out: int = 0) -> Image.Image | None:
    """Studies' pictures below each other in two columns, and how many more there are; None without any."""
    if not paths:
        return None
    sizes = []
    for path in paths:
        with Image.open(path) as picture:
            sizes.append(picture.size)
    width = max(across for across, _ in sizes)
    heights = [0, 0]
    places = []
    for _, down in sizes:
        column = 0 if heights[0] <= heights[1] else 1
        places.append((column * (width + 12), heights[column]))
        heights[column] += down + 12
    note = f"{left_out:,} more are not shown; see evaluation.html" if left_out else ""
    size = (width if heights[1] == 0 else 2 * width + 12, max(heights) - 12 + (HEADING if note else 0))
    sheet = Image.new("RGB", size, (58, 66, 74))
    for path, place in zip(paths, places, strict=True):
        with Image.open(path) as picture:
            sheet.paste(picture.convert("RGB"), place)
    ImageDraw.Draw(sheet).text((GAP + 2, max(heights)), note, TEXT, _BOLD)
    return sheet
