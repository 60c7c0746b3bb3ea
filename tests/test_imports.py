"""Who may import whom (see the design): read from the source itself, so that no rule is held only in words."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("dicom_node", "inference", "reports", "config")
WIRING = ("dicom_node.processes", "dicom_node.commands", "dicom_node.__main__")
WEB_ROOMS = ("reader", "viewer", "quality", "it", "dicomweb")
PLAIN = (
    "inference.findings",
    "inference.input.elements",
    "inference.input.geometry",
    "inference.input.stack",
)  # no torch
FOLDS = "inference.pipelines.haemorrhage.folds"
GROUND = tuple(
    f"dicom_node.{name}"
    for name in ("entities", "errors", "faults", "settings", "clock", "archive", "durable", "spool", "routes")
)


@cache
def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports anywhere, functions included; project modules by their full name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in modules() else str(node.module))
    return frozenset(found)


def within(name: str, *packages: str) -> bool:
    """Whether a module is one of these or lies in one of them."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def those(*packages: str) -> list[str]:
    """The modules of these packages."""
    return [module for module in modules() if within(module, *packages)]


def breaches(importers: list[str], *forbidden: str) -> list[str]:
    """Imports by these modules of what is forbidden for them."""
    return [
        f"{module} imports {name}"
        for module in importers
        for name in sorted(imports(module))
        if within(name, *forbidden)
    ]


def own(module: str) -> set[str]:
    """The modules of the project that a module imports."""
    return {name for name in imports(module) if within(name, *PACKAGES)}


def test_there_is_something_to_read() -> None:
    """A rule over no modules would hold always."""
    assert {
        "dicom_node.steps.receive",
        "inference.input.stack",
        "reports.seg",
        "dicom_node.web.app",
    } <= modules().keys()
    assert "pynetdicom" in imports("dicom_node.network.scp")
    assert "dicom_node.tables.instances" in imports("dicom_node.steps.receive")


def test_one_direction() -> None:
    """inference <- reports <- dicom_node, never back."""
    assert breaches(those("inference"), "reports", "dicom_node") == []
    assert breaches(those("reports"), "dicom_node", "torch", "monai", "inference.training") == []


def test_configuration_is_data() -> None:
    """It is read, never imported."""
    assert breaches(those("dicom_node", "inference", "reports"), "config") == []
    assert breaches(those("config"), *PACKAGES) == []


@pytest.mark.parametrize("module", ["dicom_node.entities", "dicom_node.errors"])
def test_standard_library_only(module: str) -> None:
    """What passes between the steps depends on nothing."""
    assert {name.partition(".")[0] for name in imports(module)} <= set(sys.stdlib_module_names)


def test_tables_never_import_each_other() -> None:
    """Each knows its own rows; the database is what they share. Views read several tables, and write none."""
    tables = ("database", "rows", "schema", "sqlite_file")
    names = ("entities", "clock", "errors", *(f"tables.{each}" for each in tables))
    shared = {*(f"dicom_node.{name}" for name in names), "inference.change", "inference.input.geometry"}
    for module in those("dicom_node.tables"):
        is_view = within(module, "dicom_node.tables.views")
        views = {"dicom_node.dicom.matching", "dicom_node.tables.worklist"} if is_view else set()
        assert own(module) <= shared | views | {module}, module


def test_no_step_imports_a_step() -> None:
    """What they share follows from rows (derived), or is analysis or routes."""
    for module in those("dicom_node.steps", "dicom_node.derived"):
        assert breaches([module], "dicom_node.steps") == []


@pytest.mark.parametrize(
    "step, further",
    [
        ("receive", ("dicom_node.dicom",)),
        ("complete", ()),
        ("route", ("dicom_node.dicom",)),
        ("analyse", ("dicom_node.analysis", "dicom_node.headlines", "inference", "reports")),
        ("deliver", ()),
        ("preview", ("dicom_node.dicom", "inference.input", "reports")),
        ("retain", ()),
        ("requeue", ()),
        ("scrub", ("dicom_node.dicom",)),
    ],
)
def test_steps_import_what_they_do_their_own_work_with(step: str, further: tuple[str, ...]) -> None:
    """Tables, what follows from rows, the ground, and nothing else: inference and reports only where one analyses."""
    everywhere = ("dicom_node.tables", "dicom_node.derived", *GROUND, *PLAIN)
    assert [name for name in own(f"dicom_node.steps.{step}") if not within(name, *everywhere, *further)] == []


def test_every_step_is_in_the_test_above() -> None:
    """A new one is held to its own imports, too."""
    steps = {module.rpartition(".")[2] for module in those("dicom_node.steps")} - {"steps"}
    known = {"receive", "complete", "route", "analyse", "deliver", "preview", "retain", "requeue", "scrub"}
    assert steps == known


def test_what_is_quick_to_start_loads_nothing_heavy() -> None:
    """The receiver's side starts without torch and highdicom."""
    quick = [module for module in those("dicom_node.steps", "dicom_node.derived") if not module.endswith(".analyse")]
    assert breaches(quick, "torch", "highdicom", "pynetdicom") == []


def test_dicom_is_below_web_and_network() -> None:
    """DICOM knowledge without network or web: entities, errors and the readers of inference's input only."""
    allowed = ("dicom_node.dicom", "dicom_node.entities", "dicom_node.errors", "inference.input")
    for module in those("dicom_node.dicom"):
        assert [name for name in own(module) if not within(name, *allowed)] == [], module
    assert breaches(those("dicom_node.dicom"), "pynetdicom", "highdicom", "starlette") == []


