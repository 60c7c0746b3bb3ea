"""Routing rules are data: each test, clear errors, and what the node's own rules say of the series of a clinic."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import SettingsError
from dicom_node.routes import NOTHING, Features, FieldTest, Rule, Rules, load_rules

HEAD = replace(
    NOTHING,
    modality="CT",
    body_part="HEAD",
    study_description="CT HEAD WO CONTRAST",
    series_description="HEAD 5.0",
    image_type="ORIGINAL\\PRIMARY\\AXIAL",
    kernel="H31s",
    orientation="axial",
    slices=30,
    coverage_mm=150.0,
    spacing_mm=5.0,
    age_years=60.0,
)
RULES = load_rules()
KNOWN = {"haemorrhage": "haemorrhage", "p": "haemorrhage"}


def only(rules: Rules, features: Features) -> Rule:
    """The rule that decides for the one question that is asked."""
    (rule,) = rules.decide(features, KNOWN).values()
    return rule


def decide(**changes: Any) -> Rule:
    """The rule that decides for a head CT with changes."""
    return only(RULES, replace(HEAD, **changes))


def reason(**changes: Any) -> str:
    """Its words; empty when the series is analysed."""
    features = replace(HEAD, **changes)
    rule = only(RULES, features)
    return "" if rule.pipeline else rule.reason_for(features)


@pytest.mark.parametrize(
    ("test", "passing", "failing"),
    [
        ({"is": ["CT", "mr"]}, ["ct", " CT ", "MR"], ["CTA", "", None]),
        ({"has": ["head", "BRAIN"]}, ["CT Head 5.0", "brain"], ["chest", ""]),
        ({"lacks": ["neck"]}, ["head", ""], ["Head/Neck"]),
        ({"matches": "^h[0-9]"}, ["H31s"], ["UB", "", None]),
        ({"at_least": 3}, [3, 3.5], [2.9, None]),
        ({"below": 3}, [2.9, 0], [3, None]),
        ({"at_least": 1, "below": 3}, [1, 2], [0.5, 3]),
        ({"empty": True}, ["", None, "  "], ["x"]),
        ({"empty": False}, ["x"], ["", None]),
        ({"names_head": True}, ["HOOFD", "Kopf/Hals"], ["NECK", "AXIAL", "", None]),
        ({"names_head": False}, ["NECK", "", None], ["HOOFD"]),
        ({"names_other_part": True}, ["NECK", "HEAD AND NECK"], ["HEAD", "", None]),
        ({"says_contrast": True}, ["OMNIPAQUE", "80 ml", "mit KM"], ["NON CONTRAST", "Protocol 3", "", None]),
        ({"says_contrast": False}, ["NON CONTRAST", "without and with contrast", ""], ["OMNIPAQUE"]),
        ({"true": True}, [True], [False]),
        ({"true": False}, [False], [True]),
        ({}, ["anything", None, 0], []),
    ],
)
def test_each_test(test: dict[str, object], passing: list[object], failing: list[object]) -> None:
    """What holds and what does not; an unknown number passes no numeric test."""
    condition = FieldTest.model_validate(test)
    assert all(condition.holds(value) for value in passing)
    assert not any(condition.holds(value) for value in failing)


def test_first_fitting_rule_decides_and_none_is_a_decline() -> None:
    """In the order they are written."""
    written = [
        {"name": "a", "decline": "A {slices}", "when": {"slices": {"below": 3}}},
        {"name": "b", "pipeline": "p", "when": {"modality": {"is": ["CT"]}, "age_years": {"at_least": 18}}},
    ]
    rules = Rules.model_validate({"rule": written})
    assert only(rules, replace(HEAD, slices=2)).name == "a"
    assert only(rules, HEAD).pipeline == "p"
    assert only(rules, replace(HEAD, age_years=None)).decline == "No rule is written for such a series."


@pytest.fixture
def two_questions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The question of each pipeline, as if there were another one."""
    monkeypatch.setattr("dicom_node.routes.QUESTIONS", ["haemorrhage", "skull"])
    return {"haemorrhage": "haemorrhage", "skull": "skull", "own": "skull"}


