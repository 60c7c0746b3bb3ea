"""Images that are no plain head CT, made for the tests: bodies, phantoms, angiograms, bone reconstructions.

Everything is a `Volume` in the standard order (slice 0 lowest, row 0 anterior). What starts from a head takes it as an
argument, real or synthetic. `as_series` writes any of them as a CT series that the loader reads like a scanner's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage
from series import ct

from inference.pipelines.haemorrhage.head_grid import labels_to_source, to_grid
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.training.datasets.ct_ich import stack_of

Mask = NDArray[np.bool_]
Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """`hu` float32 (slice, row, column), slices `slice_mm` apart, square pixels of `pixel_mm`."""

    hu: NDArray[np.float32]
    slice_mm: float
    pixel_mm: float


def as_series(volume: Volume, **elements: Any) -> list[Dataset]:
    """The volume as one CT series, a slice an instance; elements may be replaced."""
    side = (np.array(volume.hu.shape[1:]) - 1) / 2 * volume.pixel_mm
    stored = np.rint(volume.hu).astype("<i2")
    return [
        ct(
            i,
            **{
                "Rows": plane.shape[0],
                "Columns": plane.shape[1],
                "PixelSpacing": [volume.pixel_mm] * 2,
                "SliceThickness": volume.slice_mm,
                "ImagePositionPatient": [-side[1], -side[0], volume.slice_mm * i],
                "PixelData": plane.tobytes(),
            }
            | elements,
        )
        for i, plane in enumerate(stored)
    ]


def plain_head(seed: int = 5) -> Volume:
    """A synthetic head without blood, at half the in-plane resolution."""
    made = synthetic_head(seed)
    halved = made.hu.reshape(made.hu.shape[0], 256, 2, 256, 2).mean((2, 4))
    return Volume(halved.astype(np.float32), made.spacing_mm[0], made.spacing_mm[1] * 2)


def noisy(volume: Volume, deviation_hu: float, seed: int = 0, blur: float = 0.0) -> Volume:
    """With noise of this standard deviation, correlated over `blur` pixels."""
    noise = np.random.default_rng(seed).standard_normal(volume.hu.shape).astype(np.float32)
    if blur:
        noise = ndimage.gaussian_filter(noise, (0, blur, blur))
    return replace(volume, hu=volume.hu + noise * np.float32(deviation_hu / noise.std()))


# What rings no brain: bodies, limbs, phantoms.


class _Drawing:
    """Ellipses on slices of air; coordinates in mm from the centre, (x to the left, y to posterior, z up)."""

    def __init__(self, slices: int, slice_mm: float, pixels: int, pixel_mm: float) -> None:
        along = (np.arange(pixels, dtype=np.float32) - (pixels - 1) / 2) * pixel_mm
        self.z = ((np.arange(slices, dtype=np.float32) - (slices - 1) / 2) * slice_mm)[:, None, None]
        self.y, self.x = along[None, :, None], along[None, None, :]
        self.hu = np.full((slices, pixels, pixels), -1000, np.float32)
        self.slice_mm, self.pixel_mm = slice_mm, pixel_mm

    def tube(self, hu: float, centre: tuple[float, float], radii: tuple[float, float]) -> None:
        """An elliptical cylinder through all slices."""
        self.ellipsoid(hu, (*centre, 0), (*radii, np.inf))

    def ellipsoid(self, hu: float, centre: Point, radii: Point) -> None:
        """An ellipsoid."""
        offsets = zip((self.x, self.y, self.z), centre, radii, strict=True)
        self.hu[sum(((a - c) / r) ** 2 for a, c, r in offsets) <= 1] = hu

    def volume(self, noise_hu: float = 10, blur: float = 0.8, seed: int = 0) -> Volume:
        """The drawing with soft edges and noise."""
        soft = ndimage.gaussian_filter(self.hu, (0, 0.5, 0.5))
        return noisy(Volume(soft, self.slice_mm, self.pixel_mm), noise_hu, seed, blur)


def _vertebra(drawing: _Drawing, y: float, scale: float = 1.0) -> None:
    drawing.tube(350, (0, y), (22 * scale, 17 * scale))
    drawing.tube(180, (0, y), (19 * scale, 14 * scale))
    drawing.tube(500, (0, y + 27 * scale), (18 * scale, 14 * scale))
    drawing.tube(25, (0, y + 25 * scale), (10 * scale, 8 * scale))
    for side in (-1, 1):
        drawing.tube(350, (side * 25 * scale, y + 26 * scale), (13 * scale, 4 * scale))


def chest() -> Volume:
    """Lungs, heart, ribs and spine."""
    d = _Drawing(40, 5, 256, 1.5)
    d.tube(-100, (0, 0), (175, 125))
    d.tube(55, (0, 0), (160, 110))
    for side in (-1, 1):
        for k in range(12):
            angle = np.deg2rad(15 + 30 * k + 5)
            d.ellipsoid(500, (150 * np.sin(angle), 102 * np.cos(angle), -90 + 15 * k), (9, 6, 9))
        d.ellipsoid(-850, (side * 75, -5, 10), (62, 90, 140))
    d.ellipsoid(45, (15, -35, 0), (55, 48, 60))
    _vertebra(d, 70)
    return d.volume()


def abdomen() -> Volume:
    """Liver, spleen, kidneys, bowel gas and spine."""
    d = _Drawing(40, 5, 256, 1.5)
    d.tube(-100, (0, 0), (170, 120))
    d.tube(50, (0, 0), (145, 98))
    d.tube(-90, (0, -5), (130, 84))
    d.ellipsoid(58, (-60, -10, 20), (70, 65, 90))
    d.ellipsoid(50, (80, 30, 20), (30, 40, 50))
    for x in (-50, 50):
        d.ellipsoid(32, (x, 50, -20), (25, 22, 50))
    for x, y, z in ((20, -50, -20), (60, -40, -60), (-20, -45, -70)):
        d.ellipsoid(-900, (x, y, z), (18, 12, 22))
    _vertebra(d, 55)
    return d.volume()


def pelvis() -> Volume:
    """A bony ring of iliac wings, sacrum and pubis around bladder and bowel."""
    d = _Drawing(40, 5, 256, 1.5)
    d.tube(-100, (0, 0), (175, 115))
    d.tube(55, (0, 0), (155, 98))
    d.tube(600, (0, 5), (122, 78))
    d.tube(250, (0, 5), (117, 73))
    d.tube(45, (0, 5), (106, 62))
    d.ellipsoid(5, (0, -25, -20), (40, 30, 35))
    d.ellipsoid(-95, (40, 20, 30), (30, 25, 40))
    for side in (-1, 1):
        d.tube(55, (side * 60, -75), (45, 25))
        d.ellipsoid(700, (side * 125, 0, -60), (26, 26, 30))
    return d.volume()


def neck() -> Volume:
    """Muscle, airway and cervical spine."""
    d = _Drawing(40, 4, 256, 0.8)
    d.tube(-100, (0, 0), (66, 70))
    d.tube(55, (0, 0), (60, 63))
    d.tube(-1000, (0, -25), (9, 8))
    _vertebra(d, 8, 0.8)
    return d.volume()


def knee() -> Volume:
    """Two legs: cortical bone around fat marrow, muscle around both."""
    d = _Drawing(40, 4, 256, 1.2)
    for x in (-75, 75):
        d.tube(-100, (x, 0), (62, 66))
        d.tube(58, (x, 0), (52, 56))
        d.tube(1100, (x, 0), (30, 28))
        d.tube(-40, (x, 0), (24, 22))
        d.ellipsoid(300, (x, 0, 0), (42, 38, 30))
    return d.volume()


def spine() -> Volume:
    """A lumbar spine in a field of view that shows nothing outside the body."""
    d = _Drawing(60, 3, 256, 0.6)
    d.tube(55, (0, 0), (500, 500))
    d.tube(-100, (0, 60), (60, 12))
    _vertebra(d, 0, 1.1)
    return d.volume()


def child_chest() -> Volume:
    """A small child's: thin soft ribs that nearly close a ring, lungs, heart and thymus."""
    d = _Drawing(40, 4, 256, 0.8)
    d.tube(-60, (0, 0), (82, 66))
    d.tube(50, (0, 0), (78, 62))
    d.tube(220, (0, 0), (72, 56))
    d.tube(50, (0, 0), (70, 54))
    for side in (-1, 1):
        d.ellipsoid(-700, (side * 36, 0, 10), (30, 46, 75))
    d.ellipsoid(42, (6, -18, 0), (34, 30, 40))
    d.ellipsoid(55, (0, -35, 40), (28, 14, 30))
    _vertebra(d, 36, 0.6)
    return d.volume()


