"""The commands; what they print is made in listing.py, how they fail in frame.py.

Each imports what it needs when it runs: nobody waits for a network's library to read a list.
"""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicom_node.commands.backup import backup, restore
from dicom_node.commands.deliveries import outbox
from dicom_node.commands.frame import CommandGroup, Invocation, with_settings
from dicom_node.commands.identity import identity
from dicom_node.commands.models import models
from dicom_node.commands.scrub import scrub
from dicom_node.commands.validation import validate
from dicom_node.commands.viewer import viewer
from dicom_node.durable import keep_private

if TYPE_CHECKING:
    from dicom_node.settings import Settings

DISCLAIMER = "Research software, not a medical device: its results are not for diagnostic use."


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=DISCLAIMER)
@click.option(
    "--config", type=click.Path(path_type=Path), help="The site's settings file (default: ./triage-node.toml)."
)
@click.option("--supervisor", type=int, hidden=True, help="The process ID of the serve that starts this command.")
@click.version_option(package_name="triage-node")
@click.pass_context
def main(context: click.Context, config: Path | None, supervisor: int | None) -> None:
    """A DICOM node that finds suspected intracranial haemorrhage on head CT and puts those studies first.

    Example: triage-node serve
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show ends no command
            stream.reconfigure(errors="backslashreplace")
    context.obj = Invocation(config, supervisor)
    if context.invoked_subcommand != "analyse":  # which writes where its user wants to share it, perhaps
        keep_private()


@main.command()
@click.pass_obj
def serve(invocation: Invocation) -> None:
    """Run the whole node.

    Receiver, worker and page, each restarted when it crashes or hangs.

    Example: triage-node --config site.toml serve
    """
    from dicom_node.logs import configure_logs
    from dicom_node.processes.serve import serve as run
    from dicom_node.settings import load_settings, site_file

    settings, where = load_settings(invocation.config), site_file(invocation.config)
    configure_logs("serve", wanted=settings.log)
    run(settings, ["--config", str(where.absolute())] if where else [], click.echo)


@main.command()
@click.pass_obj
def node(invocation: Invocation) -> None:
    """Run only the DICOM side.

    Receive, complete, route and deliver; a worker and the page are separate.

    Example: triage-node node
    """
    from dicom_node.logs import configure_logs
    from dicom_node.processes.node import running_node
    from dicom_node.settings import load_settings

    settings = load_settings(invocation.config)
    configure_logs("node", wanted=settings.log)
    with running_node(settings, invocation.supervisor) as (_, life):
        life.end_on_signals()
        life.ending.wait()


@main.command()
@click.pass_obj
def worker(invocation: Invocation) -> None:
    """Run only a worker.

    It analyses what is queued; several may run.

    Example: triage-node worker
    """
    from dicom_node.logs import configure_logs
    from dicom_node.processes.worker import run_worker
    from dicom_node.settings import load_settings

    settings = load_settings(invocation.config)
    configure_logs("worker", wanted=settings.log)
    run_worker(settings, invocation.supervisor)


@main.command()
@click.pass_obj
def web(invocation: Invocation) -> None:
    """Run only the worklist page.

    Example: triage-node web
    """
    from dicom_node.logs import configure_logs
    from dicom_node.processes.web import run_web
    from dicom_node.settings import load_settings

    settings = load_settings(invocation.config)
    configure_logs("web", wanted=settings.log)
    run_web(settings, invocation.supervisor)


@main.command()
@click.argument("folder", required=False, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--once", is_flag=True, help="End when all studies have their result; exit 0 only if the flags are right."
)
@click.option("--port", default=8080, show_default=True, help="Port of the page; 0 takes a free one.")
def demo(folder: Path | None, once: bool, port: int) -> None:
    """Try it: synthetic heads through a node.

    Starts a node of its own, pushes head CTs to it (synthetic ones, or the DICOM files in FOLDER) and shows the
    worklist as it fills.

    Example: triage-node demo --once
    """
    from dicom_node.commands.demo import run_demo
    from dicom_node.logs import configure_logs

    configure_logs("demo", quiet=True)
    run_demo(folder, once, port, click.echo)


@main.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a series.")
@with_settings
def analyse(settings: "Settings", path: Path, out: Path, as_json: bool) -> None:
    """Analyse DICOM files without any network.

    Writes SEG, SR, SC and KO files to DIR/STUDY/SERIES.

    Example: triage-node analyse /data/ct --out /data/results
    """
    from dicom_node.commands import listing, text
    from dicom_node.commands.analyse_files import analyse_files
    from dicom_node.logs import configure_logs
    from dicom_node.models.store import open_engine, open_store

    configure_logs("analyse", quiet=True)
    answers = []
    try:
        for answer in analyse_files(path, out, settings, open_engine(settings, open_store(settings).card_for)):
            answers.append(answer)
            click.echo(listing.answer_line(answer), err=as_json)
    finally:  # what was analysed is told, whatever came afterwards
        if as_json and answers:
            click.echo(text.to_json(answers))
    click.echo(DISCLAIMER, err=True)


@main.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--aet", default="SUBMIT", show_default=True, help="The calling AE title.")
@with_settings
def submit(settings: "Settings", path: Path, aet: str) -> None:
    """Send DICOM files to the running node.

    By C-STORE, as a scanner would.

    Example: triage-node submit /data/ct
    """
    from dicom_node.commands.submit import submit_files
    from dicom_node.logs import configure_logs

    configure_logs("submit", quiet=True)
    submit_files(path, settings, aet)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a study.")
@with_settings
def worklist(settings: "Settings", as_json: bool) -> None:
    """Print the worklist in reading order.

    Example: triage-node worklist
    """
    from dicom_node.commands import listing, text

    entries = listing.worklist(settings)
    click.echo(text.to_json(entries) if as_json else listing.worklist_text(entries))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, analyses and deliveries.")
@click.option("--limit", default=50, show_default=True, help="How many of each, the newest first.")
@with_settings
def jobs(settings: "Settings", as_json: bool, limit: int) -> None:
    """Print the last analyses and deliveries.

    Analyses have IDs A..., deliveries D...; with what went wrong.

    Example: triage-node jobs
    """
    from dicom_node.commands import listing, text

    entries = listing.jobs(settings, limit)
    click.echo(text.to_json(entries) if as_json else listing.jobs_text(entries))


@main.command()
@click.argument("job_id")
@with_settings
def retry(settings: "Settings", job_id: str) -> None:
    """Revive a failed analysis or delivery, or send a waiting one now.

    By its ID from `triage-node jobs`.

    Example: triage-node retry D17
    """
    from dicom_node.commands import listing

    listing.retry(settings, job_id)
    click.echo(f"{job_id} is due again")


@main.command()
@click.option("--csv", "as_csv", is_flag=True, help="Print all of it as CSV (UTF-8), with the results it is about.")
@click.option("--limit", default=50, show_default=True, help="How much of it without --csv, the newest first.")
@with_settings
def feedback(settings: "Settings", as_csv: bool, limit: int) -> None:
    """Print what readers said of results.

    Example: triage-node feedback --csv > feedback.csv
    """
    from dicom_node.commands import listing

    if not as_csv:
        click.echo(listing.feedback_text(listing.feedback(settings, limit)))
        return
    from dicom_node.processes import running
    from dicom_node.web.reader.feedback_csv import csv_pages

    for page in csv_pages(running.database(settings)):
        click.echo(page.encode(), nl=False)


@main.command()
@click.argument("peer", required=False)
@with_settings
def echo(settings: "Settings", peer: str | None) -> None:
    """Test a peer with C-ECHO.

    Without a name, this node itself.

    Example: triage-node echo pacs
    """
    from dicom_node.logs import configure_logs
    from dicom_node.network import scu
    from dicom_node.processes.running import own_node

    configure_logs("echo", quiet=True)
    target = settings.peer_named(peer) if peer else own_node(settings)
    scu.echo(target, settings.node.ae_title, settings.timeout_of(target))
    click.echo(f"{target.name} ({target.ae_title} at {target.host}:{target.port}) answers")


@main.group()
def config() -> None:
    """Look at the settings."""


@config.command("show")
@with_settings
def config_show(settings: "Settings") -> None:
    """Print every setting in force, as TOML.

    Example: triage-node config show
    """
    from dicom_node.commands import text

    click.echo(text.to_toml(settings))


@config.command("check")
@click.option("--load", is_flag=True, help="Also load each model, as a worker does (some seconds).")
@with_settings
def config_check(settings: "Settings", load: bool) -> None:
    """Check settings, routing rules, data folder and model before the node is started.

    Example: triage-node --config site.toml config check
    """
    from dicom_node.commands.check import checked
    from dicom_node.settings import site_file

    for line in checked(settings, site_file(click.get_current_context().obj.config), load):
        click.echo(line)


main.add_command(backup)
main.add_command(identity)
main.add_command(models)
main.add_command(outbox)
main.add_command(restore)
main.add_command(scrub)
main.add_command(validate)
main.add_command(viewer)
