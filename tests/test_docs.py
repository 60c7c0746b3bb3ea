"""The documentation holds: links lead somewhere, and settings, commands, JSON fields and figures are the program's."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from pkgutil import resolve_name
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner

from dicom_node.commands.analyse_files import SeriesAnswer
from dicom_node.commands.listing import JobEntry, WorklistEntry
from dicom_node.commands.models_text import ModelEntry
from dicom_node.commands.validate import ValidationEntry
from dicom_node.routes import load_rules
from dicom_node.settings import Peer, load_settings
from dicom_node.web.reader.feedback_csv import HEAD

ROOT = Path(__file__).parents[1]
README, IT, COMMANDS, MODEL = (ROOT / name for name in ("README.md", "docs/it.md", "docs/commands.md", "docs/model.md"))
DOCS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "inference").rglob("*.md")),
]
PICTURES = [
    path
    for folder in ("docs", "inference")
    for path in (ROOT / folder).rglob("*.*")
    if path.suffix in (".png", ".jpg", ".svg")
]
DEFAULTS = tomllib.loads((ROOT / "config" / "default.toml").read_text())
CARD = tomllib.loads((ROOT / "config" / "models" / "haemorrhage.toml").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PROGRAM: click.Group = resolve_name(PROJECT["scripts"]["triage-node"])
FOLDERS = ("config", "dicom_node", "docs", "inference", "reports", "scripts", "tests")

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SETTING = re.compile(r"`\[(\w+)\]\s+(\w+)")
VARIABLE = re.compile(r"TRIAGE_NODE__([A-Z]+)__([A-Z_]+)")

every_doc = pytest.mark.parametrize("doc", DOCS, ids=lambda path: str(path.relative_to(ROOT)))


def prose(text: str) -> str:
    """Without blocks of code."""
    return FENCED.sub("", text)


def links(doc: Path) -> list[str]:
    """What a document points at, pictures included."""
    return LINK.findall(INLINE.sub("", prose(doc.read_text())))


def anchor(heading: str) -> str:
    """The name by which GitHub lets a heading be found."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def section(doc: Path, heading: str) -> str:
    """What stands under a heading, up to the next one."""
    return re.split(r"^#+ ", doc.read_text().partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    """What is named in the first column of the tables."""
    return [name for line in text.splitlines() if line.startswith("| `") for name in INLINE.findall(line.split("|")[1])]


def in_one_line(doc: Path) -> str:
    """The text without its line breaks."""
    return " ".join(doc.read_text().split())


@every_doc
def test_links_lead_somewhere(doc: Path) -> None:
    """To a file that is there and, where a heading is named, to one that the file has."""
    lost = []
    for link in (each for each in links(doc) if not each.startswith(("https://", "http://"))):
        name, _, heading = link.partition("#")
        target = (doc.parent / name).resolve() if name else doc
        inside = target.exists() and target.is_relative_to(ROOT)
        if not inside or (heading and heading not in map(anchor, HEADING.findall(prose(target.read_text())))):
            lost.append(link)
    assert lost == []


def test_every_document_is_found_from_the_readme() -> None:
    """By following links."""
    found, new = set[Path](), {README}
    while new:
        found |= new
        new = {(doc.parent / link.partition("#")[0]).resolve() for doc in new for link in links(doc)}
        new = {path for path in new if path.suffix == ".md"} - found
    assert set(DOCS) - found == set()


def test_every_picture_is_shown() -> None:
    """None lies there unused."""
    shown = {(doc.parent / link).resolve() for doc in DOCS for link in links(doc)}
    assert [str(path) for path in PICTURES if path not in shown] == []


@pytest.mark.parametrize("drawing", [path for path in PICTURES if path.suffix == ".svg"], ids=lambda path: path.name)
def test_drawings_have_words_and_a_dark_side(drawing: Path) -> None:
    """A title and a description for those who do not see them, colours for dark pages."""
    root = ElementTree.parse(drawing).getroot()
    assert all(root.findtext(f"{{http://www.w3.org/2000/svg}}{name}") for name in ("title", "desc"))
    assert "prefers-color-scheme: dark" in drawing.read_text()


@every_doc
def test_paths_that_are_named_are_there(doc: Path) -> None:
    """Files and folders of the project; a place for something new stands there as <question>."""
    named = [words.split()[0].removeprefix("./") for words in INLINE.findall(prose(doc.read_text())) if words.strip()]
    ours = [name for name in named if name.partition("/")[0] in FOLDERS and "/" in name]
    assert [name for name in ours if "<" not in name and not list(ROOT.glob(name))] == []


def test_the_readme_is_read_in_five_minutes() -> None:
    """The rest stands in docs/."""
    assert len(README.read_text().split()) <= 1200


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in DEFAULTS for key in DEFAULTS[name]])
def test_every_setting_stands_with_its_default(name: str, key: str) -> None:
    """In the table of settings."""
    row = next(line for line in IT.read_text().splitlines() if line.startswith(f"| `[{name}] {key}`"))
    assert tomllib.loads(f"x = {INLINE.findall(row)[1]}")["x"] == DEFAULTS[name][key]


