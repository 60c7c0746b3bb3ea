"""CT-ICH's pictures of windows: read, checked, brought to the size of a scan, and turned back into HU."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from inference.training.datasets.base import DatasetError

SIZE = 512


def grey(path: Path) -> NDArray[np.float32]:
    """The picture's greys, 0 to 255; DatasetError where it cannot be read."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L"), np.float32)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: is missing, but the table says that this slice has a picture.") from error
    except (UnidentifiedImageError, OSError) as error:
        raise DatasetError(f"{path}: cannot be read as a picture ({error}).") from error


def square(picture: NDArray[np.float32], side: int, path: Path) -> NDArray[np.float32]:
    """The picture itself; DatasetError unless it has so many rows and columns."""
    if picture.shape != (side, side):
        raise DatasetError(f"{path}: has {picture.shape[0]} x {picture.shape[1]} pixels; expected {side} x {side}.")
    return picture


def resized_codes(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each code where it holds most of a pixel."""
    out = np.zeros((SIZE, SIZE), np.uint8)
    for code in (int(each) for each in np.unique(codes) if each):
        out[resized(np.where(codes == code, np.float32(255), np.float32(0))) > 127] = code
    return out


def resized(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """(SIZE, SIZE) means of the pixels that each one covers."""
    return np.asarray(Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.BOX))


def slice_hu(brain: Path, bone: Path) -> NDArray[np.float32]:
    """(SIZE, SIZE) HU: of the brain window where it has not reached its ends, else of the bone window, or a guess."""
    window = grey(brain)
    wide = grey(bone) * (3200 / 255) - 900 if bone.exists() else np.where(window > 127, 1000.0, -1000.0)
    if wide.shape != window.shape:
        raise DatasetError(f"{bone}: is not of the size of the brain window's picture.")
    hu = window * (120 / 255) - 20
    hu = np.where(window >= 252, np.maximum(wide, 100), np.where(window <= 3, np.minimum(wide, -20), hu))
    return resized(hu.astype(np.float32))
