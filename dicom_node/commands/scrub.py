"""`triage-node scrub`: are the stored files still what was stored?"""

from typing import TYPE_CHECKING

import click

from dicom_node.commands.frame import with_settings

if TYPE_CHECKING:
    from dicom_node.settings import Settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a damaged file.")
@with_settings
def scrub(settings: "Settings", as_json: bool) -> None:
    """Read all stored files again and print which are damaged.

    As the node itself does now and then, but without a pause. Exit code 1 when there is damage.

    Example: triage-node scrub
    """
    from dicom_node.commands import text
    from dicom_node.errors import CommandError
    from dicom_node.logs import configure_logs
    from dicom_node.processes import running
    from dicom_node.steps.scrub import scrub as look

    configure_logs("scrub", quiet=True)
    done = look(running.database(settings))
    if as_json:
        click.echo(text.to_json(done.damaged))
    elif done.damaged:
        rows = [(each.damage, each.kind, each.study_uid, str(each.path)) for each in done.damaged]
        click.echo(text.table(("damage", "object", "study", "file"), rows))
    else:
        click.echo(f"files looked through: {done.files}; none is damaged")
    if done.damaged:
        raise CommandError(f"{len(done.damaged)} of {done.files} stored files are damaged")
