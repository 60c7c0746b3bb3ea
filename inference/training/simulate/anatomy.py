"""What the simulator must know of a head before it may bleed: tissue without noise, inner table, ventricles, sulci.

Comes in: a normal head, upright and centred, planes from the skull base to the vertex, rows to posterior, columns to
the patient's left. Everything is found by rules on HU; a head whose ventricles or sulci do not show has none here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.training.simulate.fields import Field, Mask, Spacing, below_vertex_mm, signed_mm
from inference.training.simulate.landmarks import Landmarks, landmarks
from inference.training.simulate.noise import noise_sd

BONE_HU = 150.0
BLOOD_LIMIT_HU = 110.0
TISSUE_LIMIT_HU = 75.0
GRAIN_LIMIT_HU = 12.0
GRAIN_LIMIT_SD = 3.5
EDGE_HU = 3.0
EDGE_SD = 1.0
RIM_MM = 3.0
THICK_PLANE_MM = 5.0
LARGEST_CALCIFICATION_MM2 = 150.0


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """One head; every array is (plane, row, column) on voxels of `spacing_mm`.

    `hu` as scanned = `smooth` + noise; `grain` is that noise, without edges, with the bone's share along the
    inner table. `inside` is the intracranial space.
    `depth_mm` is the distance to its edge (calcifications within the brain are none), `table_mm` the same within the
    plane. `soft` 0..1 is where blood may lie (not in bone). `ventricles`; `csf` 0..1, the share of cerebrospinal fluid
    in each voxel outside them. `bone`; `scalp`, soft tissue outside it. `vault` are the planes above the skull base,
    `below_mm` (plane,) how far each lies under the vertex of the intracranial space. `marks` are its midline, sutures
    and dural sheets. `rise` is by how much `table_mm` grows per mm upward, which tells how the inner table slopes
    between planes.
    """

    hu: Field
    smooth: Field
    grain: Field
    spacing_mm: Spacing
    inside: Mask
    depth_mm: Field
    table_mm: Field
    soft: Field
    ventricles: Mask
    csf: Field
    bone: Mask
    scalp: Mask
    vault: NDArray[np.bool_]
    below_mm: NDArray[np.float32]
    marks: Landmarks
    rise: Field

    def under_table_mm(self, lift_mm: float = 0.0) -> Field:
        """Distance under the sloping inner table at `lift_mm` above each plane's middle; smooth between planes."""
        return np.asarray((self.table_mm - 0.5 + lift_mm * self.rise) / np.sqrt(1 + self.rise**2), np.float32)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel."""
        return float(np.prod(self.spacing_mm)) / 1000


def anatomy(hu: Field, inside: Mask, spacing_mm: Spacing) -> Anatomy:
    """The anatomy of a head in HU whose intracranial space is roughly `inside`."""
    hu = hu.astype(np.float32)
    inside = _closed(inside, spacing_mm) & (hu < BLOOD_LIMIT_HU)
    smooth = _without_noise(hu, inside, spacing_mm)
    space = _without_calcifications(inside, spacing_mm)
    depth = ndimage.distance_transform_edt(space, sampling=spacing_mm).astype(np.float32)
    signed = signed_mm(space, spacing_mm)
    table = np.where(space, signed + np.float32(spacing_mm[1] / 2), np.float32(0))
    ventricles = _ventricles(smooth, depth, spacing_mm)
    areas = inside.sum((1, 2)) * spacing_mm[1] * spacing_mm[2]
    bone = (hu > BONE_HU) & ~inside
    below = below_vertex_mm(inside, spacing_mm)
    return Anatomy(
        hu=hu,
        smooth=smooth,
        grain=_grain(hu, smooth, inside, table, spacing_mm),
        spacing_mm=spacing_mm,
        inside=inside,
        depth_mm=depth,
        table_mm=table,
        soft=np.asarray(inside * np.clip((120 - hu) / 20, 0, 1), np.float32),
        ventricles=ventricles,
        csf=_sulci(smooth, inside, ventricles, spacing_mm),
        bone=bone,
        scalp=_scalp(hu, bone, inside, spacing_mm),
        vault=np.asarray(areas > 0.3 * areas.max()),
        below_mm=below,
        marks=landmarks(smooth, inside, below, spacing_mm),
        rise=_rise(signed, spacing_mm),
    )


def _disk(radius_mm: float, spacing_mm: Spacing) -> Mask:
    """A disk within the plane, as a structuring element (1, n, n)."""
    reach = [max(1, round(radius_mm / mm)) for mm in spacing_mm[1:]]
    rows, columns = np.ogrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    return np.asarray((rows / reach[0]) ** 2 + (columns / reach[1]) ** 2 <= 1.05)[None]


def _closed(inside: Mask, spacing_mm: Spacing) -> Mask:
    """The space with its narrow gaps (calcified falx, noise, gas) closed, plane by plane."""
    closed = ndimage.binary_closing(inside, _disk(4.0, spacing_mm))
    return np.stack([ndimage.binary_fill_holes(plane) for plane in closed])


def _rise(signed: Field, spacing_mm: Spacing) -> Field:
    """Change of the signed distance to the inner table per mm upward, over about the distance of thick planes."""
    ends = np.concatenate([signed[:1], signed, signed[-1:]])
    rise = (ends[2:] - ends[:-2]) / np.float32(2 * spacing_mm[0])
    along = max(0.0, THICK_PLANE_MM - spacing_mm[0]) / spacing_mm[0]
    return np.asarray(np.clip(ndimage.gaussian_filter(rise, (along, *_sigma(2.0, spacing_mm)[1:])), -4, 4), np.float32)


def _without_calcifications(inside: Mask, spacing_mm: Spacing) -> Mask:
    """The space with what lies calcified within the brain: that is no inner table."""
    holes = np.stack([ndimage.binary_fill_holes(plane) for plane in inside]) & ~inside
    pieces, count = ndimage.label(holes, ndimage.generate_binary_structure(3, 1) * np.array([0, 1, 0])[:, None, None])
    sizes = np.bincount(pieces.ravel(), minlength=count + 1) * spacing_mm[1] * spacing_mm[2]
    return np.asarray(inside | (holes & (sizes < LARGEST_CALCIFICATION_MM2)[pieces]))


def _sigma(mm: float, spacing_mm: Spacing) -> tuple[float, float, float]:
    return (0.0, mm / spacing_mm[1], mm / spacing_mm[2])


def _without_noise(hu: Field, inside: Mask, spacing_mm: Spacing) -> Field:
    """Smoothed within the plane; inside, only tissue counts, so that bone does not smear into the brain's edge."""
    sigma = _sigma(1.5, spacing_mm)
    plain = ndimage.gaussian_filter(hu, sigma)
    tissue = (inside & (hu > -20) & (hu < TISSUE_LIMIT_HU)).astype(np.float32)
    weight = ndimage.gaussian_filter(tissue, sigma)
    within = ndimage.gaussian_filter(hu * tissue, sigma) / np.maximum(weight, 1e-3)
    return np.asarray(np.where(inside & (weight > 0.05), within, plain), np.float32)


