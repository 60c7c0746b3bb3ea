"""Identity: whose images a study holds, and what follows when its images do not agree on that.

Study Instance UIDs are not unique in the world: anonymisers put several people under one, and a name is corrected
after its images were sent. The same pixels under another patient are a correction: the study's results are issued
again. Other images under another patient are a contradiction: they are kept as a study of their own, and nothing of
either is sent until IT has decided. Patients are compared by Patient ID, birth date and sex (PS3.3 C.7.1.1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from itertools import combinations

import structlog

from dicom_node.derived import flag, removal
from dicom_node.derived.same_patient import birth_date, is_placeholder, names_contradict, sex
from dicom_node.entities import Contradiction, Decision, JobKind, Patient, Study
from dicom_node.errors import CommandError
from dicom_node.tables import contradictions, deliveries, instances, jobs, results, scans, worklist
from dicom_node.tables.database import Transaction
from reports.identity import hashed_uid

log = structlog.get_logger()


def contradict(one: Patient, other: Patient) -> bool:
    """Whether these cannot be the same person; what is absent or a placeholder in one of them says nothing.

    Two IDs are compared where they may be from the same issuer. A sex other than M or F says nothing.
    """
    issued_alike = not one.issuer or not other.issuer or one.issuer == other.issuer
    ids = {each.patient_id.casefold() for each in (one, other) if not is_placeholder(each.patient_id)}
    born = {birth_date(one), birth_date(other)} - {None}
    return (issued_alike and len(ids) > 1) or len(born) > 1 or {sex(one), sex(other)} == {"F", "M"}


def differ(one: Patient, other: Patient) -> bool:
    """Whether a result under one of them is wrong under the other: they contradict, or ID or name are others."""
    return (
        contradict(one, other)
        or one.patient_id != other.patient_id
        or names_contradict(one.patient_name, other.patient_name)
    )


def any_contradict(patients: Sequence[Patient]) -> bool:
    """Whether two of them cannot be the same person."""
    return any(contradict(*pair) for pair in combinations(patients, 2))


def study_for(tx: Transaction, study: Study) -> str:
    """The study that an image belongs to which is said to be of `study`: one whose patient it does not contradict.

    A second patient's is derived from the Study Instance UID and the patient, always the same for the same.
    """
    standing = instances.studies_as_sent(tx, study.study_uid)
    if found := fitting(study.patient, {each.study_uid: each.patient for each in standing}):
        return found
    for each in standing:  # while a correction is under way, images of before still come
        if not all(contradict(patient, study.patient) for patient in instances.patients_of(tx, each.study_uid)):
            return each.study_uid
    return own_study(study.study_uid, study.patient) if standing else study.study_uid


def fitting(patient: Patient, known: Mapping[str, Patient]) -> str | None:
    """The first of the studies whose patient this one does not contradict."""
    return next((study_uid for study_uid, other in known.items() if not contradict(other, patient)), None)


def own_study(sent_uid: str, patient: Patient) -> str:
    """The UID under which a further patient's images are kept."""
    return hashed_uid("patient", sent_uid, patient.patient_id, patient.issuer, patient.birth_date, patient.sex)


def note(tx: Transaction, sent_uid: str, now: datetime) -> list[str]:
    """Bring what contradicts under a Study Instance UID up to the images that stand there.

    Studies that agree again are united; returns those that are no more. A decision holds until a further patient comes.
    """
    studies = instances.studies_as_sent(tx, sent_uid)
    patients = [patient for each in studies for patient in instances.patients_of(tx, each.study_uid)]
    known = contradictions.get(tx, sent_uid)
    if not any_contradict(patients):
        if known:
            contradictions.forget(tx, sent_uid)
            log.info("the patients of a study agree again", study_uid=sent_uid)
        return unite(tx, sent_uid, now)
    found = tuple(dict.fromkeys(patients))
    if known and known.decision and not any(is_new(each, known.identities) for each in found):
        return []
    contradictions.put(tx, Contradiction(sent_uid, found, known.noted_at if known else now))
    if known is None or known.decision:
        log.warning("patients contradict each other under one Study Instance UID", study_uid=sent_uid)
    return []


