"""Route: decides for each complete series which pipeline it goes to, or why to none, and records the reason.

Of several series of a study that fit, the first is analysed at once; one of a lower rank (soft kernel before bone,
about 5 mm before thin) that comes later supersedes it. A changed series is routed anew.
"""

from dataclasses import replace
from datetime import datetime

import structlog

from dicom_node.derived import flag, previews
from dicom_node.derived.candidates import ask_for_notice, questions_of_pipelines, standing_job
from dicom_node.dicom.checks import UNREADABLE, say_unreadable
from dicom_node.dicom.part10 import read_header
from dicom_node.entities import Choice, ChoiceKind, Job, JobKind, Series, SeriesState
from dicom_node.errors import DamagedFile, Gone
from dicom_node.routes import NOTHING, Features, Rule, Rules, features_of_series
from dicom_node.tables import instances, jobs, results
from dicom_node.tables.database import Database, Transaction
from inference.input.geometry import share_an_identifier

DAMAGED = Rule(name="damaged", decline="The stored images cannot be read: their files are damaged or lost.", rank=150)
log = structlog.get_logger()


def route_due(database: Database, rules: Rules, now: datetime, explain: bool = False) -> int:
    """Route every complete series; how many there were. `explain`: report and picture say why a rule declined it."""
    with database.read() as tx:
        due = instances.in_state(tx, SeriesState.COMPLETE)
    routed = 0
    for series in due:
        features = series_features(database, series)
        with database.write() as tx:
            if instances.move(tx, series, SeriesState.ROUTED):
                choices = choose(tx, series, features, rules, now)
                declined = [choice for choice in choices if choice.kind is ChoiceKind.DECLINED]
                for choice in declined if explain else ():
                    ask_for_notice(tx, choice, now)
                flag.refresh(tx, series.study_uid, now)
                for choice in declined:
                    previews.ask(tx, series.study_uid, choice.question, now)
                routed += 1
    return routed


def choose(tx: Transaction, series: Series, features: Features | None, rules: Rules, now: datetime) -> list[Choice]:
    """Decide for one series, question by question, and leave a choice each, and a job where it is to be analysed.

    What stands for a question stays when the series is only considered again for another one. Without features the
    images of the series cannot be read.
    """
    known, settled = questions_of_pipelines(tx), settled_questions(tx, series)
    decided = rules.decide(features or NOTHING, known)
    if features is None:
        features, decided = NOTHING, dict.fromkeys(decided, DAMAGED)
    undecided = {question: rule for question, rule in decided.items() if question not in settled}
    choices = [judge(series, question, rule, rule.reason_for(features)) for question, rule in undecided.items()]
    choices = [against_others(choice, standing_job(tx, choice)) for choice in choices]
    for choice in choices:
        jobs.put_choice(tx, choice)
        if choice.kind is ChoiceKind.ANALYSE:
            jobs.queue(tx, JobKind.ANALYSE, choice, decided[choice.question].priority, now)
        log.info(
            "routed",
            series_uid=series.series_uid,
            question=choice.question,
            decision=str(choice.kind),
            reason=choice.reason,
            instead=choice.instead,
        )
    return choices


def settled_questions(tx: Transaction, series: Series) -> set[str]:
    """The questions for which this content of the series was decided, and not because another series was preferred."""
    choices = [each for each in jobs.choices_of_study(tx, series.study_uid) if each.series_uid == series.series_uid]
    now = [each for each in choices if each.revision == series.revision]
    return {each.question for each in now if each.kind is not ChoiceKind.NOT_NEEDED}


def judge(series: Series, question: str, rule: Rule, reason: str) -> Choice:
    """The rule's answer as a choice."""
    kind = ChoiceKind.ANALYSE if rule.pipeline else ChoiceKind.DECLINED if rule.decline else ChoiceKind.IGNORED
    return Choice(
        series_uid=series.series_uid,
        study_uid=series.study_uid,
        question=question,
        revision=series.revision,
        kind=kind,
        rule=rule.name,
        reason=reason,
        pipeline=rule.pipeline,
        rank=rule.rank,
        outside=rule.is_outside,
    )


def against_others(choice: Choice, standing: Job | None) -> Choice:
    """Analyse only what is new or suits better than the series whose analysis stands already."""
    if choice.kind is not ChoiceKind.ANALYSE or standing is None:
        return choice
    if standing.series_uid == choice.series_uid or choice.rank < standing.rank:
        return choice
    return replace(choice, kind=ChoiceKind.NOT_NEEDED, reason="", pipeline=None, instead=standing.series_uid)


def series_features(database: Database, series: Series) -> Features | None:
    """What the rules see of a series, from the headers of all its images; None where one cannot be read."""
    with database.read() as tx:
        stored = instances.of_series(tx, series.study_uid, series.series_uid)
        own = all(results.is_own(tx, instance.sop_uid) for instance in stored)
        doubled = doubled_identifiers(tx, series)
    paths = [instance.path for instance in stored]
    try:
        headers = [read_header(path).dataset for path in paths]
        features = features_of_series(paths, headers, series.calling_aet, own)
    except (*UNREADABLE, DamagedFile, Gone) as error:
        log.error("the images of a series cannot be read", series_uid=series.series_uid, error=say_unreadable(error))
        return None
    return replace(features, obstacle=doubled) if doubled else features


def doubled_identifiers(tx: Transaction, series: Series) -> str:
    """Why no image of the series can be named: different ones came under one SOP Instance UID; empty where none did."""
    found = instances.geometry_by_instance(tx, series.study_uid, series.series_uid)
    most = max(map(share_an_identifier, found.values()), default=1)
    return (
        f"{most} different images of the series came with the same identifier (SOP Instance UID)." if most > 1 else ""
    )
