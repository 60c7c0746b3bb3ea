"""Routing rules as data: reads routes.toml and matches a series against it. No expression is ever evaluated.

An unknown field, an unknown test or a wrong regular expression is a `SettingsError` that names the rule. What reads
headers and their words is imported where a series is routed: whoever only checks the rules does not wait for it.
"""

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dicom_node.errors import SettingsError
from inference.pipelines.registry import QUESTIONS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from inference.input.geometry import StackShape

NAME_IN_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Features:
    """What is known of a series when it is routed. Lengths come from positions along the slices' normal.

    `contrast` is what contrast medium was given, '' where none was or where the header leaves that open.
    """

    modality: str
    sop_class: str
    body_part: str
    study_description: str
    series_description: str
    protocol: str
    image_type: str
    kernel: str
    contrast: str
    orientation: str
    calling_aet: str
    slices: int
    coverage_mm: float
    spacing_mm: float
    age_years: float | None
    obstacle: str
    missing: str
    own: bool

    @property
    def text(self) -> str:
        """Everything that was written about the series, in one."""
        return " | ".join((self.study_description, self.series_description, self.protocol, self.body_part))

    @property
    def gaps(self) -> bool:
        """Whether slices are missing."""
        return bool(self.missing)


NOTHING = Features("", "", "", "", "", "", "", "", "", "", "", 0, 0.0, 0.0, None, "", "", False)
FIELDS = {field.name for field in fields(Features)} | {"text", "gaps"}


class FieldTest(BaseModel):
    """One field's conditions; all that are given must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    is_: Annotated[tuple[str, ...] | None, Field(alias="is")] = None
    has: tuple[str, ...] | None = None
    lacks: tuple[str, ...] | None = None
    matches: re.Pattern[str] | None = None
    at_least: float | None = None
    below: float | None = None
    empty: bool | None = None
    true: bool | None = None
    names_head: bool | None = None
    names_other_part: bool | None = None
    says_contrast: bool | None = None

    def holds(self, value: Any) -> bool:
        """Whether the value passes. An unknown number (None) passes no numeric test."""
        from dicom_node.dicom.body_part import names_head, names_other_part
        from dicom_node.dicom.contrast import says_contrast

        text = str("" if value is None else value).strip()
        folded = text.casefold()
        return (
            (self.is_ is None or folded in {word.casefold() for word in self.is_})
            and (self.has is None or any(word.casefold() in folded for word in self.has))
            and (self.lacks is None or not any(word.casefold() in folded for word in self.lacks))
            and (self.matches is None or re.search(self.matches.pattern, text, re.IGNORECASE) is not None)
            and (self.at_least is None or (value is not None and value >= self.at_least))
            and (self.below is None or (value is not None and value < self.below))
            and (self.empty is None or (text == "") is self.empty)
            and (self.true is None or value is self.true)
            and (self.names_head is None or names_head(text) is self.names_head)
            and (self.names_other_part is None or names_other_part(text) is self.names_other_part)
            and (self.says_contrast is None or (says_contrast(text) is True) is self.says_contrast)
        )


class Rule(BaseModel):
    """One [[rule]]. One that declines or ignores speaks of every question, or of its `question` alone.

    `outside`: what it declines was never a study for the question, and no failure to analyse one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    rank: int = 1000
    priority: int = 0
    pipeline: str | None = None
    question: str | None = None
    decline: str | None = None
    ignore: str | None = None
    outside: bool | None = None
    when: dict[str, FieldTest] = {}

    @model_validator(mode="after")
    def _is_sound(self) -> "Rule":
        if sum(answer is not None for answer in (self.pipeline, self.decline, self.ignore)) != 1:
            raise ValueError("a rule has exactly one of pipeline, decline, ignore")
        if self.pipeline is not None and self.question is not None:
            raise ValueError("a rule with a pipeline has no question: the pipeline's own is meant")
        if self.outside and self.decline is None:
            raise ValueError("only a rule that declines can say that something lies outside")
        if self.question is not None and self.question not in QUESTIONS:
            raise ValueError(f"there is no question {self.question!r} (there are: {', '.join(QUESTIONS)})")
        if unknown := sorted(self.when.keys() - FIELDS):
            raise ValueError(f"no such field: {', '.join(unknown)} (there are: {', '.join(sorted(FIELDS))})")
        self.reason_for(NOTHING)
        return self

    @property
    def is_outside(self) -> bool:
        """As the rule says; where it does not, whether it asks for nothing but the modality."""
        by_modality = self.decline is not None and self.when.keys() == {"modality"}
        return by_modality if self.outside is None else self.outside

    def fits(self, features: Features) -> bool:
        """Whether all conditions hold."""
        return all(test.holds(getattr(features, field)) for field, test in self.when.items())

    def reason_for(self, features: Features) -> str:
        """Why this rule decided, in words for the reader. ValueError for an unknown {name}."""
        words = {field.name: str(getattr(features, field.name)).strip() for field in fields(Features)}
        words["coverage_mm"], words["spacing_mm"] = f"{features.coverage_mm:.0f}", f"{features.spacing_mm:.2f}"
        words["modality"] = words["modality"] or "modality not stated"
        template = self.decline or self.ignore or self.name
        names = set(NAME_IN_BRACES.findall(template))
        if unknown := sorted(names - words.keys()):
            raise ValueError(f"the reason uses an unknown name: {', '.join(unknown) or '{}'}")
        if re.search(r"[{}]", NAME_IN_BRACES.sub("", template)):
            raise ValueError("the reason has a brace without its partner; names stand as {modality}")
        return NAME_IN_BRACES.sub(lambda found: words[found.group(1)], template)