def child_abdomen() -> Volume:
    """A small child's: hardly any fat, the lower ribs, liver, kidneys, bowel with gas, spine."""
    d = _Drawing(40, 4, 256, 0.8)
    d.tube(-60, (0, 0), (78, 62))
    d.tube(52, (0, 0), (75, 59))
    d.tube(34, (0, 0), (66, 50))
    for k in range(10):
        angle = np.deg2rad(36 * k + 18)
        d.ellipsoid(220, (71 * np.sin(angle), 55 * np.cos(angle), 30), (7, 3, 45))
    d.ellipsoid(60, (-26, -8, 20), (36, 36, 40))
    for x in (-26, 26):
        d.ellipsoid(34, (x, 26, 0), (12, 11, 28))
    for x, y, z in ((10, -26, -20), (34, -18, -35), (-14, -24, -40), (22, 6, 10)):
        d.ellipsoid(-800, (x, y, z), (11, 8, 12))
    _vertebra(d, 32, 0.6)
    return d.volume()


def leg() -> Volume:
    """A thigh: cortical bone in the middle of muscle."""
    d = _Drawing(40, 5, 256, 0.8)
    d.tube(-100, (0, 0), (80, 84))
    d.tube(58, (0, 0), (68, 72))
    d.tube(1400, (0, -8), (16, 15))
    d.tube(-30, (0, -8), (8, 7))
    return d.volume()


