"""What every question of the registry must have, and a card of a question or kind that there is not."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inference.errors import ModelError, UnknownPipelineError
from inference.models.card import load_card
from inference.pipelines.registry import QUESTIONS, load_pipeline, question_of, shipped_card
from reports.vocabulary.terms import vocabulary_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_has_its_name_its_card_and_its_words(name: str) -> None:
    question, words = question_of(name), vocabulary_of(name)
    assert question.name == words.question == shipped_card(name).question == name
    assert words.whole in words.terms and set(words.types) <= words.terms.keys()
    assert all(word.isascii() for word in (words.positive, words.negative, *words.positive_lines, words.growth))


def test_questions_share_neither_name_nor_number() -> None:
    """The number of a question makes the series numbers of its objects."""
    numbers = [vocabulary_of(name).number for name in QUESTIONS]
    assert len(set(numbers)) == len(set(QUESTIONS)) == len(QUESTIONS)
    assert min(numbers) >= 0


def test_questions_are_known_without_torch() -> None:
    """Node and web ask for rules and words only, and do not wait for it."""
    code = "import sys; from inference.pipelines.registry import QUESTIONS, question_of; "
    code += "assert all(map(question_of, QUESTIONS)) and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_no_question_is_named() -> None:
    for ask in (question_of, shipped_card):
        with pytest.raises(UnknownPipelineError, match=r"no pipeline 'lungs'; there is: haemorrhage"):
            ask("lungs")


def shipped_text() -> str:
    return Path(str(load_card("haemorrhage").place)).read_text(encoding="utf-8")


def test_a_card_that_names_neither_question_nor_kind_is_of_haemorrhage(tmp_path: Path) -> None:
    """Cards before 0.5 named none."""
    text = shipped_text()
    assert "\nquestion" not in text and "\nkind" not in text
    card = load_card("haemorrhage")
    assert (card.question, card.kind) == ("haemorrhage", "haemorrhage")
    for named, question, kind in (
        ('question = "lungs"\nkind = "pickle"\n', "lungs", "pickle"),
        ('question = "lungs"\n', "lungs", "lungs"),
        ('kind = "onnx"\n', "haemorrhage", "onnx"),
    ):
        (tmp_path / "own.toml").write_text(named + text)
        own = load_card(tmp_path / "own.toml")
        assert (own.question, own.kind, own.threshold) == (question, kind, card.threshold)


def test_a_card_of_an_unknown_question_or_kind_is_not_loaded() -> None:
    card = load_card("haemorrhage")
    with pytest.raises(ModelError, match=r"haemorrhage\.toml: there is no question 'lungs'; there is: haemorrhage"):
        load_pipeline(replace(card, question="lungs"), CPU)
    with pytest.raises(ModelError, match="no kind 'pickle'; there are: haemorrhage, onnx, monai"):
        load_pipeline(replace(card, kind="pickle"), CPU)