def is_new(patient: Patient, known: Sequence[Patient]) -> bool:
    """Whether a patient contradicts everyone who is known."""
    return all(contradict(patient, each) for each in known)


def decide(tx: Transaction, sent_uid: str, decision: Decision, by: str, now: datetime) -> list[str]:
    """IT's answer: several people, each kept apart, or one person, whose images are put together.

    What was held back is then sent. Returns the studies that are no more. CommandError where nothing contradicts.
    """
    known = contradictions.get(tx, sent_uid)
    if known is None:
        raise CommandError(f"no patients contradict each other under the study {sent_uid}")
    contradictions.put(tx, replace(known, decision=decision, decided_at=now, decided_by=by))
    log.info("decided whose images a study holds", study_uid=sent_uid, decision=str(decision), by=by)
    if decision is Decision.ONE:
        return unite(tx, sent_uid, now)
    separate(tx, sent_uid, now)
    return []


def unite(tx: Transaction, sent_uid: str, now: datetime) -> list[str]:
    """Put all images under a Study Instance UID into one study, and let their series be routed anew."""
    first, *others = instances.studies_as_sent(tx, sent_uid)
    for other in others:
        instances.move_images(tx, other.study_uid, first.study_uid)
        removal.forget_study(tx, other.study_uid)
        if worklist.get(tx, first.study_uid) is None:
            flag.note_arrival(tx, first.study_uid, now)
        flag.refresh(tx, first.study_uid, now)
    return [each.study_uid for each in others]


def separate(tx: Transaction, sent_uid: str, now: datetime) -> None:
    """Give each patient a study: within one they stand together where only some images were sent again."""
    for study in instances.studies_as_sent(tx, sent_uid):
        stays, *others = instances.patients_of(tx, study.study_uid) or [study.patient]
        for patient in others:
            if contradict(stays, patient):
                target = own_study(sent_uid, patient)
                instances.put_study(tx, under(study, patient, target))
                instances.move_images(tx, study.study_uid, target, patient)
                flag.note_arrival(tx, target, now)
                flag.refresh(tx, target, now)
        instances.put_study(tx, under(study, stays, study.study_uid))
        flag.refresh(tx, study.study_uid, now)


def under(study: Study, patient: Patient, study_uid: str) -> Study:
    """The study as that of another patient; the age was the first one's."""
    age = study.age if patient == study.patient else ""
    return replace(study, study_uid=study_uid, age=age, **asdict(patient))


def warnings(tx: Transaction, study_uid: str) -> tuple[str, ...]:
    """What a result must say where images of another patient came under the same Study Instance UID."""
    if contradictions.of_study(tx, study_uid) is None:
        return ()
    return ("Images of another patient came under the same Study Instance UID; this result is made of one alone.",)


def issue_again(tx: Transaction, study_uid: str, series_uid: str) -> None:
    """Where all images of a series were corrected to another patient, its results are made again under that one.

    What names the former patient and has not been sent yet is withdrawn.
    """
    patients = instances.patients_of(tx, study_uid, series_uid)
    if not patients or any(differ(*pair) for pair in combinations(patients, 2)):
        return
    latest = {each.question: each for each in results.analyses_of_study(tx, study_uid)}
    for question, analysis in latest.items():
        scan = scans.latest(tx, study_uid, question)
        if analysis.series_uid != series_uid or scan is None or scan.version != analysis.version:
            continue
        if differ(scan.patient, patients[-1]):
            deliveries.withdraw(tx, study_uid, question)
            jobs.again(tx, study_uid, question, priority=0)
    for choice in jobs.choices_of_study(tx, study_uid):
        if choice.series_uid == series_uid and choice.question not in latest:
            deliveries.withdraw(tx, study_uid, choice.question)
            jobs.again(tx, study_uid, choice.question, priority=0, kind=JobKind.EXPLAIN)
