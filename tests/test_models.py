"""A site's own model: installed whole or not at all, tested, compared, put in use while the node works, and removed."""

import json
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
import tomli_w
import torch
from click.testing import CliRunner
from series import Core, core, read_all

from config import models as shipped
from dicom_node.commands import phantom
from dicom_node.commands.main import main
from dicom_node.derived import candidates
from dicom_node.derived.candidates import questions_of_pipelines
from dicom_node.entities import Job
from dicom_node.errors import CommandError, SettingsError
from dicom_node.models.store import ModelStore, open_engine
from dicom_node.processes.worker import load_models
from dicom_node.routes import load_rules
from dicom_node.steps.analyse import analyse_next
from dicom_node.steps.complete import complete_due
from dicom_node.steps.route import route_due
from dicom_node.tables import jobs, models, processes, results
from dicom_node.tables.database import open_database
from dicom_node.tables.models import InstalledModel
from inference.engines.local import Engine
from inference.errors import ModelError, UnknownPipelineError
from inference.findings import chance_text
from inference.models.card import ModelCard, load_card, study_threshold
from inference.models.prevalence import shift_of, shifted
from inference.pipelines.haemorrhage.own import HaemorrhagePipeline
from inference.pipelines.registry import QUESTIONS, load_pipeline

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHIPPED = Path(shipped.__file__).parent
ROUTES = {"haemorrhage"}
POINTS = [
    {
        "aim": aim,
        "threshold": threshold,
        "sensitivity": {"value": aim + 0.01, "low": aim - 0.1, "high": 1.0},
        "specificity": {"value": value, "low": value - 0.1, "high": value + 0.1},
    }
    for aim, threshold, value in ((0.95, 0.2, 0.7), (0.9, 0.5, 0.8))
]


def site_card(folder: Path, **changes: Any) -> Path:
    """The shipped weights' first network as a site's own model, with two operating points."""
    folder.mkdir(exist_ok=True)
    content = tomllib.loads((SHIPPED / "haemorrhage.toml").read_text())
    content |= {"name": "site-model", "version": "1.0", "networks": 1, "operating_points": POINTS} | changes
    for name in ("haemorrhage.safetensors", "haemorrhage.folds.toml"):
        copyfile(SHIPPED / name, folder / name)
    card = folder / "site.toml"
    card.write_text(tomli_w.dumps({key: value for key, value in content.items() if value is not None}))
    return card


def passes(card: ModelCard) -> None:
    """A test that every model passes."""


@pytest.fixture
def node(tmp_path: Path) -> Core:
    """A node's core, on one thread, that tries an analysis twice."""
    return core(tmp_path / "data", analyse={"device": "cpu", "threads": 1, "attempts": 2})


@pytest.fixture
def store(node: Core) -> ModelStore:
    return ModelStore(node.settings.node.data, node.database)


def installed(store: ModelStore, folder: Path, **changes: Any) -> InstalledModel:
    """A site's model, installed without a test."""
    return store.install(site_card(folder, **changes), passes, NOW, "ann")


def files(node: Core) -> list[str]:
    """What lies in the store, drafts included."""
    root = node.settings.node.data / "models"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def folder_of(node: Core, model: InstalledModel) -> Path:
    return node.settings.node.data / "models" / model.model_id


def test_every_question_is_a_pipeline_and_so_is_every_model(node: Core, store: ModelStore, tmp_path: Path) -> None:
    """A model by its own name; each with the question that it answers."""
    shipped_pipelines = {question: question for question in QUESTIONS}
    with node.database.read() as tx:
        assert questions_of_pipelines(tx) == shipped_pipelines
    installed(store, tmp_path / "site")
    with node.database.read() as tx:
        assert questions_of_pipelines(tx) == shipped_pipelines | {"site-model": "haemorrhage"}


