"""Secret inputs are decrypted, both ways, and shown nowhere."""

import base64
import copy
import dataclasses
import functools
import io
import json
import os
import pickle
import pprint
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jsonpickle
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from port_runner import logs
from port_runner.errors import ConfigurationError, InputError
from port_runner.secret_inputs import (
    AES256_GCM,
    CLIENT_SIDE,
    Decryptor,
    Secret,
    SecretInputError,
    declared_secrets,
    decrypted,
    object_in,
    without_secrets,
)

# A busy machine is no failure of what is tested.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

CLIENT_SECRET = "0123456789abcdef0123456789abcdefEXTRA-TAIL"
# Made with another implementation, from the client secret above and an IV of the bytes 0 to 15.
VECTORS = {
    "s3cr3t-p@ss": "AAECAwQFBgcICQoLDA0OD5X18dL7CfNlgP2f1Ci1jkXeWSwaoT+kiiswCw==",
    '{"a":1,"b":["x"]}': "AAECAwQFBgcICQoLDA0OD53k84LyTPI3oqzW1p52MvqzhOjqTEkxp9xfzKf1BZj68Q==",
    "žluťoučký": "AAECAwQFBgcICQoLDA0ODyN4/tUN2LFgBAOHTgGd6QKEfgUgZUvhvDcls5kb",
}
CANARY = "canary-7f3a"


@functools.cache
def private_key(bits: int = 2048, number: int = 0) -> rsa.RSAPrivateKey:
    """A key made for this run of the tests; *number* tells keys of one size apart."""
    return rsa.generate_private_key(65537, bits)


def pem(key: Any, protection: KeySerializationEncryption | None = None) -> str:
    encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection or NoEncryption())
    return str(encoded.decode())


def sealed(plain: str | bytes, client_secret: str = CLIENT_SECRET) -> str:
    """*plain* as Port encrypts it with the client secret."""
    iv = os.urandom(16)
    data = plain.encode() if isinstance(plain, str) else plain
    return encoded(iv + AESGCM(client_secret.encode()[:32]).encrypt(iv, data, None))


def sealed_for(key: rsa.RSAPrivateKey, plain: str | bytes, aes_key: bytes | None = None) -> str:
    """*plain* as Port encrypts it for a customer's key."""
    iv, aes_key = os.urandom(12), aes_key or os.urandom(32)
    data = plain.encode() if isinstance(plain, str) else plain
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return encoded(iv + key.public_key().encrypt(aes_key, oaep) + AESGCM(aes_key).encrypt(iv, data, None))


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decryptor(client_secret: str = CLIENT_SECRET, key: str | None = None) -> Decryptor:
    return Decryptor(lambda: client_secret, None if key is None else lambda: key)


def never() -> str:
    raise AssertionError("nothing needs this secret")


def message(censored: Any = None, definitions: Any = None) -> dict[str, Any]:
    """The parts of a message that name the secret inputs."""
    action = {"userInputs": {"properties": definitions}} if definitions is not None else {}
    return {"payload": {"action": action, "censoredProperties": censored}}


# The schemes


@pytest.mark.parametrize("plain", VECTORS)
@pytest.mark.parametrize("algorithm", [AES256_GCM, None])
def test_vectors(plain: str, algorithm: str | None) -> None:
    """Values encrypted elsewhere are decrypted, whether their encryption is named or found by trying."""
    assert decryptor().decrypt("password", VECTORS[plain], algorithm) == plain


@unhurried
@given(st.text())
def test_client_secret_round_trip(plain: str) -> None:
    """Any text, the empty one too, survives encryption with the client secret."""
    assert decryptor().decrypt("password", sealed(plain)) == plain


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
@pytest.mark.parametrize("algorithm", [CLIENT_SIDE, None])
def test_client_side_round_trip(bits: int, algorithm: str | None) -> None:
    """Keys of all usual sizes decrypt, and where the encryption is not named it is found by trying."""
    key = private_key(bits)
    for plain in ("", "s3cr3t", "žluťoučký " * 1000):
        assert decryptor(key=pem(key)).decrypt("password", sealed_for(key, plain), algorithm) == plain


