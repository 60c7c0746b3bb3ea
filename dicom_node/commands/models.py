"""`triage-node models`: a site's own model, installed after a test, compared on stored studies and put in use."""

from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from dicom_node.commands.frame import with_settings

if TYPE_CHECKING:
    from dicom_node.models.store import ModelStore
    from dicom_node.settings import Settings
    from inference.models.card import ModelCard


@click.group()
def models() -> None:
    """Install and choose the model that analyses.

    The one that came with the package is always there as built-in.
    """


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a model.")
@with_settings
def list_models(settings: "Settings", as_json: bool) -> None:
    """Print every model and which one answers.

    Example: triage-node models list
    """
    from dicom_node.commands import text
    from dicom_node.commands.models_text import entries_of, list_text
    from dicom_node.models.store import open_store
    from dicom_node.routes import load_rules

    entries = entries_of(open_store(settings), load_rules(settings.routes_path).pipelines)
    click.echo(text.to_json(entries) if as_json else list_text(entries))


@models.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("weights", type=click.Path(dir_okay=False, path_type=Path))
def convert(checkpoint: Path, weights: Path) -> None:
    """Make safetensors of a PyTorch checkpoint.

    Nothing that stands in CHECKPOINT is run; one that holds more than tensors is refused. Prints the SHA-256 that the
    card of WEIGHTS needs.

    Example: triage-node models convert network.pt network.safetensors
    """
    from inference.pipelines.haemorrhage.foreign.convert import convert_checkpoint

    click.echo(f'wrote {weights}\nsha256 = "{convert_checkpoint(checkpoint, weights)}"')


@models.command()
@click.argument("card", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", "studies", default=5, show_default=True, type=click.IntRange(0), help="Try so many studies.")
@click.option("--no-dry-run", is_flag=True, help="Do not try it on stored studies.")
@with_settings
def install(settings: "Settings", card: Path, studies: int, no_dry_run: bool) -> None:
    """Install a model by its card, after a test.

    CARD is a TOML file with the weights beside it. The hash of the weights is checked, the model is run on synthetic
    heads, and then on the last stored studies, to compare. It answers nothing before `models use`.

    Example: triage-node models install site-model.toml
    """
    from dicom_node import clock
    from dicom_node.logs import configure_logs
    from dicom_node.models.store import current_user, open_store

    configure_logs("models", quiet=True)
    store = open_store(settings, make=True)
    made = store.install(card, partial(run_self_test, settings), clock.utc_now(), current_user())
    click.echo(f"installed: {made.model_id}")
    if studies and not no_dry_run:
        print_dry_run(settings, store, store.card(made), studies)
    click.echo(f"It answers from the moment you say so: triage-node models use {made.model_id}")


@models.command()
@click.argument("model")
@click.option("--pipeline", help="For which pipeline of the routing rules (default: that of the first question).")
@with_settings
def use(settings: "Settings", model: str, pipeline: str | None) -> None:
    """Let a model answer from the next study on.

    MODEL is its ID, NAME, NAME@VERSION, short hash, or built-in. Workers take it up without a restart.

    Example: triage-node models use site-model@1.0
    """
    from dicom_node import clock
    from dicom_node.models.store import current_user, open_store, title
    from inference.pipelines.registry import QUESTIONS

    store = open_store(settings, make=True)
    found, pipeline = store.find(model), pipeline or QUESTIONS[0]
    store.use(found, pipeline, settings.model.sensitivity, clock.utc_now(), current_user())
    click.echo(f"{title(found)} answers for {pipeline} from the next study on")


@models.command()
@click.argument("model")
@with_settings
def remove(settings: "Settings", model: str) -> None:
    """Take a model off the disk.

    Not the one in use, and not the built-in one.

    Example: triage-node models remove site-model@1.0
    """
    from dicom_node.models.store import open_store, title
    from dicom_node.routes import load_rules

    store = open_store(settings, make=True)
    found = store.find(model)
    store.remove(found, load_rules(settings.routes_path).pipelines)
    click.echo(f"{title(found)} is removed")


@models.command()
@click.argument("model", required=False)
@click.option(
    "--prevalence", type=float, help="Share of studies with the finding, 0 to 1; [model] prevalence if not given."
)
@with_settings
def points(settings: "Settings", model: str | None, prevalence: float | None) -> None:
    """Print a model's operating points and what they mean at a prevalence.

    Of the model in use, if none is named. Choose one with [model] sensitivity in the settings.

    Example: triage-node models points --prevalence 0.05
    """
    from dicom_node.commands.models_text import points_text
    from dicom_node.models.store import open_store
    from inference.models.card import study_threshold
    from inference.pipelines.registry import QUESTIONS

    assumed = settings.model.prevalence
    prevalence = assumed if prevalence is None else prevalence
    if not 0 <= prevalence <= 1:
        raise click.BadParameter(f"a prevalence lies in 0..1, not {prevalence:g}", param_hint="--prevalence")
    store = open_store(settings)
    answering = store.answering(QUESTIONS[0])
    found = store.find(model) if model else answering
    card = store.card(found)
    used = study_threshold(card, settings.model.sensitivity) if found == answering else None
    click.echo(points_text(card, prevalence, used, assumed))


def run_self_test(settings: "Settings", card: "ModelCard") -> None:
    """Self-test of a model that is about to be installed; prints what it said."""
    from inference.engines.local import Engine
    from inference.pipelines.registry import load_pipeline, question_of_card

    who = card.identity
    click.echo(f"card and weights belong together: {who.name} {who.version} ({card.kind}), SHA-256 {who.sha256[:12]}…")
    device = Engine(settings.analyse.device, settings.analyse.threads or None).device
    pipeline, self_test = load_pipeline(card, device), question_of_card(card).self_test
    if self_test is None:
        click.echo("there is no self-test for this question")
        return
    click.echo("self-test on synthetic images ...")
    began = perf_counter()
    told = self_test(pipeline)
    said = ", ".join(f"{each.title} {each.without:.3f} -> {each.with_it:.3f}" for each in told)
    click.echo(f"self-test passed in {perf_counter() - began:.0f} s; images without and with a finding: {said}")
    if any(each.without >= card.threshold for each in told):
        click.echo("note: it suspects a finding in synthetic images that have none")


def print_dry_run(settings: "Settings", store: "ModelStore", card: "ModelCard", studies: int) -> None:
    """Dry run on stored studies; prints the table and what it means."""
    from dicom_node.commands.models_text import trials_text
    from dicom_node.models.store import open_engine
    from dicom_node.models.trial import dry_run, in_words
    from dicom_node.processes import running
    from inference.errors import ModelError
    from inference.models.card import study_threshold

    try:
        study_threshold(card, settings.model.sensitivity)
        now_in_use = store.card_for(card.question).identity
    except ModelError as error:
        click.echo(f"no dry run: {error}")
        return
    engine = open_engine(settings, lambda _: card)
    trials = list(dry_run(running.database(settings), engine, card.question, now_in_use.sha256, studies))
    if trials:
        click.echo(trials_text(trials))
    click.echo(f"{in_words(trials)} (before: {now_in_use.name} {now_in_use.version})")
