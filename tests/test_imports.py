"""Who may import whom (see the design): read from the source itself, so that no rule is held only in words."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("dicom_node", "inference", "reports", "config")
EVERYONE = {"dicom_node.node", "dicom_node.cli", "dicom_node.__main__"}
PLAIN = tuple(f"inference.{name}" for name in ("findings", "growth", "geometry", "stack", "elements"))  # no torch
STEP_EXTRAS = {
    "deliver": ("dicom_node.network",),
    "analyse": ("inference", "reports"),
}


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
    assert {"dicom_node.steps.receive", "inference.stack", "reports.seg", "dicom_node.web.app"} <= modules().keys()
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
    """Each knows its own rows; the database is what they share."""
    shared = {"dicom_node.tables.database", "dicom_node.entities", "dicom_node.clock", "dicom_node.errors"}
    for module in those("dicom_node.tables"):
        assert own(module) <= shared | {module}, module


def test_steps_import_tables_and_archive_and_each_for_its_own_work_only() -> None:
    """Network only where something is sent, inference and reports only where something is analysed."""
    everywhere = ["dicom_node.tables", "dicom_node.archive", "dicom_node.entities", "dicom_node.errors"]
    everywhere += ["dicom_node.clock", "dicom_node.settings", "dicom_node.steps", *PLAIN]
    for module in those("dicom_node.steps"):
        allowed = [*everywhere, *STEP_EXTRAS.get(module.rpartition(".")[2], ())]
        assert [name for name in own(module) if not within(name, *allowed)] == [], module
    quick = [module for module in those("dicom_node.steps") if not module.endswith(".analyse")]
    assert breaches(quick, "torch", "highdicom", "pynetdicom") == []


def test_network_never_imports_the_steps() -> None:
    """The SCP is given its handlers."""
    assert breaches(those("dicom_node.network"), "dicom_node.steps", "dicom_node.tables", "dicom_node.web") == []


def test_web_imports_neither_torch_nor_pynetdicom() -> None:
    """Nor the network side; of inference only the names of findings."""
    assert breaches(those("dicom_node.web"), "torch", "monai", "pynetdicom", "dicom_node.network", "highdicom") == []
    of_inference = {name for module in those("dicom_node.web") for name in own(module) if within(name, "inference")}
    assert of_inference <= {"inference.findings"}


def test_libraries_stay_behind_few_files() -> None:
    """highdicom in reports only, torch in inference only, pynetdicom in network only."""
    everyone = list(modules())
    assert breaches([m for m in everyone if not within(m, "reports")], "highdicom") == []
    assert breaches([m for m in everyone if not within(m, "inference")], "torch", "monai") == []
    assert breaches([m for m in everyone if not within(m, "dicom_node.network")], "pynetdicom") == []
    assert breaches([m for m in everyone if m != "dicom_node.clock" and m != "dicom_node.node"], "apscheduler") == []
    assert breaches(list(PLAIN), "torch", "monai") == []


def test_only_the_composition_root_and_the_commands_know_everyone() -> None:
    """Nothing imports them except what starts the program."""
    starters = EVERYONE | {"dicom_node.demo"}
    assert breaches([m for m in modules() if m not in starters], "dicom_node.node", "dicom_node.cli") == []


def test_training_is_imported_by_nothing_outside_it() -> None:
    """Only scripts use it."""
    assert breaches([m for m in modules() if not within(m, "inference.training")], "inference.training") == []


def test_environment_and_settings_have_one_reader() -> None:
    """`settings.py`; tomllib also for rules and model cards, which are no settings."""
    readers = [module for module in modules() if "tomllib" in imports(module)]
    assert set(readers) <= {"dicom_node.settings", "dicom_node.steps.rules", "inference.weights"}


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


def test_broad_excepts_stand_in_three_places_only() -> None:
    """The SCP's handlers, the worker's loop, a clock job."""
    places = set()
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                names = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
                if any(name is None or getattr(name, "id", "") in ("Exception", "BaseException") for name in names):
                    places.add(module)
    # a transaction that is rolled back raises again, whatever it was
    assert places - {"dicom_node.tables.database"} == {
        "dicom_node.network.scp",
        "dicom_node.steps.analyse",
        "dicom_node.clock",
    }