def test_traditional_pem() -> None:
    """A key in the older of the two PEM forms is read as well."""
    key = private_key()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    assert decryptor(key=text).decrypt("password", sealed_for(key, "s3cr3t"), CLIENT_SIDE) == "s3cr3t"


def test_only_the_first_bytes_of_the_client_secret_count() -> None:
    """The key is made of 32 bytes, not of 32 characters, and what follows does not matter."""
    assert decryptor(CLIENT_SECRET[:32]).decrypt("password", VECTORS["s3cr3t-p@ss"]) == "s3cr3t-p@ss"
    assert decryptor("ž" * 20).decrypt("password", sealed("x", "ž" * 16)) == "x"


def test_cryptography_is_imported_on_use_only() -> None:
    """A function without secret inputs does not pay for the import of cryptography."""
    code = "import sys, port_runner.secret_inputs; sys.exit('cryptography' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# What cannot be decrypted


def refusal(value: Any, by: Decryptor, algorithm: str | None = None) -> str:
    with pytest.raises(SecretInputError) as caught:
        by.decrypt("password", value, algorithm)
    assert isinstance(caught.value, InputError)
    assert caught.value.input == "password"
    assert caught.value.__context__ is None  # whose text or arguments could hold what was decrypted
    text = str(caught.value)
    assert text.startswith("The secret input password could not be decrypted: ")
    assert text.endswith(".")
    return text


def test_another_client_secret() -> None:
    """A key that does not fit is told, with the setting that may be missing."""
    text = refusal(sealed("x", "another client secret of 32 bytes"), decryptor(), AES256_GCM)
    assert "the client secret does not fit" in text
    assert "PORT_ENCRYPTION_SECRET" in text


def test_a_client_secret_that_is_too_short() -> None:
    """A secret of fewer than 32 bytes can be no key, and is told apart from one that does not fit."""
    assert "fewer than 32 bytes" in refusal(sealed("x"), decryptor(CLIENT_SECRET[:31]), AES256_GCM)
    assert "fewer than 32 bytes" in refusal(sealed("x"), decryptor(""), AES256_GCM)
    assert "does not fit" in refusal(sealed("x"), decryptor("\ud800" * 16), AES256_GCM)


def test_another_private_key() -> None:
    """A key that does not fit is told, also one of another size."""
    value = sealed_for(private_key(), "x")
    for other in (private_key(number=1), private_key(4096)):
        text = refusal(value, decryptor(key=pem(other)), CLIENT_SIDE)
        assert "the private key does not fit" in text
        assert "CLIENT_SIDE_PRIVATE_KEY_SECRET_ARN" in text


def test_no_private_key() -> None:
    """An input with client-side encryption names the setting if no key is configured."""
    value = sealed_for(private_key(), "x")
    assert "CLIENT_SIDE_PRIVATE_KEY_SECRET_ARN" in refusal(value, decryptor(), CLIENT_SIDE)
    both = refusal(value, decryptor())
    assert "PORT_ENCRYPTION_SECRET" in both
    assert "CLIENT_SIDE_PRIVATE_KEY_SECRET_ARN" in both


def test_a_private_key_that_is_none() -> None:
    """A text that is not an RSA key in PEM, or that needs a passphrase, is reported without its content."""
    protected = pem(private_key(), BestAvailableEncryption(b"passphrase"))
    elliptic = pem(ec.generate_private_key(ec.SECP256R1()))
    value = sealed_for(private_key(), "x")
    for text in ("", CANARY, "é\ud800", protected, elliptic, pem(private_key())[:600]):
        said = refusal(value, decryptor(key=text), CLIENT_SIDE)
        assert "the private key cannot be read" in said
        assert CANARY not in said


