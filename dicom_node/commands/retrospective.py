"""Studies on disk, analysed as the node would and without a trace: nothing is sent, stored or noted.

Of a study's series the one is analysed that the rules prefer; where it turns out not to be analysable, the next one, as
in the node. Series of one rank are taken in the order of their files. One study is held in memory at a time.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dicom_node.analysis import Examined, examine
from dicom_node.commands.analyse_files import Found, series_of
from dicom_node.dicom.checks import UNREADABLE, say_unreadable
from dicom_node.dicom.folders import sort_files
from dicom_node.dicom.headers import text_of
from dicom_node.errors import CommandError
from dicom_node.routes import Rules, features_of_series
from inference.engines.local import Engine
from inference.findings import NotAnalysable
from inference.input.files import read_file

NAMES = ("StudyInstanceUID", "AccessionNumber", "PatientID")
SEVERAL_PATIENTS = "Images of different patients have this Study Instance UID."
log = structlog.get_logger()


@dataclass(slots=True)
class StudyFiles:
    """The files of a study, and what its first image calls it."""

    study_uid: str
    accession: str
    patient_id: str
    paths: list[Path] = field(default_factory=list)

    def digest(self) -> str:
        """Changes when a file comes, goes or is written anew."""
        found = hashlib.sha256()
        for path in sorted(self.paths):
            status = path.stat()
            found.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
        return found.hexdigest()


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A series that a rule sends to a pipeline."""

    rank: int
    pipeline: str
    series: Found


def find_studies(folder: Path) -> list[StudyFiles]:
    """All studies under a folder, by the order of their files. CommandError where there are none."""
    files = sort_files(folder)
    for line in files.say():
        log.warning(line)
    studies: dict[str, StudyFiles] = {}
    for file in files.dicom:
        try:
            header = read_file(file, stop_before_pixels=True, specific_tags=list(NAMES))
            study_uid, accession, patient_id = (text_of(header, name) for name in NAMES)
        except UNREADABLE as error:
            log.warning("left out: the file cannot be read", path=str(file), error=say_unreadable(error))
            continue
        if study_uid:
            studies.setdefault(study_uid, StudyFiles(study_uid, accession, patient_id)).paths.append(file)
    if not studies:
        raise CommandError(f"no DICOM studies under {folder}")
    return list(studies.values())


def examine_study(
    paths: Sequence[Path], question: str, rules: Rules, known: Mapping[str, str], engine: Engine
) -> Examined:
    """The node's analysis of a study. NotAnalysable with the reason that the node would give."""
    found = series_of(paths)
    if len({each.study_uid for each in found}) > 1:
        raise NotAnalysable(SEVERAL_PATIENTS)
    candidates, declined = _routed(found, question, rules, known)
    refused: NotAnalysable | None = None
    for each in sorted(candidates, key=lambda candidate: candidate.rank):
        try:
            return examine(each.series.paths, each.pipeline, engine)
        except NotAnalysable as reason:
            refused = refused or reason
    if refused is not None:
        raise refused
    raise NotAnalysable(min(declined, default=(0, "No series of it holds images to analyse."))[1])


def _routed(
    found: Sequence[Found], question: str, rules: Rules, known: Mapping[str, str]
) -> tuple[list[_Candidate], list[tuple[int, str]]]:
    """The series that may be analysed, and the ranks and reasons of those that a rule declines."""
    candidates, declined = [], []
    for series in found:
        features = features_of_series(series.paths, series.headers, "", own=False)
        rule = rules.decide(features, known).get(question)
        if rule is None:
            continue
        if rule.pipeline is not None:
            candidates.append(_Candidate(rule.rank, rule.pipeline, series))
        elif rule.decline is not None:
            declined.append((rule.rank, rule.reason_for(features)))
    return candidates, declined
