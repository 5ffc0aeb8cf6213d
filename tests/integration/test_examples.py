"""The examples and the pipeline's deployment, from the first apply to the destroy, with every change in between.

They run at the same time, because half of each is waiting. test_module.py applies the example `basic`.
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
    Workspace,
    add_and_run_action,
    apply_changes,
    deploy_enterprise,
    run_pipeline,
)


@dataclass(frozen=True)
class Results:
    """The results of all deployments, each available when its deployment has ended."""

    enterprise: Future[Enterprise]
    pipeline: Future[Pipeline]
    adding: Future[Addition]
    changing: Future[Changes]


@pytest.fixture(scope="module")
def results(
    connection: PortConnection,
    sandbox: Sandbox,
    coming_deployment: Future[Deployment],
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Iterator[Results]:
    """Start all deployments, while the shared deployment starts too."""
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\nApplying and changing four deployments at the same time. This takes a minute or two.", flush=True)
    workspace = Workspace(sandbox, connection, tmp_path_factory.mktemp("examples"))
    with ThreadPoolExecutor() as together:
        # The longest one starts first.
        longest = together.submit(apply_changes, workspace)
        yield Results(
            together.submit(deploy_enterprise, workspace),
            together.submit(run_pipeline, workspace),
            together.submit(add_and_run_action, workspace),
            longest,
        )


def test_every_example_is_applied() -> None:
    """Every example is applied by a test."""
    examples = {path.name for path in (MODULE / "examples").iterdir()}

    assert examples == {"basic", "change-log", "existing-secrets-and-vpc"}


class TestEnterprise:
    """The example `existing-secrets-and-vpc`."""

    @pytest.fixture
    def result(self, results: Results) -> Enterprise:
        return results.enterprise.result()

    def test_runs_end(self, result: Enterprise) -> None:
        """The function in the subnets handles a run from its topic and ends it in Port."""
        assert result.run["status"] == "SUCCESS"

    def test_second_plan_is_empty(self, result: Enterprise) -> None:
        """A plan after an apply is empty."""
        assert result.second_plan.empty, result.second_plan.text

    def test_what_is_made(self, result: Enterprise) -> None:
        """The function is in its subnets and the role has its path. Alarms exist, and no credentials are copied."""
        assert result.function["Role"].endswith(f":role/platform/{result.name}")
        assert result.function["VpcConfig"]["SubnetIds"][0].startswith("subnet-")
        assert result.function["VpcConfig"]["SecurityGroupIds"][0].startswith("sg-")
        assert result.made["secrets"] == [f"{result.name}/{each}" for each in ("kafka-ca-certificate", *CREDENTIALS)]
        assert result.made["dashboards"] == [result.name]
        ends = ("duration", "errors", "no-run-ended", "offset-lag", "throttles")
        assert result.made["alarms"] == [f"{result.name}-{end}" for end in ends]

    def test_destroy_leaves_what_was_brought(self, result: Enterprise) -> None:
        """A destroy removes everything that the apply made, but not the caller's secrets."""
        brought = [f"{result.name}/{kind}" for kind in CREDENTIALS]

        assert result.left == {kind: [] for kind in result.left} | {"secrets": brought}


class TestPipeline:
    """The root module `deployment`, deployed with the commands of the GitHub workflow."""

    @pytest.fixture
    def result(self, results: Results) -> Pipeline:
        return results.pipeline.result()

    def test_runs_end(self, result: Pipeline) -> None:
        """The pipeline's own commands deploy a working function, and all of it can be destroyed."""
        assert result.run["status"] == "SUCCESS"
        assert result.left == {kind: [] for kind in result.left}

    def test_plan(self, result: Pipeline) -> None:
        """A pull request's plan needs no secret, and a plan for one environment does not see another's resources."""
        assert re.search(r"^Plan: [1-9]\d* to add, 0 to change, 0 to destroy\.", result.plan, re.MULTILINE)

    def test_state(self, result: Pipeline) -> None:
        """An environment's state is at its configured key, with no secret in it and no lock left."""
        assert list(result.states) == ["development/port-runner.tfstate"]
        [state] = result.states.values()
        assert "aws_lambda_function" in state
        assert [secret for secret in result.secrets if secret in state] == []


