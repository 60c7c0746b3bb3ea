"""What readers say of a result: the form's request, what makes sense for which result, and the export.

Who said it is the name the reader typed; there is no login. Requests from other sites' pages are refused by the guard
around every form (security.py).
"""

from dataclasses import dataclass
from datetime import datetime

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from dicom_node import clock
from dicom_node.derived import flag, quality
from dicom_node.entities import Analysis
from dicom_node.tables import feedback, results
from dicom_node.tables.database import Database, Transaction
from dicom_node.tables.feedback import Opinion, Verdict
from dicom_node.tables.worklist import possible_kinds
from dicom_node.web.forms import read_form
from dicom_node.web.reader.feedback_csv import csv_pages
from dicom_node.web.site import keep_reader, plain_name, reader_of, site_of
from inference.pipelines.registry import QUESTIONS
from reports.differential import likeliest
from reports.vocabulary.terms import vocabulary_of

LONGEST_FORM = 32_768
LONGEST_COMMENT = 2000
TOO_LONG = "That is too long. Please say it in fewer words."
SAID_OF_SUSPECTED = (Verdict.AGREE, Verdict.FALSE_ALARM, Verdict.WRONG_TYPE, Verdict.WITHDRAWN)
SAID_OF_NEGATIVE = (Verdict.AGREE, Verdict.MISSED, Verdict.WITHDRAWN)
GONE = "This result does not stand here any more. Please open the study again and look at its latest result."
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class About:
    """The result that is meant."""

    study_uid: str
    question: str
    version: int
    made_at: datetime


async def give(request: Request) -> Response:
    """POST /studies/{study_uid}/feedback. 400 for what makes no sense, 409 when that result is no longer there."""
    study_uid, form = request.path_params["study_uid"], await read_form(request, LONGEST_FORM, TOO_LONG)
    about, given = said_in(form, study_uid)
    await run_in_threadpool(keep, site_of(request).database, about, given, clock.utc_now())
    address = request.client.host if request.client else ""
    log.info(
        "feedback",
        study_uid=study_uid,
        question=about.question,
        version=about.version,
        verdict=given.verdict,
        reader=given.reader,
        address=address,
    )
    answer: Response = RedirectResponse(f"/studies/{study_uid}#feedback-{about.question}-{about.version}", 303)
    if "application/json" in request.headers.get("accept", ""):
        answer = JSONResponse({"said": "Thank you, this is kept."})
    if not reader_of(request):
        keep_reader(request, answer, given.reader)
    return answer


def export(request: Request) -> Response:
    """GET /feedback.csv: everything that was ever said, streamed."""
    headers = {"Content-Disposition": 'attachment; filename="feedback.csv"'}
    pages = csv_pages(site_of(request).database)
    return StreamingResponse(pages, media_type="text/csv; charset=utf-8; header=present", headers=headers)


def said_in(form: dict[str, list[str]], study_uid: str) -> tuple[About, Opinion]:
    """Which result is meant, and what is said of it."""
    first = {name: values[0].strip() for name, values in form.items()}
    question = first.get("question", QUESTIONS[0])
    if question not in QUESTIONS:  # it names a module: nothing that came from outside may
        raise HTTPException(400, "There is no such question. Please open the study again.")
    try:
        about = About(study_uid, question, int(first["version"]), datetime.fromisoformat(first["made"]))
        verdict = Verdict.WITHDRAWN if "withdraw" in first else Verdict(first["verdict"])
    except (KeyError, ValueError) as error:
        raise HTTPException(400, "Please choose whether you agree with the result.") from error
    reader, comment = plain_name(first.get("reader", "")), plain_text(first.get("comment", ""))
    if not reader:
        raise HTTPException(400, "Please type your name, so that colleagues can ask you.")
    if len(comment) > LONGEST_COMMENT:
        raise HTTPException(400, f"Please say it in at most {LONGEST_COMMENT} characters.")
    known = vocabulary_of(question).types
    types = form.get("type", []) if verdict in (Verdict.WRONG_TYPE, Verdict.MISSED) else []
    if unknown := set(types) - set(known):
        raise HTTPException(400, f"{sorted(unknown)[0]!r} is no type of {vocabulary_of(question).noun}.")
    return about, Opinion(verdict, tuple(name for name in known if name in types), comment, reader)


def plain_text(text: str) -> str:
    """Several lines of printable characters."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join("".join(each if each.isprintable() else " " for each in line).rstrip() for line in lines).strip()


def keep(database: Database, about: About, given: Opinion, now: datetime) -> None:
    """Check it against the result and keep it; saying the same again changes nothing."""
    with database.write() as tx:
        known = results.analyses_of_study(tx, about.study_uid, about.question)
        analysis = next((each for each in known if each.version == about.version), None)
        if analysis is None or analysis.made_at != about.made_at:
            raise HTTPException(409, GONE)
        check(analysis, given)
        before = in_force(tx, analysis, given.reader)
        if before == given:
            return
        if given.verdict is Verdict.WITHDRAWN and before is None:
            raise HTTPException(409, "There is no feedback under this name to withdraw.")
        feedback.add(tx, about.study_uid, about.question, about.version, about.made_at, given, now)
        quality.note_outcome(tx, about.study_uid, about.question)
        flag.note_missed(tx, about.study_uid)


def check(analysis: Analysis, given: Opinion) -> None:
    """400 in words where the verdict makes no sense for this result."""
    if given.verdict not in (SAID_OF_SUSPECTED if analysis.suspected else SAID_OF_NEGATIVE):
        reason = (
            "This result suspects something, so it cannot have missed it. Was it a false alarm, or the wrong type?"
            if analysis.suspected
            else "This result suspects nothing, so it is neither a false alarm nor of the wrong type. Was one missed?"
        )
        raise HTTPException(400, reason)
    if given.verdict is Verdict.WRONG_TYPE:
        if not given.right_types:
            raise HTTPException(400, "Please name the right types.")
        if set(given.right_types) == set(named_types(analysis)):
            raise HTTPException(400, "These are the types that the result names. Do you agree with it?")


def named_types(analysis: Analysis) -> tuple[str, ...]:
    """The types that a result names: those that it states, else those that it calls most likely."""
    known = vocabulary_of(analysis.question)
    present = {finding.name for finding in analysis.findings if finding.present}
    if analysis.suspected and not present & set(known.types):
        present = {name for each in likeliest(possible_kinds(analysis.findings), known) for name in each.names}
    return tuple(name for name in known.types if name in present)


def in_force(tx: Transaction, analysis: Analysis, reader: str) -> Opinion | None:
    """What this reader has said last of this result."""
    about = (analysis.question, analysis.version, analysis.made_at, reader)
    for each in feedback.of_study(tx, analysis.study_uid):
        if each.in_force and (each.question, each.version, each.result_made_at, each.reader) == about:
            said = Opinion(each.verdict, each.right_types, each.comment, each.reader)
            return None if each.verdict is Verdict.WITHDRAWN else said
    return None