def water_phantom(shell_hu: float | None = 120, fill_hu: float = 0, radius_mm: float = 100) -> Volume:
    """A cylinder of water or gel, bare or with a thin wall."""
    d = _Drawing(30, 5, 256, 0.976)
    if shell_hu is not None:
        d.tube(shell_hu, (0, 0), (radius_mm + 4, radius_mm + 4))
    d.tube(fill_hu, (0, 0), (radius_mm, radius_mm))
    return d.volume()


def ball_phantom(shell_hu: float = 300, fill_hu: float = 28, radius_mm: float = 55) -> Volume:
    """A closed ball of gel as large as a newborn's head, in a shell as dense as its skull."""
    d = _Drawing(30, 5, 256, 0.976)
    d.ellipsoid(shell_hu, (0, 0, 0), (radius_mm + 2.5,) * 3)
    d.ellipsoid(fill_hu, (0, 0, 0), (radius_mm,) * 3)
    return d.volume()


def qa_phantom(fill_hu: float = 35, shell_hu: float = 900) -> Volume:
    """A cylinder of brain-equivalent plastic in a shell of bone-equivalent plastic, with inserts."""
    d = _Drawing(30, 5, 256, 0.976)
    d.tube(shell_hu, (0, 0), (96, 96))
    d.tube(fill_hu, (0, 0), (88, 88))
    for k, hu in enumerate((-1000, -100, 120, 340, 950)):
        angle = 2 * np.pi * k / 5
        d.ellipsoid(hu, (58 * np.sin(angle), 58 * np.cos(angle), 0), (6, 6, 20))
    return d.volume()


# What is made from a head.


def intracranial(head: Volume) -> Mask:
    """The inside of the skull on the volume's own voxels, holes filled."""
    grid = to_grid(stack_of(head.hu, head.pixel_mm, head.slice_mm))
    inside = labels_to_source(grid.inside.astype(np.uint8), grid) > 0
    return np.stack([ndimage.binary_fill_holes(plane) for plane in inside])


