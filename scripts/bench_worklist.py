"""How fast the pages answer when the node holds very many studies: synthetic rows, a real socket, medians.

All studies are of the last day, so that all of them are on the list: the worst case. A tenth is suspected, of that a
third large; a tenth is not analysed, and a third is acknowledged or read.
"""

import random
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

import bench_quality
import click
import httpx2
import numpy as np
from web_support import SHA256, Node, make_node, serving

from dicom_node import clock
from dicom_node.entities import Analysis, FindingRow, ItemState, Study, Urgency
from dicom_node.tables import instances, results, worklist
from dicom_node.tables.database import Transaction
from dicom_node.tables.worklist import Part, Standing, Tier, WorklistItem, present_findings
from inference.pipelines.registry import QUESTIONS

FAMILIES = ("MÜLLER", "SMITH", "GARCÍA", "ROSSI", "KOWALSKI", "JANSEN", "NOVAK", "SILVA", "YILMAZ", "DUBOIS")
GIVEN = ("ANNA", "JOHN", "MARIA", "LUCA", "EWA", "PIETER", "JANA", "PEDRO", "AYSE", "LOUIS")
REPEATS = 30
STATES = (*[ItemState.UNREAD] * 3, ItemState.OPENED, ItemState.ACKNOWLEDGED, ItemState.READ)


def measure_pages(studies: int) -> None:
    """Fill a node and print how long its pages take."""
    with tempfile.TemporaryDirectory() as folder:
        node = make_node(Path(folder))
        node.beat("node", "worker", seconds=3600)
        began = time.perf_counter()
        fill(node, studies)
        bench_quality.fill(node.database, studies, np.random.default_rng(0))
        click.echo(f"{studies:,} studies written in {time.perf_counter() - began:.0f} s")
        number = studies // 2
        day = (clock.utc_now() - timedelta(days=7)).date().isoformat()
        asked = {
            "first page of the list": {},
            "page 500 of the list": {"page": "500"},
            "suspected": {"show": "suspected"},
            "mine": {"show": "mine"},
            "all": {"show": "all"},
            "page 1,500 of all": {"show": "all", "page": "1500"},
            "search by accession": {"q": accession(number)},
            "search by patient ID": {"q": f"P{number:07}"},
            "search by name (mul an)": {"q": "mul an"},
            "search by one letter": {"q": "a"},
            "search by date": {"date": day},
            "search by name and date": {"q": "muller anna", "date": day},
            "search among mine": {"show": "mine", "q": "smith"},
        }
        with serving(node) as (address, _), httpx2.Client(base_url=address, cookies={"reader": "Dr%20Bench"}) as client:
            for title, query in asked.items():
                say(client, title, f"/?{urlencode(query)}")
            say(client, "quality page", "/quality")


def say(client: httpx2.Client, title: str, url: str) -> None:
    """Ask so often, and print the median."""
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        answer = client.get(url)
        taken.append(1000 * (time.perf_counter() - began))
        answer.raise_for_status()
    rows = answer.text.count("<tr data-key=")
    click.echo(f"  {title:28} {median(taken):6.0f} ms  ({min(taken):.0f} to {max(taken):.0f}), {rows} rows")


def fill(node: Node, studies: int) -> None:
    """Write the rows, the oldest study first."""
    chance, now = random.Random(0), clock.utc_now()
    with node.database.write() as tx:
        for number in range(studies):
            add_study(tx, number, now - timedelta(hours=23.9) * (1 - number / studies), chance)


def accession(number: int) -> str:
    """As hospitals number."""
    return f"CT{number:08}"


def add_study(tx: Transaction, number: int, at: datetime, chance: random.Random) -> None:
    """One study with its result and where it stands with its readers."""
    uid, name = f"1.2.826.0.1.{number}", f"{chance.choice(FAMILIES)}^{chance.choice(GIVEN)}"
    day = (at - timedelta(days=number % 365)).strftime("%Y%m%d")
    instances.put_study(tx, Study(uid, f"P{number:07}", name, "19560312", "F", accession(number), "CT HEAD", day))
    urgency, state = (Urgency.HIGH, Urgency.MEDIUM, *[Urgency.LOW] * 8)[number % 10], chance.choice(STATES)
    part = Part(QUESTIONS[0], Standing.NOT_ANALYSED, urgency, reason="contrast was given.")
    if urgency is not Urgency.MEDIUM:
        analysis = analysis_of(uid, urgency is Urgency.HIGH, at)
        standing = Standing.POSITIVE if analysis.suspected else Standing.NEGATIVE
        findings = present_findings(analysis.findings) if analysis.suspected else ()
        part = Part(QUESTIONS[0], standing, urgency, 1, analysis.probability, findings)
        results.add_analysis(tx, analysis)
    reader = "" if state is ItemState.UNREAD else chance.choice(("Dr Bench", "Dr Other"))
    worklist.put(
        tx,
        WorklistItem(
            study_uid=uid,
            urgency=urgency,
            parts=(part,),
            state=state,
            received_at=at,
            waiting_since=at,
            flagged_at=at if urgency is Urgency.HIGH else None,
            version=part.version,
            reader=reader,
            acted_at=at if reader else None,
            tier=Tier(number // 10 % len(Tier)),
            scanned_at=at - timedelta(minutes=number % 90),
        ),
    )


def analysis_of(study_uid: str, suspected: bool, at: datetime) -> Analysis:
    """A result as the worker leaves it."""
    return Analysis(
        study_uid=study_uid,
        question=QUESTIONS[0],
        version=1,
        series_uid=f"{study_uid}.1",
        pipeline="haemorrhage",
        suspected=suspected,
        probability=0.93 if suspected else 0.06,
        threshold=0.42,
        findings=(FindingRow("subdural", "35486000", 0.93, suspected, 31.4 if suspected else 0.0),),
        model_name="haemorrhage-unet",
        model_version="0.1.0",
        model_sha256=SHA256,
        warnings=(),
        seconds=3.4,
        made_at=at,
    )
