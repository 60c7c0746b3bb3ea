"""The noise of a scan: how much there is in the brain, and more of the same texture.

A filtered-backprojection noise has no slow waves (Riederer et al. 1978).
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.training.simulate.fields import Field, Mask


def noise_sd(hu: Field, inside: Mask) -> float:
    """Standard deviation of noise in HU within the brain, from neighbours four pixels apart in both directions.

    Anatomy is smooth over that distance in most places: the quartiles of the second difference tell.
    """
    planes = _wide(inside)
    values, brain = hu[planes], inside[planes]
    mixed = _mixed(values)
    use = brain[:, 4:, 4:] & brain[:, :-4, 4:] & brain[:, 4:, :-4] & brain[:, :-4, :-4]
    found = mixed[use]
    if len(found) < 100:
        return 0.0
    low, high = np.percentile(found, [25, 75])
    return float((high - low) / 1.349 / 2)


def texture(shape: tuple[int, ...], kernel_mm: float, rng: np.random.Generator) -> Field:
    """Noise of standard deviation 1 as a kernel leaves it: fine grain for a sharp one, coarse for a smooth one."""
    size = float(np.clip(0.75 - 0.45 * kernel_mm, 0.35, 1.4))
    white = rng.standard_normal(shape, dtype=np.float32)
    fine = ndimage.gaussian_filter(white, (0, size, size), truncate=2.5)
    fine -= 0.8 * ndimage.gaussian_filter(fine, (0, 2.2 * size, 2.2 * size), truncate=2)
    return np.asarray(fine / (_mixed(fine[:4]).std() / 2 + 1e-6), np.float32)


def noisy(image: Field, inside: Mask, wanted_hu: float, kernel_mm: float, rng: np.random.Generator) -> Field:
    """The image with what noise it lacks, as a kernel leaves it."""
    missing = wanted_hu**2 - noise_sd(image, inside) ** 2
    if missing <= 0.01:
        return image
    return np.asarray(image + np.float32(np.sqrt(missing)) * texture(image.shape, kernel_mm, rng), np.float32)


def _mixed(values: Field) -> Field:
    """Second difference along rows and columns over four pixels; of noise it has four times the variance."""
    return np.asarray(values[:, 4:, 4:] - values[:, :-4, 4:] - values[:, 4:, :-4] + values[:, :-4, :-4], np.float32)


def _wide(inside: Mask) -> NDArray[np.intp]:
    """Up to six planes of much brain."""
    areas = inside.sum((1, 2))
    wide = np.flatnonzero(areas >= 0.6 * areas.max())
    return wide[np.linspace(0, len(wide) - 1, min(6, len(wide))).astype(np.intp)]
