"""What a scanner does wrong along its rays: parallel projections, their errors, and filtered backprojection.

A true error of the measurement (hardening, starvation, movement) gives true streaks (Barrett and Keat 2004); the
projector is coarse and quick, good for errors, not for images. Planes are (plane, row, column) at one pixel size.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from inference.training.simulate.fields import Field

Sinogram = NDArray[np.float32]


def _detector(shape: tuple[int, int], angle: float) -> tuple[NDArray[np.intp], Field]:
    """Detector cell below each pixel and the share that falls to the next one."""
    y = np.arange(shape[0], dtype=np.float32)[:, None] - (shape[0] - 1) / 2
    x = np.arange(shape[1], dtype=np.float32)[None] - (shape[1] - 1) / 2
    at = (np.cos(angle) * x + np.sin(angle) * y + cells(shape) / 2).ravel()
    low = np.floor(at)
    return low.astype(np.intp), (at - low).astype(np.float32)


def cells(shape: tuple[int, int]) -> int:
    """Detector cells that see the whole image."""
    return int(np.ceil(np.hypot(*shape))) + 4


def through_rays(planes: Field, error: Callable[[Sinogram, int], Sinogram], angles: NDArray[np.float64]) -> Field:
    """Filtered backprojection of `error(sums along the rays (plane, cell), number of the angle)`.

    `angles` in radians, evenly spread; sums are in the planes' unit times pixels. As many planes come out as the errors
    have.
    """
    shape = (planes.shape[1], planes.shape[2])
    count = cells(shape)
    flat = planes.reshape(len(planes), -1)
    used = [np.flatnonzero(plane) for plane in flat]
    ramp = _ramp(count)
    out = np.zeros((1, flat.shape[1]), np.float32)
    for number, angle in enumerate(angles):
        low, share = _detector(shape, float(angle))
        sums = np.stack([_cast(flat[i][u], low[u], share[u], count) for i, u in enumerate(used)])
        wrong = error(sums, number)
        sharp = np.fft.irfft(np.fft.rfft(wrong, 2 * count, axis=1) * ramp, axis=1)[:, :count].astype(np.float32)
        steps = np.diff(sharp, axis=1)
        out = out + sharp[:, low] + share * steps[:, low]
    return np.asarray(out.reshape(-1, *shape) * np.float32(np.pi / len(angles)), np.float32)


def _cast(values: Field, low: NDArray[np.intp], share: Field, count: int) -> Sinogram:
    sums = np.bincount(low, values * (1 - share), count) + np.bincount(low + 1, values * share, count)
    return np.asarray(sums, np.float32)


def _ramp(count: int) -> NDArray[np.float64]:
    """Ramp with a Hann window, per cell."""
    frequency = np.fft.rfftfreq(2 * count)
    return np.asarray(frequency * (0.5 + 0.5 * np.cos(2 * np.pi * frequency)))
