"""What reading and decoding one object may take in this process. Set once, as the limits of setrlimit are."""

from dataclasses import dataclass

ALWAYS_BYTES = 32 << 20  # a deflated data set may become so large whatever its ratio
MOST_READS = 2_000_000  # of a header; each element takes two, and as an object far more memory than in the stream
BYTES_A_SAMPLE = 8  # decoders work with 32-bit samples, and hold each twice


class Unusable(ValueError):
    """Data that cannot be used, said in words that hold none of their values; one of `elements.UNREADABLE`."""


class TooLarge(Unusable):
    """More than the bounds permit."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """A deflated data set becomes at most `inflated_bytes` and so many times what it was; `decoder_bytes` an image."""

    inflated_bytes: int = 1 << 29
    inflated_ratio: float = 200.0
    decoder_bytes: int = 1 << 30

    def most_inflated(self, deflated_bytes: int) -> int:
        """How many bytes a data set of this size may become."""
        return min(self.inflated_bytes, max(ALWAYS_BYTES, int(self.inflated_ratio * deflated_bytes)))

    @property
    def most_samples(self) -> int:
        """How many samples of an image can be decoded at once."""
        return self.decoder_bytes // BYTES_A_SAMPLE


_in_force = [Bounds()]


def set_bounds(bounds: Bounds) -> None:
    """Let these bounds hold in this process from now on."""
    _in_force[0] = bounds


def bounds_in_force() -> Bounds:
    """The bounds of this process."""
    return _in_force[0]