class TestAddedAction:
    """A new handler and the five commands that README.md gives for it, with the example `basic`."""

    @pytest.fixture
    def result(self, results: Results) -> Addition:
        return results.adding.result()

    def test_commands(self, result: Addition) -> None:
        """The commands that define, create, check and deploy an action each print what they did."""
        written, set_up, checked, deployed, _ = result.printed

        assert written == "port/estimate_vm_action.json: written\n"
        assert set_up.splitlines()[1:] == [
            "blueprint vm: unchanged",
            "action create_vm: unchanged",
            "action estimate_vm: created",
        ]
        assert result.definition["trigger"]["userInputs"]["properties"]["period"] == {
            "type": "string",
            "title": "Period",
            "enum": ["month", "year"],
            "default": "month",
        }
        assert checked == "Actions and handlers agree.\n"
        assert "dist/function.zip: built" in deployed
        assert re.search(r"^Apply complete! Resources: [1-9]\d* added, 0 changed", deployed, re.MULTILINE)

    def test_first_run_is_green(self, result: Addition) -> None:
        """The last command executes the action, and shows the run's log, outcome and summary."""
        [run] = result.runs
        first, *events, end, summary = result.printed[-1].splitlines()

        assert first == f"estimate_vm runs as {run['id']}"
        assert any(line.endswith("log     Estimating 2 cores and 8 GB") for line in events)
        assert end.startswith("SUCCESS after ")
        assert summary == run["summary"] == "About 44 EUR a month."
        assert result.left == {kind: [] for kind in result.left}


class TestChanges:
    """The example `change-log`, and the effect of changed arguments on existing resources."""

    @pytest.fixture
    def result(self, results: Results) -> Changes:
        return results.changing.result()

    def test_both_topics_arrive(self, result: Changes) -> None:
        """The function handles runs from one topic and catalog changes from the other."""
        assert result.run["status"] == "SUCCESS"
        assert result.storage_size == 100

    def test_in_place(self, result: Changes) -> None:
        """Arguments for polling, running, logging and tags change resources in place, without a replacement."""
        assert result.in_place == {
            address: ["update"] for address in (FUNCTION, RUNS, CHANGE_LOG, LOG_GROUP, ROLE, POLICY, *SECRETS)
        }
        assert result.done_in_place == {
            address: ["update"] for address in (FUNCTION, RUNS, CHANGE_LOG, LOG_GROUP, POLICY)
        }
        before, after = result.identities
        assert len(before["mappings"]) == 2
        assert after == before

    def test_replacements(self, result: Changes) -> None:
        """A mapping is replaced if AWS cannot change it. A new layer version is made before the old one is deleted.

        Replacing a role replaces its policy too. A raised version number replaces only that secret's version.
        """
        replaced = ["delete", "create"]
        assert result.replacements == {
            RUNS: replaced,
            CHANGE_LOG: replaced,
            LAYER: ["create", "delete"],
            FUNCTION: ["update"],
            ROLE: replaced,
            POLICY: replaced,
            KAFKA_SECRET: replaced,
            # The descriptions of these secrets name the topic.
            **{address: ["update"] for address in SECRETS[:2]},
        }
        assert result.reasons == {
            RUNS: {"topics", "consumer_group_id", "endpoints", "starting_position"},
            CHANGE_LOG: {"consumer_group_id", "endpoints", "starting_position"},
            LAYER: {"filename", "source_code_hash"},
            ROLE: {"path"},
            POLICY: {"role"},
            KAFKA_SECRET: {"secret_string_wo_version"},
        }

    def test_upgrade_of_the_zip_alone(self, result: Changes) -> None:
        """A new function.zip changes only the function, and later runs use the new code."""
        assert result.upgrade.done == {FUNCTION: ["update"]}
        assert base64.b64decode(result.upgrade.deployed_sha256) == hashlib.sha256(result.upgrade.package).digest()
        assert '"version": "upgraded"' in result.log

    def test_pause_and_resume(self, result: Changes) -> None:
        """While the mapping is disabled no run is started. After it is enabled again each run is done once."""
        assert result.pause.state == "Disabled"
        assert result.pause.requests == 0
        assert result.pause.starts == [1, 1, 1]
        assert result.pause.statuses == ["SUCCESS"] * 3
        before, after = result.pause.offsets
        assert after == before + 3

    def test_import(self, result: Changes) -> None:
        """Existing resources can be imported, except the credentials, which an import would put into the state.

        Lambda does not return its zips, so the next apply uploads them again. It changes nothing else.
        """
        assert f"Plan: {result.imported} to import" in result.import_text
        assert result.not_imported == {
            FUNCTION: ["update"],
            LAYER: ["create", "delete"],
            KAFKA_SECRET: ["create"],
            PORT_SECRET: ["create"],
        }

    def test_rotation(self, result: Changes) -> None:
        """Raised version numbers write new credentials, which later runs use. Terraform's files hold none of them."""
        rotation = result.rotation

        assert {KAFKA_SECRET, PORT_SECRET} == {address for address, words in rotation.done.items() if "create" in words}
        assert rotation.done[KAFKA_SECRET] == rotation.done[PORT_SECRET] == ["delete", "create"]
        assert rotation.kafka == {"username": result.name, "password": "rotated password"}
        assert rotation.port["encryption_secret"] == "rotated secret"
        assert result.name.encode() in rotation.files
        assert [secret for secret in rotation.secrets if secret.encode() in rotation.files] == []

    def test_destroy_leaves_nothing_of_it(self, result: Changes) -> None:
        """A destroy removes everything that was made, changed and replaced."""
        assert result.left == {kind: [] for kind in result.left}
