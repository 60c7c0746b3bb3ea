"""How long the small pictures of a series take, how large they are, and how soon the first one is answered."""

import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from statistics import median

import click
import httpx2
from pydicom import Dataset
from pydicom.uid import generate_uid
from scripted import ScriptedEngine, route
from series import Core, core, read_all
from web_support import Node, serving

from dicom_node.commands import phantom
from dicom_node.entities import Job, JobKind
from dicom_node.steps.analyse import analyse_next
from dicom_node.steps.preview import make_preview
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType
from reports.preview_file import read_index, read_picture

SLICES = (30, 300)
ASKED = 20


def measure_previews() -> None:
    """Measure and print, for a usual and for a thin series."""
    for slices in SLICES:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            phantom.write_series(synthetic_head(100, HaemorrhageType.SUBDURAL, "large"), place / "scan", 1)
            node = core(place / "node")
            node.receive(list(thinner(read_all(place / "scan"), slices)))
            route(node)
            seconds = made_in(node)
            (path,) = node.archive.root.rglob("preview.zip")
            say(node, path, slices, seconds)


def thinner(images: list[Dataset], slices: int) -> Iterator[Dataset]:
    """The same head in so many slices, each image several times, one close above the other."""
    times = slices // len(images)
    spacing = float(images[1].ImagePositionPatient[2]) - float(images[0].ImagePositionPatient[2])
    for image in images:
        for step in range(times):
            copy = deepcopy(image)
            x, y, z = image.ImagePositionPatient
            copy.ImagePositionPatient = [x, y, float(z) + spacing * step / times]
            copy.InstanceNumber = (int(image.InstanceNumber) - 1) * times + step + 1
            copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            yield copy


def made_in(node: Core) -> float:
    """Analyse what has come by script, make its small pictures, and return the seconds of that."""
    taken: list[Job] = []
    preview = partial(make_preview, node.database, node.archive)
    began = 0.0
    while not taken or taken[-1].kind is not JobKind.PREVIEW:
        began = time.perf_counter()
        assert analyse_next(
            node.database, node.archive, node.settings, ScriptedEngine(True), "bench", taken.append, preview
        )
    return time.perf_counter() - began


def say(node: Core, path: Path, slices: int, seconds: float) -> None:
    """Print one series' figures."""
    index = read_index(path)
    parts = {name: len(read_picture(path, name)) for name in ("first.jpg", *(each.file for each in index.windows))}
    shown = ", ".join(f"{name} {size / 1000:.0f}" for name, size in parts.items())
    (study,) = [each.name for each in (node.archive.root / "results").iterdir()]
    with serving(Node(node.database, node.archive, node.settings)) as (address, _), httpx2.Client() as client:
        answers = []
        for _ in range(ASKED):
            began = time.perf_counter()
            answer = client.get(f"{address}/studies/{study}/preview")
            answers.append(time.perf_counter() - began)
    click.echo(f"{slices} slices of 512 x 512, {len(index.slices)} of them shown:")
    click.echo(f"  made in {seconds:.2f} s; {path.stat().st_size / 1000:.0f} kB ({shown})")
    click.echo(f"  the first picture: {len(answer.content) / 1000:.0f} kB, answered in {1000 * median(answers):.0f} ms")
