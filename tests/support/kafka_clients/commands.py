"""The commands that each program takes, as lines of JSON, and its answers."""

import json
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]


class LogLines(logging.Handler):
    """The lines that a library logs. Some libraries say only there why they cannot connect."""

    def __init__(self, last_word: str) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._last_word = last_word

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line. If it is the last word, it is the answer, and the process ends."""
        self.lines.append(record.getMessage())
        if self._last_word and re.search(self._last_word, self.lines[-1]):
            tell({"error": "\n".join(self.lines)})
            os._exit(0)


def tell(answer: Json) -> None:
    """Print an answer."""
    print(json.dumps(answer), flush=True)


def serve(read: Callable[[Json], list[str]], produce: Callable[[Json], int], *, last_word: str = "") -> None:
    """Carry out each command of standard input, and print its answer: values, offset or error.

    `read` joins a group, reads `count` records and commits. `produce` produces one record of `size` bytes. `last_word`
    is a pattern for lines in the log of a library that keeps trying: it will not succeed after such a line.
    """
    log = LogLines(last_word)
    logging.getLogger().addHandler(log)
    for line in sys.stdin:
        log.lines.clear()
        command = json.loads(line)
        try:
            answer: Json = {"values": read(command)} if command["do"] == "read" else {"offset": produce(command)}
        except Exception as error:
            answer = {"error": "\n".join([repr(error), *log.lines])}
        tell(answer)
