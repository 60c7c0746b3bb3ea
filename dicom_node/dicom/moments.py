"""When an image was acquired, in UTC, as it says itself (PS3.3 C.12.1.1.8, Timezone Offset From UTC).

Where no zone is stated, this machine's is meant.
"""

import re
from datetime import UTC, datetime

from pydicom.dataset import Dataset

from inference.input import elements

TIMES = (("AcquisitionDate", "AcquisitionTime"), ("ContentDate", "ContentTime"), ("StudyDate", "StudyTime"))
DATE_TIME = re.compile(
    r"(\d{8})(\d{4})(\d{2})?(\.\d{1,6})?([+-]\d{4})?"
)  # DT, and DA with TM (PS3.5 6.2), to the minute


def moment_of(header: Dataset) -> tuple[datetime | None, bool]:
    """One image's acquisition, else content, else study date and time, in UTC; whether the zone was stated."""
    written = [elements.text(header, "AcquisitionDateTime")]
    written += ["".join(elements.text(header, keyword) for keyword in pair) for pair in TIMES]
    zone = elements.text(header, "TimezoneOffsetFromUTC")
    for text in written:
        parts = DATE_TIME.fullmatch(text.replace(":", ""))
        moment = _read(f"{parts[1]}{parts[2]}{parts[3] or '00'}{parts[4] or '.0'}", parts[5] or zone) if parts else None
        if moment is not None:
            return moment
    return None, False


def _read(digits: str, offset: str) -> tuple[datetime, bool] | None:
    """A moment in UTC; the offset counts where it is one, otherwise this machine's zone."""
    try:
        zone = elements.zone_of(offset)
        moment = datetime.strptime(digits, "%Y%m%d%H%M%S.%f").replace(tzinfo=zone)
        return moment.astimezone(UTC), zone is not None
    except (ValueError, OverflowError):
        return None