def test_truncated_and_altered_values() -> None:
    """A value of which a byte is missing or changed is refused: nothing half decrypted comes out."""
    for value, algorithm in (
        (sealed("s3cr3t"), AES256_GCM),
        (sealed_for(private_key(), "s3cr3t"), CLIENT_SIDE),
    ):
        data = base64.b64decode(value)
        by = decryptor(key=pem(private_key()))
        assert by.decrypt("password", value, algorithm) == "s3cr3t"
        for length in {*range(0, len(data), 7), 12, 16, 31, 32, 268, 283, 284, len(data) - 1} & {*range(len(data))}:
            refusal(encoded(data[:length]), by, algorithm)
            refusal(encoded(data[:length]), by)
        for position in range(0, len(data), 5):
            altered = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
            refusal(encoded(altered), by, algorithm)


def test_a_wrapped_key_of_another_size() -> None:
    """Client-side encryption wraps a key for AES-256 and no other."""
    value = sealed_for(private_key(), "x", aes_key=os.urandom(16))
    assert "does not fit" in refusal(value, decryptor(key=pem(private_key())), CLIENT_SIDE)


def test_what_is_not_encrypted() -> None:
    """A value that is not base64 is reported as not encrypted, and no secret is read for it."""
    values: list[Any] = [
        "",
        "hunter2",
        "s3cr3t-p@ss" * 9,
        "é" * 50,
        f" {VECTORS['žluťoučký']}",
        7,
        None,
        {},
        ["x"],
        b"x",
    ]
    for value in values:
        assert "did not come encrypted" in refusal(value, Decryptor(never, never))


def test_what_is_no_text() -> None:
    """Bytes that are no UTF-8 are refused, and do not hang on the error."""
    assert "not text" in refusal(sealed(b"\xff\xfe secret"), decryptor())
    value = sealed_for(private_key(), b"\xff\xfe secret")
    assert "not text" in refusal(value, decryptor(key=pem(private_key())))


def test_an_unknown_algorithm() -> None:
    """An algorithm that is neither of the two is not tried as if it were one of them."""
    assert "not known" in refusal(sealed("x"), Decryptor(never, never), "fernet")


@unhurried
@given(st.binary(max_size=600) | st.binary(min_size=284, max_size=400), st.text(), st.text())
def test_nothing_else_is_raised(data: bytes, text: str, secret: str) -> None:
    """No bytes, no text and no secret raise anything but the one error."""
    for value in (encoded(data), text):
        for by in (decryptor(key=pem(private_key())), decryptor(secret, secret)):
            for algorithm in (AES256_GCM, CLIENT_SIDE, None, text):
                with pytest.raises(SecretInputError):
                    by.decrypt(text, value, algorithm)


# The secrets' own secrets


def read_in_turn(*secrets: str) -> Callable[[], str]:
    """Return a function that returns one of *secrets* after the other, and raises after the last."""
    return iter(secrets).__next__


def test_a_client_secret_is_read_once() -> None:
    """As long as it fits, the client secret is not read again."""
    by = Decryptor(read_in_turn(CLIENT_SECRET))
    assert [by.decrypt("password", VECTORS[plain]) for plain in VECTORS] == list(VECTORS)


def test_a_rotated_secret_is_read_again() -> None:
    """A secret that was read before and does not fit is read again, once, before the input is given up."""
    new = "another client secret of 32 bytes, and more"
    by = Decryptor(read_in_turn(CLIENT_SECRET, new, new))
    assert by.decrypt("password", sealed("before")) == "before"
    assert by.decrypt("password", sealed("after", new)) == "after"
    refusal(sealed("x", CLIENT_SECRET), by, AES256_GCM)

    keys = read_in_turn(pem(private_key()), pem(private_key(number=1)))
    by = Decryptor(never, keys)
    assert by.decrypt("password", sealed_for(private_key(), "before"), CLIENT_SIDE) == "before"
    assert by.decrypt("password", sealed_for(private_key(number=1), "after"), CLIENT_SIDE) == "after"


