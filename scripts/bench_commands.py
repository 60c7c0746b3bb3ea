"""How long the commands take that people wait for: each in a process of its own on a small node's folder, medians."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click
from series import core, head

REPEATS = 5
COMMANDS = ["--version", "--help", "submit --help", "config show", "config check", "jobs", "worklist", "feedback"]
COMMANDS += ["retry D1", "identity list", "models list", "echo"]


def measure_commands() -> None:
    """Run and print them; nobody listens, so that echo ends at once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        core(folder / "data").receive(head(3))
        (folder / "triage-node.toml").write_text('[node]\ndata = "data"\nport = 0\n[web]\nport = 0\n')
        for command in COMMANDS:
            click.echo(f"{command:16} {median(seconds(folder, command) for _ in range(REPEATS)):.2f} s")


def seconds(folder: Path, command: str) -> float:
    """Of one run, the start of Python included."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "dicom_node", *command.split()], cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - began
