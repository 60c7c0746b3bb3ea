"""How bright the tissue under the skull is in heads whose scanner the networks know: USUAL_HU of `cupping.py`."""

from pathlib import Path

import click
import numpy as np

from inference.pipelines.haemorrhage.cupping import EDGES_MM, STEP, profile_hu, to_skull_mm
from inference.pipelines.haemorrhage.head_grid import to_grid
from inference.training.datasets.ct_ich import open_ct_ich


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="CT-ICH.")
def main(data: Path) -> None:
    """Print the mean and the standard deviation over all heads without haemorrhage, ring by ring; half a minute."""
    dataset, profiles = open_ct_ich(data), []
    for entry in dataset.entries():
        study = dataset.load(entry)
        if not study.truth.haemorrhage:
            grid = to_grid(study.stack, keep_cupping=True)
            distance = to_skull_mm(grid.inside[:, ::STEP, ::STEP])
            profiles.append(profile_hu(grid.image[:, ::STEP, ::STEP].numpy(), distance))
    measured = np.array([each for each in profiles if each is not None])
    for low, high, mean, sd in zip(EDGES_MM[:-1], EDGES_MM[1:], measured.mean(0), measured.std(0), strict=True):
        click.echo(f"{low:4.1f} to {high:4.1f} mm: {mean:5.1f} HU, sd {sd:.1f} ({len(measured)} heads)")


if __name__ == "__main__":
    main()
