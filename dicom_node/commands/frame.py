"""How every command is told what it works on, and how it tells what went wrong.

Errors are one clear line: exit code 2 for misuse (settings included), 1 for what failed.
"""

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from dicom_node.errors import SettingsError, TriageNodeError
from dicom_node.faults import explain
from dicom_node.settings import load_settings
from inference.errors import InferenceError


@dataclass(frozen=True, slots=True)
class Invocation:
    """What was said before the command's name."""

    config: Path | None
    supervisor: int | None


class Misuse(click.ClickException):
    """A command was used wrongly, or the settings are wrong."""

    exit_code = 2


@contextmanager
def one_line() -> Iterator[None]:
    """Turn the node's own errors, and click's, into one line and an exit code."""
    try:
        yield
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2
            raise
        where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        raise Misuse(f"{error.format_message()}{where}") from None
    except SettingsError as error:
        raise Misuse(str(error)) from None
    except (TriageNodeError, InferenceError) as error:
        raise click.ClickException(str(error)) from None
    except sqlite3.Error as error:
        said = explain(error, _database_of(click.get_current_context(silent=True)))
        if said is None:
            raise
        raise click.ClickException(said) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None


def _database_of(context: click.Context | None) -> Path:
    return load_settings(context.obj.config if context else None).database_path


class CommandGroup(click.Group):
    """A click group whose errors are one line."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the options."""
        with one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with one_line():
            return super().invoke(ctx)


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Hand the settings to a command as its first argument."""

    @click.pass_obj
    @wraps(command)
    def wrapped(invocation: Invocation, /, *args: Any, **kwargs: Any) -> None:
        command(load_settings(invocation.config), *args, **kwargs)

    return wrapped