def filled_skull(head: Volume, fill_hu: float, noise_hu: float = 8) -> Volume:
    """A skull phantom: one material where the brain was."""
    inside = ndimage.binary_dilation(intracranial(head), ndimage.generate_binary_structure(2, 1)[None], iterations=2)
    soft = inside & (head.hu < 150)
    grain = noisy(Volume(np.zeros_like(head.hu), 1, 1), noise_hu, blur=0.8).hu
    return replace(head, hu=np.where(soft, fill_hu + grain, head.hu).astype(np.float32))


def bone_only(head: Volume, blank_hu: float) -> Volume:
    """Bone as it was, everything softer blanked to one value."""
    return replace(head, hu=np.where(head.hu > 150, head.hu, blank_hu).astype(np.float32))


def bone_kernel(head: Volume, gain: float = 2.5, noise_hu: float = 70) -> Volume:
    """An edge-enhancing kernel: overshoot beside the skull, and blue noise."""
    clean = ndimage.gaussian_filter(head.hu, (0, 0.6, 0.6))
    sharp = head.hu + gain * (clean - ndimage.gaussian_filter(clean, (0, 1.6, 1.6)))
    white = np.random.default_rng(0).standard_normal(head.hu.shape).astype(np.float32)
    blue = white - ndimage.gaussian_filter(white, (0, 1, 1))
    return replace(head, hu=np.clip(sharp + blue * np.float32(noise_hu / blue.std()), -1024, 3071))


