"""`triage-node validate`: what is typed; what it does is in validate.py, which is loaded only then."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicom_node.commands.frame import with_settings
from dicom_node.errors import CommandError

if TYPE_CHECKING:
    from dicom_node.settings import Settings

SHARE = click.FloatRange(0, 1, min_open=True)
CSV = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--truth", type=CSV, help="CSV: which study, haemorrhage yes or no, perhaps types.")
@click.option("--reports", type=CSV, help="CSV: which study, text of its report.")
@click.option("--sentences", type=CSV, help="sentences.csv of an earlier run, corrected: its verdicts win.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the page.")
@click.option("--sensitivity", type=SHARE, help="Which threshold reaches this sensitivity here? E.g. 0.95.")
@click.option("--specificity", type=SHARE, help="Which threshold reaches this specificity here? E.g. 0.9.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array with one object, the summary.")
@with_settings
def validate(
    settings: "Settings",
    folder: Path,
    truth: Path | None,
    reports: Path | None,
    sentences: Path | None,
    out: Path,
    sensitivity: float | None,
    specificity: float | None,
    as_json: bool,
) -> None:
    """Check the model on your own studies before you trust it.

    Analyses the studies in FOLDER silently, compares them with your truths or reports, and writes validation.html to
    DIR. Run again to continue after a stop.

    Example: triage-node validate /data/old --truth truth.csv --out /data/check --sensitivity 0.95
    """
    if truth is None and reports is None:
        raise click.UsageError("one of --truth and --reports is needed")
    if sentences is not None and reports is None:
        raise click.UsageError("--sentences corrects what --reports says; it needs --reports")
    if find_spec("matplotlib") is None:
        raise CommandError("the page needs matplotlib, which is not installed: pip install 'triage-node[train]'")
    from dicom_node.commands import text
    from dicom_node.commands.validate import Wanted, run
    from dicom_node.logs import configure_logs
    from dicom_node.models.store import open_engine, open_store

    configure_logs("validate", quiet=True)
    store = open_store(settings)
    wanted = Wanted(folder, out, truth, reports, sentences, sensitivity, specificity)
    engine = open_engine(settings, store.card_for, own_scale=True)
    entry = run(wanted, settings, store, engine, lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(text.to_json([entry]))
    click.echo(entry.statement, err=True)
    if not entry.analysed:
        raise CommandError(f"no study could be analysed; {entry.page} says why")
