"""Logging: one line an event, for people on a terminal and as JSON elsewhere; to standard error, or to a file.

What is logged of data sets and of errors is made `plain`, and what libraries say of the data they read is left out:
they quote values, a patient's name among them. An error that nobody expected is one line with its places in the code.
"""

import logging
import sys
import threading
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog

from dicom_node.errors import plain, say_error
from dicom_node.log_file import LogFile, write_to_standard_error
from dicom_node.settings import Log

QUOTING = ("pydicom", "highdicom", "py.warnings")  # loggers whose texts hold values of data sets
Event = MutableMapping[str, Any]
log = structlog.get_logger()


def configure_logs(process: str, quiet: bool = False, wanted: Log | None = None) -> None:
    """Set up the log of this process as its settings want it; `quiet` lets only warnings through."""
    level = logging.getLevelNamesMapping()[wanted.level.upper()] if wanted else logging.INFO
    in_file = wanted is not None and wanted.file is not None
    terminal = sys.stderr.isatty() and not in_file
    structlog.configure(
        processors=[
            lambda _, __, event: {**event, "process": process},  # in every thread
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            say_where,
            make_plain,
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(max(level, logging.WARNING) if quiet else level),
        logger_factory=lambda *_: Lines(wanted),
    )
    _take_in_other_logs()
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda found: _log_uncaught(found.exc_type, found.exc_value, found.exc_traceback)
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # the node says in its own lines what peers do


class Lines:
    """What structlog hands its lines to."""

    def __init__(self, wanted: Log | None) -> None:
        to_file = wanted is not None and wanted.file is not None
        self.msg = _log_file(wanted).write if wanted and to_file else write_to_standard_error
        self.debug = self.info = self.warning = self.error = self.critical = self.exception = self.msg


_files: dict[Log, LogFile] = {}


def _log_file(wanted: Log) -> LogFile:
    assert wanted.file is not None
    if wanted not in _files:
        _files[wanted] = LogFile(wanted.file, round(wanted.max_mb * 1e6), wanted.keep)
    return _files[wanted]


def say_where(_: object, __: str, event: Event) -> Event:
    """In place of a traceback: what kind of error, what it says if that is known to quote nothing, and where."""
    found = event.pop("exc_info", None)
    error = found if isinstance(found, BaseException) else sys.exc_info()[1] if found is True else None
    error = found[1] if isinstance(found, tuple) else error
    if error is not None:
        kind, text = type(error).__name__, say_error(error)
        event["error"] = event.get("error") or (kind if text == kind else f"{kind}: {text}")
        frames = traceback.extract_tb(error.__traceback__)
        event["where"] = [f"{each.filename}:{each.lineno} {each.name}" for each in frames]
    return event


def make_plain(_: object, __: str, event: Event) -> Event:
    """Every text of an event as it may be seen."""
    return {key: _plain(value) for key, value in event.items()}


def _plain(value: object) -> object:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list | tuple | set):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return value if isinstance(value, int | float | None) else plain(str(value))


class _Relay(logging.Handler):
    """Lets what libraries log stand in lines like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        found = record.exc_info[1] if record.exc_info else None
        log.log(record.levelno, record.getMessage().partition("\n")[0], logger=record.name, exc_info=found)


def _take_in_other_logs() -> None:
    root = logging.getLogger()
    if not any(isinstance(each, _Relay) for each in root.handlers):
        root.addHandler(_Relay(logging.WARNING))
    logging.captureWarnings(True)
    for name in QUOTING:
        quoting = logging.getLogger(name)
        quoting.propagate = False
        quoting.addHandler(logging.NullHandler())


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    log.critical("an error that nobody expected", exc_info=error)
