"""The examples and what the pipeline deploys, from the first apply to the destroy, with every change in between.

They live at the same time, for half of a life is waiting. The example `basic` is what test_module.py applies.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from port_runner_cli.clients.port import PortConnection
from port_runner_sandbox import Sandbox
from port_runner_sandbox.terraform import MODULE
from tests.support.deployment import Deployment
from tests.support.example_deployments import (
    CHANGE_LOG,
    CREDENTIALS,
    FUNCTION,
    KAFKA_SECRET,
    LAYER,
    LOG_GROUP,
    POLICY,
    PORT_SECRET,
    ROLE,
    RUNS,
    SECRETS,
    Addition,
    Changes,
    Enterprise,
    Pipeline,
    Place,
    adding,
    changing,
    enterprise,
    pipeline,
)


@dataclass(frozen=True)
class Lives:
    """All of them, which may not have come to their ends yet."""

    enterprise: Future[Enterprise]
    pipeline: Future[Pipeline]
    adding: Future[Addition]
    changing: Future[Changes]


@pytest.fixture(scope="module")
def lives(
    connection: PortConnection,
    sandbox: Sandbox,
    coming_deployment: Future[Deployment],
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Iterator[Lives]:
    """Begins them all, beside the deployment that later tests share."""
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\nApplying and changing four runners side by side: this takes a minute or two.", flush=True)
    place = Place(sandbox, connection, tmp_path_factory.mktemp("examples"))
    with ThreadPoolExecutor() as together:
        # What takes longest begins first.
        longest = together.submit(changing, place)
        yield Lives(
            together.submit(enterprise, place),
            together.submit(pipeline, place),
            together.submit(adding, place),
            longest,
        )


def test_every_example_is_applied() -> None:
    """No example is there that no test applies."""
    examples = {path.name for path in (MODULE / "examples").iterdir()}

    assert examples == {"basic", "change-log", "existing-secrets-and-vpc"}


class TestEnterprise:
    """The example `existing-secrets-and-vpc`."""

    @pytest.fixture
    def life(self, lives: Lives) -> Enterprise:
        return lives.enterprise.result()

    def test_runs_end(self, life: Enterprise) -> None:
        """The function in the subnets takes a run from its topic and ends it in Port."""
        assert life.run["status"] == "SUCCESS"

    def test_second_plan_is_empty(self, life: Enterprise) -> None:
        """What was applied leaves nothing to do."""
        assert life.second_plan.empty, life.second_plan.text

    def test_what_is_made(self, life: Enterprise) -> None:
        """The function is in its subnets, its role under its path, all is watched, and no credentials are copied."""
        assert life.function["Role"].endswith(f":role/platform/{life.name}")
        assert life.function["VpcConfig"]["SubnetIds"][0].startswith("subnet-")
        assert life.function["VpcConfig"]["SecurityGroupIds"][0].startswith("sg-")
        assert life.made["secrets"] == [f"{life.name}/{each}" for each in ("kafka-ca-certificate", *CREDENTIALS)]
        assert life.made["dashboards"] == [life.name]
        ends = ("duration", "errors", "no-run-ended", "offset-lag", "throttles")
        assert life.made["alarms"] == [f"{life.name}-{end}" for end in ends]

    def test_destroy_leaves_what_was_brought(self, life: Enterprise) -> None:
        """A destroy takes all that the apply made, and not the secrets, which are the caller's."""
        brought = [f"{life.name}/{kind}" for kind in CREDENTIALS]

        assert life.left == {kind: [] for kind in life.left} | {"secrets": brought}


class TestPipeline:
    """The root module `deployment`, by the commands of the GitHub workflow."""

    @pytest.fixture
    def life(self, lives: Lives) -> Pipeline:
        return lives.pipeline.result()

    def test_runs_end(self, life: Pipeline) -> None:
        """The pipeline's own commands make a runner that works, and what they made can be destroyed."""
        assert life.run["status"] == "SUCCESS"
        assert life.left == {kind: [] for kind in life.left}

    def test_plan(self, life: Pipeline) -> None:
        """A pull request's plan needs no secret, and that of another environment knows nothing of the first."""
        assert re.search(r"^Plan: [1-9]\d* to add, 0 to change, 0 to destroy\.", life.plan, re.MULTILINE)

    def test_state(self, life: Pipeline) -> None:
        """An environment's state is where it was told to be, without a lock or a secret left in it."""
        assert list(life.states) == ["development/port-runner.tfstate"]
        [state] = life.states.values()
        assert "aws_lambda_function" in state
        assert [secret for secret in life.secrets if secret in state] == []


