"""A whole evaluation: every study of a data set once, then figures, page and pictures.

`out` holds evaluation.html, evaluation.json, pictures/ and studies/ (one record per study). A run that was stopped goes
on where it stopped; records of another data set, model or method, of other labels or other code are made anew.
"""

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from inference.training.datasets.base import Dataset, DatasetError, Entry
from inference.training.evaluation.figures import Evaluation
from inference.training.evaluation.measure import Analyst, measure
from inference.training.evaluation.page import render, summary_lines
from inference.training.evaluation.peer import Peer, compared
from inference.training.evaluation.pictures import contact_sheet
from inference.training.evaluation.records import AnswerOutcome, Folder, RunKey, StudyRecord, cases_of, write_whole
from inference.training.evaluation.source import code_digest
from inference.training.evaluation.statistics import Resampling
from inference.training.evaluation.summary import ROUNDS, summarise

WORST_FALSE_ALARMS = 12
MOST_MISSED = 100

NO_ANSWER = {
    AnswerOutcome.ERROR: "cannot be used",
    AnswerOutcome.FAILED: "analysis failed",
    AnswerOutcome.NOT_ANALYSED: "not analysed",
    AnswerOutcome.ANALYSED: "no truth",
}

_EVALUATION = TypeAdapter(Evaluation)


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What the caller decides. `limit` takes only the first studies; `prevalences` are for predicted PPV and NPV;
    `peer` is compared with the model where there are outlines."""

    date: datetime.date
    device: str = "cpu"
    prevalences: tuple[float, ...] = ()
    limit: int | None = None
    seed: int = 1
    peer: Peer | None = None


def evaluate(
    dataset: Dataset, analyst: Analyst, out: Path, options: EvaluationOptions, say: Callable[[str], None]
) -> Evaluation:
    """Runs what is not done yet and writes everything; `say` gets lines of progress and the summary.

    DatasetError where the data set itself cannot be read; a bad study is recorded and does not stop the others.
    """
    entries = _entries(dataset, options.limit)
    key = RunKey(dataset.name, analyst.model, analyst.method, analyst.signature, dataset.labels_digest(), code_digest())
    folder = Folder(out / "studies", key)
    folder.path.mkdir(parents=True, exist_ok=True)
    done, refused = folder.finished(entries)
    for line in refused:
        say(line)
    if done:
        say(f"{len(done)} of {len(entries)} studies are done already")
    records = _measure_all(dataset, entries, analyst, folder, done, say)
    evaluation = summarise(records, key, options.date, options.device, options.prevalences, options.seed)
    if options.peer is not None:
        cases = cases_of(records)
        sampling = Resampling.of([case.record.patient_id for case in cases], ROUNDS, options.seed)
        evaluation = replace(evaluation, comparison=compared(options.peer, dataset, cases, sampling))
    _write(evaluation, out)
    for line in summary_lines(evaluation):
        say(line)
    return evaluation


def _entries(dataset: Dataset, limit: int | None) -> Sequence[Entry]:
    entries = dataset.entries()[:limit]
    if not entries:
        raise DatasetError(f"the data set {dataset.name} holds no studies")
    seen: set[str] = set()
    for entry in entries:
        if entry.study_id in seen:
            raise DatasetError(f"the data set {dataset.name} holds the study {entry.study_id} twice")
        seen.add(entry.study_id)
    return entries


def _measure_all(
    dataset: Dataset,
    entries: Sequence[Entry],
    analyst: Analyst,
    folder: Folder,
    done: dict[str, StudyRecord],
    say: Callable[[str], None],
) -> list[StudyRecord]:
    """In the order of the entries."""
    records = dict(done)
    ahead = [entry for entry in entries if entry.study_id not in done]
    began = time.monotonic()
    for count, entry in enumerate(ahead, start=1):
        record = measure(dataset, entry, analyst, folder)
        folder.write(entry, record)
        records[entry.study_id] = record
        left = (time.monotonic() - began) / count * (len(ahead) - count)
        say(f"{len(done) + count}/{len(entries)}  {entry.study_id}  {_outcome(record)}  {_left(left)}".rstrip())
    return [records[entry.study_id] for entry in entries]


def _outcome(record: StudyRecord) -> str:
    """The study in a few words."""
    if record.answer is None or record.truth is None:
        return f"{NO_ANSWER[record.outcome]}: {record.reason}"
    if record.answer.suspected:
        said = "flagged, rightly" if record.truth.haemorrhage else "false alarm"
    else:
        said = "MISSED" if record.truth.haemorrhage else "not flagged, rightly"
    return f"{said} ({record.answer.probability:.2f})"


def _left(seconds: float) -> str:
    if seconds < 1:
        return ""
    minutes = seconds / 60
    if minutes >= 90:
        return f"about {minutes / 60:.1f} h left"
    return f"about {minutes:.0f} min left" if minutes >= 1.5 else f"about {seconds:.0f} s left"


def _write(evaluation: Evaluation, out: Path) -> None:
    """JSON, page and the two contact sheets, each replaced as a whole; a sheet has at most MOST_MISSED studies."""
    write_whole(out / "evaluation.json", _EVALUATION.dump_json(evaluation, indent=2))
    write_whole(out / "evaluation.html", render(evaluation, out / "studies", WORST_FALSE_ALARMS).encode())
    pictures = out / "pictures"
    pictures.mkdir(exist_ok=True)
    for name, wrong, most in (
        ("false_negatives.png", evaluation.false_negatives, MOST_MISSED),
        ("false_positives.png", evaluation.false_positives, WORST_FALSE_ALARMS),
    ):
        paths = [out / "studies" / each.picture for each in wrong[:most] if each.picture]
        sheet = contact_sheet(paths, left_out=max(0, len(wrong) - most))
        if sheet is None:
            (pictures / name).unlink(missing_ok=True)
        else:
            sheet.save(pictures / name, optimize=True)