class Rules(BaseModel):
    """All rules, in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: tuple[Rule, ...]

    def decide(self, features: Features, known: Mapping[str, str]) -> dict[str, Rule]:
        """For each question that is asked, the first rule that fits; one that declines where none does.

        `known` gives the question of every pipeline; without any rule for a pipeline, all questions are asked.
        """
        asked = sorted({known[name] for name in self.pipelines if name in known} or set(known.values()))
        return {question: self._first(features, question, known) for question in asked}

    def _first(self, features: Features, question: str, known: Mapping[str, str]) -> Rule:
        for rule in self.rule:
            spoken_of = {known.get(rule.pipeline)} if rule.pipeline else {rule.question or question}
            if question in spoken_of and rule.fits(features):
                return rule
        return Rule(name="no rule", decline="No rule is written for such a series.")

    def may_take(self, modality: str) -> bool:
        """Whether a series of this modality could go to a pipeline, whatever else it is.

        True for all where no rule names a pipeline, and for what states none: it may be a head.
        """
        if not modality.strip() or not self.pipelines:
            return True
        for rule in self.rule:
            fits = "modality" not in rule.when or rule.when["modality"].holds(modality)
            if fits and rule.pipeline is not None:
                return True
            if fits and rule.question is None and rule.when.keys() <= {"modality"}:
                return False
        return False

    @property
    def pipelines(self) -> frozenset[str]:
        """Every pipeline that a rule names."""
        return frozenset(rule.pipeline for rule in self.rule if rule.pipeline is not None)

    def check_pipelines(self, known: Collection[str]) -> None:
        """SettingsError, naming the rule, where one names a pipeline that is not among these."""
        for rule in self.rule:
            if rule.pipeline is not None and rule.pipeline not in known:
                raise SettingsError(
                    f"the routing rule {rule.name!r} names the pipeline {rule.pipeline!r}, which is not there; there "
                    f"are: {', '.join(sorted(known))} (a model of yours: triage-node models install)"
                )


def load_rules(path: Path | None = None) -> Rules:
    """The site's rules, or the ones that come with the node."""
    try:
        text = path.read_text("utf-8") if path else files("config").joinpath("routes.toml").read_text("utf-8")
        return Rules.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise SettingsError(f"{path or 'routes.toml'}: {_say(error)}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path or 'routes.toml'}: {error}") from None


def _say(error: ValidationError) -> str:
    """All problems in one line; rules are counted from 1."""
    told = []
    for problem in error.errors():
        place = [str(part + 1) if isinstance(part, int) else str(part) for part in problem["loc"]]
        text = "there is no such key" if problem["type"] == "extra_forbidden" else problem["msg"]
        told.append(f"{' '.join(place)}: {text}")
    return "; ".join(told)


def features_of_series(paths: Sequence[Path], headers: Sequence["Dataset"], calling_aet: str, own: bool) -> Features:
    """The features of a series, from its files and their headers: those of its slices, whatever else is among them."""
    from pydicom.dataset import Dataset

    from dicom_node.dicom.checks import UNREADABLE
    from inference.input.elements import value
    from inference.input.files import read_file
    from inference.input.selection import select_slices

    def content(place: int) -> bytes | None:
        try:
            found = value(read_file(paths[place], specific_tags=["PixelData"]), "PixelData")
        except UNREADABLE:  # damaged, so that it is no copy of anything
            return None
        return found if isinstance(found, bytes) else None

    selection = select_slices(headers, content)
    return features_of(selection.typical or Dataset(), selection.shape, calling_aet, own)


def features_of(header: "Dataset", shape: "StackShape", calling_aet: str, own: bool) -> Features:
    """The features of a series, from one of its headers and the shape of its slices.

    What an enhanced image states for each frame is that of its middle one.
    """
    from dicom_node.dicom.body_part import body_part_of
    from dicom_node.dicom.contrast import contrast_of
    from dicom_node.dicom.headers import text_of
    from inference.input.stack import patient_age_years

    return Features(
        modality=text_of(header, "Modality"),
        sop_class=text_of(header, "SOPClassUID"),
        body_part=body_part_of(header),
        study_description=text_of(header, "StudyDescription"),
        series_description=text_of(header, "SeriesDescription"),
        protocol=text_of(header, "ProtocolName") or text_of(header, "AcquisitionProtocolName"),
        image_type=_image_type(header),
        kernel=_kernel(header),
        contrast=contrast_of(header),
        orientation=shape.plane or "",
        calling_aet=calling_aet,
        slices=shape.slices,
        coverage_mm=shape.coverage_mm,
        spacing_mm=shape.spacing_mm or 0.0,
        age_years=patient_age_years(header),
        obstacle=shape.obstacle or "",
        missing=shape.holes[0] if shape.holes else "",
        own=own,
    )


def _image_type(header: "Dataset") -> str:
    """The frame's type, else the image's; a scan with the tube at rest is a localizer, too (PS3.3 C.8.15.3.2)."""
    from dicom_node.dicom.headers import text_of
    from inference.input.elements import frame_macro

    stated = text_of(frame_macro(header, "CTImageFrameTypeSequence"), "FrameType") or text_of(header, "ImageType")
    scan = text_of(frame_macro(header, "CTAcquisitionTypeSequence"), "AcquisitionType").upper()
    return "\\".join(filter(None, (stated, "LOCALIZER" if scan == "CONSTANT_ANGLE" else "")))


def _kernel(header: "Dataset") -> str:
    """The kernel as the vendor writes it, the first of several; else the group that it belongs to."""
    from dicom_node.dicom.headers import text_of
    from inference.input.elements import frame_macro

    frame = frame_macro(header, "CTReconstructionSequence")
    stated = text_of(frame, "ConvolutionKernel") or text_of(header, "ConvolutionKernel")
    return stated.partition("\\")[0] or text_of(frame, "ConvolutionKernelGroup")