def test_network_never_imports_the_steps() -> None:
    """The SCP is given its handlers."""
    above = ("dicom_node.steps", "dicom_node.derived", "dicom_node.tables", "dicom_node.web")
    assert breaches(those("dicom_node.network"), *above) == []


def test_ways_out_know_nothing_of_what_they_send() -> None:
    """One `send` each; nothing of the server's side, the steps or the tables."""
    above = ("dicom_node.network.scp", "dicom_node.steps", "dicom_node.derived", "dicom_node.tables", "dicom_node.web")
    assert breaches(those("dicom_node.outbox"), *above) == []


def test_web_imports_neither_torch_nor_pynetdicom() -> None:
    """Nor the network side, nor the steps."""
    assert breaches(those("dicom_node.web"), "torch", "monai", "pynetdicom", "dicom_node.network", "highdicom") == []
    assert breaches(those("dicom_node.web"), "dicom_node.steps") == []


@pytest.mark.parametrize("room", WEB_ROOMS)
def test_no_room_of_the_web_imports_another(room: str) -> None:
    """Shared things stand beside the rooms. One exception: reader and it may ask whether there is a viewer."""
    others = [f"dicom_node.web.{each}" for each in WEB_ROOMS if each != room]
    if room in ("reader", "it"):
        others.remove("dicom_node.web.viewer")
    assert breaches(those(f"dicom_node.web.{room}"), *others) == []
    shared = [m for m in those("dicom_node.web") if not within(m, *(f"dicom_node.web.{each}" for each in WEB_ROOMS))]
    assert breaches([m for m in shared if m != "dicom_node.web.app"], *others) == []


def test_libraries_stay_behind_few_files() -> None:
    """highdicom in reports only, torch in inference only, pynetdicom in network and the ways out only."""
    everyone = list(modules())
    assert breaches([m for m in everyone if not within(m, "reports")], "highdicom") == []
    assert breaches([m for m in everyone if not within(m, "inference")], "torch", "monai") == []
    assert (
        breaches([m for m in everyone if not within(m, "dicom_node.network", "dicom_node.outbox")], "pynetdicom") == []
    )
    assert (
        breaches([m for m in everyone if m != "dicom_node.clock" and m != "dicom_node.processes.node"], "apscheduler")
        == []
    )
    assert breaches(list(PLAIN), "torch", "monai") == []


def test_only_processes_and_commands_know_everyone() -> None:
    """Nothing else imports them."""
    assert breaches([m for m in modules() if not within(m, *WIRING)], *WIRING) == []


def test_a_disease_stands_with_its_question_and_nowhere_else() -> None:
    """Its code under pipelines, its words under vocabulary; the commands show it, and training is about it."""
    questions = ("inference.pipelines.haemorrhage", "reports.vocabulary.haemorrhage")
    own_rooms = (*questions, "inference.training", "dicom_node.commands.phantom", "dicom_node.commands.demo")
    others = [module for module in modules() if not within(module, *own_rooms)]
    allowed = {"dicom_node.commands.models imports inference.pipelines.haemorrhage.foreign.convert"}
    assert set(breaches(others, *questions)) <= allowed


def test_training_is_imported_by_nothing_outside_it() -> None:
    """Only scripts use it, and the one command that measures a model on a site's own studies."""
    others = [m for m in modules() if not within(m, "inference.training")]
    assert breaches([m for m in others if m != "dicom_node.commands.validate"], "inference.training") == []


def test_environment_and_settings_have_one_reader() -> None:
    """`settings.py`; tomllib also for rules and model cards, which are no settings."""
    readers = [module for module in modules() if "tomllib" in imports(module)]
    assert set(readers) <= {"dicom_node.settings", "dicom_node.routes", "inference.models.card", FOLDS}


def drawn() -> dict[str, float]:
    """How far down each room stands in the drawing of the house."""
    places: dict[str, float] = {}
    for text in ElementTree.parse(ROOT / "docs" / "pictures" / "house.svg").iter("{http://www.w3.org/2000/svg}text"):
        for name in re.findall(r"\w+", text.text or ""):
            places.setdefault(name, float(text.get("y", "nan")))
    return places


def test_imports_go_down_in_the_drawn_house() -> None:
    """Every room is drawn, none above one that imports it."""
    places = drawn()

    def height(module: str) -> float:
        parts = module.removeprefix("dicom_node.").partition(".")
        return places["commands" if parts[0] == "__main__" else parts[0]]

    upwards = [
        f"{module} imports {other}"
        for module in modules()
        if not within(module, "config") and module != "dicom_node"
        for other in own(module)
        if height(other) < height(module)
    ]
    assert upwards == []


def test_no_cycles() -> None:
    """At the level of files, imports inside functions included."""
    graph = {module: sorted(own(module) & modules().keys() - {module}) for module in modules()}
    done: set[str] = set()

    def cycles(module: str, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if module in path:
            yield (*path[path.index(module) :], module)
        elif module not in done:
            for other in graph[module]:
                yield from cycles(other, (*path, module))
            done.add(module)

    assert [" -> ".join(cycle) for module in graph for cycle in cycles(module, ())] == []


def test_broad_excepts_stand_in_four_places_only() -> None:
    """The SCP's handlers, the worker's loop, a clock job, and the last resort of the commands."""
    places = set()
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                names = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
                if any(name is None or getattr(name, "id", "") in ("Exception", "BaseException") for name in names):
                    places.add(module)
    # a transaction that is rolled back raises again, whatever it was
    assert places - {"dicom_node.tables.database"} == {
        "dicom_node.network.acceptor",
        "dicom_node.network.store",
        "dicom_node.steps.analyse",
        "dicom_node.clock",
        "dicom_node.commands.frame",
    }