def test_each_question_has_its_own_first_rule(two_questions: dict[str, str]) -> None:
    """One that declines or ignores speaks of every question, or of its own alone; a pipeline answers its own."""
    written = [
        {"name": "no MR", "decline": "No MR.", "when": {"modality": {"is": ["MR"]}}},
        {"name": "no thin", "decline": "Too thin.", "question": "skull", "when": {"spacing_mm": {"below": 2}}},
        {"name": "no long", "ignore": "Too long.", "question": "haemorrhage", "when": {"slices": {"at_least": 99}}},
        {"name": "bleed", "pipeline": "haemorrhage"},
        {"name": "bone", "pipeline": "own", "when": {"slices": {"at_least": 10}}},
    ]
    rules = Rules.model_validate({"rule": written})

    def decided(**changes: Any) -> dict[str, str]:
        found = rules.decide(replace(HEAD, **changes), two_questions)
        return {question: rule.name for question, rule in found.items()}

    assert decided() == {"haemorrhage": "bleed", "skull": "bone"}
    assert decided(modality="MR") == {"haemorrhage": "no MR", "skull": "no MR"}
    assert decided(spacing_mm=1.0) == {"haemorrhage": "bleed", "skull": "no thin"}
    assert decided(slices=100) == {"haemorrhage": "no long", "skull": "bone"}
    assert decided(slices=5) == {"haemorrhage": "bleed", "skull": "no rule"}


def test_only_questions_whose_pipelines_are_named_are_asked(two_questions: dict[str, str]) -> None:
    """Where no rule names a pipeline, every question is declined in the rules' words."""
    some = Rules.model_validate({"rule": [{"name": "bleed", "pipeline": "haemorrhage"}]})
    assert list(some.decide(HEAD, two_questions)) == ["haemorrhage"]
    none = Rules.model_validate({"rule": [{"name": "nothing", "decline": "Closed."}]})
    assert {question: rule.decline for question, rule in none.decide(HEAD, two_questions).items()} == {
        "haemorrhage": "Closed.",
        "skull": "Closed.",
    }


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ('name = "r"\ndecline = "x"\nwhen.modalty = { is = ["CT"] }', "modalty"),
        ('name = "r"\ndecline = "x"\nwhen.modality = { equals = ["CT"] }', "equals"),
        ('name = "r"\ndecline = "x"\nwhen.kernel = { matches = "[" }', "matches"),
        ('name = "r"\ndecline = "x"\npipeline = "p"', "exactly one"),
        ('name = "r"', "exactly one"),
        ('name = "r"\npipeline = "p"\nquestion = "haemorrhage"', "the pipeline's own is meant"),
        ('name = "r"\ndecline = "x"\nquestion = "lungs"', "no question 'lungs'"),
        ('name = "r"\ndecline = "{unknown}"', "unknown"),
        ('name = "r"\ndecline = "{slices.__class__}"', "unknown name"),
        ('name = "r"\ndecline = "{modality"', "}"),
        ('name = "r"\ndecline = "{}"', "unknown name"),
        ('name = "r"\ndecline = "{slices:d}"', ""),
        ('decline = "x"', "name"),
        ("name = ", "routes.toml"),
    ],
)
def test_wrong_rules_are_errors_that_say_where(tmp_path: Path, written: str, named: str) -> None:
    """Before the node starts, not when the first series comes."""
    path = tmp_path / "routes.toml"
    path.write_text(f"[[rule]]\n{written}\n")
    with pytest.raises(SettingsError) as caught:
        load_rules(path)
    assert named in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_rules_that_are_not_there(tmp_path: Path) -> None:
    """A path that was mistyped is a clear error, too."""
    with pytest.raises(SettingsError, match=r"missing\.toml"):
        load_rules(tmp_path / "missing.toml")


def test_a_value_with_braces_is_not_a_template() -> None:
    """Descriptions come from outside."""
    wrong = Rule(name="r", decline="Not a head ({series_description}).")
    told = wrong.reason_for(replace(HEAD, series_description="{own} {0.__class__} {"))
    assert told == "Not a head ({own} {0.__class__} {)."


def test_plain_head_is_analysed() -> None:
    """About 5 mm suits best, thin slices less, unlabelled ones last."""
    ranks = [
        decide().rank,
        decide(spacing_mm=1.0).rank,
        decide(body_part="", study_description="", series_description="Axial").rank,
    ]
    assert ranks == sorted(ranks) and len(set(ranks)) == 3