def test_a_secret_that_cannot_be_read() -> None:
    """An outage of Secrets Manager is not reported as a fault of the input."""

    def unreadable() -> str:
        raise ConfigurationError("the secret cannot be read")

    with pytest.raises(ConfigurationError):
        Decryptor(unreadable).decrypt("password", sealed("x"))


# The wrapper


@dataclass(frozen=True)
class Inputs:
    password: Secret[str]
    config: Secret[dict[str, Any]] | None = None
    token: Secret[str] | None = field(default=None, metadata={"input": "api-token"})
    region: str = "eu-west-1"


WAYS_TO_SHOW: dict[str, Callable[[Any], Any]] = {
    "repr": repr,
    "str": str,
    "format": lambda value: f"{value} {value!s} {value!r} {value!a}",
    "format, aligned": lambda value: f"{value:>40}" if isinstance(value, Secret) else "",
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031
    "pprint": pprint.pformat,
    "json": lambda value: json.dumps(value, default=str),
    "jsonpickle": lambda value: jsonpickle.encode(value, unpicklable=False, keys=True),
    "jsonpickle, to be decoded": lambda value: jsonpickle.encode(value, keys=True),
    "jsonpickle, with properties": lambda value: jsonpickle.encode(value, include_properties=True, keys=True),
    "exception": lambda value: repr(ValueError(value)),
    "copy": lambda value: repr(copy.deepcopy(value)),
    "slots": lambda value: repr([getattr(value, name) for name in getattr(type(value), "__slots__", ())]),
}


@pytest.mark.parametrize("way", WAYS_TO_SHOW)
@pytest.mark.parametrize(
    "secret",
    [Secret(CANARY), Secret({"user": {"keys": [CANARY]}, CANARY: 1}), Secret[str](CANARY)],
    ids=["text", "object", "typed"],
)
def test_a_secret_is_never_shown(way: str, secret: Secret[Any]) -> None:
    """However a secret is turned into text, alone or within something, its value is not in it."""
    show = WAYS_TO_SHOW[way]
    shown = [show(secret), show([secret]), show({"password": secret}), show(Inputs(password=secret))]
    assert CANARY not in repr(shown)


def test_a_secret_shows_that_it_is_one() -> None:
    """The printed form of a secret shows that it is a secret."""
    assert repr(Inputs(password=Secret("x"))).startswith("Inputs(password=Secret([redacted]), config=None,")


