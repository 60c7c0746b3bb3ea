"""How every command is told what it works on, and how it tells what went wrong.

Errors are one clear line: exit code 2 for misuse (settings included), 1 for what failed. An error that nobody foresaw
is one line, too; it names the file that holds its traceback, or the log of a process that runs on.
"""

import os
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TextIO

import click

from dicom_node.errors import CommandError, SettingsError, TriageNodeError
from inference.errors import InferenceError

PROCESSES = ("serve", "node", "worker", "web")  # what they say goes to a log
DATABASE_ADVICE = {  # by the start of SQLite's own name of an error
    "SQLITE_BUSY": "another program holds it; try again, and see which programs have it open",
    "SQLITE_LOCKED": "another program holds it; try again, and see which programs have it open",
    "SQLITE_CANTOPEN": "run the command as the user that the node runs as",
    "SQLITE_READONLY": "run the command as the user that the node runs as",
    "SQLITE_PERM": "run the command as the user that the node runs as",
    "SQLITE_FULL": "make room on its disk",
}


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
    """Turn every error into one line and an exit code."""
    try:
        yield
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2
            raise
        where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        raise Misuse(plain(f"{error.format_message()}{where}")) from None
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except SettingsError as error:
        raise Misuse(plain(str(error))) from None
    except (TriageNodeError, InferenceError) as error:
        raise click.ClickException(plain(str(error))) from None
    except BrokenPipeError:
        give_up_output()
        raise SystemExit(0) from None
    except OSError as error:
        lost = give_up_output()
        raise click.ClickException(plain(f"the output cannot be written: {lost}" if lost else say(error))) from None
    except sqlite3.Error as error:
        raise click.ClickException(plain(say_database_error(error))) from None
    except Exception as error:
        if os.environ.get("TRIAGE_NODE_TRACEBACK"):
            raise
        raise click.ClickException(plain(say_unexpected(error))) from None


def plain(text: str) -> str:
    """The text in one line, whatever names of files stand in it."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def say(error: OSError) -> str:
    """What the operating system refused, and of which file."""
    reason = error.strerror or str(error)
    return f"{os.fsdecode(error.filename)}: {reason}" if isinstance(error.filename, str | bytes) else reason


def say_database_error(error: sqlite3.Error) -> str:
    """Which fault of the database it is, and what to do about it."""
    from dicom_node.faults import explain

    said = explain(error, _database_of(click.get_current_context(silent=True)))
    name = getattr(error, "sqlite_errorname", None) or ""
    advice = next((words for start, words in DATABASE_ADVICE.items() if name.startswith(start)), "")
    return (said or f"the database cannot be used: {error}") + (f" ({advice})" if advice else "")


def say_unexpected(error: Exception) -> str:
    """What nobody foresaw, and where its traceback is."""
    what = f"unexpected {type(error).__name__}: {error}"
    context = click.get_current_context(silent=True)
    if context is not None and context.invoked_subcommand in PROCESSES:
        import structlog

        structlog.get_logger().error("ended by an unexpected error", exc_info=error)
        return f"{what} (its traceback is in the log above)"
    try:
        handle, name = tempfile.mkstemp(".txt", "triage-node-error-")
        with os.fdopen(handle, "w", errors="backslashreplace") as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return f"{what} (TRIAGE_NODE_TRACEBACK=1 in the environment shows its traceback)"
    return f"{what} (its traceback is in {name})"


def give_up_output() -> str:
    """Let go of what standard output cannot take, lest it is tried again as Python ends; why it cannot, or nothing."""
    why = ""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            why = why or error.strerror or str(error)
            _to_nowhere(stream)
    return why


def _to_nowhere(stream: TextIO) -> None:
    with suppress(OSError, ValueError):  # no file behind it
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _database_of(context: click.Context | None) -> Path:
    from dicom_node.settings import load_settings

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
    """Hand the settings to a command as its first argument; its errors of the database name the file."""

    @click.pass_obj
    @wraps(command)
    def wrapped(invocation: Invocation, /, *args: Any, **kwargs: Any) -> None:
        from dicom_node.settings import load_settings

        settings = load_settings(invocation.config)
        try:
            command(settings, *args, **kwargs)
        except sqlite3.Error as error:
            raise CommandError(f"{settings.database_path.absolute()}: {say_database_error(error)}") from error

    return wrapped