def test_every_key_of_a_peer_stands_there() -> None:
    """In the table of peers."""
    assert set(first_cells(section(IT, "Connect scanners and PACS"))) == set(Peer.model_fields)


def test_every_default_has_a_comment() -> None:
    """Nobody has to guess what a setting does."""
    lines = (ROOT / "config" / "default.toml").read_text().splitlines()
    assert [line for line in lines if "=" in line and "#" not in line] == []


@every_doc
def test_no_setting_is_made_up(doc: Path) -> None:
    """Neither in the text nor as a variable of the environment."""
    text = doc.read_text()
    named = {*SETTING.findall(text), *((name.lower(), key.lower()) for name, key in VARIABLE.findall(text))}
    assert [pair for pair in named if pair[1] not in DEFAULTS.get(pair[0], ())] == []


@every_doc
def test_settings_and_rules_that_are_shown_are_right(doc: Path, tmp_path: Path) -> None:
    """Every block of TOML is read by what reads it at a site."""
    for number, text in enumerate(text for language, text in FENCED.findall(doc.read_text()) if language == "toml"):
        shown, place = tomllib.loads(text), tmp_path / f"{number}.toml"
        place.write_text(text)
        if "rule" in shown:
            load_rules(place)
        elif shown.keys() <= DEFAULTS.keys() | {"peer"} and "node" in shown:
            load_settings(place)


def test_the_example_of_the_readme_is_the_file() -> None:
    """config/peers.example.toml, to be copied."""
    (shown,) = (text for language, text in FENCED.findall(README.read_text()) if language == "toml")
    assert tomllib.loads(shown) == tomllib.loads((ROOT / "config" / "peers.example.toml").read_text())


def commands(group: click.Group = PROGRAM, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its whole name."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def test_every_command_has_its_section() -> None:
    """And no section is about a command that is not there."""
    told = [INLINE.findall(heading) for heading in HEADING.findall(prose(COMMANDS.read_text())) if "`" in heading]
    assert sorted(name for names in told for name in names) == sorted(name for name, _ in commands())


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_every_option_stands_in_its_section(name: str, command: click.Command) -> None:
    """With its default, where the help shows it."""
    told = section(COMMANDS, f"`{name}`")
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    assert [each.opts for each in options if each.opts[-1] not in told] == []
    assert [each.opts for each in options if each.show_default and str(each.default) not in told] == []


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("analyse", SeriesAnswer),
        ("worklist", WorklistEntry),
        ("jobs", JobEntry),
        ("models list", ModelEntry),
        ("validate", ValidationEntry),
    ],
)
def test_json_fields_are_told(name: str, entry: type) -> None:
    """All of them, in their order."""
    told = section(COMMANDS, f"`{name}`").rpartition("| field |")[2]
    assert first_cells(told) == [field.name for field in fields(entry)]