class TestAddedAction:
    """A new handler, and the five commands that README.md gives for it, with the example `basic`."""

    @pytest.fixture
    def life(self, lives: Lives) -> Addition:
        return lives.adding.result()

    def test_commands(self, life: Addition) -> None:
        """Definition, Port, check and deployment: each command says what it did."""
        written, set_up, checked, deployed, _ = life.printed

        assert written == "port/estimate_vm_action.json: written\n"
        assert set_up.splitlines()[1:] == [
            "blueprint vm: unchanged",
            "action create_vm: unchanged",
            "action estimate_vm: created",
        ]
        assert life.definition["trigger"]["userInputs"]["properties"]["period"] == {
            "type": "string",
            "title": "Period",
            "enum": ["month", "year"],
            "default": "month",
        }
        assert checked == "Actions and handlers agree.\n"
        assert "dist/function.zip: built" in deployed
        assert re.search(r"^Apply complete! Resources: [1-9]\d* added, 0 changed", deployed, re.MULTILINE)

    def test_first_run_is_green(self, life: Addition) -> None:
        """The last command executes the action, and shows log, outcome and summary of a run that went all the way."""
        [run] = life.runs
        first, *events, end, summary = life.printed[-1].splitlines()

        assert first == f"estimate_vm runs as {run['id']}"
        assert any(line.endswith("log     Estimating 2 cores and 8 GB") for line in events)
        assert end.startswith("SUCCESS after ")
        assert summary == run["summary"] == "About 44 EUR a month."
        assert life.left == {kind: [] for kind in life.left}


class TestChanges:
    """The example `change-log`, and what a change of the module's arguments does to what is there."""

    @pytest.fixture
    def life(self, lives: Lives) -> Changes:
        return lives.changing.result()

    def test_both_topics_arrive(self, life: Changes) -> None:
        """The function takes runs from the one topic, and changes of the catalog from the other."""
        assert life.run["status"] == "SUCCESS"
        assert life.storage_size == 100

    def test_in_place(self, life: Changes) -> None:
        """How runs are read, run, logged and paid for can be changed without anything being made anew."""
        assert life.in_place == {
            address: ["update"] for address in (FUNCTION, RUNS, CHANGE_LOG, LOG_GROUP, ROLE, POLICY, *SECRETS)
        }
        assert life.done_in_place == {
            address: ["update"] for address in (FUNCTION, RUNS, CHANGE_LOG, LOG_GROUP, POLICY)
        }
        before, after = life.identities
        assert len(before["mappings"]) == 2
        assert after == before

    def test_replacements(self, life: Changes) -> None:
        """A mapping is replaced where AWS cannot change it; before the layer's old version goes the new one is there.

        A role takes its policy with it. A raised version number replaces the version of that secret alone.
        """
        replaced = ["delete", "create"]
        assert life.replacements == {
            RUNS: replaced,
            CHANGE_LOG: replaced,
            LAYER: ["create", "delete"],
            FUNCTION: ["update"],
            ROLE: replaced,
            POLICY: replaced,
            KAFKA_SECRET: replaced,
            # Their descriptions name the topic.
            **{address: ["update"] for address in SECRETS[:2]},
        }
        assert life.reasons == {
            RUNS: {"topics", "consumer_group_id", "endpoints", "starting_position"},
            CHANGE_LOG: {"consumer_group_id", "endpoints", "starting_position"},
            LAYER: {"filename", "source_code_hash"},
            ROLE: {"path"},
            POLICY: {"role"},
            KAFKA_SECRET: {"secret_string_wo_version"},
        }

    def test_upgrade_of_the_zip_alone(self, life: Changes) -> None:
        """A new function.zip changes the function and nothing else, and later runs are the new code's."""
        assert life.upgrade.done == {FUNCTION: ["update"]}
        assert base64.b64decode(life.upgrade.deployed_sha256) == hashlib.sha256(life.upgrade.package).digest()
        assert '"version": "upgraded"' in life.log

    def test_pause_and_resume(self, life: Changes) -> None:
        """While the mapping is disabled nothing is started; when it is enabled again each run is done, once."""
        assert life.pause.state == "Disabled"
        assert life.pause.requests == 0
        assert life.pause.starts == [1, 1, 1]
        assert life.pause.statuses == ["SUCCESS"] * 3
        before, after = life.pause.offsets
        assert after == before + 3

    def test_import(self, life: Changes) -> None:
        """What is there can be taken over, all but the credentials, which an import would put into the state.

        Lambda does not give its zips back, so that the next apply uploads them anew; nothing else is changed.
        """
        assert f"Plan: {life.imported} to import" in life.import_text
        assert life.not_imported == {
            FUNCTION: ["update"],
            LAYER: ["create", "delete"],
            KAFKA_SECRET: ["create"],
            PORT_SECRET: ["create"],
        }

    def test_rotation(self, life: Changes) -> None:
        """Raised version numbers write new credentials, with which runs go on; Terraform's files hold neither."""
        rotation = life.rotation

        assert {KAFKA_SECRET, PORT_SECRET} == {address for address, words in rotation.done.items() if "create" in words}
        assert rotation.done[KAFKA_SECRET] == rotation.done[PORT_SECRET] == ["delete", "create"]
        assert rotation.kafka == {"username": life.name, "password": "rotated password"}
        assert rotation.port["encryption_secret"] == "rotated secret"
        assert life.name.encode() in rotation.files
        assert [secret for secret in rotation.secrets if secret.encode() in rotation.files] == []

    def test_destroy_leaves_nothing_of_it(self, life: Changes) -> None:
        """Everything that was made, changed and replaced is gone after a destroy."""
        assert life.left == {kind: [] for kind in life.left}