def test_a_node_of_the_first_release_gets_the_tables(tmp_path: Path) -> None:
    """Its rows stay."""
    path = tmp_path / "data" / "node.sqlite"
    with core(tmp_path / "data").database.write() as tx:
        tx.run("DROP TABLE models_in_use")
        tx.run("DROP TABLE models")
        assert tx.run("DELETE FROM _sqlite_migrations WHERE name = 'model_tables'") == 1
        tx.run("INSERT INTO node VALUES ('kept', 'yes')")
    with open_database(path).read() as tx:
        assert models.all_of_them(tx) == [] and models.in_use(tx) == []
        assert processes.published(tx, "kept") == "yes"


def test_an_installed_model_lies_whole_in_its_folder(node: Core, store: ModelStore, tmp_path: Path) -> None:
    """Card, weights and folds; it answers nothing yet."""
    model = installed(store, tmp_path / "site")
    assert model.model_id == f"site-model-1.0-{model.sha256[:8]}"
    names = ("card.toml", "haemorrhage.folds.toml", "haemorrhage.safetensors")
    assert files(node) == [f"{model.model_id}/{name}" for name in names]
    assert store.installed() == [model] and model.installed_by == "ann"
    assert store.answering("haemorrhage") is None
    assert store.card_for("haemorrhage").identity == load_card("haemorrhage").identity
    assert store.check(model).identity.name == "site-model"


