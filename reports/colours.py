"""The colour of each type of haemorrhage, the same in the picture and in the segmentation (PS3.3 C.10.7.1.1).

Bright on grey, and apart for readers who see red and green alike (after Okabe and Ito, 2008); one more is for
haemorrhage whose type is not told.
"""

from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    HaemorrhageType.EPIDURAL: (255, 159, 28),
    HaemorrhageType.SUBDURAL: (56, 189, 255),
    HaemorrhageType.SUBARACHNOID: (250, 232, 70),
    HaemorrhageType.INTRAPARENCHYMAL: (255, 92, 168),
    HaemorrhageType.INTRAVENTRICULAR: (64, 224, 140),
    INTRACRANIAL: (255, 128, 128),
}
_WHITE = (0.9505, 1.0, 1.089)


def cielab(colour: RGB) -> tuple[float, float, float]:
    """sRGB (0 to 255) as CIE L*a*b* with a D65 white point (IEC 61966-2-1)."""
    red, green, blue = (_linear(each / 255) for each in colour)
    x = _curve((0.4124 * red + 0.3576 * green + 0.1805 * blue) / _WHITE[0])
    y = _curve((0.2126 * red + 0.7152 * green + 0.0722 * blue) / _WHITE[1])
    z = _curve((0.0193 * red + 0.1192 * green + 0.9505 * blue) / _WHITE[2])
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def _curve(value: float) -> float:
    return float(value ** (1 / 3)) if value > 0.008856 else 7.787 * value + 16 / 116