@pytest.mark.parametrize(
    "words",
    [
        {"body_part": "BRAIN"},
        {"body_part": "SKULL", "study_description": "Schädel nativ", "series_description": "cCT 5.0 H31s"},
        {"body_part": "", "study_description": "CT CRANE SANS INJECTION"},
        {"study_description": "TC CRÁNEO SIN CONTRASTE", "series_description": "CABEZA 5mm"},
        {"series_description": "HEAD W/O CONTRAST"},
        {"series_description": "HEAD WITHOUT CONTRAST"},
        {"series_description": "Brain without IV contrast 5mm"},
        {"series_description": "NON-CONTRAST HEAD"},
        {"series_description": "Head unenhanced"},
        {"study_description": "CT HEAD AND CERVICAL SPINE", "series_description": "HEAD 5.0"},
        {"series_description": "AXIAL"},
        {"series_description": ""},
        {"contrast": "NONE"},
        {"contrast": "No"},
        {"contrast": "No contrast"},
        {"contrast": "without"},
        {"contrast": "N/A"},
        {"contrast": "ohne KM"},
        {"contrast": "NON CONTRAST"},
        {"contrast": "senza mdc"},
        {"contrast": "SEE PROTOCOL"},
        {"study_description": "CT Head without and with contrast"},
        {"series_description": "Head without and with contrast"},
        {"series_description": "nativ / nach KM"},
        {"series_description": "HEAD NON-CON"},
        {"series_description": "Head post trauma"},
        {"series_description": "Head C-"},
        {"body_part": "HOOFD", "study_description": "CT HERSENEN", "series_description": "blanco"},
        {"body_part": "TESTA", "study_description": "", "series_description": "senza mdc"},
        {"body_part": "", "study_description": "TDM CEREBRALE", "series_description": "sans IV"},
        {"body_part": "XYZ", "study_description": "", "series_description": "5.0"},
        {"body_part": "SKULL_AND_FACE", "study_description": "", "series_description": ""},
        {"body_part": "", "study_description": "CT HEAD AND NECK", "series_description": "AX"},
        {"series_description": "HEAD AND NECK"},
        {"series_description": "SKULL BASE TO VERTEX"},
        {"age_years": None},
        {"age_years": 0.1},
        {"age_years": 101.0},
    ],
)
def test_heads_without_contrast_are_analysed(words: dict[str, object]) -> None:
    """However it is written, and at all ages."""
    assert reason(**words) == ""


@pytest.mark.parametrize(
    "kernel",
    [
        *[
            "H30s",
            "H31s",
            "H40s",
            "J40s",
            "Hr40",
            "Hr38f",
            "Hc40",
            "Br40d",
            "Qr40",
            "SOFT",
            "STANDARD",
            "STD+",
            "STND",
            "UA",
        ],
        *["UB", "UC", "A", "B", "C", "BRAIN", "FC20", "FC21", "FC26", "FC64", "FC67", "FC68"],
        "HD STND",
        "",
    ],
)
def test_soft_kernels_are_analysed(kernel: str) -> None:
    """Siemens, GE, Philips, Canon."""
    assert reason(kernel=kernel) == ""


@pytest.mark.parametrize(
    "kernel",
    [
        *["H60s", "H70h", "J70h", "Hr68", "Br64d", "B70f", "BONE", "BONEPLUS", "BONE+", "EDGE", "LUNG"],
        *["YA", "YD", "EB", "D", "L", "FC30", "FC35", "FC51", "FC81", "FC81-H"],
        "HD BONE",
        "HD EDGE",
    ],
)
def test_bone_kernels_are_declined(kernel: str) -> None:
    """Of the same vendors, with the kernel named."""
    assert reason(kernel=kernel) == f"Only a bone-kernel reconstruction was received ({kernel})."


@pytest.mark.parametrize("words", ["Bone 2.0", "HEAD BONE", "Knochen", "OS OSSEUX"])
def test_bone_by_its_description(words: str) -> None:
    """Where no kernel is stated."""
    assert "bone-kernel" in reason(kernel="", series_description=words)


@pytest.mark.parametrize(
    "words",
    [
        {"contrast": "OMNIPAQUE 350"},
        {"contrast": "Ultravist"},
        {"contrast": "IV"},
        {"contrast": "Non-ionic 300"},
        {"series_description": "CTA HEAD 1.0"},
        {"series_description": "CTA COW"},
        {"series_description": "Angio Head"},
        {"series_description": "ANGIOGRAPHY"},
        {"series_description": "Perfusion 5.0"},
        {"series_description": "HEAD WITH CONTRAST"},
        {"series_description": "HEAD W CONTRAST"},
        {"series_description": "HEAD POST CONTRAST"},
        {"series_description": "Schädel mit KM"},
        {"series_description": "Kopf nach KM"},
        {"series_description": "HEAD C+"},
        {"series_description": "HEAD +C 5.0"},
        {"series_description": "CRANE AVEC CONTRASTE"},
        {"series_description": "Head venous"},
        {"contrast": "80 ml"},
        {"contrast": "Iomeron 400"},
        {"series_description": "CRANIO CON MDC"},
        {"series_description": "頭部造影"},
    ],
)
def test_contrast_is_declined(words: dict[str, str]) -> None:
    """By the agent, or by the description; the reason names it."""
    told = reason(**words)
    assert "Contrast was given" in told
    assert next(iter(words.values())) in told


