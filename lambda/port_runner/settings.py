"""The function's environment. It is read once, at the first event, and an error is raised before anything is done."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from . import logs
from .errors import ConfigurationError

DEFAULT_PORT_API_URL = "https://api.port.io"
# A run takes up to two threads and two connections. Lambda allows a function 1,024 of each.
MOST_CONCURRENCY = 100
# A part of a host's name has at most 63 characters. An IPv6 address is checked by urlsplit.
HOST = re.compile(r"(?:[\w-]{1,63}\.)*[\w-]{1,63}\.?")
SECRET_ARN = re.compile(r"arn:[\w-]+:secretsmanager:[\w-]+:\d{12}:secret:[\w/+=.@!-]+", re.ASCII)
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# Lambda's own names for two of the levels, which people set out of habit.
LEVEL_SYNONYMS = {"TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "CRITICAL"}


@dataclass(frozen=True)
class Credentials:
    """The client id and secret of a machine user of the Port organization."""

    client_id: str
    client_secret: str = field(repr=False)
    encryption_secret: str | None = field(default=None, repr=False)
    """The secret with which Port encrypts secret inputs, if it is another client's secret."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets with which Port may sign: an organization can have several clients."""
        return tuple(secret for secret in (self.client_secret, self.encryption_secret) if secret)


@dataclass(frozen=True)
class Settings:
    """The settings in the environment. Each field has the name of its variable, in lower case."""

    port_api_url: str
    port_credentials_secret_arn: str | None
    port_client_id: str | None
    port_client_secret: str | None = field(repr=False)
    port_encryption_secret: str | None = field(repr=False)
    client_side_private_key_secret_arn: str | None
    log_level: str
    failure_queue_url: str | None
    report_batch_item_failures: bool
    deadline_margin_seconds: float
    maximum_record_age_seconds: float
    max_concurrency: int
    unknown_actions: str
    verify_signature: str
    log_messages: bool
    function_name: str
    log_group: str | None
    log_stream: str | None
    region: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the environment. Raises ``ConfigurationError`` with the variable's name and the values that it takes."""
        read = _Variables(environment)
        settings = cls(
            port_api_url=read.url("PORT_API_URL", DEFAULT_PORT_API_URL),
            port_credentials_secret_arn=read.secret_arn("PORT_CREDENTIALS_SECRET_ARN"),
            port_client_id=read.text("PORT_CLIENT_ID"),
            port_client_secret=read.text("PORT_CLIENT_SECRET"),
            port_encryption_secret=read.text("PORT_ENCRYPTION_SECRET"),
            client_side_private_key_secret_arn=read.secret_arn("CLIENT_SIDE_PRIVATE_KEY_SECRET_ARN"),
            log_level=read.level("LOG_LEVEL"),
            failure_queue_url=read.queue_url("FAILURE_QUEUE_URL"),
            report_batch_item_failures=read.choice("REPORT_BATCH_ITEM_FAILURES", "false", "true") == "true",
            deadline_margin_seconds=read.number("DEADLINE_MARGIN_SECONDS", 2),
            maximum_record_age_seconds=read.number("MAXIMUM_RECORD_AGE_SECONDS", 6 * 3600),
            max_concurrency=read.whole_number("MAX_CONCURRENCY", 16, least=1, most=MOST_CONCURRENCY),
            unknown_actions=read.choice("UNKNOWN_ACTIONS", "ignore", "fail"),
            verify_signature=read.choice("VERIFY_SIGNATURE", "if-present", "required", "off"),
            log_messages=read.choice("LOG_MESSAGES", "false", "true") == "true",
            function_name=read.text("AWS_LAMBDA_FUNCTION_NAME") or "port-runner",
            log_group=read.text("AWS_LAMBDA_LOG_GROUP_NAME"),
            log_stream=read.text("AWS_LAMBDA_LOG_STREAM_NAME"),
            region=read.text("AWS_REGION"),
        )
        if settings.port_credentials_secret_arn is None:
            missing = [name for name in ("PORT_CLIENT_ID", "PORT_CLIENT_SECRET") if not read.text(name)]
            if missing:
                raise ConfigurationError(
                    f"{' and '.join(missing)} must be set, or PORT_CREDENTIALS_SECRET_ARN must name a secret with "
                    "`client_id` and `client_secret`"
                )
        return settings

    def credentials(self) -> Credentials:
        """Return Port's client id and secret, from the secret if the environment names one.

        The secret is read again at each call, so that a rotated one is found. Raises ``ConfigurationError``.
        """
        if self.port_credentials_secret_arn is not None:
            credentials = _credentials_in(self.port_credentials_secret_arn, self.port_encryption_secret)
        else:
            credentials = Credentials(
                self.port_client_id or "", self.port_client_secret or "", self.port_encryption_secret
            )
        for secret in credentials.secrets:
            logs.mask(secret)
        return credentials

    def encryption_secret(self) -> str:
        """Return the secret with which Port encrypts inputs. It is read at each call. Raises ``ConfigurationError``."""
        credentials = self.credentials()
        return credentials.encryption_secret or credentials.client_secret

    def client_side_private_key(self) -> str:
        """Return the RSA key (PEM) for inputs with client-side encryption. Raises ``ConfigurationError``."""
        pem = _secret_text(self.client_side_private_key_secret_arn or "")
        logs.mask(pem)
        return pem

    @property
    def log_url(self) -> str | None:
        """The address at which CloudWatch shows this process's log, or ``None`` outside Lambda."""
        if not (self.log_group and self.log_stream and self.region):
            return None
        group, stream = (_console_quoted(name) for name in (self.log_group, self.log_stream))
        return (
            f"https://{self.region}.console.aws.amazon.com/cloudwatch/home?region={self.region}"
            f"#logsV2:log-groups/log-group/{group}/log-events/{stream}"
        )


