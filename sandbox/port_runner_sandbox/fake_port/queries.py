"""The parameters of queries: which ones each operation has, and which values Port takes."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from port_runner_sandbox.fake_port.schemas import Refused


@dataclass(frozen=True)
class Parameter:
    """A parameter whose values match the pattern, or are numbers in the range if `smallest` is given."""

    rule: str
    pattern: str = ".*"
    smallest: float | None = None
    largest: float = math.inf
    repeatable: bool = False

    def takes(self, value: str) -> bool:
        if self.smallest is None:
            return re.fullmatch(self.pattern, value, re.DOTALL) is not None
        # A number may have a fraction and an exponent. `float` would also take "nan" and "1_0".
        is_number = re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", value)
        return is_number is not None and self.smallest <= float(value) <= self.largest


Query = Mapping[str, Parameter]

_BOOLEAN = Parameter("must be boolean", "true|false")
_VERSION = Parameter("must be v1 or v2", "v1|v2")
_SOURCES = Parameter("must be UI, API or AUTOMATION", "UI|API|AUTOMATION", repeatable=True)
_EMAIL = Parameter("must be an email address", r"[^@\s]+@[^@\s]+")
_TIME = Parameter("must be a time", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_TEXTS = Parameter("must be texts", repeatable=True)
_TEXT = Parameter("must be given once")


def _number(smallest: int, largest: float = math.inf) -> Parameter:
    return Parameter(f"must be a number from {smallest} to {largest}", smallest=smallest, largest=largest)


NONE: Query = {}
VERSION: Query = {"version": _VERSION}
RUNS: Query = {
    **VERSION,
    "active": _BOOLEAN,
    "limit": _number(1, 1000),
    "source": _SOURCES,
    "exclude": _TEXTS,
    **dict.fromkeys(("action", "blueprint", "entity", "external_run_id", "user_email", "user_id"), _TEXT),
}
# Port publishes no range of the offset, but before the first entry there is nothing.
LOGS: Query = {"limit": _number(1, 50), "offset": _number(0)}
EXECUTION: Query = {"run_as": _EMAIL}
BLUEPRINT: Query = {"create_catalog_page": _BOOLEAN}
ENTITY_CHANGE: Query = {"create_missing_related_entities": _BOOLEAN, "run_id": _TEXT}
ENTITY_CREATION: Query = {**ENTITY_CHANGE, **dict.fromkeys(("upsert", "merge", "validation_only"), _BOOLEAN)}
ENTITY_DELETION: Query = {"delete_dependents": _BOOLEAN, "run_id": _TEXT}
# Where entities are read, alone or in a search.
ENTITY: Query = {
    "exclude_calculated_properties": _BOOLEAN,
    "attach_title_to_relation": _BOOLEAN,
    "attach_identifier_to_title_mirror_properties": _BOOLEAN,
    "include": _TEXTS,
    "exclude": _TEXTS,
}
AUDIT_LOG: Query = {
    "limit": _number(1, 100000),
    "from": _TIME,
    "to": _TIME,
    **dict.fromkeys(("identifier", "run_id", "entity", "blueprint"), _TEXT),
    **dict.fromkeys(("resources", "actions", "origins", "status"), _TEXTS),
}


def check_query(known: Query, values: Mapping[str, list[str]]) -> None:
    """Raise Refused (422) if a value does not fit. Port ignores parameters that it does not know."""
    for name, parameter in known.items():
        given = values.get(name, [])
        if (len(given) > 1 and not parameter.repeatable) or not all(map(parameter.takes, given)):
            raise Refused(422, "invalid_request", f"querystring/{name} {parameter.rule}")


def is_true(query: Mapping[str, str], name: str) -> bool:
    """Return a boolean of a checked query. The default is false."""
    return query.get(name) == "true"


def number(query: Mapping[str, str], name: str, default: int) -> int:
    """Return a number of a checked query, without its fraction."""
    return int(min(float(query.get(name, default)), 10**9))
