"""Opens a data set: by the name of its layout, or by what lies in its folder.

The layouts and where each is described: ct-ich `ct_ich.py`, rsna-2019 `rsna2019.py`, cq500 `cq500.py`, nifti `nifti.py`
(INSTANCE 2022, BHSD), dicom-csv `dicom_csv.py`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from inference.training.datasets.base import Dataset, DatasetError
from inference.training.datasets.cq500 import open_cq500
from inference.training.datasets.ct_ich import open_ct_ich
from inference.training.datasets.dicom_csv import open_dicom_csv
from inference.training.datasets.nifti import open_nifti
from inference.training.datasets.rsna2019 import open_rsna2019

# Tried in this order: the most particular first. The second argument is where headers are kept between runs, if at all.
LAYOUTS: Mapping[str, Callable[[Path, Path | None], Dataset]] = MappingProxyType(
    {
        "ct-ich": lambda path, index: open_ct_ich(path),
        "cq500": lambda path, index: open_cq500(path),
        "rsna-2019": open_rsna2019,
        "nifti": lambda path, index: open_nifti(path),
        "dicom-csv": open_dicom_csv,
    }
)


def open_dataset(path: Path, layout: str | None = None, index: Path | None = None) -> Dataset:
    """The data set in this folder; DatasetError says what was looked for.

    `index`: a CSV in which the layouts of loose DICOM files (rsna-2019, dicom-csv) keep what the headers say.
    """
    if not path.exists():
        raise DatasetError(f"{path}: there is no such folder.")
    if layout is not None:
        if layout not in LAYOUTS:
            raise DatasetError(f"{layout!r} is no layout; expected one of {', '.join(LAYOUTS)}.")
        return LAYOUTS[layout](path, index)
    reasons = []
    for name, opened in LAYOUTS.items():
        try:
            return opened(path, index)
        except DatasetError as error:
            reasons.append(f"  {name}: {error}")
    raise DatasetError("\n".join([f"{path}: has no layout that is known; looked for", *reasons]))
