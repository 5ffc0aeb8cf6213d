"""Secret inputs: decrypts them, and wraps them so that they are never printed.

Port has two schemes. The key of ``aes256-gcm`` is the beginning of the organization's client secret. ``client-side``
encrypts for an RSA key that only the customer has. Both carry a tag that shows whether a key fits, so a key can be
tried.
https://docs.port.io/actions-and-automations/create-self-service-experiences/setup-ui-for-action/user-inputs/secret
"""

import base64
import dataclasses
import functools
import hmac
import json
import re
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Never

from . import logs
from .errors import InputError
from .messages import walk

AES256_GCM = "aes256-gcm"
CLIENT_SIDE = "client-side"
IF_ANOTHER_ENCRYPTS = (
    "if Port encrypts with another, set that one: encryption_secret in the credentials' secret, or "
    "PORT_ENCRYPTION_SECRET"
)

KEY_BYTES = 32
TAG_BYTES = 16
AES256_GCM_IV_BYTES = 16
CLIENT_SIDE_IV_BYTES = 12

# Dotted paths in a message: to the names of its secret inputs and, in Port's first format, to all inputs' definitions.
CENSORED = (
    "payload.censoredProperties",
    "censoredProperties",
    "action.encryptedProperties",
    "port_payload.action.encryptedProperties",
    "payload.action.encryptedProperties",
)
# Port's mask of a secret.
MASKED = re.compile(r"\*{3,}")
DEFINITIONS = ("payload.action.userInputs.properties",)
# Port does not document the form of these names. They may be paths that begin above the inputs, with one of these.
ABOVE_INPUTS = ("", "payload", "properties", "inputs")


class SecretInputError(InputError):
    """A secret input cannot be decrypted. The text tells the likely reason, and nothing about the input."""


