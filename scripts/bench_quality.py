"""Rows for measuring the quality page: half a year of studies from five scanners, a third of the flagged judged."""

from datetime import timedelta

import numpy as np

from dicom_node import clock
from dicom_node.tables import quality
from dicom_node.tables.database import Database
from inference.pipelines.registry import QUESTIONS

WEEKS, SCANNERS = 26, 5
FLAGGED, NOT_ANALYSED, JUDGED = 0.15, 0.05, 0.33
VERDICTS = ("agree", "agree", "agree", "wrong_type", "false_alarm")


def fill(database: Database, count: int, chance: np.random.Generator) -> None:
    """Write the rows of so many studies, as `quality.note` leaves them."""
    this_week = quality.monday_of(clock.utc_now())
    weeks, scanners, kinds = chance.integers(0, WEEKS, count), chance.integers(0, SCANNERS, count), chance.random(count)
    seconds, judged = chance.lognormal(1.5, 0.4, count), chance.random(count) < JUDGED
    with database.write() as tx:
        for number in range(SCANNERS):
            tx.run("INSERT INTO scanners VALUES (:id, :aet, 'ACME', 'One', 'ER')", id=1001 + number, aet=f"CT{number}")
        for i in range(count):
            flagged = kinds[i] < FLAGGED
            outcome = quality.Outcome.FLAGGED if flagged else quality.Outcome.NEGATIVE
            tx.run(
                "INSERT INTO quality VALUES (:uid, :question, :week, :scanner, :outcome, :ms, :judged)",
                uid=f"1.2.826.0.1.{i}",
                question=QUESTIONS[0],
                week=(this_week - timedelta(weeks=int(weeks[i]))).isoformat(),
                scanner=1001 + int(scanners[i]),
                outcome=quality.Outcome.NOT_ANALYSED if kinds[i] > 1 - NOT_ANALYSED else outcome,
                ms=int(1000 * seconds[i]) if flagged else None,
                judged=VERDICTS[i % len(VERDICTS)] if flagged and judged[i] else "",
            )
