"""The awkward inputs that lie beside the checkout: each script writes small series made of a real head CT."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).parents[2] / "shared" / "cases"


def make_case(name: str, out: Path) -> dict[str, list[Path]]:
    """Run the script `name`; the files of each series that it has written, by the name of their folder."""
    script = CASES / f"{name}.py"
    if not script.is_file():
        pytest.skip(f"the awkward inputs are not on this machine ({script} is missing)")
    done = subprocess.run(
        [sys.executable, script, out],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"CT_ICH": str(CASES.parent / "data" / "ct_ich")},
    )
    assert done.returncode == 0, done.stderr
    return {folder.name: sorted(folder.glob("*.dcm")) for folder in sorted(out.iterdir()) if folder.is_dir()}