def test_a_secret_cannot_be_pickled_or_hashed() -> None:
    """Neither a pickle nor a hash of a secret leaves the process."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(Secret(CANARY), protocol)
    with pytest.raises(TypeError):
        hash(Secret(CANARY))
    assert not hasattr(Secret(CANARY), "__dict__")


def test_a_secret_reveals_its_value() -> None:
    """A secret reveals its value, also from a copy or from a field of a dataclass."""
    assert Secret("x").reveal() == "x"
    assert Secret({"a": [1]}).reveal() == {"a": [1]}
    inputs = dataclasses.asdict(Inputs(password=Secret("x")))
    assert inputs["password"].reveal() == copy.copy(inputs["password"]).reveal() == "x"


def test_equality() -> None:
    """Secrets of the same JSON are equal; a secret never equals its own plain value."""
    assert Secret("žx\ud800") == Secret("žx\ud800")
    assert Secret({"a": 1, "b": [None]}) == Secret({"b": [None], "a": 1})
    assert Secret("x") != Secret("y")
    assert Secret({"a": 1}) != Secret({"a": 2})
    assert Secret("{}") != Secret({})
    assert Secret("x") != "x"


def test_a_secret_is_masked_in_the_log() -> None:
    """No log line holds a secret or a text within one, also where a handler logs what it revealed."""
    words = {name: f"{CANARY}-{name}" for name in ("text", "leaf", "item", "line")}
    Secret(f'{words["text"]}\n"{words["line"]}"')
    Secret({"a": {"b": words["leaf"]}, "c": [0, [words["item"]]]})
    stream = io.StringIO()
    logs.configure("INFO", stream)
    logs.log.info("test", whole=f'{words["text"]}\n"{words["line"]}"', secret=Secret(f"{CANARY}-x"))
    logs.log.info("test", leaf=words["leaf"], item=words["item"])
    assert CANARY not in stream.getvalue()
    assert stream.getvalue().count(logs.MASK) == 4


def test_objects() -> None:
    """The text of an object input is read as an object, and nothing else as one."""
    read = object_in(Secret('{"a":{"b":["ž"]}}'))
    assert read is not None
    assert read.reveal() == {"a": {"b": ["ž"]}}
    deep = '{"a":' * 5000 + "1" + "}" * 5000
    for text in ("", "x", "[1]", '"x"', "{", "null", "1" * 5000, "[" * 100_000, deep):
        assert object_in(Secret(text)) is None


# From a message to inputs


def plain(inputs: dict[str, Any]) -> dict[str, Any]:
    """*inputs* with the secrets revealed, each in a tuple so that it can be told from a plain value."""
    return {name: (value.reveal(),) if isinstance(value, Secret) else value for name, value in inputs.items()}


@pytest.mark.parametrize(
    "censored",
    [
        ["password"],
        ["payload.properties.password"],
        ["properties.password"],
        ["inputs.password"],
        [".password"],
        [{"identifier": "password"}],
        [{"key": "password", "title": "Password"}],
        {"password": {}},
        ["password", "password", "another", 1, None, {}, {"identifier": 1}, [], "", ".", "password.further"],
    ],
    ids=str,
)
def test_censored_inputs_are_decrypted(censored: Any) -> None:
    """An input is found by every form of its name in a message, and other inputs are left alone."""
    inputs = {"password": sealed("s3cr3t"), "region": "eu", "cpu": 2, "other": sealed("x")}
    result = decrypted(inputs, message(censored), decryptor(), declared=())
    assert plain(result) == {**inputs, "password": ("s3cr3t",)}


def test_names_with_dots_and_values_within_objects() -> None:
    """A name is first taken as it is, then as a path into an object; what was given is not changed."""
    inputs = {"db.password": sealed("one"), "db": {"password": sealed("two"), "host": "h"}, "properties": {}}
    before = copy.deepcopy(inputs)
    result = decrypted(
        inputs, message(["db.password", "properties.db", "payload.properties.x"]), decryptor(), declared=()
    )
    assert plain(result) == {**inputs, "db.password": ("one",)}
    del inputs["db.password"]
    result = decrypted(inputs, message(["properties.db.password", "db.password"]), decryptor(), declared=())
    assert result["db"]["password"] == Secret("two")
    assert result["db"]["host"] == "h"
    assert inputs["db"] == before["db"]
    of_db = message(["db.password"], {"db": {"encryption": "fernet"}})  # says nothing of what lies within
    assert decrypted(inputs, of_db, decryptor(), declared=())["db"]["password"] == Secret("two")


@pytest.mark.parametrize("part", [{"censoredProperties": ["password"]}, [1, message(["password"]), {}]])
def test_messages_of_other_shapes(part: Any) -> None:
    """The list may stand at the message's top, and the message be an array."""
    result = decrypted({"password": sealed("s3cr3t")}, part, decryptor(), declared=None)
    assert plain(result) == {"password": ("s3cr3t",)}


WORDS = [
    "payload",
    "censoredProperties",
    "action",
    "userInputs",
    "properties",
    "password",
    "encryption",
    "identifier",
    "type",
    "headers",
]
MESSAGE_PARTS = st.recursive(
    st.none() | st.text() | st.integers() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(WORDS), inner),
)


@unhurried
@given(MESSAGE_PARTS)
def test_no_message_raises_anything_else(part: Any) -> None:
    """With any JSON in the place of the names, inputs are decrypted, left alone, or refused with a sentence."""
    inputs = {"password": "plain", "": "", "properties": {"a": 1}}
    for shape in (part, {"payload": part}, message(part), message([part]), message(None, part)):
        try:
            result = decrypted(inputs, shape, Decryptor(never), declared=())
        except SecretInputError:
            continue
        assert {name: result[name] for name in inputs} == inputs


