"""Files out to the running node by C-STORE: `triage-node submit`. What is not sent is named, file by file."""

import sys
from contextlib import nullcontext
from pathlib import Path

import click

from dicom_node.commands.frame import plain
from dicom_node.dicom.folders import sort_files
from dicom_node.errors import CommandError
from dicom_node.outbox.dicom import send
from dicom_node.processes.running import own_node
from dicom_node.settings import Settings
from dicom_node.steps.deliver import describe_answer, is_stored

TIMEOUT_S = 60.0


def submit_files(path: Path, settings: Settings, aet: str) -> None:
    """Send every DICOM file under a path, and say what became of all others.

    CommandError, after all of it was tried, where an object was not stored or a file could not be read.
    """
    files = sort_files(path)
    for line in files.say():
        click.echo(plain(line), err=True)
    wanted = len(files.dicom) + len(files.unreadable)
    if not wanted:
        raise CommandError(f"no DICOM files under {path}")
    stored = send_all(files.dicom, settings, aet) if files.dicom else 0
    click.echo(f"{stored} of {wanted} objects stored")
    if stored < wanted:
        raise CommandError(f"{wanted - stored} objects were not stored")


def send_all(files: list[Path], settings: Settings, aet: str) -> int:
    """Send files in one association, and name each that is not stored; how many are."""
    sent = send(files, own_node(settings), aet, TIMEOUT_S)
    bar = click.progressbar(sent, length=len(files), file=sys.stderr) if sys.stderr.isatty() else nullcontext(sent)
    with bar as answers:
        refused = [answer for answer in answers if not is_stored(answer.status)]
    for answer in refused:
        click.echo(plain(f"{answer.path}: {describe_answer(answer)}"), err=True)
    return len(files) - len(refused)
