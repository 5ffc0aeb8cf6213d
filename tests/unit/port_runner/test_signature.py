"""A message that Port signed is recognized in the form in which it arrives, and every other message is not."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from port_runner.signature import Verdict, verify

# A busy machine is no failure of what is tested.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SECRET = "test"
TIMESTAMP = 1713277889

# The message of port-agent's own tests and its signatures there, with `headers` left empty and left out.
AGENT_MESSAGE = (
    '{"action":"Create","resourceType":"run","status":"TRIGGERED","trigger":{"by":{"orgId":"test_org","userId":'
    '"test_user"},"origin":"UI","at":"2022-11-16T16:31:32.447Z"},"context":{"entity":null,"blueprint":"Service",'
    '"runId":"r_jE5FhDURh4Uen2Qr"},"payload":{"entity":null,"action":{"id":"action_34aweFQtayw7SCVb","identifier":'
    '"Create","title":"Create","icon":"DefaultBlueprint","userInputs":{"properties":{"foo":{"type":"string",'
    '"description":"Description"},"bar":{"type":"number","description":"Description"}},"required":[]},'
    '"invocationMethod":{"type":"WEBHOOK","agent":true,"url":"http://localhost:80/api/test"},"trigger":"CREATE",'
    '"description":"","blueprint":"Service","createdAt":"2022-11-15T09:58:52.863Z","createdBy":"test_user",'
    '"updatedAt":"2022-11-15T09:58:52.863Z","updatedBy":"test_user"},"properties":{}}}'
)
AGENT_SIGNATURES = {
    "headers left empty": "v1,uuBMfcio3oscejO5bOtL97K1AmiZjxDvou7sChjMNeE=",
    "headers left out": "v1,iqkRKLGPJtlvAQaqogy5YFBGaK0idyJXSyD85CM9SHI=",
}


def sign(text: str, timestamp: object = TIMESTAMP, secret: str = SECRET) -> str:
    """The signature of *text* by the rule, written out a second time."""
    signed = f"{timestamp}.{text}".encode()
    return "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


def message_with(members: str, *, signature: str, timestamp: str = str(TIMESTAMP), more_headers: str = "") -> str:
    """JSON of an object: *members*, as text, and the headers that make it a signed one."""
    headers = f'"X-Port-Signature":{json.dumps(signature)},"X-Port-Timestamp":{timestamp}{more_headers}'
    return f'{{{members}{"," if members else ""}"headers":{{{headers}}}}}'


def signed(members: str, **how: Any) -> str:
    """A message of *members*, signed without ``headers``."""
    return message_with(members, signature=sign(f"{{{members}}}", **how))


# JSON as JavaScript writes it, made without Python's encoder: a number is its literal, an object a list of pairs.

NUMBERS = st.sampled_from(["0", "1", "-7", "0.1", "1e-7", "0.00001", "1e+21", "1.5e+300", "9007199254740993"])
TEXT = st.text(max_size=8) | st.text(alphabet='"\\/\b\f\n\r\t\x00\x1f\x7f é€😀\u2028\ud800\udfff', max_size=8).map(
    lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # a pair is one character
)
ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def js_string(text: str) -> str:
    return f'"{"".join(map(js_character, text))}"'


def js_character(char: str) -> str:
    if char in ESCAPES:
        return ESCAPES[char]
    return f"\\u{ord(char):04x}" if char < " " or "\ud800" <= char <= "\udfff" else char


STRINGS = TEXT.map(js_string)


def js_object(members: dict[str, str]) -> str:
    return f"{{{js_members(members)}}}"


def js_members(members: dict[str, str]) -> str:
    return ",".join(f"{js_string(name)}:{value}" for name, value in members.items())


NAMES = TEXT.filter(lambda name: name != "headers")
JSON_TEXT = st.recursive(
    st.sampled_from(["null", "true", "false"]) | NUMBERS | STRINGS,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]")
        | st.dictionaries(TEXT, inner, max_size=4).map(js_object)
    ),
    max_leaves=12,
)
MEMBERS = st.dictionaries(NAMES, JSON_TEXT, max_size=5)
OTHER_HEADERS = st.dictionaries(TEXT.filter(lambda name: not name.lower().startswith("x-port-")), STRINGS, max_size=3)
TIMESTAMPS = st.integers(0, 10**20).flatmap(lambda at: st.sampled_from([(str(at), str(at)), (str(at), f'"{at}"')]))


@pytest.mark.parametrize("form", AGENT_SIGNATURES)
def test_published_vectors(form: str) -> None:
    """Both of the forms that Port's own agent accepts are valid."""
    members = AGENT_MESSAGE[1:-1]
    assert verify(message_with(members, signature=AGENT_SIGNATURES[form]), SECRET) is Verdict.VALID


def test_vectors_with_another_secret() -> None:
    """The secret decides: with another one nothing is valid."""
    text = message_with(AGENT_MESSAGE[1:-1], signature=AGENT_SIGNATURES["headers left out"])
    assert verify(text, "Test") is Verdict.INVALID