MASK = "*****"


@pytest.mark.parametrize("shown", [{"name": "x", "password": MASK}, {"name": "x"}], ids=["mask", "nothing"])
@pytest.mark.parametrize(
    "place",
    [
        lambda value: {"runId": "r_1", "password": value},
        lambda value: {"runId": "r_1", "inputs": {"password": value}},
        lambda value: {"port_payload": {"run": {"id": "r_1"}, "inputs": {"password": value}}},
        lambda value: {"a": [{"password": MASK}, {"b": {"password": value}}], "runId": "r_1"},
    ],
    ids=["spread", "inputs", "trigger data", "deep"],
)
def test_the_encrypted_value_comes_from_the_message(shown: dict[str, Any], place: Any) -> None:
    """Port shows a mask for a secret input, or nothing: the encrypted value is taken from any place in the message."""
    result = decrypted(shown, place(sealed("s3cret")), decryptor(), declared={"password"})

    assert (result["name"], result["password"].reveal()) == ("x", "s3cret")


def test_a_mask_is_never_an_input() -> None:
    """A secret of which only the mask is known is missing."""
    assert decrypted({"password": MASK}, {"password": MASK}, decryptor(), declared={"password"}) == {}


@pytest.mark.parametrize("around", [{}, {"port_payload": {}}], ids=["root", "trigger data"])
def test_ports_trigger_data_names_the_secrets(around: dict[str, Any]) -> None:
    """`action.encryptedProperties` names secrets of a handler that declares none."""
    data = {"action": {"encryptedProperties": ["password"]}, "inputs": {"password": sealed("s3cret")}}
    message = {"port_payload": data} if around else data

    assert decrypted({"password": MASK}, message, decryptor(), declared=None)["password"].reveal() == "s3cret"


def test_an_empty_secret_stays_empty() -> None:
    """Port does not encrypt an empty text."""
    listed = {"payload": {"censoredProperties": ["password"]}}

    assert decrypted({"password": ""}, listed, decryptor(), declared=None) == {"password": ""}


def test_definitions_name_the_encryption() -> None:
    """Messages of Port's first format need no list: the definition of an input says that, and how, it is encrypted."""
    inputs = {"one": sealed("1"), "two": sealed_for(private_key(), "2"), "three": sealed("3"), "four": "4"}
    definitions = {
        "one": {"type": "string", "encryption": "aes256-gcm"},
        "two": {"type": "string", "encryption": {"algorithm": "client-side", "key": "…"}},
        "three": {"type": "string", "encryption": {"algorithm": "aes256-gcm"}},
        "four": {"type": "string"},
        "five": {"type": "string", "encryption": "aes256-gcm"},
    }
    by = decryptor(key=pem(private_key()))
    result = decrypted(inputs, message(None, definitions), by, declared=())
    assert plain(result) == {"one": ("1",), "two": ("2",), "three": ("3",), "four": "4"}


def test_a_named_encryption_is_the_only_one_tried() -> None:
    """If the definition names the scheme, the secret of the other scheme is not read."""
    inputs = {"two": sealed_for(private_key(), "2")}
    definitions = {"two": {"encryption": {"algorithm": "client-side"}}}
    by = Decryptor(never, lambda: pem(private_key()))
    assert plain(decrypted(inputs, message(["two"], definitions), by, declared=())) == {"two": ("2",)}


@pytest.mark.parametrize("encryption", ["fernet", {"algorithm": "jwe"}, {}, 7, ["aes256-gcm"]])
def test_an_unknown_encryption_is_left_alone(encryption: Any) -> None:
    """A value with an unknown encryption reaches the handler unchanged."""
    inputs = {"password": "gAAAAA-of-another-kind"}
    part = message(["password"], {"password": {"encryption": encryption}})
    assert decrypted(inputs, part, Decryptor(never), declared=("password",)) == inputs


