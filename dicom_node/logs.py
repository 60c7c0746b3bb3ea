"""Logging: one line an event on standard error, for people on a terminal and as JSON elsewhere."""

import logging
import sys

import structlog


def configure_logs(process: str, quiet: bool = False) -> None:
    """Set up structlog for this process; `quiet` lets only warnings through."""
    terminal = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if quiet else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    if quiet:  # what a peer did not answer is said in the command's own words
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
