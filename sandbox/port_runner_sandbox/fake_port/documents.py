"""The names of Port's documents and answers, and the values that all of them have."""

import secrets
import string
from datetime import UTC, datetime
from typing import Any

Document = dict[str, Any]
Reply = tuple[int, Document]


def now() -> str:
    """Return the current time as Port writes it: ISO 8601 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id(prefix: str) -> str:
    """Return `prefix` and 16 random letters and digits."""
    return prefix + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(16))


def stamps(author: str, before: Document | None) -> Document:
    """Return when and by whom something was created and updated."""
    moment = now()
    return {
        "createdAt": before["createdAt"] if before else moment,
        "createdBy": before["createdBy"] if before else author,
        "updatedAt": moment,
        "updatedBy": author,
    }


def reference(identifier: str, definition: Document) -> Document:
    """Return what a run shows of its action, blueprint or entity."""
    known = {"title": definition.get("title"), "icon": definition.get("icon")}
    return {"identifier": identifier, **known, "deleted": not definition}
