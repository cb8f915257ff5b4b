"""Logs: one JSON object a line on standard error; bodies, tokens and headers are never logged."""

import json
import logging
import sys
from typing import Any

import flask

from . import clock


class JsonLines(logging.Formatter):
    """Renders a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback stays inside its string."""
        line = {
            "ts": clock.text(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("request_id", "trace_id"):
            if hasattr(record, name):
                line[name] = getattr(record, name)
            elif flask.has_request_context() and name in flask.g:
                line[name] = flask.g.get(name)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(level: str) -> None:
    """Send everything at or above `level` to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def granian_config() -> dict[str, Any]:
    """Return the logging configuration that makes granian's own lines look the same."""
    handler = {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "json"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "reference_impl.logs.JsonLines"}},
        "handlers": {"stderr": handler},
        "loggers": {"_granian": {"handlers": ["stderr"], "propagate": False}},
    }