def test_columns_of_the_feedback_are_told() -> None:
    """All of them, in their order."""
    assert ", ".join(f"`{column}`" for column in HEAD) in " ".join(section(COMMANDS, "`feedback`").split())


def words_of(line: str) -> list[str]:
    """What stands behind `triage-node` in a line that is typed; `models use X` alone is one, too. Nothing elsewhere."""
    groups = [name for name, command in PROGRAM.commands.items() if isinstance(command, click.Group)]
    if "triage-node" not in line and line.partition(" ")[0] not in groups:
        return []
    words = shlex.split(line.translate(str.maketrans("", "", "[]$")), comments=True)
    words = list(takewhile(lambda word: word not in (">", "|", "&&", ";"), words))
    program = next((at for at, word in enumerate(words) if word.endswith("/bin/triage-node")), 0)
    if words[program:] and words[program].rpartition("/")[2] == "triage-node":
        return words[program + 1 :]
    return words if words[1:] and words[0] in groups else []


def parse(words: list[str]) -> None:
    """Read the words as the program would, without running anything. ClickException where they are wrong."""
    command: click.Command = PROGRAM
    context = click.Context(PROGRAM, info_name="triage-node")
    while isinstance(command, click.Group):
        given, rest, _ = command.make_parser(context).parse_args(list(words))
        if not rest or given.get("help"):
            return
        name, *words = rest
        if name not in command.commands:
            raise click.UsageError(f"no such command {name}")
        command = command.commands[name]
        context = click.Context(command, info_name=name, parent=context)
    command.make_context(str(context.info_name), words, parent=context.parent)


@every_doc
def test_commands_can_be_typed(doc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands and options exist, arguments are as many as are needed; only the files need not be there.

    Within the text a command may stand without its arguments.
    """
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: value)
    blocks = "\n".join(block for _, block in FENCED.findall(doc.read_text()))
    mentions = [" ".join(each.split()) for each in INLINE.findall(prose(doc.read_text()))]
    wrong = []
    for line in [*blocks.splitlines(), *mentions]:
        try:
            parse(words_of(line))
        except click.ClickException as error:
            if not (line in mentions and isinstance(error, click.MissingParameter)):
                wrong.append(f"{line}: {error.format_message()}")
    assert wrong == []


@pytest.mark.parametrize(("figure", "before"), list(zip(CARD["figures"], CARD["before"]["figures"], strict=True)))
def test_figures_are_the_cards(figure: dict[str, float], before: dict[str, float]) -> None:
    """Of this model and of the one before."""
    title = str(figure["name"]).replace("_", " ").replace("auc", "AUC")
    cells = [f"{each['value']:.3f} | {each['low']:.3f} to {each['high']:.3f}" for each in (figure, before)]
    assert f"| {title} | {' | '.join(cells)} |" in MODEL.read_text()


def test_figures_of_the_readme_are_the_cards() -> None:
    """The few that stand there."""
    by_name = {figure["name"]: figure for figure in CARD["figures"]}
    text, auc = in_one_line(README), by_name["study_auc"]["value"]
    found, alarms = (by_name[f"study_{name}"] for name in ("sensitivity", "specificity"))
    assert f"sensitivity {found['value']:.2f}, 95 % interval {found['low']:.2f} to {found['high']:.2f}" in text
    assert f"specificity {alarms['value']:.2f}, {alarms['low']:.2f} to {alarms['high']:.2f}" in text
    assert f"study AUC {auc:.3f}" in text


def test_operating_points_are_what_the_command_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the prevalence of the example."""
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(PROGRAM, ["models", "points", "--prevalence", "0.03"])
    assert told.exit_code == 0 and told.output.strip() in MODEL.read_text()
