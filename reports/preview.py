"""Small pictures of a series, played in the list: a sheet of tiles for each window, and one of outlines to lay over it.

No object of the PACS: the browser shows them. As on the report's picture, slices lie as they do in the series, cropped
to the head; a tile is a square of 256 pixels. The outline is a ring just outside a region, so that its edge stays
visible.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from reports.picture import Box, box_to_show, fit, resample
from reports.vocabulary.terms import RGB

TILE = 256
COLUMNS = 8
MOST = 60
FIRST, OUTLINES = "first.jpg", "outlines.png"
_RING = 1.6
_DARK_EDGE = 0.8
_AIR_HU = -1024.0


@dataclass(frozen=True, slots=True)
class Window:
    """How values become grey (PS3.3 C.11.2): black from `centre - width / 2` down, white from `centre + width / 2`."""

    name: str
    centre: float
    width: float

    @property
    def file(self) -> str:
        """The name of its sheet."""
        return f"{self.name.replace(' ', '-')}.webp"


CT_WINDOWS = (Window("brain", 40, 80), Window("subdural", 75, 200), Window("bone", 480, 2500))
WHOLE_RANGE = Window("whole range", 0, 1)  # of values that are no HU, its centre and width are those of the series


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One slice: values (row, column), in HU where it is CT, and the mask and colour of each region on it."""

    plane: NDArray[np.float32]
    pixel_spacing: tuple[float, float]
    regions: tuple[tuple[RGB, NDArray[np.bool_]], ...] = ()


def choose_slices(count: int, keys: Sequence[int], most: int = MOST) -> tuple[int, ...]:
    """At most so many of `count` slices, evenly over all of them, with every key slice (the first half of `most`)."""
    needed = set(list(dict.fromkeys(keys))[: most // 2])
    for even in range(min(count, most), 0, -1):
        chosen = needed | {round(place) for place in np.linspace(0, count - 1, even)}
        if len(chosen) <= most:
            break
    return tuple(sorted(chosen))


def own_window(planes: Sequence[NDArray[np.float32]]) -> Window:
    """For values that are no HU: nearly all that these slices hold."""
    low, high = np.percentile(np.concatenate([each[::4, ::4].ravel() for each in planes]), (1, 99))
    return replace(WHOLE_RANGE, centre=float(low + high) / 2, width=max(float(high - low), 1.0))


def draw_preview(
    tiles: Sequence[Tile], windows: Sequence[Window], first: int, pause: Callable[[], None] = lambda: None
) -> Mapping[str, bytes]:
    """The pictures by name: `FIRST`, which is tile `first` in the first window with its outlines, a sheet for each
    window (`Window.file`), and `OUTLINES` where something is outlined. `pause` is called in between, and may raise.
    """
    boxes = _boxes(tiles)
    values = [_scaled(tile, box) for tile, box in zip(tiles, boxes, strict=True)]
    rings = [_rings(tile, box) for tile, box in zip(tiles, boxes, strict=True)]
    greys = {window: [_grey(each, window) for each in values] for window in windows}
    telling = Image.fromarray(greys[windows[0]][first]).convert("RGB")
    ring = Image.fromarray(rings[first])
    telling.paste(ring, mask=ring.getchannel("A"))
    made = {FIRST: _encoded(telling, "JPEG", quality=85, subsampling=0)}
    for window in windows:
        pause()
        made[window.file] = _encoded(_sheet(greys[window]), "WEBP", quality=72, method=2)
    if any(tile.regions for tile in tiles):
        pause()
        made[OUTLINES] = _encoded(_sheet(rings), "PNG", compress_level=6)
    return made


def _boxes(tiles: Sequence[Tile]) -> list[Box]:
    """One box for all tiles, where they are of one size and spacing, else each one's whole image."""
    alike = {(each.plane.shape, each.pixel_spacing) for each in tiles}
    if len(alike) == 1:
        masks = [mask for tile in tiles for _, mask in tile.regions]
        head = box_to_show([tile.plane for tile in tiles], masks)
        return [fit(head, (TILE, TILE), tiles[0].pixel_spacing)] * len(tiles)
    return [fit((0, 0, tile.plane.shape[1], tile.plane.shape[0]), (TILE, TILE), tile.pixel_spacing) for tile in tiles]


def _scaled(tile: Tile, box: Box) -> NDArray[np.float32]:
    return resample(tile.plane, box, (TILE, TILE), Image.Resampling.BILINEAR, min(float(tile.plane.min()), _AIR_HU))


def _grey(values: NDArray[np.float32], window: Window) -> NDArray[np.uint8]:
    low = window.centre - window.width / 2
    grey: NDArray[np.uint8] = np.clip((values - low) / window.width * 255, 0, 255).astype(np.uint8)
    return grey


def _rings(tile: Tile, box: Box) -> NDArray[np.uint8]:
    """(row, column, RGBA): a coloured ring around each region, with a dark edge on both sides."""
    made = np.zeros((TILE, TILE, 4), np.float32)
    for colour, mask in tile.regions:
        share = resample(mask.astype(np.uint8) * 255, box, (TILE, TILE), Image.Resampling.BILINEAR)
        inside = share > 110 if (share > 110).any() else share > 0
        if not inside.any():
            continue
        away = ndimage.distance_transform_edt(~inside)
        for inner, outer, strength, ink in (
            (0.5, 0.5 + _RING + 2 * _DARK_EDGE, 0.5, (0, 0, 0)),
            (0.5 + _DARK_EDGE, 0.5 + _DARK_EDGE + _RING, 1.0, colour),
        ):
            alpha = strength * np.clip(np.minimum(away - inner, outer - away) + 0.5, 0, 1)
            made[..., :3] = np.where(alpha[..., None] > 0, np.array(ink, np.float32), made[..., :3])
            made[..., 3] = np.maximum(made[..., 3], alpha * 255)
    return made.astype(np.uint8)


def _sheet(tiles: Sequence[NDArray[np.uint8]]) -> Image.Image:
    """The tiles row by row, `COLUMNS` in each."""
    rows = -(-len(tiles) // COLUMNS)
    sheet = np.zeros((rows * TILE, min(len(tiles), COLUMNS) * TILE, *tiles[0].shape[2:]), np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, COLUMNS)
        sheet[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = tile
    return Image.fromarray(sheet)


def _encoded(image: Image.Image, form: str, **options: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
