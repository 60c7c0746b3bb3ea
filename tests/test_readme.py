"""The README names every setting and every command."""

import tomllib
from pathlib import Path

import pytest

from dicom_node.commands.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DEFAULTS = tomllib.loads((ROOT / "config" / "default.toml").read_text())


@pytest.mark.parametrize("section, key", [(section, key) for section in DEFAULTS for key in DEFAULTS[section]])
def test_every_setting_is_in_the_readme(section: str, key: str) -> None:
    """With its default."""
    value = str(DEFAULTS[section][key])
    row = next(line for line in README.splitlines() if line.startswith(f"| `[{section}] {key}`"))
    assert value.lower() in row.lower()


def test_every_command_is_in_the_readme() -> None:
    """In the table of commands."""
    missing = [name for name in main.commands if f"`{name}" not in README]
    assert not missing


def test_every_default_has_a_comment() -> None:
    """Nobody has to guess what a setting does."""
    lines = (ROOT / "config" / "default.toml").read_text().splitlines()
    assert [line for line in lines if "=" in line and "#" not in line] == []
