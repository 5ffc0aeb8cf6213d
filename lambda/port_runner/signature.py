"""Verifies Port's signature in a message.

The message's ``headers`` hold ``X-Port-Timestamp`` and ``X-Port-Signature``. The signature is ``v1,`` and the base64 of
an HMAC-SHA256 whose key is the organization's client secret. The signed text is the timestamp, a dot, and the message
without these two headers, as ``JSON.stringify`` prints it. Port's agent does the same:
https://github.com/port-labs/port-agent
"""

import base64
import enum
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any

SIGNATURE = "x-port-signature"
TIMESTAMP = "x-port-timestamp"
LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Verdict(enum.Enum):
    """The result of verifying a message's signature."""

    ABSENT = "absent"
    VALID = "valid"
    INVALID = "invalid"


def verify(text: str, secret: str) -> Verdict:
    """Return the verdict on a message. *text* is its JSON as it arrived, *secret* the client secret.

    Header names are compared without regard to case, so that no signature stays unchecked because of its spelling. The
    age of the timestamp does not matter, because Kafka delivers late and repeatedly by design. Text that is not JSON is
    ``INVALID``. An array at the top is ``ABSENT``, because it has no place for a signature.
    """
    try:
        message = json.loads(text, parse_int=_Verbatim, parse_float=_Verbatim, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return Verdict.INVALID
    headers = message.get("headers") if isinstance(message, dict) else None
    if not isinstance(headers, dict):
        return Verdict.ABSENT
    signatures, timestamps = (_under(headers, name) for name in (SIGNATURE, TIMESTAMP))
    if not signatures:
        return Verdict.ABSENT
    # A number stays text here, as it arrived. Port writes no other type here, and no name in two spellings.
    if not all(len(found) == 1 and type(found[0]) in (str, _Verbatim) for found in (signatures, timestamps)):
        return Verdict.INVALID
    expected = [_signature(secret, timestamps[0], signed) for signed in _signed_texts(message, headers)]
    matches = [hmac.compare_digest(each, _utf8(signatures[0])) for each in expected]
    return Verdict.VALID if any(matches) else Verdict.INVALID


# The message is decoded and printed again, instead of cutting its two headers out of the text. So the check sees the
# same message as every other reader: the last of two equal names, without regard to spaces and escapes. Only numbers
# are not decoded, because Python prints 1e-07 and 1.0 where JavaScript prints 1e-7 and 1.


class _Verbatim(str):
    """A piece of JSON that is printed unchanged: a number, a bracket, a comma."""


_COMMA, _COLON = _Verbatim(","), _Verbatim(":")
_scalar = json.JSONEncoder(ensure_ascii=False).encode


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _under(headers: Mapping[str, Any], name: str) -> list[Any]:
    return [value for spelling, value in headers.items() if spelling.lower() == name]


def _signed_texts(message: Mapping[str, Any], headers: Mapping[str, Any]) -> list[str]:
    """Return the texts that Port may have signed: with the remaining headers, possibly empty, and without any.

    Port's agent meets both forms, depending on the action's invocation. The form over Kafka is not documented.
    """
    remaining = {name: value for name, value in headers.items() if name.lower() not in (SIGNATURE, TIMESTAMP)}
    members = {
        name: f"{_stringified(name)}:{_stringified(value)}" for name, value in {**message, "headers": remaining}.items()
    }
    without = [text for name, text in members.items() if name != "headers"]
    return [f"{{{','.join(texts)}}}" for texts in (members.values(), without)]


def _signature(secret: str, timestamp: str, signed: str) -> bytes:
    digest = hmac.digest(_utf8(secret), _utf8(f"{timestamp}.{signed}"), "sha256")
    return b"v1," + base64.b64encode(digest)


def _stringified(value: Any) -> str:
    """Return *value* as ``JSON.stringify`` prints it."""
    pieces: list[str] = []
    waiting = [value]  # no recursion: its limit is far below that of json.loads
    while waiting:
        value = waiting.pop()
        if isinstance(value, _Verbatim):
            pieces.append(value)
        elif isinstance(value, (dict, list)):
            waiting += reversed(_parts(value))
        else:
            pieces.append(_scalar(value))
    return LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", "".join(pieces))


def _parts(value: dict[str, Any] | list[Any]) -> list[Any]:
    """Return the brackets, members and separators of an object or an array."""
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    parts: list[Any] = []
    for each in value:
        parts += [_COMMA, each, _COLON, value[each]] if isinstance(value, dict) else [_COMMA, each]
    return [_Verbatim(opening), *parts[1:], _Verbatim(closing)]


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a lone surrogate has no UTF-8, and must not raise
