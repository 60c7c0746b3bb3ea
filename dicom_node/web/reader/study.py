"""The page of one study."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dicom_node import clock
from dicom_node.derived import growth
from dicom_node.derived.flag import in_order
from dicom_node.derived.priors import Prior, priors_of
from dicom_node.entities import Analysis, ChoiceKind, Contradiction, Delivery, DeliveryState, Study
from dicom_node.tables import contradictions, damages, deliveries, feedback, instances, jobs, results, worklist
from dicom_node.tables.database import Transaction
from dicom_node.tables.feedback import Feedback
from dicom_node.tables.views import overview
from dicom_node.web.reader.feedback import named_types
from dicom_node.web.reader.series import ShownSeries, shown_series
from dicom_node.web.refusals import NO_STUDY
from dicom_node.web.site import render, site_of
from dicom_node.web.viewer.opening import viewer_links

MOST_PRIORS = 5


@dataclass(frozen=True, slots=True)
class Delivered:
    """How many of a study's objects a destination has, of those that are meant for it; which kinds it does not take."""

    destination: str
    stored: int
    meant: int
    not_taken: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StudyPage:
    """Everything that stands about one study, question by question, the newest first.

    `others` are the further studies under the same Study Instance UID, whose patients contradict this one's; `damaged`
    is how many stored files are not what was stored.
    """

    row: overview.WorklistRow | None
    analyses: tuple[Analysis, ...]
    made: tuple[overview.MadeAt, ...]
    series: tuple[ShownSeries, ...]
    deliveries: tuple[Delivery, ...]
    comparisons: dict[str, growth.ShownChange]
    feedback: tuple[Feedback, ...]
    priors: tuple[Prior, ...]
    contradiction: Contradiction | None = None
    others: tuple[Study, ...] = ()
    damaged: int = 0

    def latest(self, question: str) -> Analysis | None:
        """The question's latest result."""
        return next((each for each in self.analyses if each.question == question), None)

    @property
    def delivered(self) -> list[Delivered]:
        """What each destination has, in the order of their names; what was withdrawn does not count."""
        meant = [each for each in self.deliveries if each.state is not DeliveryState.WITHDRAWN]
        found = []
        for name in sorted({each.destination for each in meant}):
            rows = [each for each in meant if each.destination == name]
            stored = sum(each.state is DeliveryState.SENT for each in rows)
            refused = dict.fromkeys(each.kind for each in rows if each.not_taken)
            found.append(Delivered(name, stored, len(rows), tuple(refused)))
        return found

    def feedback_on(self, analysis: Analysis) -> list[Feedback]:
        """What was said of a result, the newest first."""
        about = (analysis.question, analysis.version, analysis.made_at)
        return [each for each in self.feedback if (each.question, each.version, each.result_made_at) == about]


def show_study(request: Request) -> Response:
    """GET /studies/{study_uid}; only the part that changes when asked by the page's own script."""
    context = context_of(request)
    return render(request, "reader/study_body.html" if "part" in request.query_params else "reader/study.html", context)


def context_of(request: Request) -> dict[str, object]:
    """What the templates of one study are given; `images_link` is empty where nothing shows images."""
    site, study_uid = site_of(request), request.path_params["study_uid"]
    with site.database.read() as tx:
        study = instances.get_study(tx, study_uid)
        if study is None:
            raise HTTPException(404, NO_STUDY)
        page = study_page(tx, study)
    link, own_page = viewer_links(request)(study), f"{request.scope.get('root_path', '')}/studies/{study_uid}"
    return {
        "study": study,
        "page": page,
        "now": clock.utc_now(),
        "images_link": link if link != own_page else "",
        "named_types": named_types,
    }


def study_page(tx: Transaction, study: Study) -> StudyPage:
    """Gather what stands about a study."""
    study_uid = study.study_uid
    item, known = worklist.get(tx, study_uid), results.analyses_of_study(tx, study_uid)
    analyses = tuple(sorted(known, key=lambda each: (in_order(each.question), -each.version)))
    questions = sorted({each.question for each in analyses}, key=in_order)
    rows = overview.rows(tx, [item]) if item else []
    return StudyPage(
        row=rows[0] if rows else None,
        analyses=analyses,
        made=tuple(overview.made(tx, study_uid)),
        series=tuple(series_of(tx, study_uid)),
        deliveries=tuple(deliveries.of_study(tx, study_uid)),
        comparisons={question: growth.comparison(tx, study_uid, question) for question in questions},
        feedback=tuple(feedback.of_study(tx, study_uid)),
        priors=tuple(priors_of(tx, [row.study for row in rows]).get(study_uid, [])[:MOST_PRIORS]),
        contradiction=contradictions.get(tx, study.sent_uid),
        others=tuple(each for each in instances.studies_as_sent(tx, study.sent_uid) if each != study),
        damaged=damages.number(tx, study_uid),
    )


def series_of(tx: Transaction, study_uid: str) -> list[ShownSeries]:
    """The study's series with what became of each: first the questions that it was analysed for."""
    kinds = list(ChoiceKind)
    choices = sorted(
        jobs.choices_of_study(tx, study_uid),
        key=lambda choice: (kinds.index(choice.kind), in_order(choice.question)),
    )
    asked, files = list(reversed(jobs.of_study(tx, study_uid))), overview.first_files(tx, study_uid)
    return [
        shown_series(
            row, files.get(row.series_uid), [each for each in choices if each.series_uid == row.series_uid], asked
        )
        for row in overview.series(tx, study_uid)
    ]
