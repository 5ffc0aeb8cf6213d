"""The environment is read whole at once: what is wrong is named with its variable, and nothing secret is shown."""

import json
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from port_runner import ConfigurationError
from port_runner.logs import JsonFormatter
from port_runner.settings import Credentials, Settings

KEYS = {"PORT_CLIENT_ID": "id", "PORT_CLIENT_SECRET": "s3cret-of-the-test"}
ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:port-AbCdEf"


def settings_of(**environment: str) -> Settings:
    return Settings.from_environment({**KEYS, **environment})


def refusal_of(environment: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment(environment)
    return str(caught.value)


# The variables


def test_what_is_not_set_has_a_default() -> None:
    """Credentials are enough: the rest is as the README says."""
    assert (
        vars(settings_of()).items()
        >= {
            "port_api_url": "https://api.port.io",
            "port_credentials_secret_arn": None,
            "port_client_id": "id",
            "port_client_secret": "s3cret-of-the-test",
            "log_level": "INFO",
            "failure_queue_url": None,
            "report_batch_item_failures": False,
            "deadline_margin_seconds": 2,
            "maximum_record_age_seconds": 6 * 3600,
            "max_concurrency": 16,
            "unknown_actions": "ignore",
            "function_name": "port-runner",
            "log_group": None,
            "log_stream": None,
            "region": None,
        }.items()
    )


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("PORT_CREDENTIALS_SECRET_ARN", ARN, "port_credentials_secret_arn", ARN),
        ("FAILURE_QUEUE_URL", "https://sqs/1/q", "failure_queue_url", "https://sqs/1/q"),
        ("REPORT_BATCH_ITEM_FAILURES", "true", "report_batch_item_failures", True),
        ("REPORT_BATCH_ITEM_FAILURES", "True", "report_batch_item_failures", True),
        ("REPORT_BATCH_ITEM_FAILURES", "false", "report_batch_item_failures", False),
        ("DEADLINE_MARGIN_SECONDS", "0.5", "deadline_margin_seconds", 0.5),
        ("DEADLINE_MARGIN_SECONDS", "0", "deadline_margin_seconds", 0),
        ("MAXIMUM_RECORD_AGE_SECONDS", "60", "maximum_record_age_seconds", 60),
        ("MAX_CONCURRENCY", "1", "max_concurrency", 1),
        ("MAX_CONCURRENCY", "100", "max_concurrency", 100),
        ("UNKNOWN_ACTIONS", "FAIL", "unknown_actions", "fail"),
        ("AWS_LAMBDA_FUNCTION_NAME", "fn", "function_name", "fn"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/fn", "log_group", "/aws/lambda/fn"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "a", "log_stream", "a"),
        ("AWS_REGION", "eu-west-1", "region", "eu-west-1"),
        ("LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("LOG_LEVEL", " Info ", "log_level", "INFO"),
        ("LOG_LEVEL", "WARNING", "log_level", "WARNING"),
        ("LOG_LEVEL", "warn", "log_level", "WARNING"),
        ("LOG_LEVEL", "TRACE", "log_level", "DEBUG"),
        ("LOG_LEVEL", "FATAL", "log_level", "CRITICAL"),
    ],
)
def test_every_variable_is_read(variable: str, value: str, field: str, expected: Any) -> None:
    """Each variable sets its field; case and space do not matter where a word is asked for."""
    assert getattr(settings_of(**{variable: value}), field) == expected


def test_empty_is_the_same_as_not_set() -> None:
    """Terraform sets what is null to an empty text, and so do people."""
    names = ("PORT_API_URL", "PORT_CREDENTIALS_SECRET_ARN", "LOG_LEVEL", "FAILURE_QUEUE_URL", "MAX_CONCURRENCY")

    assert settings_of(**dict.fromkeys(names, " ")) == settings_of()


@pytest.mark.parametrize(
    ("variable", "values", "takes"),
    [
        ("LOG_LEVEL", ["LOUD", "10"], "one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("REPORT_BATCH_ITEM_FAILURES", ["yes", "1"], "one of false, true"),
        ("UNKNOWN_ACTIONS", ["skip"], "one of ignore, fail"),
        ("DEADLINE_MARGIN_SECONDS", ["-1", "two", "nan", "inf"], "a number, 0 or more"),
        ("MAXIMUM_RECORD_AGE_SECONDS", ["-0.1", "6h", "1e999"], "a number, 0 or more"),
        ("MAX_CONCURRENCY", ["0", "-1", "many"], "a number, 1 or more"),
        ("MAX_CONCURRENCY", ["1.5", "101", "1e9"], "a whole number, 100 or less"),
    ],
)
def test_bad_values_are_named_with_what_is_taken(variable: str, values: list[str], takes: str) -> None:
    """A ConfigurationError says which variable is wrong and what it takes."""
    for value in values:
        assert refusal_of({**KEYS, variable: value}) == f"{variable} must be {takes}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.port.io", "https://api.port.io"),
        ("https://api.port.io/", "https://api.port.io"),
        ("https://api.port.io/v1", "https://api.port.io"),
        ("https://api.port.io/v1/", "https://api.port.io"),
        ("https://api.port.io//", "https://api.port.io"),
        (" https://api.us.port.io ", "https://api.us.port.io"),
        ("https://api.getport.io", "https://api.getport.io"),
        ("https://proxy.example.com/port/v1", "https://proxy.example.com/port"),
        ("https://api_1.example.com.:8443", "https://api_1.example.com.:8443"),
        ("https://příklad.example", "https://příklad.example"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_forms_of_the_address(url: str, expected: str) -> None:
    """A trailing slash or /v1 is taken off, any host and any path before it is taken."""
    assert settings_of(PORT_API_URL=url).port_api_url == expected


@pytest.mark.parametrize(
    "url",
    [
        "api.port.io",
        "ftp://api.port.io",
        "https://",
        "https:///v1",
        "https://api.port.io?region=eu",
        "https://api.port.io?",
        "https://api.port.io#x",
        "https://api.port.io:port",
        "https://[api.port.io",
        "https://api port.io",
        "https://user:s3cret@api.port.io",
        "https://https://api.port.io",
        "https://api..port.io",
        "https://.port.io",
        f"https://{'a' * 64}.port.io",
        "https://api.port.io:0",
        "https://api.port.io:65536",
        "https://api,port,io",
        "https://${region}.port.io",
        "https://<region>.port.io",
        "https://api.port.io/{region}",
        "https://api.port.io\\v1",
        "https://api.port\n.io",
        "https://api.port.io/\tv1",
        "https://api.port.io/\udcff",
        '"https://api.port.io"',
        "https://[::1",
        "https://[127.0.0.1]",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    """An address that no request could be sent to is refused, and not repeated: it may hold a password."""
    said = refusal_of({**KEYS, "PORT_API_URL": url})

    assert said == "PORT_API_URL must be an address such as https://api.port.io"


@pytest.mark.parametrize(
    "url",
    [
        "https://sqs.eu-west-1.amazonaws.com/123456789012/failures",
        "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/failures",
        "https://vpce-0a1b.sqs.eu-west-1.vpce.amazonaws.com/123456789012/failures",
        "http://sqs.eu-west-1.localhost.localstack.cloud:4566/000000000000/failures",
        "http://localhost:4566/000000000000/failures",
    ],
)
def test_addresses_of_queues(url: str) -> None:
    """The address of a queue is taken as AWS or an emulator gives it."""
    assert settings_of(FAILURE_QUEUE_URL=url).failure_queue_url == url


@pytest.mark.parametrize(
    ("value", "takes"),
    [
        ("failures", "of a queue in SQS"),
        ("arn:aws:sqs:eu-west-1:123456789012:failures", "of a queue in SQS"),
        ("sqs.eu-west-1.amazonaws.com/123456789012/failures", "of a queue in SQS"),
        ("https://sqs.eu-west-1.amazonaws.com", "of a queue in SQS"),
        ("https://sqs.${region}.amazonaws.com/123456789012/failures", "of a queue in SQS"),
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/failures.fifo", "of a standard queue, not of a FIFO queue"),
    ],
)
def test_what_is_no_queue_is_refused(value: str, takes: str) -> None:
    """A queue that no message could be sent to is refused at the start, not when the first record must be kept."""
    assert f"FAILURE_QUEUE_URL must be the address {takes}" in refusal_of({**KEYS, "FAILURE_QUEUE_URL": value})


@pytest.mark.parametrize("variable", ["PORT_CREDENTIALS_SECRET_ARN", "CLIENT_SIDE_PRIVATE_KEY_SECRET_ARN"])
@pytest.mark.parametrize(
    "value",
    [
        '{"client_id": "id", "client_secret": "s3cret"}',
        "s3cret",
        "-----BEGIN PRIVATE KEY-----\ns3cret",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/port",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:",
        "arn:aws:secretsmanager:eu-west-1:123456789012:port-AbCdEf",
        "arn:aws:secretsmanager:eu-west-1:1234:secret:port-AbCdEf",
        "arn:aws:secretsmanager:eu-west-1:١٢٣٤٥٦٧٨٩٠١٢:secret:port-AbCdEf",
    ],
)
def test_what_is_no_arn_of_a_secret_is_refused(variable: str, value: str) -> None:
    """Something else than an ARN is refused and not repeated: it may be the secret itself."""
    said = refusal_of({**KEYS, variable: value})

    assert said == f"{variable} must be the ARN of a secret in Secrets Manager"


@pytest.mark.parametrize("name", ["port-AbCdEf", "a/b_c+d=e.f@g-AbCdEf", "rds!cluster-1-AbCdEf"])
@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_arns_of_secrets(partition: str, name: str) -> None:
    """Every partition of AWS is taken, and every character that a secret's name may have."""
    arn = f"arn:{partition}:secretsmanager:us-gov-west-1:123456789012:secret:{name}"

    assert settings_of(PORT_CREDENTIALS_SECRET_ARN=arn).port_credentials_secret_arn == arn


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "http://LocalHost:8080/v1",
        "http://port.localhost:8080",
        "http://a.b.localhost/port",
        "http://127.0.0.1:8080",
        "http://127.255.255.254",
        "http://[::1]:8080",
        "HTTP://[0:0::1]",
        "http://[::ffff:127.0.0.1]",
    ],
)
def test_http_is_for_this_machine(url: str) -> None:
    """A fake Port or a tunnel on this machine needs no TLS."""
    assert settings_of(PORT_API_URL=url).port_api_url == url.removesuffix("/v1")


@pytest.mark.parametrize(
    "url",
    [
        "http://api.port.io",
        "HTTP://api.port.io/v1",
        "http://api.port.io:443",
        "http://localhost.example.com",
        "http://notlocalhost",
        "http://127.0.0.1.example.com",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://128.0.0.1",
        "http://[::2]",
        "http://[fe80::1]",
        "http://host.docker.internal:8080",
    ],
)
def test_http_to_another_machine_is_refused(url: str) -> None:
    """The client secret never travels in clear."""
    said = refusal_of({**KEYS, "PORT_API_URL": url})

    assert said == (
        "PORT_API_URL must begin with https://, because the client secret is sent there; http:// is only for this "
        "machine, such as http://localhost:8080"
    )


@pytest.mark.parametrize(
    ("environment", "missing"),
    [
        ({}, "PORT_CLIENT_ID and PORT_CLIENT_SECRET"),
        ({"PORT_CLIENT_ID": "id"}, "PORT_CLIENT_SECRET"),
        ({"PORT_CLIENT_SECRET": "s3cret-of-the-test", "PORT_CLIENT_ID": " "}, "PORT_CLIENT_ID"),
    ],
)
def test_missing_credentials_are_named(environment: dict[str, str], missing: str) -> None:
    """A missing variable is named, with the alternative, and the existing one is not repeated."""
    assert refusal_of(environment) == (
        f"{missing} must be set, or PORT_CREDENTIALS_SECRET_ARN must name a secret with `client_id` and `client_secret`"
    )


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the process's own variables are read, as they are at that moment."""
    for name, value in {**KEYS, "FAILURE_QUEUE_URL": "https://sqs/1/now"}.items():
        monkeypatch.setenv(name, value)

    assert Settings.from_environment().failure_queue_url == "https://sqs/1/now"


def test_nothing_secret_is_shown() -> None:
    """Settings and credentials can stand in a traceback: their text holds no secret."""
    settings = settings_of()

    assert "s3cret" not in repr(settings) + str(settings) + repr(settings.credentials())
    assert "id" in repr(settings.credentials())


def test_the_secret_is_masked_in_the_log() -> None:
    """Once read, the client secret cannot stand in a log line."""
    secret = settings_of(PORT_CLIENT_SECRET="masked-from-now-on").credentials().client_secret

    line = JsonFormatter().format(logging.makeLogRecord({"msg": f"<{secret}>"}))

    assert json.loads(line)["message"] == "<[redacted]>"


# The secret in Secrets Manager


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an empty Secrets Manager."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield boto3.client("secretsmanager")


def credentials_in(arn: str) -> Credentials:
    return Settings.from_environment({"PORT_CREDENTIALS_SECRET_ARN": arn}).credentials()


def test_credentials_come_from_the_secret(secrets: Any) -> None:
    """The secret wins over the variables for a laptop, and may hold more than is asked for."""
    content = {"client_id": "id", "client_secret": "from-the-secret", "note": "x"}
    arn = secrets.create_secret(Name="port", SecretString=json.dumps(content))["ARN"]

    assert credentials_in(arn) == Credentials("id", "from-the-secret")
    assert settings_of(PORT_CREDENTIALS_SECRET_ARN=arn).credentials() == Credentials("id", "from-the-secret")


def test_white_space_around_a_pasted_secret_is_left_out(secrets: Any) -> None:
    """A secret with a line break at its end is the same secret."""
    content = {"client_id": " id", "client_secret": "a b\n", "encryption_secret": "\tanother "}
    arn = secrets.create_secret(Name="port", SecretString=json.dumps(content))["ARN"]

    assert credentials_in(arn) == Credentials("id", "a b", "another")


@pytest.mark.parametrize(
    ("in_the_secret", "expected"),
    [({}, "variable"), ({"encryption_secret": ""}, "variable"), ({"encryption_secret": "own"}, "own")],
)
def test_the_encryption_secret_may_be_a_variable(secrets: Any, in_the_secret: dict[str, str], expected: str) -> None:
    """PORT_ENCRYPTION_SECRET counts if the credentials' secret names no other."""
    content = {"client_id": "id", "client_secret": "s", **in_the_secret}
    arn = secrets.create_secret(Name="port", SecretString=json.dumps(content))["ARN"]

    settings = settings_of(PORT_CREDENTIALS_SECRET_ARN=arn, PORT_ENCRYPTION_SECRET="variable")

    assert settings.credentials() == Credentials("id", "s", expected)


@pytest.mark.parametrize("value", [5, True, ["s3cret"], {"key": "s3cret"}])
def test_an_encryption_secret_that_is_no_text_is_named(secrets: Any, value: Any) -> None:
    """The error names the key, and repeats nothing of what it holds."""
    content = {"client_id": "id", "client_secret": "s3cret", "encryption_secret": value}
    arn = secrets.create_secret(Name="port", SecretString=json.dumps(content))["ARN"]

    with pytest.raises(ConfigurationError) as caught:
        credentials_in(arn)

    assert str(caught.value) == f"`encryption_secret` in the secret {arn} must be a text"


def test_a_rotated_secret_is_read_again(secrets: Any) -> None:
    """Each call asks Secrets Manager, so a rotation needs no new process."""
    arn = secrets.create_secret(Name="port", SecretString='{"client_id": "id", "client_secret": "before"}')["ARN"]
    settings = Settings.from_environment({"PORT_CREDENTIALS_SECRET_ARN": arn})
    assert settings.credentials().client_secret == "before"

    secrets.put_secret_value(SecretId=arn, SecretString='{"client_id": "id", "client_secret": "after"}')

    assert settings.credentials().client_secret == "after"


def test_reading_the_environment_sends_no_request() -> None:
    """The secret is read when it is needed, not when it is named."""
    assert Settings.from_environment({"PORT_CREDENTIALS_SECRET_ARN": ARN}).port_credentials_secret_arn == ARN


def test_a_missing_secret_is_named(secrets: Any) -> None:
    """A secret that cannot be read is named with AWS's own reason."""
    with pytest.raises(ConfigurationError) as caught:
        credentials_in(ARN)

    assert str(caught.value) == (
        f"the secret {ARN} cannot be read (ResourceNotFoundException): "
        "does it exist, and may the function's role read it?"
    )


def test_no_region_or_no_answer_is_named(secrets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure of boto3 itself is a ConfigurationError too."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")

    with pytest.raises(ConfigurationError, match=r"cannot be read \(NoRegionError\)"):
        credentials_in(ARN)


def test_a_secret_of_the_wrong_shape_is_said_without_its_content(secrets: Any) -> None:
    """The error says what the secret must hold and repeats nothing of what it holds."""
    arn = secrets.create_secret(Name="port", SecretString="s3cret, not JSON")["ARN"]

    for content in (
        "s3cret, not JSON",
        '"s3cret"',
        "[]",
        "null",
        '{"client_id": "id"}',
        '{"client_secret": "s3cret"}',
        '{"client_id": "id", "client_secret": ""}',
        '{"client_id": 5, "client_secret": "s3cret"}',
        '{"username": "s3cret", "password": "s3cret"}',
    ):
        secrets.put_secret_value(SecretId=arn, SecretString=content)
        with pytest.raises(ConfigurationError) as caught:
            credentials_in(arn)
        assert str(caught.value) == f"the secret {arn} must be a JSON object with `client_id` and `client_secret`"
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_binary_secret_cannot_be_read(secrets: Any) -> None:
    """A secret without a text is refused like one that is not there."""
    arn = secrets.create_secret(Name="port", SecretBinary=b"s3cret")["ARN"]

    with pytest.raises(ConfigurationError, match="cannot be read"):
        credentials_in(arn)


# The log's address


def test_log_url_is_what_the_console_takes() -> None:
    """The console wants group and stream percent-encoded twice, with $ for %."""
    settings = settings_of(
        AWS_REGION="eu-west-1",
        AWS_LAMBDA_LOG_GROUP_NAME="/aws/lambda/port-runner",
        AWS_LAMBDA_LOG_STREAM_NAME="2026/11/22/[$LATEST]0a1b_c.d",
    )

    assert settings.log_url == (
        "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1#logsV2:log-groups/log-group/"
        "$252Faws$252Flambda$252Fport-runner/log-events/2026$252F11$252F22$252F$255B$2524LATEST$255D0a1b_c.d"
    )


@pytest.mark.parametrize("missing", ["AWS_REGION", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME"])
def test_no_log_url_outside_lambda(missing: str) -> None:
    """Without a log in CloudWatch there is no address of it."""
    names = {"AWS_REGION", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME"} - {missing}

    assert settings_of(**dict.fromkeys(names, "x")).log_url is None
