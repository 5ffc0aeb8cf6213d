"""Whether a message is Port's: the signature that stands in it.

``headers`` of the message holds ``X-Port-Timestamp`` and ``X-Port-Signature``, the latter ``v1,`` and the base64 of an
HMAC-SHA256 whose key is the organisation's client secret. Signed is the timestamp, a dot, and the message without
these two, as ``JSON.stringify`` prints it. Port's agent does the same: https://github.com/port-labs/port-agent
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
    """What is to be thought of a message's signature."""

    ABSENT = "absent"
    VALID = "valid"
    INVALID = "invalid"


def verify(text: str, secret: str) -> Verdict:
    """The verdict on a message, of which *text* is the JSON as it came; *secret* is the client secret.

    Names of headers are compared without regard to case: a signature is not to go unchecked for its spelling. How old
    the timestamp is does not matter, since Kafka delivers late and again by design. Text that is no JSON is
    ``INVALID``, an array at the top ``ABSENT``: there is no place in it for a signature.
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
    # A number is text here too, as it came. Whatever else stands there, or a name in two spellings, Port did not write.
    if not all(len(found) == 1 and type(found[0]) in (str, _Verbatim) for found in (signatures, timestamps)):
        return Verdict.INVALID
    expected = [_signature(secret, timestamps[0], signed) for signed in _what_may_be_signed(message, headers)]
    matches = [hmac.compare_digest(each, _utf8(signatures[0])) for each in expected]
    return Verdict.VALID if any(matches) else Verdict.INVALID


# The message is decoded and printed anew, rather than its two headers cut out of the text. What is checked is then
# what every other reader of the message sees: the last of two equal names, whatever spaces and escapes it came with.
# Numbers alone must not be decoded, for Python prints 1e-07 and 1.0 where JavaScript prints 1e-7 and 1.


class _Verbatim(str):
    """A piece of JSON that is printed as it is: a number, a bracket, a comma."""


_COMMA, _COLON = _Verbatim(","), _Verbatim(":")
_scalar = json.JSONEncoder(ensure_ascii=False).encode


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _under(headers: Mapping[str, Any], name: str) -> list[Any]:
    return [value for spelling, value in headers.items() if spelling.lower() == name]


def _what_may_be_signed(message: Mapping[str, Any], headers: Mapping[str, Any]) -> list[str]:
    """The texts that Port may have signed: with the headers that remain, even if none do, and without ``headers``.

    Port's agent finds both, depending on how the action is invoked; which of them it is over Kafka is not documented.
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
    """*value* as ``JSON.stringify`` prints it."""
    pieces: list[str] = []
    waiting = [value]  # rather than recursion, which ends long before that of json.loads does
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
    """An object or an array as its brackets, its members, and what stands between them."""
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    parts: list[Any] = []
    for each in value:
        parts += [_COMMA, each, _COLON, value[each]] if isinstance(value, dict) else [_COMMA, each]
    return [_Verbatim(opening), *parts[1:], _Verbatim(closing)]


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a lone surrogate has no bytes of its own, and is no reason to raise
