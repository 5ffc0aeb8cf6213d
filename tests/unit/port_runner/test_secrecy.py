"""Nothing secret in any log line; what Port signs and encrypts."""

import base64
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from port_runner import (
    ActionFailed,
    ActionRouter,
    ActionRun,
    RecordsNotConsumed,
    RegistrationError,
    Secret,
    Success,
    logs,
)
from port_runner.testing import kafka_event, run_message
from port_runner_sandbox.fake_port import FakePort
from tests.support.function_under_test import Function

CLIENT_SECRET = "0123456789abcdef0123456789abcdefEXTRA-TAIL"


@pytest.fixture
def port() -> Iterator[FakePort]:
    """A Port whose client secret is long enough to encrypt with."""
    with FakePort(client_secret=CLIENT_SECRET) as port:
        yield port


def encrypted(text: str) -> str:
    """*text* as Port sends a secret input."""
    iv = bytes(range(16))
    return base64.b64encode(iv + AESGCM(CLIENT_SECRET[:32].encode()).encrypt(iv, text.encode(), None)).decode()


def signed(message: dict[str, Any], secret: str = CLIENT_SECRET) -> dict[str, Any]:
    """*message* with the headers that Port would add."""
    text = "1713277889." + json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    signature = base64.b64encode(hmac.digest(secret.encode(), text.encode(), "sha256")).decode()
    return {**message, "headers": {"X-Port-Signature": f"v1,{signature}", "X-Port-Timestamp": 1713277889}}


CANARIES = {
    "input": "canary-of-the-input",
    "secret": "canary-of-the-secret-input",
    "nested": "canary-of-a-nested-input",
    "header": "canary-of-a-header",
    "environment": "canary-of-the-environment",
    "exception": "canary-of-the-exception",
    "cause": "canary-of-its-cause",
    "failure": "canary-of-the-failure",
    "line": "canary-of-a-log-line",
    "summary": "canary-of-the-summary",
    "email": "canary@example.com",
    "entity": "canary-of-an-entity",
    "kafka": "canary-of-a-kafka-header",
    "garbage": "canary-of-garbage",
}


def canary_messages() -> list[dict[str, Any]]:
    message = run_message("resize", {"plain": CANARIES["input"], "secret": encrypted(CANARIES["secret"])})
    message["payload"]["properties"]["nested"] = {"deep": [CANARIES["nested"]]}
    message["payload"]["censoredProperties"] = ["secret"]
    message["payload"]["entity"] = {"identifier": "vm-1", "properties": {"password": CANARIES["entity"]}}
    message["trigger"] = {"by": {"user": {"email": CANARIES["email"]}}}
    message["headers"] = {"X-Custom": CANARIES["header"]}
    return [
        {**message, "action": action, "context": {"runId": f"r_{number}", "blueprint": "vm"}}
        for number, action in enumerate(["resize", "break", "refuse", "misfit", "unhandled"])
    ]