class Secret[T: str | dict[str, Any]]:
    """A value that is never printed. ``reveal()`` returns it; everything else shows a mask.

    The log masks the value too, and each text within an object. A secret can be neither pickled nor hashed. Copying it
    returns the same secret.
    """

    __slots__ = ("_reveal",)

    def __init__(self, value: T) -> None:
        # A function instead of the value itself, so that a dump of the object's attributes does not show it.
        self._reveal: Callable[[], T] = lambda: value
        for text in _texts(value):
            logs.mask(text, of_a_run=True)

    def reveal(self) -> T:
        """Return the value. Never put it into a log line, a summary or a link."""
        return self._reveal()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({logs.MASK})"

    def __format__(self, specification: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        """Return whether *other* is a secret with the same JSON.

        The time of the comparison depends only on its length.
        """
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = (json.dumps(each.reveal(), sort_keys=True).encode() for each in (self, other))
        return hmac.compare_digest(mine, theirs)

    def __copy__(self) -> "Secret[T]":
        return self

    def __deepcopy__(self, memo: Any) -> "Secret[T]":
        return self

    def __reduce_ex__(self, protocol: Any) -> Never:
        raise TypeError("a secret is not for pickling")

    def __getstate__(self) -> str:
        return logs.MASK  # jsonpickle takes this as the object's content


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def object_in(secret: Secret[str]) -> Secret[dict[str, Any]] | None:
    """Return the object in an object input, which Port encrypts as JSON, or ``None`` if the text is not an object."""
    try:
        value = json.loads(secret.reveal())
        return Secret(value) if isinstance(value, dict) else None
    except (ValueError, RecursionError):
        return None


class _CannotDecrypt(Exception):
    """A value cannot be decrypted with this secret. The text completes "could not be decrypted: …"."""


class _CachedSecret:
    """A secret that is read at its first use, and read again if it does not fit, because it may have been rotated."""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read
        self._secret: str | None = None

    def decrypt(self, how: Callable[[bytes, str], bytes], data: bytes) -> bytes:
        if self._secret is not None:
            with suppress(_CannotDecrypt):
                return how(data, self._secret)
        self._secret = self._read()
        return how(data, self._secret)


class Decryptor:
    """Decrypts values that Port encrypted.

    *client_secret* returns the secret that Port encrypts with, *private_key* the customer's RSA key as PEM. Neither is
    called before there is a value to decrypt. Their errors are passed on.
    """

    def __init__(self, client_secret: Callable[[], str], private_key: Callable[[], str] | None = None) -> None:
        self._client_secret = _CachedSecret(client_secret)
        self._private_key = None if private_key is None else _CachedSecret(private_key)

    def decrypt(self, name: str, value: Any, algorithm: str | None = None) -> str:
        """Return the text encrypted in *value*, the input *name*. Without *algorithm*, try both schemes.

        Raises ``SecretInputError``.
        """
        data = _bytes_in(value)
        if len(data) < AES256_GCM_IV_BYTES + TAG_BYTES:
            raise _not_decrypted(name, "it did not come encrypted, or not whole")
        reasons = []
        for each in (AES256_GCM, CLIENT_SIDE) if algorithm is None else (algorithm,):
            try:
                plain = self._decrypted(data, each)
            except _CannotDecrypt as reason:
                reasons.append(str(reason))
            else:
                return _text_in(name, plain)
        raise _not_decrypted(name, ", and ".join(reasons))

    def _decrypted(self, data: bytes, algorithm: str) -> bytes:
        if algorithm == AES256_GCM:
            return self._client_secret.decrypt(_with_client_secret, data)
        if algorithm != CLIENT_SIDE:
            raise _CannotDecrypt("its encryption is not known here")
        if self._private_key is None:
            raise _CannotDecrypt(
                "there is no private key to try (CLIENT_SIDE_PRIVATE_KEY_SECRET_ARN must name the secret that has it)"
            )
        return self._private_key.decrypt(_with_private_key, data)


def _with_client_secret(data: bytes, client_secret: str) -> bytes:
    key = client_secret.encode("utf-8", "surrogatepass")[:KEY_BYTES]
    if len(key) < KEY_BYTES:
        raise _CannotDecrypt(f"the client secret has fewer than {KEY_BYTES} bytes ({IF_ANOTHER_ENCRYPTS})")
    plain = _unsealed(key, data[:AES256_GCM_IV_BYTES], data[AES256_GCM_IV_BYTES:])
    if plain is None:
        raise _CannotDecrypt(f"the client secret does not fit ({IF_ANOTHER_ENCRYPTS})")
    return plain


def _with_private_key(data: bytes, pem: str) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    private_key = _private_key(pem)
    iv, rest = data[:CLIENT_SIDE_IV_BYTES], data[CLIENT_SIDE_IV_BYTES:]
    key_length = (private_key.key_size + 7) // 8
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    try:
        key = private_key.decrypt(rest[:key_length], oaep)
    except ValueError:
        key = b""
    # Report every failure alike: distinguishing them would create a decryption oracle.
    plain = _unsealed(key, iv, rest[key_length:]) if len(key) == KEY_BYTES else None
    if plain is None:
        raise _CannotDecrypt(
            "the private key does not fit (the one that CLIENT_SIDE_PRIVATE_KEY_SECRET_ARN names must belong to the "
            "public key in the action)"
        )
    return plain


@functools.lru_cache(maxsize=2)  # reading and checking a key takes longer than decrypting with it
def _private_key(pem: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: the key has a passphrase
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise _CannotDecrypt(
            "the private key cannot be read (CLIENT_SIDE_PRIVATE_KEY_SECRET_ARN must name an RSA key in PEM without a "
            "passphrase)"
        )
    return key


def _unsealed(key: bytes, iv: bytes, sealed: bytes) -> bytes | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(iv, sealed, None)
    except InvalidTag:
        return None


def _bytes_in(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except ValueError:
        return b""


def _text_in(name: str, plain: bytes) -> str:
    with suppress(UnicodeDecodeError):  # that error holds the bytes, so it must not become another error's cause
        return plain.decode()
    raise _not_decrypted(name, "what was encrypted is not text")


def _not_decrypted(name: str, reason: str) -> SecretInputError:
    return SecretInputError(f"The secret input {name} could not be decrypted: {reason}.", input=name)


def declared_secrets(inputs: type[Any]) -> frozenset[str]:
    """Return the names of the inputs that the dataclass *inputs* declares as ``Secret`` or as ``Secret | None``."""
    hints = typing.get_type_hints(inputs)
    return frozenset(
        str(field.metadata.get("input", field.name))
        for field in dataclasses.fields(inputs)
        if any(typing.get_origin(hint) is Secret for hint in (hints[field.name], *typing.get_args(hints[field.name])))
    )


def decrypted(
    inputs: Mapping[str, Any], message: Any, decryptor: Decryptor, *, declared: Collection[str] | None
) -> dict[str, Any]:
    """Return *inputs* with a ``Secret`` for each encrypted input.

    *message* says which inputs are encrypted: it lists them as censored, or defines an encryption for them. Raises
    ``SecretInputError`` if one of these cannot be decrypted. An unknown encryption leaves its input unchanged. An input
    that is *declared* as secret, but that the message does not mention, may be plain text; it then stays plain text.
    Without a declaration (``None``), the message also says which texts are objects.
    """
    definitions = _definitions(message)
    named = list(_named_secret(message, definitions))
    result = _with_ciphertexts(inputs, message, {*(declared or ()), *named})
    for name in named:
        path = _path(name, result)
        value = _at(result, path)
        definition = definitions.get(path[0]) if len(path) == 1 else None
        definition = definition if isinstance(definition, Mapping) else {}
        algorithm = _algorithm(definition.get("encryption"))
        if value in (None, "") or isinstance(value, Secret) or algorithm not in (None, AES256_GCM, CLIENT_SIDE):
            continue
        dotted = ".".join(path)
        text = Secret(decryptor.decrypt(dotted, value, algorithm))
        is_object = declared is None and definition.get("type") == "object"
        secret: Secret[Any] | None = object_in(text) if is_object else text
        if secret is None:
            raise _not_decrypted(dotted, "what was encrypted is no JSON object")
        result = _replaced(result, path, secret)
    for name in declared or ():
        if name in result:
            with suppress(SecretInputError):
                result[name] = Secret(decryptor.decrypt(name, result[name]))
    return result


def _with_ciphertexts(inputs: Mapping[str, Any], message: Any, names: Collection[str]) -> dict[str, Any]:
    """Return *inputs* with the encrypted values of the inputs *names* from anywhere in *message*.

    Port shows a mask for a secret input of a run, or leaves it out. A mask is never an input's value.
    """
    result = {name: value for name, value in inputs.items() if name not in names or not _is_mask(value)}
    missing = {name for name in names if name not in result}
    for _, name, value in walk(message) if missing else ():
        if name in missing and isinstance(value, str) and value and not _is_mask(value):
            result.setdefault(name, value)
    return result


def _is_mask(value: Any) -> bool:
    return isinstance(value, str) and MASKED.fullmatch(value) is not None


def without_secrets(message: Any, declared: Collection[str]) -> Any:
    """Return *message* for a look during development, with secret inputs, *declared* ones and headers masked."""
    named = set(_named_secret(message, _definitions(message)))
    paths = {_path(name, {})[-1] for name in named}
    try:
        return _masked(message, {*declared, *named, *paths, "headers"})
    except RecursionError:  # deeply nested arrays are not worth a look
        return logs.MASK


def _masked(value: Any, names: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {name: logs.MASK if name in names else _masked(each, names) for name, each in value.items()}
    return [_masked(each, names) for each in value] if isinstance(value, list) else value


def _definitions(message: Any) -> Mapping[str, Any]:
    return next((each for each in _found(message, DEFINITIONS) if isinstance(each, Mapping)), {})


def _named_secret(message: Any, definitions: Mapping[str, Any]) -> Iterator[str]:
    for censored in _found(message, CENSORED):
        for each in censored if isinstance(censored, list | Mapping) else ():
            name = each.get("identifier", each.get("key")) if isinstance(each, Mapping) else each
            if isinstance(name, str):
                yield name
    for name, definition in definitions.items():
        if isinstance(definition, Mapping) and definition.get("encryption") is not None:
            yield name


def _algorithm(encryption: Any) -> Any:
    """Return the algorithm of a definition: ``"aes256-gcm"``, or ``{"algorithm": "client-side", "key": …}``."""
    return encryption.get("algorithm", "") if isinstance(encryption, Mapping) else encryption


def _path(name: str, inputs: Mapping[str, Any]) -> list[str]:
    """Return the path in *inputs* to the secret that a message calls *name*."""
    if name in inputs:
        return [name]
    path = name.split(".")
    while len(path) > 1 and path[0] in ABOVE_INPUTS and path[0] not in inputs:
        path = path[1:]
    return path


def _found(message: Any, paths: Sequence[str]) -> Iterator[Any]:
    for part in message if isinstance(message, list) else [message]:
        for path in paths:
            yield _at(part, path.split("."))


def _at(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _replaced(values: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    name, *rest = path
    return {**values, name: _replaced(values[name], rest, value) if rest else value}