@unhurried
@given(MEMBERS, OTHER_HEADERS, TIMESTAMPS)
def test_what_is_signed_with_the_other_headers_is_valid(
    members: dict[str, str], headers: dict[str, str], timestamp: tuple[str, str]
) -> None:
    """Any message is valid when its signature is that of itself without the two headers, wherever they stand."""
    at, literal = timestamp
    whole = js_object({**members, "headers": js_object(headers)})
    ours = {"X-Port-Timestamp": literal, "X-Port-Signature": js_string(sign(whole, at))}
    for all_headers in ({**headers, **ours}, {**ours, **headers}):
        assert verify(js_object({**members, "headers": js_object(all_headers)}), SECRET) is Verdict.VALID


@unhurried
@given(MEMBERS, TIMESTAMPS)
def test_what_is_signed_without_headers_is_valid(members: dict[str, str], timestamp: tuple[str, str]) -> None:
    """Any message is valid when its signature is that of itself without ``headers``, wherever they stand."""
    at, literal = timestamp
    headers = js_object({"X-Port-Signature": js_string(sign(js_object(members), at)), "X-Port-Timestamp": literal})
    assert verify(js_object({**members, "headers": headers}), SECRET) is Verdict.VALID
    assert verify(js_object({"headers": headers, **members}), SECRET) is Verdict.VALID


@unhurried
@given(MEMBERS, st.data())
def test_a_changed_message_is_invalid(members: dict[str, str], data: st.DataObject) -> None:
    """A signature holds for one message: with a member changed, added, removed or moved it is invalid."""
    genuine = message_with(js_members(members), signature=sign(js_object(members)))
    names = list(members)
    changes: list[dict[str, str]] = [
        {**members, data.draw(NAMES.filter(lambda name: name not in members)): data.draw(JSON_TEXT)}
    ]
    if names:
        name = data.draw(st.sampled_from(names))
        changes.append({**members, name: data.draw(JSON_TEXT.filter(lambda value: value != members[name]))})
        changes.append({other: members[other] for other in names if other != name})
    if len(names) > 1:
        changes.append({name: members[name] for name in reversed(names)})
    assert verify(genuine, SECRET) is Verdict.VALID
    for changed in changes:
        text = message_with(js_members(changed), signature=sign(js_object(members)))
        assert verify(text, SECRET) is Verdict.INVALID


@unhurried
@given(MEMBERS, st.data())
def test_a_changed_signature_is_invalid(members: dict[str, str], data: st.DataObject) -> None:
    """Of a signature every character counts, and so do the timestamp and the secret."""
    genuine = sign(js_object(members))
    position = data.draw(st.integers(0, len(genuine) - 1))
    other = data.draw(st.characters().filter(lambda char: char != genuine[position]))
    changed = genuine[:position] + other + genuine[position + 1 :]
    text = js_members(members)
    assert verify(message_with(text, signature=changed), SECRET) is Verdict.INVALID
    later = message_with(text, signature=genuine, timestamp=str(TIMESTAMP + 1))
    assert verify(later, SECRET) is Verdict.INVALID
    secret = data.draw(st.text().filter(lambda secret: secret.rstrip("\0") != SECRET))
    assert verify(message_with(text, signature=genuine), secret) is Verdict.INVALID


def test_other_headers_are_signed_where_port_signs_headers() -> None:
    """A header next to Port's own is part of the signed text, and a change of it is found."""
    signature = sign('{"action":"a","headers":{"X-Team":"blue"}}')
    blue, red = (
        message_with('"action":"a"', signature=signature, more_headers=f',"X-Team":"{team}"')
        for team in ("blue", "red")
    )
    assert verify(blue, SECRET) is Verdict.VALID
    assert verify(red, SECRET) is Verdict.INVALID


@pytest.mark.parametrize(
    "literal", ["1e-7", "0.00001", "1.0", "1e21", "-0", "123456789012345678901234567890", "1" * 5000]
)
def test_numbers_stay_as_they_came(literal: str) -> None:
    """A number is signed as it stands on the wire, not as Python would print it."""
    assert verify(signed(f'"n":[{literal}],"{literal}":{{"n":{literal}}}'), SECRET) is Verdict.VALID


def test_spaces_escapes_and_repeated_names_do_not_matter() -> None:
    """The signed text is that of JSON.parse and JSON.stringify, so rewriting the JSON keeps the signature valid."""
    signature = sign('{"title":"žluť/\\"\\ud83d 😀\u2028","cpu":3,"a":[1,{}]}')
    text = f"""
    {{ "title" : "\\u017elu\\u0165\\/\\u0022\\uD83D \\uD83D\\uDE00\\u2028", "cpu": 2,\r\n\t"a": [ 1 , {{ }} ],
      "cpu" : 3, "headers" : {{ "X-Port-Timestamp" : "{TIMESTAMP}", "X-Port-Signature": "{signature}" }} }} """
    assert verify(text, SECRET) is Verdict.VALID