@pytest.mark.parametrize(
    "words",
    [
        {"body_part": "CHEST", "study_description": "CT CHEST", "series_description": "THORAX 5.0"},
        {"body_part": "ABDOMEN", "study_description": "", "series_description": "ax"},
        {"body_part": "CSPINE", "study_description": "C-SPINE", "series_description": "AX"},
        {"body_part": "", "study_description": "CT THORAX", "series_description": "AX 5.0"},
        {"body_part": "", "study_description": "Knee left", "series_description": "AX 3.0"},
        {"series_description": "Sinus 3.0"},
        {"series_description": "NNH"},
        {"series_description": "ORBITS"},
        {"series_description": "C-SPINE 2.0"},
        {"series_description": "Neck 3.0"},
        {"series_description": "Facial bones"},
        {"body_part": "HWS", "study_description": "HWS nativ", "series_description": "ax"},
        {"body_part": "", "study_description": "TC TORACE", "series_description": "5.0"},
        {"body_part": "SPINE", "study_description": "NEURO SPINE", "series_description": "5.0"},
        {"body_part": "XYZ", "study_description": "胸部CT", "series_description": ""},
        {"series_description": "COLLO 3.0"},
        {"series_description": "Felsenbein"},
    ],
)
def test_other_regions_are_declined(words: dict[str, object]) -> None:
    """In words a radiologist understands."""
    told = reason(**words)
    assert told.startswith(("Not a head CT", "Not a brain CT")), told


def test_everything_else_says_why() -> None:
    """One sentence for each reason, with the particulars."""
    assert reason(modality="MR") == "The images are not CT (MR); only CT is analysed."
    assert reason(modality="") == "The images are not CT (modality not stated); only CT is analysed."
    assert reason(image_type="ORIGINAL\\PRIMARY\\LOCALIZER", slices=0) == "Only a localizer (scout) was received."
    assert reason(series_description="Topogram 0.6 T20f", slices=2) == "Only a localizer (scout) was received."
    assert "no position" in reason(slices=0, coverage_mm=0.0, obstacle="none")
    assert "projections" in reason(image_type="DERIVED\\SECONDARY\\AXIAL\\MIP")
    assert reason(orientation="coronal") == "Only coronal reformats were received; axial slices are needed."
    assert reason(orientation="sagittal").startswith("Only sagittal")
    assert reason(slices=10, coverage_mm=50.0) == "Only 10 slices covering 50 mm: too few for a whole head."
    assert reason(obstacle="Two images lie at the same position.") == "Two images lie at the same position."
    assert reason(missing="Slices are missing between images 3 and 5.") == "Slices are missing between images 3 and 5."
    assert "more than a head" in reason(coverage_mm=600.0)
    assert reason(spacing_mm=10.0) == "Not recognised as a head CT without contrast."
    assert decide(own=True).ignore is not None
    assert decide(modality="SR", slices=0).ignore is not None


def test_no_stack_is_named_before_its_lengths() -> None:
    """Where slices form no stack, their coverage means nothing."""
    told = reason(slices=8, coverage_mm=0.0, orientation="", obstacle="The images lie in different directions.")
    assert told == "The images lie in different directions."


def test_best_reason_is_shown_first() -> None:
    """Of a study's declined series: what is nearest to a whole head counts, not the localizer."""
    localizer = decide(image_type="ORIGINAL\\PRIMARY\\LOCALIZER").rank
    bone, contrast, gaps = decide(kernel="H70h").rank, decide(contrast="IV").rank, decide(missing="x").rank
    assert gaps < bone < contrast < localizer
    assert all(rule.rank < gaps for rule in RULES.rule if rule.pipeline)


def test_features_hold_all_fields() -> None:
    """A field that a rule may name is a field of the features."""
    assert all(hasattr(Features, field) for rule in RULES.rule for field in rule.when)
