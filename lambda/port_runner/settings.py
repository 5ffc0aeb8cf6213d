"""The function's environment, read once, at the first event: what is wrong is named before anything is done."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from . import logs
from .errors import ConfigurationError

DEFAULT_PORT_API_URL = "https://api.port.io"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# Lambda's own name for two of the levels, which people set by habit.
LEVEL_SYNONYMS = {"TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "CRITICAL"}


@dataclass(frozen=True)
class Credentials:
    """A machine's client id and secret of the Port organisation."""

    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True)
class Settings:
    """What the environment says; every name here is the variable's, in lower case."""

    port_api_url: str
    port_credentials_secret_arn: str | None
    port_client_id: str | None
    port_client_secret: str | None = field(repr=False)
    log_level: str
    failure_queue_url: str | None
    report_batch_item_failures: bool
    deadline_margin_seconds: float
    maximum_record_age_seconds: float
    max_concurrency: int
    unknown_actions: str
    function_name: str
    log_group: str | None
    log_stream: str | None
    region: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Raises ``ConfigurationError`` that names the variable and what it takes."""
        read = _Reader(environment)
        settings = cls(
            port_api_url=read.url("PORT_API_URL", DEFAULT_PORT_API_URL),
            port_credentials_secret_arn=read.text("PORT_CREDENTIALS_SECRET_ARN"),
            port_client_id=read.text("PORT_CLIENT_ID"),
            port_client_secret=read.text("PORT_CLIENT_SECRET"),
            log_level=read.level("LOG_LEVEL"),
            failure_queue_url=read.text("FAILURE_QUEUE_URL"),
            report_batch_item_failures=read.choice("REPORT_BATCH_ITEM_FAILURES", "false", "true") == "true",
            deadline_margin_seconds=read.number("DEADLINE_MARGIN_SECONDS", 2),
            maximum_record_age_seconds=read.number("MAXIMUM_RECORD_AGE_SECONDS", 6 * 3600),
            max_concurrency=int(read.number("MAX_CONCURRENCY", 16, least=1)),
            unknown_actions=read.choice("UNKNOWN_ACTIONS", "ignore", "fail"),
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
        """Port's client id and secret, from the secret where the environment names one.

        Read anew at each call, so that a rotated secret is found. Raises ``ConfigurationError``.
        """
        if self.port_credentials_secret_arn is not None:
            credentials = _credentials_in(self.port_credentials_secret_arn)
        else:
            credentials = Credentials(self.port_client_id or "", self.port_client_secret or "")
        logs.mask(credentials.client_secret)
        return credentials

    @property
    def log_url(self) -> str | None:
        """Where CloudWatch shows this process's log; ``None`` outside Lambda."""
        if not (self.log_group and self.log_stream and self.region):
            return None
        group, stream = (_console_quoted(name) for name in (self.log_group, self.log_stream))
        return (
            f"https://{self.region}.console.aws.amazon.com/cloudwatch/home?region={self.region}"
            f"#logsV2:log-groups/log-group/{group}/log-events/{stream}"
        )


class _Reader:
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

    def level(self, name: str) -> str:
        value = (self.text(name) or "INFO").upper()
        value = LEVEL_SYNONYMS.get(value, value)
        if value not in LEVELS:
            raise ConfigurationError(f"{name} must be one of {', '.join(LEVELS)}")
        return value

    def url(self, name: str, default: str) -> str:
        value = (self.text(name) or default).rstrip("/").removesuffix("/v1").rstrip("/")
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigurationError(f"{name} must be an address such as {DEFAULT_PORT_API_URL}")
        return value


def _credentials_in(arn: str) -> Credentials:
    import boto3  # slow to import, and needed only where the environment names a secret
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    quick = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 3})
    try:
        client = boto3.client("secretsmanager", config=quick)
        text = client.get_secret_value(SecretId=arn)["SecretString"]
    except (BotoCoreError, ClientError, KeyError) as error:
        raise ConfigurationError(
            f"the secret {arn} cannot be read ({_kind(error)}): does it exist, and may the function's role read it?"
        ) from None
    try:
        content = json.loads(text)
        client_id, client_secret = content["client_id"], content["client_secret"]
    except (ValueError, KeyError, TypeError):
        client_id = client_secret = None
    if not (isinstance(client_id, str) and client_id and isinstance(client_secret, str) and client_secret):
        raise ConfigurationError(f"the secret {arn} must be a JSON object with `client_id` and `client_secret`")
    return Credentials(client_id, client_secret)


def _kind(error: Exception) -> str:
    response = getattr(error, "response", None)
    return str(response["Error"]["Code"]) if response else type(error).__name__


def _console_quoted(name: str) -> str:
    """*name* as CloudWatch's console wants it in the fragment: percent-encoded twice, with ``$`` for ``%``."""
    return "".join(char if char.isalnum() or char in "-_." else f"$25{ord(char):02X}" for char in name)
