"""What the processes say while they run: one JSON object a line on standard error, for whatever collects it.

Tracebacks are inside the object, so that one event stays one line and nothing that a caller wrote can forge another.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime


class JsonLines(logging.Formatter):
    """Time (RFC 3339, UTC), level, process, logger and message; the traceback where there is one."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(), "process": self._process, "pid": os.getpid(),
            "logger": record.name, "message": record.getMessage(),
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=True)


def configure(process: str) -> None:
    """From here on everything that logs does it so. Libraries are heard from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("signing_service").setLevel(logging.INFO)
    logging.getLogger("hsm").setLevel(logging.INFO)
