"""The words of a study's row, made of its parts where they are shown: on the page, by commands and in pictures."""

from dataclasses import dataclass

from dicom_node.entities import FindingRow, Urgency
from dicom_node.tables.worklist import Part, PartFinding, Standing, WorklistItem, possible_kinds, present_findings
from inference.findings import about_text, place_text, volume_text
from reports.change import phrase
from reports.differential import most_likely
from reports.vocabulary.terms import vocabulary_of


def headline(item: WorklistItem) -> str:
    """What a study's row says in one sentence, all its questions together."""
    if item.headline:
        return item.headline
    return "; ".join(dict.fromkeys(say_part(part) for part in item.parts)) or "Receiving images"


@dataclass(frozen=True, slots=True)
class RowLine:
    """One line of a row; the kinds that it may be of and the probability stand apart, in small."""

    words: str
    kinds: str = ""
    chance: str = ""


def lines(item: WorklistItem) -> list[RowLine]:
    """What a row says beside its badge, a line for each question; what several say alike is said once."""
    if item.headline or not item.parts:
        return [RowLine(headline(item))]
    return list(dict.fromkeys(RowLine(say_briefly(part), say_kinds(part), say_chance(part)) for part in item.parts))


def say_part(part: Part) -> str:
    """What one question says, with the probability."""
    return with_part(part, with_growth(part, say_answer(part, with_probability=True)))


def say_briefly(part: Part) -> str:
    """What one question says beside a badge, which says "suspected" already, and without the probability."""
    if part.standing is Standing.POSITIVE and part.urgency is Urgency.HIGH:
        whole = whole_of(part)
        found = say_whole(vocabulary_of(part.question).target.title, whole) if whole else say_findings(part)
        return with_part(part, with_growth(part, found[0].upper() + found[1:]))
    return with_part(part, with_growth(part, say_answer(part, with_probability=False)))


def say_answer(part: Part, with_probability: bool) -> str:
    """The answer alone; growth is said by `with_growth`."""
    words = vocabulary_of(part.question)
    said = say_chance(part) if with_probability else ""
    chance = f" ({said})" if said else ""
    match part.standing:
        case Standing.POSITIVE:
            if (whole := whole_of(part)) is None:
                return f"{words.positive}: {say_findings(part)}{chance}"
            kinds = say_kinds(part) if with_probability else ""
            return "; ".join(each for each in (f"{say_whole(words.positive, whole)}{chance}", kinds) if each)
        case Standing.LOWERED:
            return f"Result {part.raised_by} suspected {words.noun}, result {part.version} does not: please look"
        case Standing.NEGATIVE:
            once = "; an earlier result suspected it" if part.raised_by else ""
            return f"{words.negative}{chance}{once}"
        case Standing.QUEUED:
            return "Waiting for analysis"
        case Standing.RECEIVING:
            return f"Receiving images (so far: {without_answer(part)})" if part.reason else "Receiving images"
        case _:
            return without_answer(part)


def whole_of(part: Part) -> PartFinding | None:
    """All that was found, where it is told as a whole and not by its types."""
    words = vocabulary_of(part.question)
    if len(part.findings) == 1 and part.findings[0].name == words.whole and words.types:
        return part.findings[0]
    return None


def say_whole(title: str, found: PartFinding) -> str:
    """All that was found, with its volume and place: "Intracranial haemorrhage, about 88 ml (75 to 110), left"."""
    size = about_text(found.volume_ml, found.low_ml, found.high_ml) if found.volume_ml else ""
    return ", ".join(each for each in (title, size, place_text(found.side, found.region)) if each)


def say_kinds(part: Part) -> str:
    """Which kinds a positive answer may be of, where none is stated."""
    return most_likely(part.kinds, vocabulary_of(part.question)) if part.standing is Standing.POSITIVE else ""


def say_chance(part: Part) -> str:
    """The band of the probability; of an older result, which has none, the number."""
    if part.probability is None:
        return ""
    return f"probability {part.band or format(part.probability, '.2f')}"


def positive_or_negative(
    question: str, found: tuple[FindingRow, ...], suspected: bool | None, probability: float, band: str = ""
) -> str:
    """A result of its own, without a row: what it says, with the probability."""
    return say_part(
        Part(
            question=question,
            standing=Standing.POSITIVE if suspected else Standing.NEGATIVE,
            urgency=Urgency.MEDIUM,
            probability=probability,
            findings=present_findings(found),
            band=band,
            kinds=possible_kinds(found) if suspected else (),
        )
    )


def say_findings(part: Part) -> str:
    """The findings with their volumes, in the order in which they are given; ranges of older results were too wide."""
    named = []
    for each in part.findings:
        ends = (each.low_ml, each.high_ml) if part.band else ()
        named.append(f"{each.name} {volume_text(each.volume_ml, *ends)}" if each.volume_ml else each.name)
    return ", ".join(named) or "type uncertain"


def with_part(part: Part, words: str) -> str:
    """With what is missing, where the result was made of a part."""
    return f"{words}; made of a part: {part.incomplete.removesuffix('.')}" if part.incomplete else words


def with_growth(part: Part, words: str) -> str:
    """With the change since the patient's last scan: growth before all else, anything else behind."""
    change = phrase(part.growth, vocabulary_of(part.question)) if part.growth else ""
    if part.growth is not None and part.growth.grown:
        return f"{change}. {words}"
    lowered = "an earlier comparison found growth: please look" if part.growth_lowered else ""
    return "; ".join(each for each in (words, change, lowered) if each)


def without_answer(part: Part) -> str:
    """Why there is no result."""
    if part.job_id:
        return f"Analysis failed: {part.reason} (job {part.job_id})"
    return f"Not analysed: {part.reason}"


def say_reason(part: Part) -> str:
    """Why there is no result, where "not analysed" is said already."""
    return without_answer(part) if part.job_id else part.reason
