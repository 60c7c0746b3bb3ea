"""`triage-node viewer`: the viewer that a row of the worklist opens."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicom_node.commands.frame import with_settings

if TYPE_CHECKING:
    from dicom_node.settings import Settings


@click.group()
def viewer() -> None:
    """Install the viewer (OHIF) that a row of the worklist opens."""


@viewer.command()
@click.option(
    "--from",
    "given",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The package's .tgz, made elsewhere by npm pack, for a machine without npm or network.",
)
@with_settings
def install(settings: "Settings", given: Path | None) -> None:
    """Fetch OHIF through npm, check its hash and put it in use.

    About 50 MB; an older one is replaced. A running node takes it up at once, and afterwards needs no network.

    Example: triage-node viewer install
    """
    from dicom_node.web.viewer.install import OHIF, install_viewer

    install_viewer(settings.node.data, OHIF, given, click.echo)