def fails(card: ModelCard) -> None:
    """A test that no model passes; it loads the model first, as the self-test does."""
    load_pipeline(card, torch.device("cpu"))
    raise ModelError(f"{card.weights}: no good")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, r"site/haemorrhage\.safetensors: these are not the weights of the card"),
        ({"sha256": "../../up"}, "64 hexadecimal digits"),
        ({"weights": "../haemorrhage.safetensors"}, "beside their card"),
        ({"weights": "missing.safetensors"}, "the weights are not there"),
        ({"decision": None}, "lacks 'decision'"),
        ({"calibration": {}}, r"site/site\.toml: the model card lacks 'study'"),
        ({"words": {"summary": "only"}}, "lacks 'words.children_below_years'"),
        ({"name": "../up"}, "cannot be a model's name"),
        ({"name": "built-in"}, "cannot be a model's name"),
        ({"version": "1/2"}, "cannot be a model's version"),
        ({"networks": None}, r"site/site\.toml: the model card lacks 'networks'"),
        ({"networks": 0}, "networks: Input should be greater than or equal to 1"),
        ({"question": "lungs"}, r"site/site\.toml: there is no question 'lungs'; there is: haemorrhage; nothing was"),
        ({"kind": "pickle"}, r"site/site\.toml: there is no kind 'pickle'; there are: haemorrhage, onnx, monai"),
        (
            {"operating_points": [POINTS[0] | {"threshold": 1.5}]},
            r"operating_points\.0\.threshold: .* or equal to 1",
        ),
        ({}, r"site/haemorrhage\.safetensors: no good; nothing was installed"),
    ],
)
def test_what_is_not_right_is_not_installed(
    node: Core, store: ModelStore, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """The message says what is wrong, in the words of the files that were given; nothing is left."""
    with pytest.raises(ModelError, match=message):
        store.install(site_card(tmp_path / "site", **changes), fails, NOW, "ann")
    assert (files(node) if (node.settings.node.data / "models").exists() else []) == []
    assert store.installed() == []


def test_folds_of_other_weights_are_not_installed(store: ModelStore, tmp_path: Path) -> None:
    card = site_card(tmp_path / "site")
    folds = card.with_name("haemorrhage.folds.toml")
    folds.write_text(folds.read_text().replace(load_card(card).identity.sha256, "1" * 64))
    with pytest.raises(ModelError, match="folds of other weights"):
        store.install(card, passes, NOW, "ann")
    assert store.installed() == []


def test_a_model_is_installed_once_and_mended_when_damaged(node: Core, store: ModelStore, tmp_path: Path) -> None:
    """The same again is told; another card for the same version is refused; damaged files are replaced."""
    model = installed(store, tmp_path / "site")
    with pytest.raises(CommandError, match="installed already"):
        installed(store, tmp_path / "site")
    with pytest.raises(CommandError, match="another card"):
        installed(store, tmp_path / "other", networks=2)
    (folder_of(node, model) / "haemorrhage.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"site-model 1\.0 .*cannot be used.*install it again"):
        store.check(model)
    again = installed(store, tmp_path / "site")
    assert store.check(again) and len(store.installed()) == 1 and len(files(node)) == 3


def test_a_leftover_of_a_crash_is_no_model(node: Core, store: ModelStore, tmp_path: Path) -> None:
    """A folder without a row is replaced, a draft of a dead process goes."""
    root = node.settings.node.data / "models"
    (root / ".draft-999999999-abc").mkdir(parents=True)
    sha256 = load_card("haemorrhage").identity.sha256
    (root / f"site-model-1.0-{sha256[:8]}").mkdir()
    (root / f"site-model-1.0-{sha256[:8]}" / "half").write_text("")
    assert store.installed() == []
    model = installed(store, tmp_path / "site")
    assert [path.name for path in root.iterdir()] == [model.model_id]
    assert len(files(node)) == 3


def test_a_changed_card_is_not_used(node: Core, store: ModelStore, tmp_path: Path) -> None:
    """Thresholds are what was installed, or nothing."""
    model = installed(store, tmp_path / "site")
    card = folder_of(node, model) / "card.toml"
    card.write_text(card.read_text() + "\n# a word\n")
    with pytest.raises(ModelError, match="changed after it was installed"):
        store.card(model)


def test_the_name_of_a_model(store: ModelStore, tmp_path: Path) -> None:
    """ID, NAME, NAME@VERSION or short hash; what fits several models fits none."""
    first = installed(store, tmp_path / "site")
    for text in (first.model_id, "site-model", "site-model@1.0", first.sha256[:8]):
        assert store.find(text) == first
    assert store.find("built-in") is None
    second = installed(store, tmp_path / "site", version="2.0")
    assert store.find("site-model@2.0") == second
    with pytest.raises(CommandError, match=f"several models.*{first.model_id}, {second.model_id}"):
        store.find("site-model")
    with pytest.raises(CommandError, match=f"no model 'lungs'.*built-in, {first.model_id}"):
        store.find("lungs")


def test_the_choice_is_recorded_and_taken_up_without_a_restart(node: Core, store: ModelStore, tmp_path: Path) -> None:
    """The same engine answers with the other model, and goes back."""
    engine = open_engine(node.settings, store.card_for)
    before = engine.model("haemorrhage")
    model = installed(store, tmp_path / "site")
    assert engine.model("haemorrhage") == before
    store.use(model, "haemorrhage", 0.0, NOW, "ann")
    assert engine.model("haemorrhage").name == "site-model"
    assert store.uses(model, ROUTES) == ["haemorrhage"] and store.uses(None, ROUTES) == []
    (chosen,) = store.chosen()
    assert (chosen.model_id, chosen.set_at, chosen.set_by) == (model.model_id, NOW, "ann")
    store.use(None, "haemorrhage", 0.0, NOW, "bob")
    assert engine.model("haemorrhage") == before
    assert [(each.model_id, each.set_by) for each in store.chosen()] == [(None, "bob")]


def test_what_runs_ends_with_the_model_it_began_with(node: Core, store: ModelStore, tmp_path: Path) -> None:
    """A choice that is made during a study is taken up by the next one."""
    model = installed(store, tmp_path / "site")
    engine = open_engine(node.settings, store.card_for)
    pipeline, now = engine._pipeline("haemorrhage"), NOW
    store.use(model, "haemorrhage", 0.0, now, "ann")
    assert pipeline.model.name == "haemorrhage"
    assert engine._pipeline("haemorrhage").model.name == "site-model"


def test_a_model_in_use_is_not_removed(node: Core, store: ModelStore, tmp_path: Path) -> None:
    """Nor the built-in one, nor one that a rule names."""
    model = installed(store, tmp_path / "site")
    with pytest.raises(CommandError, match="built-in model came with the package"):
        store.remove(None, ROUTES)
    store.use(model, "haemorrhage", 0.0, NOW, "ann")
    with pytest.raises(CommandError, match="in use for haemorrhage"):
        store.remove(model, ROUTES)
    store.use(None, "haemorrhage", 0.0, NOW, "ann")
    with pytest.raises(CommandError, match="in use for site-model"):
        store.remove(model, {"site-model"})
    store.remove(model, ROUTES)
    assert store.installed() == [] and files(node) == []


def test_a_model_is_a_pipeline_of_its_own_name(store: ModelStore, tmp_path: Path) -> None:
    """With one version it answers; with two somebody must choose."""
    with pytest.raises(UnknownPipelineError, match="no pipeline 'site-model'; there is: haemorrhage"):
        store.card_for("site-model")
    first = installed(store, tmp_path / "site")
    assert store.answering("site-model") == first
    second = installed(store, tmp_path / "site", version="2.0")
    with pytest.raises(ModelError, match="choose one: triage-node models use ID --pipeline site-model"):
        store.card_for("site-model")
    store.use(second, "site-model", 0.0, NOW, "ann")
    assert store.card_for("site-model").identity.version == "2.0"
    assert store.answering("haemorrhage") is None
    with pytest.raises(UnknownPipelineError, match="no pipeline 'lungs'"):
        store.use(second, "lungs", 0.0, NOW, "ann")


def test_a_model_answers_its_own_question_only(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it whole: what it was not made for is another question's."""
    model = installed(store, tmp_path / "site")
    monkeypatch.setattr(candidates, "QUESTIONS", [*QUESTIONS, "lungs"])
    with pytest.raises(ModelError, match=r"site-model 1\.0 .* answers 'haemorrhage', and lungs asks 'lungs'"):
        store.use(model, "lungs", 0.0, NOW, "ann")
    assert store.chosen() == []


def test_rules_may_name_what_is_installed(node: Core, store: ModelStore, tmp_path: Path) -> None:
    """Anything else is an error that names the rule."""
    path = tmp_path / "routes.toml"
    path.write_text('[[rule]]\nname = "theirs"\npipeline = "site-model"\n')
    rules = load_rules(path)
    with node.database.read() as tx, pytest.raises(SettingsError, match="'theirs' names the pipeline 'site-model'"):
        rules.check_pipelines(questions_of_pipelines(tx))
    installed(store, tmp_path / "site")
    with node.database.read() as tx:
        rules.check_pipelines(questions_of_pipelines(tx))
    assert rules.pipelines == {"site-model"}


@pytest.mark.parametrize("command", ["node", "serve"])
def test_a_rule_for_an_unknown_pipeline_stops_the_start(tmp_path: Path, command: str) -> None:
    """In one line, before anything listens."""
    (tmp_path / "routes.toml").write_text('[[rule]]\nname = "theirs"\npipeline = "lungs"\n')
    settings = f'[node]\ndata = "{tmp_path / "data"}"\nport = 0\n[route]\nrules = "{tmp_path / "routes.toml"}"\n'
    (tmp_path / "site.toml").write_text(settings)
    result = CliRunner().invoke(main, ["--config", str(tmp_path / "site.toml"), command])
    assert result.exit_code == 2 and "names the pipeline 'lungs'" in result.output


@pytest.fixture
def head_queued(node: Core, tmp_path: Path) -> Core:
    """A synthetic head with a large bleed, received and queued."""
    phantom.write_patient(phantom.PATIENTS[3], 7, tmp_path / "scan")
    node.receive(read_all(tmp_path / "scan"))
    complete_due(node.database, node.settings.complete, 1e12)
    route_due(node.database, load_rules(), NOW, False)
    return node


def work(node: Core, engine: Engine) -> Job:
    """Run the next job; the job as it then stands."""
    assert analyse_next(node.database, node.archive, node.settings, engine, "test", lambda job: None)
    with node.database.write() as tx:
        tx.run("UPDATE jobs SET not_before = 0")
        return jobs.recent(tx, 1)[0]


def test_a_worker_with_a_lost_model_fails_its_jobs_and_lives(
    head_queued: Core, store: ModelStore, tmp_path: Path
) -> None:
    """It neither guesses nor dies: the error says which model and what to do, and after that the job can be done."""
    model = installed(store, tmp_path / "site")
    store.use(model, "haemorrhage", 0.0, NOW, "ann")
    folder_of(head_queued, model).rename(tmp_path / "gone")
    engine = open_engine(head_queued.settings, store.card_for)
    (problem,) = load_models(engine, load_rules())
    assert "the model site-model 1.0" in problem
    job = work(head_queued, engine)
    assert job.state == "queued" and job.error is not None
    for words in ("the model site-model 1.0", model.model_id, "install it again", "triage-node models use built-in"):
        assert words in job.error
    assert work(head_queued, engine).state == "failed"
    with head_queued.database.write() as tx:
        assert jobs.revive(tx, job.job_id)
    installed(store, tmp_path / "site")
    assert work(head_queued, engine).state == "done"
    with head_queued.database.read() as tx:
        (analysis,) = results.analyses_of_study(tx, job.study_uid)
    card = store.check(model)
    assert (analysis.model_name, analysis.model_version) == ("site-model", "1.0")
    assert analysis.threshold == pytest.approx(shifted(card.threshold, shift_of(card, analysis.prevalence)))


def test_damaged_weights_fail_when_they_are_loaded(node: Core, store: ModelStore, tmp_path: Path) -> None:
    """The message names model and file."""
    model = installed(store, tmp_path / "site")
    store.use(model, "haemorrhage", 0.0, NOW, "ann")
    weights = folder_of(node, model) / "haemorrhage.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    engine = open_engine(node.settings, store.card_for)
    with pytest.raises(ModelError, match=r"site-model 1\.0 cannot answer.*haemorrhage\.safetensors: these are not"):
        engine.model("haemorrhage")
    with pytest.raises(ModelError, match="cannot be used"):
        store.use(model, "haemorrhage", 0.0, NOW, "ann")


def test_an_operating_point_decides_the_threshold(store: ModelStore, tmp_path: Path) -> None:
    """0 is the card's own; an aim that the card does not have is an error with those it has."""
    model = installed(store, tmp_path / "site")
    card = store.card(model)
    assert study_threshold(card, 0.0) == card.threshold
    assert [study_threshold(card, aim) for aim in (0.95, 0.9)] == [0.2, 0.5]
    with pytest.raises(ModelError, match=r"no operating point for a sensitivity of 0\.8; it has: 0\.95, 0\.9"):
        store.use(model, "haemorrhage", 0.8, NOW, "ann")
    engine = Engine("cpu", 1, lambda _: card, 0.95)
    pipeline = engine._pipeline("haemorrhage")
    assert isinstance(pipeline, HaemorrhagePipeline) and pipeline.card.threshold == 0.2
    with pytest.raises(ModelError, match="it has: none"):
        study_threshold(replace(card, operating_points=()), 0.95)


def everything(node: Core) -> tuple[list[str], list[tuple[str, bytes]]]:
    """Every row of every table but the models', and every file of the archive."""
    with node.database.read() as tx:
        tables = [row["name"] for row in tx.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [str(tx.rows(f"SELECT * FROM {name}")) for name in tables if not name.startswith("models")]
    folders = ("instances", "results", "incoming", "removed")
    archived = [path for name in folders for path in (node.archive.root / name).rglob("*") if path.is_file()]
    return rows, sorted((str(path), path.read_bytes()) for path in archived)


@pytest.mark.timeout(400)
def test_from_the_card_to_the_next_study(head_queued: Core, tmp_path: Path) -> None:
    """The commands as people type them: install with self-test and dry run, list, points, use, remove."""
    data = head_queued.settings.node.data
    site = tmp_path / "site.toml"
    site.write_text(f'[node]\ndata = "{data}"\n[analyse]\ndevice = "cpu"\nthreads = 1\n')

    def say(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["--config", str(site), *arguments])
        assert result.exit_code == code, result.output
        return result.output

    store = ModelStore(data, head_queued.database)
    assert work(head_queued, open_engine(head_queued.settings, store.card_for)).state == "done"
    before = everything(head_queued)
    probability = results_probability(head_queued)
    on_scale_of_card = shifted(
        probability, -shift_of(store.card_for("haemorrhage"), head_queued.settings.model.prevalence)
    )
    threshold = on_scale_of_card + (1 - on_scale_of_card) / 2
    assert probability < on_scale_of_card < threshold < 1
    card = tomllib.loads((SHIPPED / "haemorrhage.toml").read_text())
    strict = card["decision"] | {"study_threshold": threshold}
    path = site_card(tmp_path / "site", networks=card["networks"], decision=strict)
    said = say("models", "install", str(path), "--dry-run", "3")
    assert everything(head_queued) == before
    model = store.find("site-model")
    assert model is not None and f"installed: {model.model_id}" in said and "self-test passed" in said
    assert f"suspected -> none  {chance_text(probability)} -> {chance_text(probability)}" in said
    assert "1 of 1 flags would change: 0 newly suspected, 1 no longer" in said
    assert "haemorrhage  built-in" in say("models", "list")
    assert "since" in say("models", "use", "site-model") + say("models", "list")
    listed = json.loads(say("models", "list", "--json"))
    assert [(each["id"], each["in_use"]) for each in listed] == [("built-in", []), (model.model_id, ["haemorrhage"])]
    assert set(listed[1]["study_auc"]) == {"name", "value", "low", "high"}
    points = say("models", "points", "--prevalence", "0.1")
    assert "of 100 studies about 10 show haemorrhage" in points and "is none of these points" in points
    assert "27.0" in points and "18.0" in points
    assert model.model_id in say("config", "check")
    assert "0..1" in say("models", "points", "--prevalence", "1.5", code=2)
    assert "in use for haemorrhage" in say("models", "remove", "site-model", code=1)
    site.write_text(site.read_text() + "[model]\nsensitivity = 0.9\n")
    (row,) = (line for line in say("models", "points").splitlines() if line.startswith("in use"))
    assert row.split()[2] == "0.9"
    assert float(row.split()[3]) == pytest.approx(shifted(0.5, shift_of(store.card(model), 0.1)), rel=1e-3)
    site.write_text(site.read_text().replace("0.9", "0.8"))
    assert "it has: 0.95, 0.9" in say("config", "check", code=1)
    site.write_text(site.read_text().replace("0.8", "0.0"))
    say("models", "use", "built-in")
    assert "removed" in say("models", "remove", model.model_id)


def results_probability(node: Core) -> float:
    """Of the only study."""
    with node.database.read() as tx:
        row = tx.row("SELECT probability FROM analyses")
    assert row is not None
    return float(row["probability"])


def test_without_a_node_only_the_built_in_model_is_listed(tmp_path: Path) -> None:
    """And nothing is made by looking."""
    (tmp_path / "site.toml").write_text(f'[node]\ndata = "{tmp_path / "data"}"\n')
    result = CliRunner().invoke(main, ["--config", str(tmp_path / "site.toml"), "models", "list"])
    assert result.exit_code == 0 and "built-in" in result.output
    assert not (tmp_path / "data").exists()