def recoloured(head: Volume, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Volume:
    """The same anatomy in other numbers."""
    return replace(head, hu=np.clip(change(head.hu), -32768, 32767).astype(np.float32))


def mr_like(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Signal as in a T1-weighted MR: air and bone dark, fat bright."""
    shown = np.interp(hu, [-1000, -200, -90, 5, 25, 40, 90, 300, 1500], [5, 40, 800, 150, 420, 340, 360, 60, 20])
    return shown.astype(np.float32)


def perfusion_map(head: Volume) -> Volume:
    """Blood flow per voxel of brain, zero elsewhere."""
    inside = intracranial(head)
    flow = ndimage.gaussian_filter(np.interp(head.hu, [10, 25, 38], [5, 25, 60]), (0, 2, 2))
    return replace(head, hu=np.where(inside, flow, 0).astype(np.float32))


def localizers(head: Volume) -> Volume:
    """Projections, as if they were slices."""
    views = [np.repeat(head.hu.mean(axis), 256 // 30 + 1, 0)[:256] for axis in (1, 2)]
    return Volume(np.stack([view[:256, :256] for view in views * 4]).astype(np.float32), 5, 1)


# Contrast medium in the vessels, drawn in mm from the head's centre (x to the left, y to posterior, z from the vertex).

ARTERIES: tuple[tuple[float, tuple[Point, ...]], ...] = (
    (2.0, ((10, -2, -102), (11, -8, -95), (8, -10, -88), (10, -12, -85))),
    (1.5, ((10, -12, -85), (20, -14, -84), (30, -10, -83), (36, -5, -80))),
    (1.1, ((36, -5, -80), (42, 2, -72), (41, 14, -64), (46, 26, -58), (56, 34, -52))),
    (1.1, ((36, -5, -80), (40, -10, -70), (42, -14, -60), (52, -18, -55))),
    (1.1, ((10, -12, -85), (4, -20, -83), (2, -30, -76), (2, -46, -66), (2, -42, -50), (2, -20, -42), (2, 14, -42))),
    (0.8, ((2, -46, -66), (3, -62, -50), (3, -55, -30), (4, -35, -14))),
    (0.8, ((2, -20, -42), (4, -5, -25), (4, 10, -10))),
    (1.2, ((2, 2, -88), (14, 4, -86), (22, 16, -82), (16, 36, -76), (10, 58, -68), (8, 68, -60))),
)
MIDLINE_ARTERIES: tuple[tuple[float, tuple[Point, ...]], ...] = ((1.8, ((0, 6, -112), (0, 0, -100), (0, 0, -88))),)
VEINS: tuple[tuple[float, tuple[Point, ...]], ...] = (
    (1.1, ((3, -14, -62), (3, 8, -60), (1, 24, -60), (0, 34, -60))),
    (1.0, ((24, 0, -84), (22, 18, -74), (8, 30, -64), (0, 34, -60))),
)
MIDLINE_VEINS: tuple[tuple[float, tuple[Point, ...]], ...] = ((2.4, ((0, 34, -60), (0, 52, -72), (0, 70, -86))),)


class _Vessels:
    """Tubes in a head, on its voxels; `filling` float32 is the share of lumen in each."""

    def __init__(self, head: Volume, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.head, self.inside = head, intracranial(head)
        grid = to_grid(stack_of(head.hu, head.pixel_mm, head.slice_mm))
        self.pose = grid.pose
        upright = np.asarray(grid.inside.any(0))
        rows, columns = np.flatnonzero(upright.any(1)), np.flatnonzero(upright.any(0))
        self.scale = np.array([np.ptp(columns) / 136, np.ptp(rows) / 170, 1.0])
        planes = np.flatnonzero(self.inside.any((1, 2)))
        self.top_mm = (planes[-1] + 0.5) * head.slice_mm
        self.scale[2] = min(1.1, np.ptp(planes) * head.slice_mm / 125)
        self.slim = max(1, round(head.slice_mm))
        shape = (head.hu.shape[0] * self.slim, *head.hu.shape[1:])
        self.fine = np.zeros(shape, np.float32)

    def _voxel(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 3) mm (x, y, z) to fractional (slice, row, column) of the fine volume."""
        x, y, z = (points * self.scale).T
        cos, sin = np.cos(self.pose.angle), np.sin(self.pose.angle)
        row = (cos * y + sin * x + self.pose.row_mm) / self.head.pixel_mm + (self.fine.shape[1] - 1) / 2
        column = (cos * x - sin * y + self.pose.column_mm) / self.head.pixel_mm + (self.fine.shape[2] - 1) / 2
        return np.stack([(z + self.top_mm) * self.slim / self.head.slice_mm - 0.5, row, column], 1)

    def tube(self, radius: float, points: NDArray[np.float64]) -> None:
        """One vessel along a path, wavering a little; as many mm^2 of lumen as its radius says."""
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        at = np.arange(0, along[-1], 0.7)
        path = np.stack([np.interp(at, along, axis) for axis in points.T], 1)
        waver = ndimage.gaussian_filter1d(self.rng.standard_normal(path.shape), 6, axis=0)
        steps = np.array([self.head.slice_mm / self.slim, self.head.pixel_mm, self.head.pixel_mm])
        reach = np.ceil((radius + 1) / steps).astype(int)
        window = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), -1)
        for centre in self._voxel(path + 2 * waver):
            near = np.rint(centre).astype(int)
            low, high = near - reach, near + reach + 1
            if (low < 0).any() or (high > self.fine.shape).any():
                continue
            distance = np.linalg.norm((window + near - centre) * steps, axis=-1)
            part = self.fine[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
            np.maximum(part, np.clip(radius + 0.4 - distance, 0, 1), out=part)

    def surface(self, azimuth: NDArray[np.float64], height: NDArray[np.float64], depth: float) -> NDArray[np.float64]:
        """Points this deep below the brain's surface; azimuth from anterior to left, height 0..1 up to the vertex."""
        away = np.stack([np.sin(azimuth) * np.cos(height * np.pi / 2), -np.cos(azimuth) * np.cos(height * np.pi / 2)])
        direction = np.concatenate([away, np.sin(height * np.pi / 2)[None]]).T
        lengths = np.arange(20.0, 115.0, 1.0)
        candidates = direction[:, None] * lengths[None, :, None] + np.array([0, 0, -70.0])
        voxels = self._voxel(candidates.reshape(-1, 3)) / (self.slim, 1, 1)
        held = ndimage.map_coordinates(self.inside.astype(np.float32), voxels.T, order=0).reshape(len(direction), -1)
        last = np.where(held.any(1), held.shape[1] - 1 - held[:, ::-1].argmax(1), 0)
        return np.array([0, 0, -70.0]) + direction * (lengths[last] - depth)[:, None]

    def filling(self) -> NDArray[np.float32]:
        """The share of lumen in each voxel of the head, inside the skull, and start again."""
        slices = self.head.hu.shape[0]
        mean = self.fine.reshape(slices, self.slim, *self.fine.shape[1:]).mean(1)
        self.fine[:] = 0
        return np.where(self.inside, ndimage.gaussian_filter(mean, (0, 0.4, 0.4)), 0).astype(np.float32)


def _both_sides(tubes: tuple[tuple[float, tuple[Point, ...]], ...]) -> list[tuple[float, NDArray[np.float64]]]:
    return [(radius, np.array(path) * (side, 1, 1)) for radius, path in tubes for side in (-1, 1)]


def _arteries(vessels: _Vessels) -> NDArray[np.float32]:
    for radius, path in _both_sides(ARTERIES) + [(r, np.array(p)) for r, p in MIDLINE_ARTERIES]:
        vessels.tube(radius, path)
    steps = np.linspace(0, 1, 24)
    for side in (-1, 1):
        for _ in range(12):
            end = np.deg2rad(vessels.rng.uniform(20, 165)), vessels.rng.uniform(0.1, 0.85)
            azimuth = np.deg2rad(85) + steps * (end[0] - np.deg2rad(85))
            deep = vessels.surface(side * azimuth, steps * end[1], 0)
            inward = vessels.surface(side * azimuth, steps * end[1], 14)
            share = (0.5 + 0.45 * np.sin(steps * 9 + vessels.rng.uniform(0, 6)))[:, None]
            vessels.tube(vessels.rng.uniform(0.5, 0.9), deep * (1 - share) + inward * share)
    return vessels.filling()


def _veins(vessels: _Vessels) -> NDArray[np.float32]:
    for radius, path in _both_sides(VEINS) + [(r, np.array(p)) for r, p in MIDLINE_VEINS]:
        vessels.tube(radius, path)
    back = np.linspace(0, 1, 30)
    vessels.tube(3.6, vessels.surface(np.zeros(30), 0.3 + 0.7 * back, 3.0))
    vessels.tube(4.0, vessels.surface(np.full(30, np.pi), 1.0 - back * 1.1, 3.5))
    for side in (-1, 1):
        outward = np.deg2rad(180 - 80 * back)
        vessels.tube(3.4, vessels.surface(side * outward, np.full(30, -0.12), 4.0))
        for _ in range(8):
            azimuth = np.full(16, side * np.deg2rad(vessels.rng.uniform(25, 155)))
            vessels.tube(vessels.rng.uniform(0.8, 1.4), vessels.surface(azimuth, np.linspace(0.45, 0.97, 16), 2.0))
    return vessels.filling()


def with_contrast(head: Volume, artery_hu: float, vein_hu: float, brain_hu: float = 0.0, seed: int = 0) -> Volume:
    """The head with contrast medium in arteries and veins; `brain_hu` is what the tissue itself gains."""
    vessels = _Vessels(head, seed)
    hu = head.hu + np.where(vessels.inside & (head.hu > 18) & (head.hu < 60), brain_hu, 0)
    for lumen, filling in ((artery_hu, _arteries(vessels)), (vein_hu, _veins(vessels))):
        hu = hu + filling * np.maximum(lumen - hu, 0)
    return replace(head, hu=hu.astype(np.float32))


def angiogram(head: Volume, artery_hu: float = 380, vein_hu: float = 180, seed: int = 0) -> Volume:
    """A CT angiogram: arteries at their peak, veins already filling."""
    return with_contrast(head, artery_hu, vein_hu, 2, seed)


def enhanced(head: Volume, vessel_hu: float = 140, seed: int = 0) -> Volume:
    """A head some minutes after contrast medium: all vessels alike."""
    return with_contrast(head, vessel_hu, vessel_hu, 4, seed)
