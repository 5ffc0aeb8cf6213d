"""Users: their login by SCRAM-SHA-512 (RFC 5802), and what they may do."""

import base64
import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass

MECHANISM = "SCRAM-SHA-512"
# The number that Kafka's own tools use.
ITERATIONS = 4096
FIRST = re.compile(r"(?P<header>[ny],(?:a=(?P<identity>[^,]*))?,)(?P<bare>n=(?P<name>[^,]+),r=(?P<nonce>[!-+\--~]+).*)")
FINAL = re.compile(r"(?P<signed>c=(?P<header>[^,]+),r=(?P<nonce>[!-+\--~]+).*),p=(?P<proof>[^,]+)")


@dataclass(frozen=True)
class User:
    """A user of the cluster. Without an organization, it is the cluster's owner and may do everything."""

    name: str
    organization: str | None

    def may_read(self, owner: str) -> bool:
        """Return whether the user may read and describe the topics of an organization."""
        return self.organization in (None, owner)

    def may_write(self) -> bool:
        """Return whether the user may produce."""
        return self.organization is None

    def may_join(self, group: str) -> bool:
        """Return whether the user may use a consumer group."""
        return self.organization is None or group == self.name or group.startswith(f"{self.organization}.")


@dataclass(frozen=True)
class Credentials:
    """The values that a broker keeps instead of a password."""

    user: User
    salt: bytes
    stored_key: bytes
    server_key: bytes


def make_credentials(user: User, password: str) -> Credentials:
    """Return the values that a broker keeps instead of this password."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    stored_key = hashlib.sha512(_hmac(salted, b"Client Key")).digest()
    return Credentials(user, salt, stored_key, _hmac(salted, b"Server Key"))


class LoginFailed(Exception):
    """A client that did not prove its identity; the text says how."""


class Login:
    """One SCRAM exchange, the server's side."""

    def __init__(self, users: dict[str, Credentials]) -> None:
        self.user: User | None = None
        self._users = users
        self._credentials: Credentials | None = None
        self._header = self._nonce = self._first = ""

    def answer(self, message: bytes) -> bytes:
        """Return the answer to the client's next message. After the last one, `user` is set. Raises LoginFailed."""
        text = message.decode(errors="replace")
        return (self._answer_final(text) if self._credentials else self._answer_first(text)).encode()

    def _answer_first(self, text: str) -> str:
        if not (found := FIRST.fullmatch(text)):
            raise LoginFailed("the first message is not SCRAM's")
        name = found["name"].replace("=2C", ",").replace("=3D", "=")
        if found["identity"] not in (None, "", found["name"]):
            raise LoginFailed(f"user {name!r} wants to be another")
        credentials = self._users.get(name)
        if credentials is None:
            raise LoginFailed(f"there is no user {name!r}")
        self._credentials, self._header = credentials, found["header"]
        self._nonce = found["nonce"] + secrets.token_urlsafe(18)
        answer = f"r={self._nonce},s={base64.b64encode(credentials.salt).decode()},i={ITERATIONS}"
        self._first = f"{found['bare']},{answer}"
        return answer

    def _answer_final(self, text: str) -> str:
        assert self._credentials
        known = self._credentials
        found = FINAL.fullmatch(text)
        # librdkafka before 2.6.1 repeats its own nonce before the whole one. Brokers before 3.9 take that, Port's too.
        if not found or not found["nonce"].endswith(self._nonce) or _decoded(found["header"]) != self._header.encode():
            raise LoginFailed(f"user {known.user.name!r}: the final message does not fit the first")
        signed = f"{self._first},{found['signed']}".encode()
        proof, signature = _decoded(found["proof"]), _hmac(known.stored_key, signed)
        client_key = bytes(one ^ other for one, other in zip(proof, signature, strict=False))
        if not hmac.compare_digest(hashlib.sha512(client_key).digest(), known.stored_key):
            raise LoginFailed(f"user {known.user.name!r}: wrong password")
        if self._users.get(known.user.name) is not known:
            raise LoginFailed(f"user {known.user.name!r}: the password has changed during the login")
        self.user = known.user
        return f"v={base64.b64encode(_hmac(known.server_key, signed)).decode()}"


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha512")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