def _grain(hu: Field, smooth: Field, inside: Mask, table: Field, spacing_mm: Spacing) -> Field:
    """Noise that may be laid over blood: what follows an edge of the anatomy, and so agrees with its surroundings, is
    taken back, but for the share of bone in the voxels along the inner table, which blood does not displace."""
    noise = hu - smooth
    sd = noise_sd(hu, inside)
    most = max(GRAIN_LIMIT_HU, GRAIN_LIMIT_SD * sd)
    agreed = ndimage.gaussian_filter(np.clip(noise, -30, 30), _sigma(1.5, spacing_mm)) / max(EDGE_HU, EDGE_SD * sd)
    grain = np.clip(noise, -most, most) / (1 + agreed**2)
    along_table = np.clip(RIM_MM - table, 0, 1) * inside
    return np.asarray(grain + along_table * np.clip(noise - grain, 0, None), np.float32)


def _ventricles(smooth: Field, depth: Field, spacing_mm: Spacing) -> Mask:
    """Bodies of fluid of more than 0.3 ml, deeper than the sulci."""
    fluid = ndimage.binary_opening((smooth < 21) & (smooth > -5) & (depth > 22), _disk(1.0, spacing_mm))
    bodies, count = ndimage.label(fluid)
    sizes = np.bincount(bodies.ravel(), minlength=count + 1)[1:] * float(np.prod(spacing_mm)) / 1000
    return np.isin(bodies, 1 + np.flatnonzero(sizes > 0.3))


def _sulci(smooth: Field, inside: Mask, ventricles: Mask, spacing_mm: Spacing) -> Field:
    """0..1, dark against fixed HU or against the brain around it; the narrow sulci of the young only show so."""
    weight = inside.astype(np.float32)
    wide = _sigma(6.0, spacing_mm)
    around = ndimage.gaussian_filter(smooth * weight, wide) / (ndimage.gaussian_filter(weight, wide) + 1e-3)
    fluid = np.clip(np.maximum((22 - smooth) / 7, (around - smooth - 3.5) / 5), 0, 1) * inside
    fluid[ventricles] = 0
    return np.asarray(fluid, np.float32)


def _scalp(hu: Field, bone: Mask, inside: Mask, spacing_mm: Spacing) -> Mask:
    """Soft tissue and fat within 15 mm outside the skull."""
    skull = bone | inside
    head = np.stack([ndimage.binary_fill_holes(plane) for plane in skull])
    outside = np.stack([ndimage.distance_transform_edt(~plane, sampling=spacing_mm[1:]) for plane in head])
    return np.asarray((outside > 0) & (outside < 15) & (hu > -200) & (hu < BONE_HU))