def test_of_repeated_headers_the_last_counts() -> None:
    """A second `headers` replaces the first, as for every reader of the message."""
    genuine = f'"headers":{{"X-Port-Signature":"{sign("{}")}","X-Port-Timestamp":{TIMESTAMP}}}'
    assert verify(f'{{"headers":{{}},{genuine}}}', SECRET) is Verdict.VALID
    assert verify(f'{{{genuine},"headers":{{}}}}', SECRET) is Verdict.ABSENT


def test_names_of_headers_are_read_without_case() -> None:
    """A signature does not go unchecked because its name is spelled otherwise."""
    signature = sign('{"headers":{}}')
    headers = f'"x-port-signature":"{signature}","X-PORT-TIMESTAMP":{TIMESTAMP}'
    assert verify(f'{{"headers":{{{headers}}}}}', SECRET) is Verdict.VALID
    assert verify(f'{{"headers":{{{headers}}},"more":1}}', SECRET) is Verdict.INVALID


def test_a_name_in_two_spellings_is_invalid() -> None:
    """If a message has several candidates for the signature, none counts."""
    signature = sign("{}")
    headers = f'"X-Port-Timestamp":{TIMESTAMP},"X-Port-Signature":"{signature}"'
    assert verify(f'{{"headers":{{{headers}}}}}', SECRET) is Verdict.VALID
    for twice in (f'"x-port-signature":"{signature}"', f'"x-port-timestamp":{TIMESTAMP}'):
        assert verify(f'{{"headers":{{{headers},{twice}}}}}', SECRET) is Verdict.INVALID


@pytest.mark.parametrize("value", ["null", "true", "1", '""', '"v1"', '"v1,"', '"v1,é"', "[]", "{}", '"\\ud800"'])
def test_a_malformed_header_is_invalid(value: str) -> None:
    """A header that cannot be a signature or a timestamp makes the message invalid, not the function fail."""
    assert verify(f'{{"headers":{{"X-Port-Signature":{value},"X-Port-Timestamp":1}}}}', SECRET) is Verdict.INVALID
    genuine = sign("{}", "null")
    text = f'{{"headers":{{"X-Port-Signature":"{genuine}","X-Port-Timestamp":{value}}}}}'
    assert verify(text, SECRET) is Verdict.INVALID


def test_a_signature_without_timestamp_or_version_is_invalid() -> None:
    """Both headers are needed, and the signature's version before it."""
    assert verify(f'{{"headers":{{"X-Port-Signature":"{sign("{}")}"}}}}', SECRET) is Verdict.INVALID
    bare = sign("{}").removeprefix("v1,")
    for signature in (bare, f"v2,{bare}", f"v1, {bare}", f"v1,{bare} ", f"v1,{bare},{bare}"):
        assert verify(message_with("", signature=signature), SECRET) is Verdict.INVALID


@unhurried
@given(MEMBERS, OTHER_HEADERS)
def test_without_signature_it_is_absent(members: dict[str, str], headers: dict[str, str]) -> None:
    """A message with other headers, with none, or with a timestamp alone is not signed."""
    for all_headers in (headers, {**headers, "X-Port-Timestamp": "1"}):
        assert verify(js_object({**members, "headers": js_object(all_headers)}), SECRET) is Verdict.ABSENT
    assert verify(js_object(members), SECRET) is Verdict.ABSENT


@unhurried
@given(JSON_TEXT)
def test_headers_that_are_none_are_absent(value: str) -> None:
    """An array at the top has no place for a signature, and neither have `headers` that are no object."""
    genuine = signed("")
    for text in (f"[{genuine}]", f"[{value}]", f'{{"headers":[{value}]}}', f'{{"payload":{genuine}}}'):
        assert verify(text, SECRET) is Verdict.ABSENT


@pytest.mark.parametrize("text", ["", "{", "{'a':1}", "\ufeff{}", '{"a":NaN}', "[-Infinity]", "[" * 100_000])
def test_what_is_no_json_is_invalid(text: str) -> None:
    """A text that cannot be read is invalid."""
    assert verify(text, SECRET) is Verdict.INVALID


def test_deep_messages() -> None:
    """Every text that json.loads can read can be verified, at any depth."""
    depth = 3000
    json.loads("[" * depth + "]" * depth)
    assert verify(signed(f'"deep":{"[" * depth}{"]" * depth}'), SECRET) is Verdict.VALID
    assert verify(signed(f'"deep":{'{"a":' * depth}1{"}" * depth}'), SECRET) is Verdict.VALID


@unhurried
@given(st.text(), st.text(), JSON_TEXT, JSON_TEXT)
def test_it_never_raises(text: str, secret: str, first: str, second: str) -> None:
    """Every text and every secret leads to a verdict."""
    assert verify(text, secret) is not Verdict.VALID
    for headers in (first, f'{{"X-Port-Signature":{first},"X-Port-Timestamp":{second}}}'):
        assert verify(f'{{"headers":{headers}}}', secret) in (Verdict.ABSENT, Verdict.INVALID)


def test_secrets_of_any_characters() -> None:
    """The secret's bytes are its UTF-8."""
    assert verify(signed('"a":1', secret="žluť €😀"), "žluť €😀") is Verdict.VALID
