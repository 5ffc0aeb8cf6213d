"""Shows kept messages, with secret inputs and headers masked."""

import base64
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.table import Table

from port_runner import MessageError, MessagePaths
from port_runner.messages import parsed
from port_runner.secret_inputs import without_secrets
from port_runner_cli.commands.failures.kept_message import KeptMessage, read_run_and_action, to_record
from port_runner_cli.output import Output

SHORT_ID = 8

type Json = dict[str, Any]


def summarize(message: KeptMessage, paths: MessagePaths) -> Json:
    """Return a message in a few words."""
    record = message.body.get("record") if message.places and not message.is_batch else None
    run_id, action = read_run_and_action(record, paths) if isinstance(record, dict) else (None, None)
    return {
        "id": message.id,
        "kept_at": _moment(message.sent),
        "places": [str(place) for place in message.places],
        "run_id": run_id,
        "action": action,
        "reason": message.reason,
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def show_list(found: Sequence[Json], output: Output) -> None:
    """Print a table on a terminal, and a line for each message elsewhere."""
    rows = [
        (
            each["id"][:SHORT_ID],
            each["kept_at"],
            each["action"] or "-",
            each["run_id"] or "-",
            ", ".join(each["places"]) or "-",
            each["reason"],
        )
        for each in found
    ]
    if not output.live:
        for row in rows:
            output.say("  ".join(row))
        return
    table = Table("id", "kept at", "action", "run", "place", "reason", box=box.SIMPLE)
    for row in rows:
        table.add_row(*row)
    output.show(table)


def masked_content(record: Json, secret_inputs: Collection[str]) -> Any:
    """Return a record's content with secret inputs and headers masked. If it is not JSON, return only its length."""
    try:
        return without_secrets(parsed(to_record(record)), secret_inputs)
    except MessageError as error:
        value = record.get("value")
        size = len(base64.b64decode(value)) if isinstance(value, str) else 0
        return f"{size} bytes: {error.reason}"
