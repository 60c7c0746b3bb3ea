"""Every sentence that a result says to a reader, once, so that report, picture and key images agree."""

from collections.abc import Sequence
from datetime import datetime

from inference.change import Growth
from inference.findings import VOLUME_RANGE, Finding, Result, chance_text, prevalence_text
from reports.change import phrase, sentences
from reports.context import Kind, Replaced
from reports.differential import NOT_TOLD, most_likely
from reports.identity import Identity, plain
from reports.vocabulary.terms import Vocabulary, vocabulary_of

NOT_DIAGNOSTIC = "NOT FOR DIAGNOSTIC USE"
RESEARCH = "Research software, not a medical device, not for diagnostic use. Every image must still be read."
_NOT_ANALYSED = "AI: NOT ANALYSED"


def headline(result: Result) -> str:
    """What the result says in one line, without the disclaimer."""
    return " ".join(headline_lines(result))


def headline_lines(result: Result) -> tuple[str, str]:
    """The headline on two lines, to be read from afar."""
    vocabulary = vocabulary_of(result.question)
    return vocabulary.positive_lines if result.suspected else vocabulary.negative_lines


def headline_not_analysed() -> str:
    """The headline of a study without a result."""
    return _NOT_ANALYSED


def with_disclaimer(line: str) -> str:
    """The headline as it must never be seen without."""
    return f"{line} - {NOT_DIAGNOSTIC}"


def summary(result: Result) -> str:
    """The headline, with volume and place where all that was found is told as a whole."""
    whole = stated_whole(result)
    return headline(result) + (size_and_place(whole) if whole else "")


def stated_whole(result: Result) -> Finding | None:
    """What stands for all that was found, where its kinds are not stated; None where they are, or nothing was found."""
    if not any(each.differential for each in result.findings):
        return None
    return next((each for each in result.findings if each.present), None)


def size_and_place(finding: Finding) -> str:
    """ ", about 88 ml (75 to 110), right, extra-axial", as far as it is known."""
    size = finding.about_text if finding.mask is not None and finding.mask.any() else ""
    place = finding.place.text if finding.place else ""
    return "".join(f", {each}" for each in (size, place) if each)


def finding_line(finding: Finding, vocabulary: Vocabulary, suspected: bool) -> str:
    """One finding in words; a differential of what is suspected is possible, never more."""
    title = vocabulary.terms[finding.name].title
    if finding.differential and suspected:
        return f"{title}: possible ({finding.probability:.2f})."
    if not finding.present:
        return f"{title}: not suspected (probability {finding.probability:.2f})."
    return f"{title}: suspected (probability {finding.probability:.2f}){size_and_place(finding)}."


def differential(result: Result) -> tuple[str, ...]:
    """What the finding is most likely of, where its kinds are not stated."""
    if stated_whole(result) is None:
        return ()
    likely = most_likely([each for each in result.findings if each.differential], vocabulary_of(result.question))
    return (f"{likely[0].upper()}{likely[1:]}.",) if likely else ()


def volume_note(findings: Sequence[Finding]) -> tuple[str, ...]:
    """What the ranges of volumes are, where there are any."""
    return (VOLUME_RANGE,) if any(each.volume_range_ml for each in findings) else ()


def basis(result: Result) -> str:
    """What the flag rests on: the band, and the number beside it; which prevalence both assume."""
    number = chance_text(result.probability)
    said = f"{result.band} ({number})" if result.band else number
    return f"Probability {said}, threshold {chance_text(result.threshold)}{prevalence_text(result.prevalence)}"


def chance(result: Result) -> tuple[str, ...]:
    """The same at a glance: the band alone, which says more than the number; both numbers where there is none."""
    if result.band:
        return (f"Probability {result.band}",)
    return f"Probability {chance_text(result.probability)}", f"Threshold {chance_text(result.threshold)}"


def model(who: Identity) -> str:
    """Which model spoke."""
    if who.model is None:
        return who.software_versions[0]
    return plain(f"{who.model.name} {who.model.version} ({who.model.sha256[:12]})")


def change(growth: Growth | None, vocabulary: Vocabulary) -> tuple[str, ...]:
    """The change since the patient's last scan in one sentence, where there is one."""
    said = phrase(growth, vocabulary) if growth else ""
    return (f"{said[0].upper()}{said[1:]}.",) if said else ()


def clock(moment: datetime) -> str:
    """A time with its zone."""
    zone = moment.strftime("%z")
    return f"{moment:%Y-%m-%d %H:%M} UTC{zone[:3]}:{zone[3:5]}" if zone else f"{moment:%Y-%m-%d %H:%M}"


def replacement(replaces: tuple[Replaced, ...], who: Identity) -> str | None:
    """Which earlier result this one takes the place of, or None."""
    if not replaces:
        return None
    made_at = max(each.made_at for each in replaces)
    earlier = f"Version {who.version}; replaces the result of {clock(made_at.astimezone(who.now.tzinfo))}"
    # Only a suspected study has a segmentation or key images: a flag is never lowered without a word.
    flagged = any(each.kind in (Kind.SEG, Kind.KO) for each in replaces)
    return f"{earlier}, which suspected {vocabulary_of(who.question).noun}" if flagged else earlier


def account(
    result: Result, who: Identity, replaces: tuple[Replaced, ...], growth: Growth | None = None
) -> tuple[str, ...]:
    """The whole result in sentences, for readers that show a report as text."""
    earlier, vocabulary = replacement(replaces, who), vocabulary_of(result.question)
    return (
        f"{with_disclaimer(summary(result))}.",
        f"{basis(result)}.",
        *(finding_line(each, vocabulary, result.suspected) for each in result.findings if not each.differential),
        *(f"{each} {NOT_TOLD}" for each in differential(result)),
        *(finding_line(each, vocabulary, result.suspected) for each in result.findings if each.differential),
        *volume_note(result.findings),
        *(plain(f"Note: {each}") for each in result.warnings),
        *([f"{earlier}."] if earlier else []),
        *sentences(growth, vocabulary),
        f"Model {model(who)}, {clock(who.now)}.",
        RESEARCH,
    )