class _Variables:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str) -> str | None:
        return self._environment.get(name, "").strip() or None

    def choice(self, name: str, *choices: str) -> str:
        value = (self.text(name) or choices[0]).lower()
        if value not in choices:
            raise ConfigurationError(f"{name} must be one of {', '.join(choices)}")
        return value

    def number(self, name: str, default: float, least: float = 0) -> float:
        try:
            value = float(self.text(name) or default)
        except ValueError:
            value = float("nan")
        if not least <= value < float("inf"):
            raise ConfigurationError(f"{name} must be a number, {least} or more")
        return value

    def whole_number(self, name: str, default: int, *, least: int, most: int) -> int:
        value = self.number(name, default, least)
        if not value.is_integer() or value > most:
            raise ConfigurationError(f"{name} must be a whole number, {most} or less")
        return int(value)

    def level(self, name: str) -> str:
        value = (self.text(name) or "INFO").upper()
        value = LEVEL_SYNONYMS.get(value, value)
        if value not in LEVELS:
            raise ConfigurationError(f"{name} must be one of {', '.join(LEVELS)}")
        return value

    def url(self, name: str, default: str) -> str:
        value = (self.text(name) or default).rstrip("/").removesuffix("/v1").rstrip("/")
        parts = _address_in(value)
        if parts is None:
            raise ConfigurationError(f"{name} must be an address such as {DEFAULT_PORT_API_URL}")
        if parts.scheme == "http" and not _is_this_machine(parts.hostname or ""):
            raise ConfigurationError(
                f"{name} must begin with https://, because the client secret is sent there; http:// is only for this "
                "machine, such as http://localhost:8080"
            )
        return value

    def queue_url(self, name: str) -> str | None:
        value = self.text(name)
        if value is None:
            return None
        parts = _address_in(value)
        if parts is None or not parts.path:
            raise ConfigurationError(
                f"{name} must be the address of a queue in SQS, such as https://sqs.eu-west-1.amazonaws.com/123456789012/x"
            )
        if value.endswith(".fifo"):
            raise ConfigurationError(f"{name} must be the address of a standard queue, not of a FIFO queue")
        return value

    def secret_arn(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not SECRET_ARN.fullmatch(value):  # perhaps the secret itself, so it is not repeated
            raise ConfigurationError(f"{name} must be the ARN of a secret in Secrets Manager")
        return value


def _address_in(value: str) -> SplitResult | None:
    """Return the parts of a web address, or ``None`` if no request could be sent to it."""
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        fits = parts.scheme in ("http", "https") and (":" in host or bool(HOST.fullmatch(host))) and parts.port != 0
    except ValueError:  # unclosed brackets, or a port that is not a number
        return None
    clean = value.isprintable() and "//" not in parts.path and not any(mark in value for mark in "?#@ \\<>{}")
    return parts if fits and clean else None


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _credentials_in(arn: str, encryption_secret: str | None) -> Credentials:
    """Return the credentials in the secret. Its own ``encryption_secret`` comes before the given one."""
    try:
        content = json.loads(_secret_text(arn))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        content = {}
    client_id, client_secret = (_text_in(content, name) for name in ("client_id", "client_secret"))
    if not (client_id and client_secret):
        raise ConfigurationError(f"the secret {arn} must be a JSON object with `client_id` and `client_secret`")
    if not isinstance(content.get("encryption_secret"), str | None):
        raise ConfigurationError(f"`encryption_secret` in the secret {arn} must be a text")
    return Credentials(client_id, client_secret, _text_in(content, "encryption_secret") or encryption_secret)


def _text_in(content: Mapping[str, Any], name: str) -> str | None:
    """Return a text without the white space around it, which comes along when a secret is pasted."""
    value = content.get(name)
    return value.strip() or None if isinstance(value, str) else None


def _secret_text(arn: str) -> str:
    import boto3  # slow to import, and needed only if the environment names a secret
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    quick = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 3})
    try:
        client = boto3.client("secretsmanager", config=quick)
        return str(client.get_secret_value(SecretId=arn)["SecretString"])
    except (BotoCoreError, ClientError, KeyError) as error:
        raise ConfigurationError(
            f"the secret {arn} cannot be read ({_kind(error)}): does it exist, and may the function's role read it?"
        ) from None


def _kind(error: Exception) -> str:
    response = getattr(error, "response", None)
    return str(response["Error"]["Code"]) if response else type(error).__name__


def _console_quoted(name: str) -> str:
    """Return *name* as CloudWatch's console expects it in a fragment: percent-encoded twice, with ``$`` for ``%``."""
    return "".join(char if char.isalnum() or char in "-_." else f"$25{ord(char):02X}" for char in name)
