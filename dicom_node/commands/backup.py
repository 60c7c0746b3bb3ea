"""The commands `backup` and `restore`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicom_node.commands.frame import with_settings
from dicom_node.durable import is_running
from dicom_node.errors import CommandError

if TYPE_CHECKING:
    from dicom_node.settings import Settings


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--images/--no-images", default=True, help="Whether the images are in it (they are).")
@with_settings
def backup(settings: "Settings", file: Path, images: bool) -> None:
    """Write a backup of the node to FILE, also while it runs.

    The database, the site's models, the objects that the node has made, the settings and, unless they are not wanted,
    the images.

    Example: triage-node backup /backup/triage-node.tar
    """
    from dicom_node import clock
    from dicom_node.backup.make import make_backup
    from dicom_node.settings import site_file

    if not settings.database_path.exists():
        raise CommandError(f"there is no node's database at {settings.database_path.absolute()}")
    of_site = (site_file(click.get_current_context().obj.config), settings.routes_path)
    site_files = [path for path in of_site if path is not None]
    made = make_backup(settings.node.data, file, site_files, images, clock.utc_now())
    click.echo(f"{file}: {made.files} files, {made.bytes / 1e6:.1f} MB{'' if images else ', without the images'}")
    if made.missing:
        click.echo(f"{made.missing} files were not there any more and are not in it", err=True)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_settings
def restore(settings: "Settings", file: Path) -> None:
    """Put the backup FILE into the data folder of a node that does not run.

    What was there is kept aside; images that are there stay. The folder may be another one than it was.

    Example: triage-node restore /backup/triage-node.tar
    """
    from dicom_node import clock
    from dicom_node.backup.restore import restore_backup
    from dicom_node.processes.life import take_folder

    take_folder(settings)
    data = settings.node.data
    with nothing_running(data):
        done = restore_backup(file, data, clock.utc_now())
    click.echo(f"restored to {data.absolute()}: the state of {done.manifest.made_at}")
    if done.aside:
        click.echo(f"what was there before: {done.aside.absolute()}")
    if done.settings:
        click.echo(f"the settings as they were then, not in use: {done.settings.absolute()}")
    if done.images_missing:
        click.echo(
            f"{done.images_missing} images are not here: their studies leave the list at the next start", err=True
        )


@contextmanager
def nothing_running(data: Path) -> Iterator[None]:
    """Keep the node from being started; CommandError where one of its processes runs on the folder."""
    from dicom_node import clock, signs
    from dicom_node.processes.life import only_one

    living = [each for each in signs.read(data) if each.until >= clock.monotonic() and is_running(each.pid)]
    if living:
        names = ", ".join(sorted(each.process for each in living))
        raise CommandError(f"a node runs on the folder {data.absolute()} ({names}): stop it first")
    with only_one(data, "serve", patience_s=0.0), only_one(data, "node", patience_s=0.0):
        yield
