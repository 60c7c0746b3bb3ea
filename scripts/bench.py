"""Turnaround: from the last C-STORE response to the flag on the worklist and to all results stored in Orthanc.

Synthetic head CTs with a bleed (30 slices of 512 x 512) are sent one after another to `triage-node serve` with its
default settings. The wait for completeness is part of the turnaround and is stated apart. With `--worklist 100000` the
pages of a node that holds so many studies are measured instead, with `--commands` the commands that people wait for,
with `--previews` the small pictures of the list.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

import click

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from bench_commands import measure_commands
from bench_preview import measure_previews
from bench_worklist import measure_pages
from peers import Orthanc, Served, pacs_peer, running_node, running_orthanc, wait_until

from dicom_node.commands import phantom
from dicom_node.dicom.folders import find_dicom
from dicom_node.outbox.dicom import send
from dicom_node.settings import Peer
from dicom_node.tables.database import Database
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType

OBJECTS = 4


@dataclass(frozen=True, slots=True)
class Turnaround:
    """Seconds from the last C-STORE response, and the rate at which the images were taken."""

    complete: float
    flagged: float
    stored: float
    images_per_s: float


def measure(folder: Path, served: Served, orthanc: Orthanc) -> Turnaround:
    """Send one study and watch it."""
    database = Database(served.data / "node.sqlite")
    node = Peer(name="node", ae_title="TRIAGE", host="127.0.0.1", port=served.port)
    before, files = orthanc.count(), find_dicom(folder)
    began = time.time()
    last = began
    for answer in send(files, node, "BENCH_CT", 60.0):
        assert answer.status == 0x0000, answer
        last = time.time()

    def flagged() -> list[dict[str, str]]:
        with database.read() as tx:
            return tx.rows(
                "SELECT jobs.created_at, worklist.flagged_at FROM worklist JOIN jobs USING (study_uid)"
                " WHERE flagged_at IS NOT NULL AND jobs.kind = 'analyse' ORDER BY jobs.job_id DESC LIMIT 1"
            )

    study = wait_until(
        lambda: [row for row in flagged() if moment(row["created_at"]) > last], 60, "the study is flagged"
    )[0]
    while orthanc.count() < before + OBJECTS:
        time.sleep(0.01)
    stored = time.time()
    return Turnaround(
        moment(study["created_at"]) - last,
        moment(study["flagged_at"]) - last,
        stored - last,
        len(files) / (last - began),
    )


def analysis_seconds(served: Served) -> list[float]:
    """Of every study: from reading its series to its objects in the archive."""
    with Database(served.data / "node.sqlite").read() as tx:
        return [float(row["seconds"]) for row in tx.rows("SELECT seconds FROM analyses")]


def worker_peak_gb(served: Served) -> float:
    """The highest resident memory of the worker so far."""
    lines = Path(f"/proc/{served.pids()['worker']}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e6


def moment(text: str) -> float:
    """Seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--worklist", type=int, metavar="STUDIES", help="measure the pages with so many studies")
    parser.add_argument("--commands", action="store_true", help="measure how soon the commands answer")
    parser.add_argument("--previews", action="store_true", help="measure the small pictures of the list")
    asked = parser.parse_args()
    if asked.commands:
        measure_commands()
        return
    if asked.previews:
        measure_previews()
        return
    if asked.worklist:
        measure_pages(asked.worklist)
        return
    repeats = asked.repeats
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        for number in range(repeats):
            head = synthetic_head(100 + number, HaemorrhageType.SUBDURAL, "large")
            phantom.write_series(head, place / "scans" / str(number), number)
        with running_orthanc(place / "pacs") as orthanc, running_node(place / "node", pacs_peer(orthanc)) as served:
            measured = [measure(place / "scans" / str(number), served, orthanc) for number in range(repeats)]
            seconds, peak_gb = analysis_seconds(served), worker_peak_gb(served)
    click.echo(f"{repeats} head CTs of 30 slices, seconds after the last C-STORE response: median (minimum to maximum)")
    for title, name in (
        ("taken as complete", "complete"),
        ("flagged on the worklist", "flagged"),
        ("SEG, SR, SC and KO stored in Orthanc", "stored"),
    ):
        values = [getattr(each, name) for each in measured]
        click.echo(f"  {title:40} {median(values):6.2f}  ({min(values):.2f} to {max(values):.2f})")
    click.echo(f"  {'the analysis alone':40} {median(seconds):6.2f}  ({min(seconds):.2f} to {max(seconds):.2f})")
    click.echo(f"the worker's memory at its highest: {peak_gb:.2f} GB")
    share = median(each.complete / each.stored for each in measured)
    click.echo(f"  share of the wait for completeness in the whole {share:.0%}")
    click.echo(f"images received per second: {median(each.images_per_s for each in measured):.0f}")


if __name__ == "__main__":
    main()
