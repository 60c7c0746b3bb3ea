"""One page that reads at a glance, as a thumbnail too: the verdict, the most telling slices, the outlines, who says so.

Slices are shown as they lie in the series, in a brain window, cropped to the head, with the patient's sides marked. No
name, number or date of the patient is drawn: viewers show those from the header, and a picture may leave the house.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from inference.findings import Finding
from reports import words
from reports.vocabulary.terms import RGB, Vocabulary

WIDTH, HEIGHT = 1280, 1024
_BANNER = 152
_STRIP = 44
_FOOTER = 68
_LARGE = (640, HEIGHT - _BANNER - _FOOTER)
_SMALL = (320, _LARGE[1] // 2)
_COLUMN = _LARGE[0] + _SMALL[0] + 18
_WINDOW_LOW, _WINDOW_HIGH = 0.0, 80.0
_HEAD_HU = -200.0
_WHITE: RGB = (255, 255, 255)
_SOFT: RGB = (200, 206, 212)
_WARNING: RGB = (255, 214, 102)
_BLACK: RGB = (0, 0, 0)
_DARK: RGB = (24, 24, 24)
_EDGE: RGB = (60, 60, 60)
Pixel = TypeVar("Pixel", np.uint8, np.float32)
# Left, top, right, bottom in pixels; may reach beyond the image.
Box = tuple[float, float, float, float]
RED: RGB = (190, 18, 34)
SLATE: RGB = (52, 72, 92)
AMBER: RGB = (158, 92, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One slice to draw: HU (row, column), the mask of each finding outlined on it, and its caption."""

    hu: NDArray[np.float32]
    outlines: tuple[tuple[Finding, NDArray[np.bool_]], ...]
    caption: str


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """What one page says. `sides` are the letters of the left, right, top and bottom edge of every slice."""

    banner: RGB
    headline: tuple[str, str]
    tiles: tuple[Tile, ...]
    pixel_spacing: tuple[float, float]
    sides: tuple[str, str, str, str]
    legend: tuple[Finding, ...]
    vocabulary: Vocabulary
    facts: tuple[str, ...]
    warnings: tuple[str, ...]
    small_print: tuple[str, ...]


def draw_page(page: Page) -> NDArray[np.uint8]:
    """The page as (row, column, RGB)."""
    canvas = Image.new("RGB", (WIDTH, HEIGHT), _BLACK)
    draw = ImageDraw.Draw(canvas)
    _draw_banner(draw, page.banner, page.headline)
    masks = [mask for tile in page.tiles for _, mask in tile.outlines]
    head = box_to_show([tile.hu for tile in page.tiles], masks)
    corners = ((0, _BANNER), (_LARGE[0], _BANNER), (_LARGE[0], _BANNER + _SMALL[1]))
    for i, (tile, corner) in enumerate(zip(page.tiles, corners, strict=False)):
        size = _LARGE if i == 0 else _SMALL
        canvas.paste(_draw_tile(tile, size, head, page), corner)
    draw.line([(_LARGE[0], _BANNER), (_LARGE[0], HEIGHT)], fill=_EDGE, width=2)
    _draw_column(draw, page)
    _draw_footer(draw, page.small_print)
    return np.asarray(canvas)


def draw_notice(headline: str, paragraphs: Sequence[str], advice: str, small_print: Sequence[str]) -> NDArray[np.uint8]:
    """A page without slices: why nothing was analysed, and what to do."""
    canvas = Image.new("RGB", (WIDTH, HEIGHT), _BLACK)
    draw = ImageDraw.Draw(canvas)
    _draw_banner(draw, AMBER, (headline, ""))
    _write(draw, (60, _BANNER + 60), paragraphs, 54, _WHITE, (WIDTH - 120, 350))
    _write(draw, (60, HEIGHT - _FOOTER - 200), [advice], 40, _WARNING, (WIDTH - 120, 190))
    _draw_footer(draw, small_print)
    return np.asarray(canvas)


def sides_of(row_direction: ArrayLike, column_direction: ArrayLike) -> tuple[str, str, str, str]:
    """The letters for the left, right, top and bottom edge of slices with these directions (LPS)."""
    row, column = np.asarray(row_direction, float), np.asarray(column_direction, float)
    return _letter(-row), _letter(row), _letter(-column), _letter(column)


