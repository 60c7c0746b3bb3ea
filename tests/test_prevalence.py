"""The assumed prevalence: probabilities follow Bayes, no decision changes, and cards that say nothing stay."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient
from web_support import make_node

from dicom_node.commands.models_text import points_text
from dicom_node.errors import SettingsError
from dicom_node.settings import load_settings
from dicom_node.web.app import build_app
from inference.engines.local import Engine, Loaded
from inference.findings import Band, Finding, ModelIdentity, Result, chance_text, prevalence_text
from inference.models.card import ModelCard, load_card
from inference.models.prevalence import at_prevalence, shift_of, shifted
from inference.pipelines.base import Given
from inference.pipelines.haemorrhage.folds import load_folds
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.ct_ich import open_ct_ich, stack_of
from reports import words

CARD = replace(load_card("haemorrhage"), calibrated_prevalence=0.4)
PREVALENCES = (0.001, 0.02, 0.1, 0.4, 0.9)
STACK = stack_of(np.zeros((12, 8, 8), np.float32))


def said(probability: float, threshold: float = 0.3) -> Result:
    """A result with a kind that is stated and one that is possible."""
    whole = Finding("intracranial", probability, probability >= threshold)
    findings = (whole, Finding("subdural", 0.7, False, differential=True))
    return Result(
        question="haemorrhage",
        pipeline="haemorrhage",
        model=ModelIdentity("toy", "1", "ab" * 32),
        threshold=threshold,
        suspected=probability >= threshold,
        probability=probability,
        findings=findings,
        slice_probabilities=(0.1, 0.5, 0.0, 1.0),
        key_slices=(1, 0),
    )


class Says:
    """A pipeline that says this of everything."""

    def __init__(self, result: Result) -> None:
        self.result, self.model = result, result.model

    def run(self, given: Given) -> Result:
        return self.result


def answered(card: ModelCard, prevalence: float | None, result: Result) -> Result:
    """As an engine of this setting tells it."""
    engine = Engine("cpu", 1, lambda _: card, prevalence=prevalence)
    engine._loaded["haemorrhage"] = Loaded(card, Says(result))
    return engine.run("haemorrhage", Given(STACK))


def test_a_probability_moves_as_bayes_says() -> None:
    """0.5 where 40 of 100 bleed is a likelihood ratio of 1.5: where 10 of 100 do, the odds are 1.5 to 9."""
    found = at_prevalence(said(0.5), CARD, 0.1)
    odds = (0.5 / 0.5) / (0.4 / 0.6) * (0.1 / 0.9)
    assert odds == pytest.approx(1.5 / 9)
    assert found.probability == pytest.approx(odds / (1 + odds))
    assert found.threshold == pytest.approx(0.3 / 0.7 / (0.4 / 0.6) / 9 / (1 + 0.3 / 0.7 / (0.4 / 0.6) / 9))
    assert found.prevalence == 0.1
    assert found.findings[0].probability == found.probability
    assert found.findings[1].probability == 0.7, "of what a finding may be, given that there is one"
    assert found.slice_probabilities[1] == pytest.approx(found.probability)
    assert found.slice_probabilities[2:] == (0.0, 1.0)
    assert shifted(0.5, shift_of(CARD, 0.4)) == 0.5


@pytest.mark.parametrize("prevalence", PREVALENCES)
def test_no_decision_changes_whatever_is_assumed(prevalence: float) -> None:
    """Flag, band, kinds and key slices are those of the card's own scale, at and beside every one of its thresholds."""
    edges = [each.threshold for each in CARD.operating_points] + [CARD.threshold]
    for probability in sorted({*edges, *(edge - 1e-6 for edge in edges), *(edge + 1e-6 for edge in edges), 0.01, 0.99}):
        before = answered(CARD, None, said(probability, CARD.threshold))
        after = answered(CARD, prevalence, said(probability, CARD.threshold))
        assert (after.suspected, after.band, after.key_slices) == (before.suspected, before.band, before.key_slices)
        assert after.suspected == (after.probability >= after.threshold)
        assert [each.present for each in after.findings] == [each.present for each in before.findings]
        assert before.prevalence is None and after.prevalence == prevalence
    assert answered(CARD, prevalence, said(0.99, CARD.threshold)).band is Band.HIGH


def test_a_card_that_does_not_say_its_data_stays_as_it_is() -> None:
    silent = replace(CARD, calibrated_prevalence=None)
    result = said(0.5)
    assert at_prevalence(result, silent, 0.1) is result
    assert answered(silent, 0.1, result).prevalence is None and answered(silent, 0.1, result).probability == 0.5
    assert points_text(silent, 0.1, None, 0.1) == points_text(CARD, 0.1, None, 0.4)
    assert points_text(CARD, 0.1, None, 0.1) != points_text(CARD, 0.1, None, 0.4)


def test_the_words_of_a_probability() -> None:
    assert [chance_text(p) for p in (0.0, 0.0544, 0.0996, 0.54, 1.0)] == ["0.00", "0.054", "0.10", "0.54", "1.00"]
    assert prevalence_text(0.1) == ", at an assumed prevalence of 10 %" and prevalence_text(None) == ""
    assert prevalence_text(0.025) == ", at an assumed prevalence of 2.5 %"


def test_report_and_page_say_what_is_assumed(tmp_path: Path) -> None:
    """An older result, which assumes nothing, is shown as it was made."""
    told = replace(at_prevalence(said(0.5), CARD, 0.1), band=Band.HIGH)
    assert words.basis(told) == "Probability high (0.14), threshold 0.067, at an assumed prevalence of 10 %"
    assert words.basis(replace(said(0.5), band=Band.HIGH)) == "Probability high (0.50), threshold 0.30"
    node = make_node(tmp_path / "node")
    newer, older = node.analysed(1, suspected=True), node.analysed(2, suspected=True)
    with node.other().write() as tx:
        shown = "UPDATE analyses SET probability = 0.143, threshold = 0.067, band = 'high', prevalence = 0.1"
        tx.run(f"{shown} WHERE study_uid = :uid", uid=newer)
    with TestClient(build_app(node.database, node.archive, node.settings), base_url="http://localhost") as client:
        pages = [" ".join(client.get(f"/studies/{uid}").text.split()) for uid in (newer, older)]
    assert "probability high, 0.14, threshold 0.067, at an assumed prevalence of 10 %" in pages[0]
    assert "threshold" in pages[1] and "assumed" not in pages[1]


def test_the_setting_has_bounds() -> None:
    assert load_settings().model.prevalence == 0.1
    for wrong in (0.0, 0.0009, 0.95):
        with pytest.raises(SettingsError, match="prevalence"):
            load_settings(changes={"model": {"prevalence": wrong}})


def test_the_shipped_card_and_its_folds_say_their_patients_shares(shared: Path) -> None:
    """Of the card all patients of its folds, of a fold those of the others; as data says, to what is written."""
    card, data = load_card("haemorrhage"), open_ct_ich(shared / "ct_ich")
    folds = load_folds(card).folds
    everyone = {person for fold in folds for person in fold.patients}
    bleeds = {
        f"CT-ICH/{number:03d}": any(row.flag(kind) for row in rows for kind in HaemorrhageType)
        for number, rows in data._slices.items()
    }
    assert card.calibrated_prevalence == pytest.approx(np.mean([bleeds[each] for each in everyone]), abs=1e-6)
    for fold in folds:
        others = everyone - set(fold.patients)
        assert fold.decisions.calibrated_prevalence == pytest.approx(np.mean([bleeds[o] for o in others]), abs=1e-6)
