"""Makes the contact sheet of the simulator: scripts/contact_sheet --data CT_ICH_FOLDER --out FILE.jpg"""

import os
from pathlib import Path

import click

# numpy's own threads wait for one another where cores are busy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from inference.training.datasets.base import DatasetError
from inference.training.datasets.ct_ich import open_ct_ich
from inference.training.rounds.cases import gather
from inference.training.studies.contact_sheet import contact_sheet


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="CT-ICH.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Picture to be written.")
@click.option("--seed", default=3, show_default=True)
def main(data: Path, out: Path, seed: int) -> None:
    """Draw simulated bleeds of every type beside real ones, the mimics, and other acquisitions.

    Example: scripts/contact_sheet --data ct_ich --out sheet.jpg
    """
    try:
        heads = {int(case.told.patient_id): case.head for case in gather([open_ct_ich(data)])}
    except DatasetError as error:
        raise click.ClickException(str(error)) from error
    contact_sheet(heads, seed).save(out, quality=88)
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