def _letter(direction: NDArray[np.float64]) -> str:
    axis = int(np.abs(direction).argmax())
    return ("LPH" if direction[axis] > 0 else "RAF")[axis]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _draw_banner(draw: ImageDraw.ImageDraw, colour: RGB, headline: tuple[str, str]) -> None:
    draw.rectangle([(0, 0), (WIDTH, _BANNER)], fill=colour)
    draw.rectangle([(0, _BANNER - _STRIP), (WIDTH, _BANNER)], fill=_DARK)
    lines = [each for each in headline if each]
    space = (_BANNER - _STRIP) // len(lines)
    size = min(_largest_font(draw, each, WIDTH - 60, space) for each in lines)
    for i, line in enumerate(lines):
        centre = (WIDTH // 2, i * space + space // 2)
        draw.text(centre, line, font=_font(size), fill=_WHITE, anchor="mm", stroke_width=2, stroke_fill=_WHITE)
    below = (WIDTH // 2, _BANNER - _STRIP // 2)
    draw.text(below, words.NOT_DIAGNOSTIC, font=_font(32), fill=_WHITE, anchor="mm", stroke_width=1)


def _largest_font(draw: ImageDraw.ImageDraw, line: str, width: int, height: int) -> int:
    size = int(height * 0.94)
    return min(size, int(size * width / max(draw.textlength(line, font=_font(size)), 1)))


def _draw_column(draw: ImageDraw.ImageDraw, page: Page) -> None:
    """Legend, then what the flag rests on, then what to know about it."""
    width, top, few = WIDTH - _COLUMN - 12, _BANNER + 16, len(page.legend) <= 3
    for finding in page.legend:
        colour = page.vocabulary.terms[finding.name].colour
        draw.rectangle([(_COLUMN, top + 3), (_COLUMN + 28, top + 31)], fill=colour)
        name = page.vocabulary.noun if finding.name == page.vocabulary.whole else finding.name
        draw.text((_COLUMN + 40, top), name.capitalize(), font=_font(30), fill=_WHITE, stroke_width=1)
        size = min(34, _largest_font(draw, finding.volume_text, width - 40, 88))
        draw.text((_COLUMN + 40, top + 34), finding.volume_text, font=_font(size), fill=colour)
        top += 76
        if finding.place and few:
            size = min(26, _largest_font(draw, finding.place.text, width - 40, 88))
            draw.text((_COLUMN + 40, top), finding.place.text, font=_font(size), fill=_WHITE)
            top += 34
        top += 12 if few else 0
    top = _write(draw, (_COLUMN, top), words.volume_note(page.legend), 20, _SOFT, (width, 80))
    top = _write(draw, (_COLUMN, top + 4), page.facts, 27, _WHITE, (width, 160)) + 14
    _write(draw, (_COLUMN, top), page.warnings, 24, _WARNING, (width, HEIGHT - _FOOTER - top - 4))


def _draw_footer(draw: ImageDraw.ImageDraw, lines: Sequence[str]) -> None:
    draw.rectangle([(0, HEIGHT - _FOOTER), (WIDTH, HEIGHT)], fill=_DARK)
    pitch = (_FOOTER - 8) // max(len(lines), 1)
    for i, line in enumerate(lines):
        size = min(24, _largest_font(draw, line, WIDTH - 32, pitch))
        draw.text((16, HEIGHT - _FOOTER + 4 + i * pitch + pitch // 2), line, font=_font(size), fill=_SOFT, anchor="lm")


def _write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    paragraphs: Sequence[str],
    size: int,
    colour: RGB,
    room: tuple[int, int],
) -> int:
    """Write wrapped paragraphs into a room (width, height), smaller where they need it; returns where they end.

    What does not fit at the smallest size is cut, as the report has all of it.
    """
    width, height = room
    for smaller in range(size, 15, -1):
        lines = [line for each in paragraphs for line in _wrap(draw, each, smaller, width)]
        pitch = round(smaller * 1.28)
        if len(lines) * pitch <= height:
            break
    for i, line in enumerate(lines[: max(height // pitch, 0)]):
        draw.text((corner[0], corner[1] + i * pitch), line, font=_font(smaller), fill=colour)
    return corner[1] + len(lines) * pitch


def _wrap(draw: ImageDraw.ImageDraw, text: str, size: int, width: int) -> list[str]:
    font, lines = _font(size), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and draw.textlength(longer, font=font) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def box_to_show(planes: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]]) -> Box:
    """The head on all these slices together, and every region; all of the image where no head is found."""
    rows, columns = planes[0].shape
    found = ndimage.binary_opening(np.any([each[::4, ::4] > _HEAD_HU for each in planes], axis=0))
    labelled, count = ndimage.label(found)
    shown = np.ones((rows, columns), bool) if count == 0 else np.zeros((rows, columns), bool)
    if count:
        largest = int(np.bincount(labelled.ravel())[1:].argmax())
        down, across = ndimage.find_objects(labelled)[largest]
        shown[4 * down.start : 4 * down.stop, 4 * across.start : 4 * across.stop] = True
    for mask in masks:
        shown |= mask
    ys, xs = np.nonzero(shown.any(1))[0], np.nonzero(shown.any(0))[0]
    margin = 0.03 * max(rows, columns)
    return xs[0] - margin, ys[0] - margin, xs[-1] + 1 + margin, ys[-1] + 1 + margin


def _draw_tile(tile: Tile, size: tuple[int, int], head: Box, page: Page) -> Image.Image:
    box = fit(head, size, page.pixel_spacing)
    grey = np.clip((tile.hu - _WINDOW_LOW) / (_WINDOW_HIGH - _WINDOW_LOW), 0, 1) * 255
    plane = resample(grey.astype(np.uint8), box, size, Image.Resampling.BICUBIC)
    pixels = np.repeat(plane[..., None], 3, axis=2).astype(np.float32)
    zoomed = [
        (finding, _zoomed_mask(resample(mask.astype(np.uint8) * 255, box, size, Image.Resampling.BILINEAR)))
        for finding, mask in tile.outlines
    ]
    for finding, inside in zoomed:
        others = np.any([mask for other, mask in zoomed if other is not finding], axis=0)
        _outline(pixels, inside, others, page.vocabulary.terms[finding.name].colour)
    picture = Image.fromarray(pixels.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    large = size == _LARGE
    if large:
        _label(draw, zoomed, page.vocabulary)
    _mark_sides(draw, size, page.sides, large)
    _stamp(draw, (10, size[1] - 8), tile.caption, 28 if large else 22, _WHITE, "lb")
    return picture


def fit(head: Box, size: tuple[int, int], spacing: tuple[float, float]) -> Box:
    """The box widened to the tile's shape in mm."""
    left, top, right, bottom = head
    high, wide = (bottom - top) * spacing[0], (right - left) * spacing[1]
    scale = max(wide / size[0], high / size[1])
    half_wide, half_high = scale * size[0] / spacing[1] / 2, scale * size[1] / spacing[0] / 2
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    return middle_x - half_wide, middle_y - half_high, middle_x + half_wide, middle_y + half_high


def resample(
    plane: NDArray[Pixel], box: Box, size: tuple[int, int], how: Image.Resampling, beyond_it: float = 0
) -> NDArray[Pixel]:
    """The part of a plane inside a box, which may reach beyond it, at the tile's size."""
    beyond = int(max(0, -box[0], -box[1], box[2] - plane.shape[1], box[3] - plane.shape[0])) + 1
    padded = Image.fromarray(np.pad(plane, beyond, constant_values=beyond_it))
    moved = (box[0] + beyond, box[1] + beyond, box[2] + beyond, box[3] + beyond)
    return np.asarray(padded.resize(size, how, box=moved))


def _zoomed_mask(zoomed: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """A region at the tile's size; one that is too small to survive the zoom keeps what there is of it."""
    inside = zoomed > 110
    return inside if inside.any() else zoomed > 0


def _outline(
    pixels: NDArray[np.float32], inside: NDArray[np.bool_], others: NDArray[np.bool_] | np.bool_, colour: RGB
) -> None:
    """Draw a ring just outside a region, so that its edge stays visible; a thin one where it lies in another region."""
    rows, columns = np.nonzero(inside.any(1))[0], np.nonzero(inside.any(0))[0]
    if not len(rows):
        return
    window = (slice(max(rows[0] - 9, 0), rows[-1] + 10), slice(max(columns[0] - 9, 0), columns[-1] + 10))
    away = ndimage.distance_transform_edt(~inside[window])
    limit = np.where(np.broadcast_to(others, inside.shape)[window], 3.0, 7.0)
    for inner, outer, strength, ink in ((0.5, limit, 0.55, _BLACK), (1.5, limit - 1, 1.0, colour)):
        alpha = (strength * np.clip(np.minimum(away - inner, outer - away), 0, 1))[..., None]
        pixels[window] = pixels[window] * (1 - alpha) + np.array(ink, np.float32) * alpha


def _label(
    draw: ImageDraw.ImageDraw, regions: Sequence[tuple[Finding, NDArray[np.bool_]]], vocabulary: Vocabulary
) -> None:
    """The abbreviation of each finding at the top of its region, one above the other where they would meet."""
    placed: list[tuple[int, int]] = []
    for finding, inside in regions:
        rows = np.nonzero(inside.any(1))[0]
        if not len(rows):
            continue
        x = min(int(np.nonzero(inside[rows[0]])[0].mean()) + 8, inside.shape[1] - 90)
        y = max(int(rows[0]) - 8, 40)
        step = -32 if y > 40 + 32 * len(regions) else 32
        while any(abs(x - other_x) < 80 and abs(y - other_y) < 32 for other_x, other_y in placed):
            y += step
        placed.append((x, y))
        term = vocabulary.terms[finding.name]
        _stamp(draw, (x, y), term.abbreviation, 30, term.colour, "lb")


def _mark_sides(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], sides: tuple[str, str, str, str], large: bool
) -> None:
    wide, high = size
    font = 40 if large else 28
    _stamp(draw, (10, high // 2), sides[0], font, _WHITE, "lm")
    _stamp(draw, (wide - 10, high // 2), sides[1], font, _WHITE, "rm")
    if large:
        _stamp(draw, (wide // 2, 8), sides[2], font - 10, _SOFT, "mt")
        _stamp(draw, (wide // 2, high - 8), sides[3], font - 10, _SOFT, "mb")


def _stamp(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: RGB, anchor: str) -> None:
    draw.text(at, text, font=_font(size), fill=colour, anchor=anchor, stroke_width=3, stroke_fill=_BLACK)