@dataclass(frozen=True)
class Numbers:
    plain: int


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
def test_no_canary_in_any_line(function: Function, monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    """Nothing of inputs, headers, environment, exceptions, entities or the token stands in a log line, at any level."""
    monkeypatch.setenv("LOG_LEVEL", level)
    monkeypatch.setenv("MY_PASSWORD", CANARIES["environment"])

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> Success:
        assert run.inputs["secret"].reveal() == CANARIES["secret"]
        run.log(CANARIES["line"])
        return Success(summary=CANARIES["summary"])

    @function.router.action("break")
    def break_(run: ActionRun[Mapping[str, Any]]) -> None:
        try:
            raise KeyError(CANARIES["cause"])
        except KeyError as error:
            raise RuntimeError(CANARIES["exception"], run.inputs) from error

    @function.router.action("refuse")
    def refuse(run: ActionRun[Mapping[str, Any]]) -> None:
        raise ActionFailed(CANARIES["failure"])

    @function.router.action("misfit", inputs=Numbers)
    def misfit(run: ActionRun[Numbers]) -> None: ...

    for number, action in enumerate(["resize", "break", "refuse", "misfit", "unhandled"]):
        function.port.add_run(f"r_{number}", action, blueprint="vm")
    event = kafka_event(*canary_messages(), json.dumps({"x": CANARIES["garbage"]}).encode() + b"}")
    for record in event["records"]["org_test.runs-0"]:
        record["headers"] = [{"x": list(CANARIES["kafka"].encode())}]

    assert function.handle(event) is None
    with function.port.fail("/v1/actions", status=503, times=None):
        function.port.add_run("r_9", "resize")
        with pytest.raises(RecordsNotConsumed) as raised:
            function.run("resize", {"plain": CANARIES["input"]}, run_id="r_9", seconds=0.4)

    said = function.output + str(raised.value)
    assert [name for name, canary in CANARIES.items() if canary in said] == []
    assert CLIENT_SECRET not in said
    assert encrypted(CANARIES["secret"]) not in said
    assert {run["status"] for run_id, run in function.port.runs.items() if run_id in ("r_1", "r_2", "r_3")} == {
        "FAILURE"
    }
    assert function.port.runs["r_0"]["status"] == "SUCCESS"


def test_messages_are_shown_for_development(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """LOG_MESSAGES=true shows message and context, says so at the start, and still hides what is secret."""
    monkeypatch.setenv("LOG_MESSAGES", "true")

    @dataclass(frozen=True)
    class Login:
        declared: Secret[str]

    @function.router.action("login", inputs=Login)
    def login(run: ActionRun[Login]) -> None: ...

    message = signed(canary_messages()[0])
    message["payload"]["properties"]["declared"] = "canary-that-is-declared-secret"
    message["headers"]["Authorization"] = "canary-of-authorization"
    function.port.add_run("r_0", "resize")

    function.handle(kafka_event(message))

    assert function.logged("function.logs_messages")[0]["level"] == "WARNING"
    [line] = function.logged("message.received")
    assert line["message"]["payload"]["properties"]["plain"] == CANARIES["input"]
    assert line["message"]["context"] == message["context"]
    [line] = function.logged("invocation.received")
    assert line["context"]["aws_request_id"] == line["request_id"]
    hidden = ["canary-that-is-declared-secret", "canary-of-authorization", CANARIES["header"], "v1,", CLIENT_SECRET]
    hidden += [CANARIES["secret"], encrypted(CANARIES["secret"])]
    assert [each for each in hidden if each in function.output] == []


# Signatures


@pytest.mark.parametrize(
    ("mode", "message", "trusted"),
    [
        ("if-present", "signed", True),
        ("if-present", "unsigned", True),
        ("if-present", "forged", False),
        ("required", "signed", True),
        ("required", "unsigned", False),
        ("required", "forged", False),
        ("off", "forged", True),
        ("", "forged", False),
    ],
)
def test_signature(function: Function, monkeypatch: pytest.MonkeyPatch, mode: str, message: str, trusted: bool) -> None:
    """A message whose signature is wrong, or missing where it is required, runs nothing and ends its run as FAILURE."""
    monkeypatch.setenv("VERIFY_SIGNATURE", mode)
    started: list[str] = []

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        started.append(run.id)

    unsigned = run_message("resize", {"size": 1.0, "name": "žluťoučký"}, run_id="r_1")
    messages = {"signed": signed(unsigned), "unsigned": unsigned, "forged": signed(unsigned, "of-another-client")}
    function.port.add_run("r_1", "resize")
    value = json.dumps(messages[message], ensure_ascii=False).encode()

    assert function.handle(kafka_event(value)) is None

    assert started == (["r_1"] if trusted else [])
    assert function.ends()[0]["status"] == ("SUCCESS" if trusted else "FAILURE")
    assert bool(function.logged("record.given_up")) is not trusted


@pytest.mark.parametrize("signer", [CLIENT_SECRET, "of-another-client"])
def test_either_of_two_secrets_may_sign(function: Function, monkeypatch: pytest.MonkeyPatch, signer: str) -> None:
    """An organization with several clients may sign with the secret with which it encrypts, or with the other."""
    monkeypatch.setenv("PORT_ENCRYPTION_SECRET", "of-another-client")
    monkeypatch.setenv("VERIFY_SIGNATURE", "required")
    function.router.action("resize")(lambda run: None)
    function.port.add_run("r_1", "resize")

    assert function.handle(kafka_event(signed(run_message("resize", run_id="r_1"), signer))) is None

    assert function.ends()[0]["status"] == "SUCCESS"


def test_forged_message_does_not_end_a_run_that_goes_on(function: Function) -> None:
    """A refused message about a run that was started already leaves that run alone."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None: ...

    function.note_start("r_1", seconds=60)

    assert function.handle(kafka_event(signed(run_message("resize", run_id="r_1"), "of-another-client"))) is None

    assert function.ends() == []


# Secret inputs


@dataclass(frozen=True)
class Login:
    user: str
    password: Secret[str]
    settings: Secret[dict[str, Any]]
    token: str
    hint: Secret[str] | None = None


def test_secret_inputs_are_decrypted(function: Function) -> None:
    """Inputs that the message calls censored reach the handler decrypted: as Secret, as text, as an object."""
    seen: list[Login] = []

    @function.router.action("login", inputs=Login)
    def login(run: ActionRun[Login]) -> None:
        seen.append(run.inputs)

    message = run_message(
        "login",
        {
            "user": "ada",
            "password": encrypted("s3cr3t-p@ss"),
            "settings": encrypted('{"a":1}'),
            "token": encrypted("t0k3n"),
            "hint": "not encrypted",
        },
        run_id="r_1",
    )
    message["payload"]["censoredProperties"] = ["password", "settings", "token"]
    function.port.add_run("r_1", "login")

    assert function.handle(kafka_event(message)) is None

    [inputs] = seen
    assert inputs.password.reveal() == "s3cr3t-p@ss"
    assert inputs.settings.reveal() == {"a": 1}
    assert (inputs.user, inputs.token) == ("ada", "t0k3n")
    assert inputs.hint is not None
    assert inputs.hint.reveal() == "not encrypted"
    assert "s3cr3t" not in repr(inputs)


def test_secret_input_that_cannot_be_decrypted(function: Function) -> None:
    """A secret input that does not fit the client secret fails the run with a sentence that says what to look at."""

    @function.router.action("login")
    def login(run: ActionRun[Mapping[str, Any]]) -> None:
        raise AssertionError

    broken = base64.b64encode(bytes(48)).decode()
    message = run_message("login", {"password": broken}, run_id="r_1")
    message["payload"]["censoredProperties"] = ["password"]
    function.port.add_run("r_1", "login")

    assert function.handle(kafka_event(message)) is None

    [end] = function.ends()
    assert end["status"] == "FAILURE"
    assert "The secret input password could not be decrypted" in end["summary"]
    assert "PORT_ENCRYPTION_SECRET" in end["summary"]


def test_another_secret_may_encrypt(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """An organization with several credentials names the one that encrypts in PORT_ENCRYPTION_SECRET."""
    monkeypatch.setenv("PORT_ENCRYPTION_SECRET", CLIENT_SECRET)
    seen: list[str] = []

    @function.router.action("login")
    def login(run: ActionRun[Mapping[str, Any]]) -> None:
        seen.append(run.inputs["password"].reveal())

    monkeypatch.setattr(function.port, "client_secret", "another-client-secret")
    monkeypatch.setenv("PORT_CLIENT_SECRET", "another-client-secret")
    message = run_message("login", {"password": encrypted("s3cr3t")}, run_id="r_1")
    message["payload"]["censoredProperties"] = ["password"]
    function.port.add_run("r_1", "login")

    function.handle(kafka_event(message))

    assert seen == ["s3cr3t"]


@pytest.mark.parametrize("hint", [int, list[str], bool])
def test_secret_of_another_type_is_refused(hint: Any) -> None:
    """Port encrypts texts and objects only; a Secret of something else fails at registration."""

    @dataclass(frozen=True)
    class Odd:
        pin: Secret[hint]

    with pytest.raises(RegistrationError, match="a Secret holds a text or a dict"):
        ActionRouter().action("login", inputs=Odd)


def test_censored_choice(function: Function) -> None:
    """An input that is one of a few values may come encrypted too."""
    seen: list[str] = []

    @dataclass(frozen=True)
    class Tier:
        tier: Literal["gold", "silver"]

    @function.router.action("choose", inputs=Tier)
    def choose(run: ActionRun[Tier]) -> None:
        seen.append(run.inputs.tier)

    message = run_message("choose", {"tier": encrypted("gold")}, run_id="r_1")
    message["payload"]["censoredProperties"] = ["tier"]
    function.port.add_run("r_1", "choose")
    function.handle(kafka_event(message))

    assert seen == ["gold"]


def test_secrets_of_runs_are_forgotten_in_time_and_credentials_are_not(function: Function) -> None:
    """A process that lives long does not collect secrets without end, and never forgets its own credentials."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None: ...

    function.run("resize")
    for number in range(logs.SECRETS_OF_RUNS + 10):
        Secret(f"secret-of-run-{number}")

    logs.log.error("said", text=f"secret-of-run-{number} {CLIENT_SECRET}")
    function.handle(kafka_event(None))

    assert len([*logs._secrets_of_runs]) == logs.SECRETS_OF_RUNS
    assert function.logged("said")[0]["text"] == f"{logs.MASK} {logs.MASK}"
