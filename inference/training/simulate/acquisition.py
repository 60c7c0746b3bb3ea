"""The same head on another scanner: tilt, planes, field of view, kernel, noise, window, and labels that follow.

Geometry is a weighted mean of scanned voxels, so that it is one sparse matrix for tilt, plane distance and thickness
together. Noise is measured in the brain before and after and what resampling took away is put back, in the texture of
the kernel.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, sparse

from inference.training.simulate.fields import Field, Mask, Spacing, below_vertex_mm, coordinates, signed_mm
from inference.training.simulate.noise import noise_sd, noisy

UNSURE = 255
AIR_HU = -1024.0
HIGHEST_HU = 3071.0
LABELLED = 0.5
TOUCHED = 0.2
LOST_MM = 12.0


@dataclass(frozen=True, slots=True)
class Acquisition:
    """How a head is scanned and reconstructed.

    `tilt_deg` about the left-right axis; `turn_deg` and `shift_mm` (row, column) within the plane; `scale` of the whole
    head, 1 = as it is. `plane_mm` is the distance of planes, `thickness_mm` what each averages. Outside a circle of
    `field_of_view_mm` there is padding. `noise_hu` is the least standard deviation in the brain; what the scan had is
    kept. `kernel_mm` < 0 smooths with that sigma, > 0 sharpens. `clip_hu` is the only window kept (bone and air are
    cut), `step_hu` a quantisation, `jpeg` a JPEG quality (only with a window), `drift_hu` a false calibration. `seed`
    is that of the noise.
    """

    tilt_deg: float = 0.0
    plane_mm: float = 5.0
    thickness_mm: float = 5.0
    turn_deg: float = 0.0
    shift_mm: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    field_of_view_mm: float = 400.0
    noise_hu: float = 0.0
    kernel_mm: float = 0.0
    clip_hu: tuple[float, float] | None = None
    drift_hu: float = 0.0
    step_hu: float = 0.0
    jpeg: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Acquired:
    """A head as acquired, (plane, row, column) at the pixels it came with.

    `voxels` uint8: 0 none, 1..5 type, 255 not to be judged, which mixtures of labels become. `below_mm` (plane,) is the
    distance under the vertex of the intracranial space.
    """

    hu: Field
    voxels: NDArray[np.uint8]
    inside: Mask
    below_mm: NDArray[np.float32]
    plane_mm: float


def random_acquisition(rng: np.random.Generator) -> Acquisition:
    """One of the many ways in which head CTs are made; a third is plain."""
    seed = int(rng.integers(2**31))
    tilt = float(np.clip(rng.normal(0, 8), -20, 20)) if rng.random() < 0.6 else 0.0
    plane = float(rng.choice([5.0, rng.uniform(3.5, 5.0), rng.uniform(5.0, 7.5)], p=[0.5, 0.25, 0.25]))
    windowed = rng.random() < 0.25
    return Acquisition(
        tilt_deg=tilt,
        plane_mm=plane,
        thickness_mm=plane if rng.random() < 0.7 else float(rng.uniform(0.7, 1.3)) * plane,
        turn_deg=float(rng.normal(0, 3)),
        shift_mm=(float(rng.normal(0, 3)), float(rng.normal(0, 3))),
        scale=float(np.clip(rng.normal(1, 0.04), 0.88, 1.1)),
        field_of_view_mm=float(rng.uniform(165, 215)) if rng.random() < 0.1 else 400.0,
        noise_hu=float(rng.uniform(2, 8)) if rng.random() < 0.5 else 0.0,
        kernel_mm=float(rng.uniform(-1.0, 1.0)) if rng.random() < 0.5 else 0.0,
        clip_hu=((-20.0, 100.0), (-40.0, 120.0), (0.0, 80.0))[int(rng.integers(3))] if windowed else None,
        drift_hu=float(rng.normal(0, 1.5)),
        step_hu=120 / 255 if windowed else float(rng.choice([0.0, 1.0])),
        jpeg=int(rng.integers(60, 96)) if windowed and rng.random() < 0.4 else None,
        seed=seed,
    )


def acquire(hu: Field, voxels: NDArray[np.uint8], inside: Mask, spacing_mm: Spacing, how: Acquisition) -> Acquired:
    """The head as this acquisition shows it, with its labels."""
    rng = np.random.default_rng(how.seed)
    before = noise_sd(hu, inside)
    weights = _planes(inside, spacing_mm, how)
    image = _resampled(hu, weights, spacing_mm, how, AIR_HU)
    within = _resampled(inside.astype(np.float32), weights, spacing_mm, how, 0.0) > LABELLED
    labels = _labels(voxels, weights, spacing_mm, how)
    grainy = noise_sd(image, within)
    image = _kernel(image, how.kernel_mm / spacing_mm[1])
    wanted = max(how.noise_hu, before * noise_sd(image, within) / max(grainy, 0.1))
    image = noisy(image, within, wanted, how.kernel_mm, rng)
    seen = _seen(image.shape, spacing_mm, how.field_of_view_mm)
    image = _recorded(np.where(seen, image + np.float32(how.drift_hu), np.float32(AIR_HU)), how)
    labels, within = labels * seen, within & seen
    below = below_vertex_mm(within, (how.plane_mm, *spacing_mm[1:]))
    return Acquired(image, labels, within, below, how.plane_mm)


def thin(hu: Field, inside: Mask, spacing_mm: Spacing, plane_mm: float, rng: np.random.Generator) -> tuple[Field, Mask]:
    """The head and its intracranial space on thin planes, interpolated, and as noisy as those are: by the root of the
    thickness, at most 2.2 times.

    The inner table slants from plane to plane: what one of two planes shows within it and the other without is not
    mixed.
    """
    count = int(np.floor((len(hu) - 1) * spacing_mm[0] / plane_mm)) + 1
    at = np.arange(count) * plane_mm / spacing_mm[0]
    low = np.minimum(at.astype(np.intp), len(hu) - 2)
    share = np.broadcast_to((at - low).astype(np.float32)[:, None, None], (count, *hu.shape[1:]))
    table = signed_mm(inside, spacing_mm)
    edge = table[low] + share * (table[low + 1] - table[low])
    brain = np.clip(edge / spacing_mm[1] + 0.5, 0, 1)
    share = np.where(inside[low] == inside[low + 1], share, np.where(inside[low], 1 - brain, brain))
    fine = np.asarray(hu[low] + share * (hu[low + 1] - hu[low]), np.float32)
    within = np.asarray(edge > 0)
    wanted = noise_sd(hu, inside) * min(2.2, float(np.sqrt(spacing_mm[0] / plane_mm)))
    return np.clip(noisy(fine, within, wanted, 0.0, rng), AIR_HU, HIGHEST_HU), within


def _planes(inside: Mask, spacing_mm: Spacing, how: Acquisition) -> sparse.csr_matrix:
    """Weights (new plane x row, old plane x row) of tilt, distance and thickness.

    Planes that miss more than LOST_MM of brain at an end of the scan are left out; beyond it the last is repeated.
    """
    count, rows = inside.shape[:2]
    middle = (count // 2) * spacing_mm[0]
    cos, sin = np.cos(np.deg2rad(how.tilt_deg)), np.sin(np.deg2rad(how.tilt_deg))
    apart, thickness = how.plane_mm / how.scale, how.thickness_mm / how.scale
    half = int(np.ceil((count / 2 * spacing_mm[0] + 40) / apart))
    heights = np.arange(-half, half + 1) * apart
    y = (np.arange(rows) - (rows - 1) / 2) * spacing_mm[1]
    z = (middle + cos * heights[:, None] + sin * y[None]) / spacing_mm[0]
    lost = ((z < -0.6) & inside[0].any(1)).sum(1) + ((z > count - 0.4) & inside[-1].any(1)).sum(1)
    within = (middle + cos * heights >= 0) & (middle + cos * heights <= (count - 1) * spacing_mm[0])
    heights = heights[within & (lost * spacing_mm[1] <= LOST_MM)]
    samples = np.array([-1, 0, 1]) / 3 * max(0.0, thickness - spacing_mm[0])
    parts = []
    for sample in samples:
        z = (middle + cos * (heights + sample)[:, None] + sin * y[None]) / spacing_mm[0]
        row = (cos * y[None] - sin * (heights + sample)[:, None]) / spacing_mm[1] + (rows - 1) / 2
        parts.append(_linear(np.clip(z, 0, count - 1), row, count, rows))
    return (sum(parts[1:], parts[0]) / len(parts)).tocsr()


def _linear(z: NDArray[np.float64], row: NDArray[np.float64], count: int, rows: int) -> sparse.csr_matrix:
    """Weights of bilinear interpolation at (z, row), none outside."""
    there = ((z > -0.5) & (z < count - 0.5) & (row > -0.5) & (row < rows - 0.5)).ravel().astype(np.float32)
    z, row = np.clip(z, 0, count - 1).ravel(), np.clip(row, 0, rows - 1).ravel()
    low_z, low_row = np.minimum(z.astype(int), count - 2), np.minimum(row.astype(int), rows - 2)
    share_z, share_row = z - low_z, row - low_row
    lines = np.arange(len(z))
    entries = [
        ((1 - share_z) * (1 - share_row), low_z * rows + low_row),
        (share_z * (1 - share_row), (low_z + 1) * rows + low_row),
        ((1 - share_z) * share_row, low_z * rows + low_row + 1),
        (share_z * share_row, (low_z + 1) * rows + low_row + 1),
    ]
    values = np.concatenate([v * there for v, _ in entries]).astype(np.float32)
    columns = np.concatenate([c for _, c in entries])
    return sparse.csr_matrix((values, (np.tile(lines, 4), columns)), shape=(len(z), count * rows))


def _resampled(values: Field, weights: sparse.csr_matrix, spacing_mm: Spacing, how: Acquisition, pad: float) -> Field:
    count, rows, columns = values.shape
    planes = (weights @ (values - np.float32(pad)).reshape(count * rows, columns)).reshape(-1, rows, columns)
    if (how.turn_deg, *how.shift_mm, how.scale) != (0, 0, 0, 1):
        planes = _turned(planes, spacing_mm, how)
    return np.asarray(planes + np.float32(pad), np.float32)


def _turned(planes: Field, spacing_mm: Spacing, how: Acquisition) -> Field:
    """Turned, moved and scaled within the plane, linearly; zero comes in from outside."""
    rows, columns = planes.shape[1:]
    angle = np.deg2rad(how.turn_deg)
    cos, sin = np.cos(angle) / how.scale, np.sin(angle) / how.scale
    y = ((np.arange(rows) - (rows - 1) / 2) * spacing_mm[1] - how.shift_mm[0])[:, None]
    x = ((np.arange(columns) - (columns - 1) / 2) * spacing_mm[2] - how.shift_mm[1])[None]
    row = ((cos * y + sin * x) / spacing_mm[1] + (rows - 1) / 2).ravel()
    column = ((cos * x - sin * y) / spacing_mm[2] + (columns - 1) / 2).ravel()
    weights = _linear(row, column, rows, columns)
    flat = np.ascontiguousarray((weights @ planes.reshape(len(planes), -1).T).T)
    return np.asarray(flat.reshape(planes.shape), np.float32)


def _labels(
    voxels: NDArray[np.uint8], weights: sparse.csr_matrix, spacing_mm: Spacing, how: Acquisition
) -> NDArray[np.uint8]:
    """The label that fills at least half a voxel; UNSURE where several or none of them does but some touch it."""
    shape = (weights.shape[0] // voxels.shape[1], *voxels.shape[1:])
    out = np.zeros(shape, np.uint8)
    touched = np.zeros(shape, np.float32)
    for label in np.unique(voxels[voxels > 0]):
        share = _resampled((voxels == label).astype(np.float32), weights, spacing_mm, how, 0.0)
        out[share >= LABELLED] = label
        touched += share
    out[(out == 0) & (touched >= TOUCHED)] = UNSURE
    return out


def _kernel(image: Field, pixels: float) -> Field:
    """Smoothed, or sharpened by what smoothing would take away."""
    if abs(pixels) < 0.1:
        return image
    smooth = ndimage.gaussian_filter(image, (0, abs(pixels), abs(pixels)), truncate=3)
    return smooth if pixels < 0 else np.asarray(image + 0.7 * (image - smooth), np.float32)


def _recorded(image: Field, how: Acquisition) -> Field:
    """Window, quantisation and compression, in the order in which a scanner and an export do them."""
    low, high = how.clip_hu or (AIR_HU, HIGHEST_HU)
    image = np.clip(image, low, high)
    if how.clip_hu is not None and how.jpeg is not None:
        return np.stack([_through_jpeg(plane, low, high, how.jpeg) for plane in image])
    if how.step_hu > 0:
        image = np.clip(np.round((image - low) / how.step_hu) * how.step_hu + low, low, high)
    return np.asarray(image, np.float32)


def _seen(shape: tuple[int, ...], spacing_mm: Spacing, diameter_mm: float) -> Mask:
    """(1, row, column) what lies in the circle that was reconstructed."""
    _, y, x = coordinates(shape, spacing_mm)
    return np.asarray(np.hypot(y, x) <= diameter_mm / 2)


def _through_jpeg(plane: Field, low: float, high: float, quality: int) -> Field:
    file = io.BytesIO()
    grey = np.rint((plane - low) / (high - low) * 255).astype(np.uint8)
    Image.fromarray(grey).save(file, "JPEG", quality=quality)
    return np.asarray(np.asarray(Image.open(file), np.float32) / 255 * (high - low) + low, np.float32)
