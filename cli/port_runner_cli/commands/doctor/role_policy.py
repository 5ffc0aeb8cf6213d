"""Evaluates a role's policies for an action on a resource, without knowing the request's conditions.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

type Json = dict[str, Any]
type Verdict = Literal["allowed", "denied", "not allowed", "depends"]


@dataclass(frozen=True)
class Policies:
    """The policy documents of a role, and the document of its permissions boundary, if it has one."""

    granted: Sequence[Json]
    boundary: Json | None = None

    def verdict(self, action: str, resource: str) -> Verdict:
        """Return `depends` if a condition decides, and `denied` if a statement forbids the action."""
        verdict = _verdict(self.granted, action, resource)
        if self.boundary is None or verdict in ("denied", "not allowed"):
            return verdict
        within = _verdict([self.boundary], action, resource)
        return verdict if within == "allowed" else within


def _verdict(documents: Sequence[Json], action: str, resource: str) -> Verdict:
    fitting = [each for each in _statements(documents) if _is_about(each, action, resource)]
    sure = [each["Effect"] for each in fitting if not each.get("Condition")]
    maybe = [each["Effect"] for each in fitting if each.get("Condition")]
    if "Deny" in sure:
        return "denied"
    if "Deny" in maybe:
        return "depends"
    if "Allow" in sure:
        return "allowed"
    return "depends" if "Allow" in maybe else "not allowed"


def _statements(documents: Sequence[Json]) -> Iterator[Json]:
    for document in documents:
        yield from _listed(document.get("Statement"))


def _is_about(statement: Json, action: str, resource: str) -> bool:
    return _is_named(statement, "Action", action) and _is_named(statement, "Resource", resource)


def _is_named(statement: Json, key: str, value: str) -> bool:
    if key in statement:
        return _matches(statement[key], value, any_case=key == "Action")
    return not _matches(statement.get(f"Not{key}"), value, any_case=key == "Action")


def _matches(patterns: Any, value: str, *, any_case: bool) -> bool:
    """Return whether one of the patterns matches. * and ? stand for other characters."""
    return any(
        re.fullmatch(
            re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value, re.IGNORECASE if any_case else 0
        )
        for pattern in _listed(patterns)
    )


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def trusts(document: Json, service: str) -> bool:
    """Return whether a trust policy lets the service assume the role. Conditions are not examined."""
    return any(
        statement.get("Effect") == "Allow"
        and isinstance(statement.get("Principal"), dict)
        and service in _listed(statement["Principal"].get("Service"))
        and _matches(statement.get("Action"), "sts:AssumeRole", any_case=True)
        for statement in _statements([document])
    )
