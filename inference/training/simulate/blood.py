"""What blood looks like on CT by its age: HU of clot, serum and membranes, without noise.

Clotted blood of normal haematocrit is 50-80 HU, fresh unclotted blood and that of the anaemic less; attenuation falls
by about 1.5 HU a day, past brain's after one to three weeks (Bergstrom et al. 1977; Smith et al. 1981). Active bleeding
swirls dark within the clot; cells settle to a level where blood does not clot.
"""

from enum import StrEnum

import numpy as np

from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.boxes import Box
from inference.training.simulate.fields import Field, coordinates, waves


class Age(StrEnum):
    """How old blood is, as it shows."""

    HYPERACUTE = "hyperacute"
    ACUTE = "acute"
    MIXED = "mixed"
    SUBACUTE = "subacute"
    ISODENSE = "isodense"
    CHRONIC = "chronic"
    LAYERED = "layered"


CLOT_HU = {
    Age.HYPERACUTE: (46.0, 58.0),
    Age.ACUTE: (51.0, 72.0),
    Age.MIXED: (53.0, 70.0),
    Age.SUBACUTE: (41.0, 51.0),
    Age.ISODENSE: (33.0, 41.0),
    Age.CHRONIC: (17.0, 30.0),
    Age.LAYERED: (18.0, 32.0),
}


def extent(filled: Field) -> Box:
    """The smallest box that holds all blood."""
    sides = []
    for axis in range(3):
        rest = tuple(i for i in range(3) if i != axis)
        found = np.flatnonzero((filled > 0).any(axis=rest))
        sides.append(slice(int(found[0]), int(found[-1]) + 1))
    return sides[0], sides[1], sides[2]


def blood_hu(body: Anatomy, filled: Field, age: Age, rng: np.random.Generator) -> Field:
    """HU of the blood at each voxel; where there is none, its mean."""
    box = extent(filled)
    shape = filled[box].shape
    clot = float(rng.uniform(*CLOT_HU[age]))
    if age in (Age.ACUTE, Age.MIXED, Age.HYPERACUTE) and rng.random() < 0.06:
        clot -= float(rng.uniform(6, 14))
    out = np.full(filled.shape, clot, np.float32)
    uneven = float(rng.uniform(0.5, 3.5))
    part = clot + uneven * waves(shape, body.spacing_mm, 9.0, rng)
    part += float(rng.uniform(0, 2)) * waves(shape, body.spacing_mm, 4.0, rng)
    if age in (Age.MIXED, Age.HYPERACUTE):
        part = _swirled(body, part, rng)
    if age is Age.LAYERED:
        part = _settled(body, part, filled[box], rng)
    if age is Age.CHRONIC and rng.random() < 0.4:
        part = _septa(body, part, rng)
    out[box] = np.clip(part, 8, 92)
    return out


def _swirled(body: Anatomy, clot: Field, rng: np.random.Generator) -> Field:
    """Darker, still liquid blood that whirls into the clot."""
    wide = waves(clot.shape, body.spacing_mm, float(rng.uniform(14, 28)), rng)
    bent = wide + 0.6 * waves(clot.shape, body.spacing_mm, 9.0, rng)
    share = np.clip((bent - float(rng.uniform(0.3, 1.2))) / float(rng.uniform(0.8, 2.0)) + 0.5, 0, 1)
    return np.asarray(clot + share * (float(rng.uniform(32, 46)) - clot), np.float32)


def _settled(body: Anatomy, serum: Field, filled: Field, rng: np.random.Generator) -> Field:
    """Cells sunk to the back of a lying patient: a level along the rows, sharper the longer it stood."""
    _, y, _ = coordinates(serum.shape, body.spacing_mm)
    by_row = np.cumsum(filled.sum((0, 2)))
    row = int(np.searchsorted(by_row, rng.uniform(0.35, 0.75) * by_row[-1]))
    level = float(y[0, min(row, serum.shape[1] - 1), 0])
    sunk = np.clip((y - level) / float(rng.uniform(2, 14)) + 0.5, 0, 1)
    return np.asarray(serum + sunk * (float(rng.uniform(48, 66)) - serum), np.float32)


def _septa(body: Anatomy, fluid: Field, rng: np.random.Generator) -> Field:
    """Thin membranes through old fluid."""
    sheets = np.abs(waves(fluid.shape, body.spacing_mm, 22.0, rng)) < 0.07
    return np.asarray(np.where(sheets, fluid + float(rng.uniform(14, 26)), fluid), np.float32)