def test_a_censored_input_must_be_decrypted() -> None:
    """An input that the message calls secret never reaches a handler as ciphertext; one left out is no matter."""
    for value in (sealed("x", "another client secret of 32 bytes"), "plain", 7, {"a": 1}, ["x"], False):
        with pytest.raises(SecretInputError) as caught:
            decrypted({"password": value}, message(["inputs.password"]), decryptor(), declared=("password",))
        assert caught.value.input == "password"
    assert decrypted({}, message(["password"]), Decryptor(never), declared=()) == {}
    assert decrypted({"password": None}, message(["password"]), Decryptor(never), declared=()) == {"password": None}


def test_declared_inputs_may_be_plain() -> None:
    """An input declared as secret that the message says nothing of is decrypted if it can be, else left as it is."""
    inputs = {"a": sealed("s3cr3t"), "b": "plain text", "c": encoded(os.urandom(64)), "d": {"x": 1}, "e": None}
    before = dict(inputs)
    result = decrypted(inputs, message(), decryptor(), declared=("a", "b", "c", "d", "e", "f"))
    assert plain(result) == {**inputs, "a": ("s3cr3t",)}
    assert inputs == before


def test_declared_secrets_are_found() -> None:
    """A dataclass names its secret inputs, by the names that Port knows."""
    assert declared_secrets(Inputs) == {"password", "config", "api-token"}


def test_objects_without_declaration() -> None:
    """For a handler without a dataclass the message says what is an object; with one the dataclass does."""
    inputs = {"config": sealed('{"a":1}'), "note": sealed('{"b":2}')}
    part = message(["note"], {"config": {"type": "object", "encryption": "aes256-gcm"}})
    result = decrypted(inputs, part, decryptor(), declared=None)
    assert plain(result) == {"config": ({"a": 1},), "note": ('{"b":2}',)}
    result = decrypted(inputs, part, decryptor(), declared=())
    assert plain(result) == {"config": ('{"a":1}',), "note": ('{"b":2}',)}


def test_an_object_that_is_none() -> None:
    """A secret that should be an object and is not is refused, without its content."""
    part = message(None, {"config": {"type": "object", "encryption": "aes256-gcm"}})
    with pytest.raises(SecretInputError, match="no JSON object") as caught:
        decrypted({"config": sealed(f'["{CANARY}"]')}, part, decryptor(), declared=None)
    assert CANARY not in str(caught.value)
    assert caught.value.input == "config"


@pytest.mark.parametrize(
    "names",
    [["password", "db.password"], [{"identifier": "password"}, {"key": "payload.properties.db.pin"}]],
    ids=str,
)
def test_messages_are_shown_without_secrets(names: Any) -> None:
    """Of a message for a developer to look at, secret inputs and headers are masked, wherever they stand."""
    shown = {"region": "eu", "cpu": [2, {"a": None}]}
    inputs: dict[str, Any] = {"password": CANARY, "token": CANARY, "key": {"a": CANARY}, **shown}
    nested = {"db.password": CANARY} if "db.password" in names else {"db": {"pin": CANARY}}
    definitions = {"key": {"encryption": "aes256-gcm"}}
    part = {
        "headers": {"X-Port-Signature": CANARY},
        "payload": {
            "properties": {**inputs, **nested},
            "censoredProperties": names,
            "action": {"userInputs": {"properties": definitions}},
        },
    }
    before = copy.deepcopy(part)
    for whole in (part, [part]):
        text = json.dumps(without_secrets(whole, {"token"}))
        assert CANARY not in text
        assert '"region": "eu", "cpu": [2, {"a": null}]' in text
    assert part == before


def test_a_deep_message_is_masked_whole() -> None:
    """A value that is nested too deeply to be masked is not shown."""
    depth = 3000
    assert without_secrets(json.loads("[" * depth + "]" * depth), ()) == logs.MASK


@unhurried
@given(MESSAGE_PARTS)
def test_any_message_can_be_shown(part: Any) -> None:
    """Showing a message never raises."""
    for shape in (part, message(part), message(None, part)):
        without_secrets(shape, ("password",))
