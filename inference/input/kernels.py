"""How sharp a reconstruction kernel is, from the name that the vendor gives it (Convolution Kernel, PS3.3 C.8.2.1)."""

import re
from enum import IntEnum

_SHARP = re.compile(
    r"(hd\s*)?(bone\W?\w*|edge|lung|detail|ultra)|fc(3\d|[58]\d)\b.*|"
    r"[bhj][5-9]\d\w*|[bhjqu][rvpcsfn](5[3-9]|[6-9]\d)\w*|y[abcd]|e[ab]?|d|l",
    re.IGNORECASE,
)


class Sharpness(IntEnum):
    """Soft tissue first; a kernel that is not named may be any."""

    SOFT = 0
    UNKNOWN = 1
    SHARP = 2


def sharpness_of(kernel: str) -> Sharpness:
    """Sharp kernels show bone and lung; all others that have a name are taken as made for soft tissue."""
    if not kernel:
        return Sharpness.UNKNOWN
    return Sharpness.SHARP if _SHARP.fullmatch(kernel.strip()) else Sharpness.SOFT
