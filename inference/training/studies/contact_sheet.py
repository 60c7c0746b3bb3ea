"""A contact sheet: simulated bleeds of every type beside real ones, what resembles them, and other acquisitions.

Brain window (W80 L40), the simulated blood's edge drawn in a second picture below each. Reproducible by its seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.rounds.bank import SPACING_MM
from inference.training.rounds.data import TYPES, TrainingHead
from inference.training.simulate.acquisition import random_acquisition
from inference.training.simulate.anatomy import Anatomy, anatomy
from inference.training.simulate.fields import Field
from inference.training.simulate.mimics import Mimic
from inference.training.simulate.scene import DRAWN_ML, UNSURE, Scene, ScenePlan, Wish, simulate

ACROSS = 8
REAL_SHOWN = 3
WINDOW_HU = (0.0, 80.0)
EDGE = (255, 176, 0)
CAPTION_PIXELS = 18
PAPER, INK = (12, 12, 14), (225, 225, 225)
TITLE_PIXELS = 26


@dataclass(frozen=True, slots=True, eq=False)
class SheetTile:
    """One picture and its caption; `image` uint8 (row, column, 3)."""

    image: NDArray[np.uint8]
    caption: str


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A titled row of the sheet."""

    title: str
    tiles: tuple[SheetTile, ...]


def grey(plane: Field) -> NDArray[np.uint8]:
    """A plane of HU in the brain window, as RGB."""
    low, high = WINDOW_HU
    shade = np.clip((plane.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return np.repeat(shade[:, :, None], 3, 2)


def outlined(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The picture with the edge of a mask drawn around it."""
    out = image.copy()
    out[ndimage.binary_dilation(mask) & ~mask] = EDGE
    return out


def real_row(kind: HaemorrhageType, heads: Mapping[int, TrainingHead]) -> list[SheetTile]:
    """Slices of patients whom readers gave this type, the patients with most such slices first."""
    shown = {n: np.flatnonzero(head.labels[:, 1 + TYPES.index(kind)] == 1) for n, head in heads.items()}
    ranked = sorted((n for n in shown if len(shown[n])), key=lambda n: (-len(shown[n]), n))
    tiles = []
    for number in ranked[:REAL_SHOWN]:
        planes = shown[number]
        plane = heads[number].image[planes[len(planes) // 2]]
        tiles.append(SheetTile(grey(plane), f"real, patient {number:03d}"))
    return tiles


def _telling(scene: Scene, kind: HaemorrhageType) -> int:
    """The plane that shows most of the bleed; where none shows, the middle one."""
    counts = (scene.voxels == 1 + TYPES.index(kind)).sum((1, 2))
    return int(counts.argmax()) if counts.any() else len(scene.hu) // 2


def simulated_rows(
    kind: HaemorrhageType, bodies: Sequence[Anatomy], count: int, seed: int
) -> list[tuple[SheetTile, SheetTile]]:
    """Pictures without and with the edge, from the smallest to the largest volume."""
    low, high = np.log(DRAWN_ML[kind])
    pairs = []
    for i in range(count):
        wanted_ml = float(np.exp(low + (high - low) * (i + 0.5) / count))
        rng = np.random.default_rng([seed, TYPES.index(kind), i])
        scene = simulate(bodies[i % len(bodies)], ScenePlan((Wish(kind, wanted_ml),)), rng)
        plane, t = _telling(scene, kind), TYPES.index(kind)
        image = grey(scene.hu[plane])
        caption = f"simulated, {scene.volumes_ml[t]:.1f} ml"
        core = np.isin(scene.voxels[plane], (1 + t, UNSURE))
        pairs.append((SheetTile(image, caption), SheetTile(outlined(image, core), "its edge")))
    return pairs


def mimic_tiles(bodies: Sequence[Anatomy], seed: int) -> list[SheetTile]:
    """One head for each mimic, at the plane that it changed most within the skull or near it."""
    tiles = []
    for i, mimic in enumerate(Mimic):
        body = bodies[i % len(bodies)]
        scene = simulate(body, ScenePlan(mimics=(mimic,)), np.random.default_rng([seed, 100 + i]))
        change = np.clip(np.abs(scene.hu - body.hu), 0, 60).sum((1, 2))
        plane = int(change.argmax()) if change.any() else len(change) // 2
        tiles.append(SheetTile(grey(scene.hu[plane]), mimic.value.replace("_", " ")))
    return tiles


def acquisition_tiles(body: Anatomy, count: int, seed: int) -> list[SheetTile]:
    """The same head and bleed as other scanners might have seen it."""
    tiles = []
    for i in range(count):
        how = random_acquisition(np.random.default_rng([seed, 200 + i]))
        plan = ScenePlan((Wish(HaemorrhageType.INTRAPARENCHYMAL, 12.0),), acquisition=how)
        scene = simulate(body, plan, np.random.default_rng([seed, 300]))
        plane = _telling(scene, HaemorrhageType.INTRAPARENCHYMAL)
        tiles.append(SheetTile(grey(scene.hu[plane]), f"tilt {how.tilt_deg:.0f}°, every {scene.plane_mm:.1f} mm"))
    return tiles


def contact_sheet(heads: Mapping[int, TrainingHead], seed: int) -> Image.Image:
    """The sheet, from heads on the network's grid by patient; their normal ones carry the simulated bleeds."""
    normals = [heads[n] for n in sorted(heads) if not heads[n].shown.any()]
    chosen = normals[:: max(1, len(normals) // ACROSS)][:ACROSS]
    bodies = [anatomy(head.image.astype(np.float32), head.inside, SPACING_MM) for head in chosen]
    rows = []
    for kind in HaemorrhageType:
        real = real_row(kind, heads)
        made = simulated_rows(kind, bodies, ACROSS - len(real), seed)
        blank = SheetTile(np.zeros_like(grey(normals[0].image[0])), "")
        rows.append(SheetRow(kind.value.capitalize(), (*real, *(plain for plain, _ in made))))
        rows.append(SheetRow("", (*(blank for _ in real), *(edged for _, edged in made))))
    mimics = mimic_tiles(bodies, seed)
    for start in range(0, len(mimics), ACROSS):
        title = "What must not be taken for blood" if start == 0 else ""
        rows.append(SheetRow(title, tuple(mimics[start : start + ACROSS])))
    rows.append(SheetRow("One bleed, other acquisitions", tuple(acquisition_tiles(bodies[0], ACROSS, seed))))
    return draw(rows)


def draw(rows: Sequence[SheetRow]) -> Image.Image:
    """Rows of tiles with their captions."""
    height, width = rows[0].tiles[0].image.shape[:2]
    gap = 4
    tall = [height + CAPTION_PIXELS + gap + (TITLE_PIXELS if row.title else 0) for row in rows]
    sheet = Image.new("RGB", (ACROSS * (width + gap) + gap, sum(tall) + gap), PAPER)
    pen = ImageDraw.Draw(sheet)
    top = gap
    for row, row_height in zip(rows, tall, strict=True):
        if row.title:
            pen.text((gap, top + 2), row.title, INK, ImageFont.load_default(TITLE_PIXELS - 8))
        picture_top = top + (TITLE_PIXELS if row.title else 0)
        for i, tile in enumerate(row.tiles):
            left = gap + i * (width + gap)
            sheet.paste(Image.fromarray(tile.image), (left, picture_top))
            pen.text((left + 2, picture_top + height + 2), tile.caption, INK, ImageFont.load_default(12))
        top += row_height
    return sheet
