"""Terraform finds its provider, gets only the intended settings, and leaves nothing in the repository."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from port_runner_sandbox.terraform import Terraform, TerraformError, cli_configuration, usual_folders
from tests.support.fake_terraform import FakeTerraform


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTerraform:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return FakeTerraform(folder)


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A repository's terraform/ with one example, and the files that a run by hand leaves."""
    module = tmp_path / "repository" / "terraform"
    example = module / "examples" / "basic"
    (example / ".terraform").mkdir(parents=True)
    (module / "main.tf").write_text('output "name" { value = "module" }\n')
    (example / "main.tf").write_text('output "name" { value = "example" }\n')
    for left in (".terraform.lock.hcl", "terraform.tfstate", "terraform.tfvars"):
        (example / left).write_text("left over")
    return module


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    return directory


def mirror(folder: Path) -> Path:
    (folder / "registry.terraform.io" / "hashicorp" / "aws").mkdir(parents=True)
    return folder


def configured_mirror(configuration: dict[str, str]) -> str:
    [path] = [
        line.partition("=")[2].strip()
        for line in Path(configuration["TF_CLI_CONFIG_FILE"]).read_text().splitlines()
        if "path" in line
    ]
    return str(json.loads(path))


class TestProvider:
    def test_named_mirror(self, tmp_path: Path, directory: Path) -> None:
        """The mirror that TF_PROVIDER_MIRROR names comes before everything else."""
        named = mirror(tmp_path / "named")
        other = mirror(tmp_path / "other")
        own = tmp_path / "own.tfrc"
        own.touch()

        environment = {"TF_PROVIDER_MIRROR": str(named), "TF_CLI_CONFIG_FILE": str(own)}
        configuration = cli_configuration(directory, environment, iter([other]))

        assert configured_mirror(configuration) == str(named)

    def test_named_mirror_that_is_none(self, tmp_path: Path, directory: Path) -> None:
        """If TF_PROVIDER_MIRROR names a folder without the provider, the error says what the folder must hold."""
        with pytest.raises(TerraformError, match=r"registry\.terraform\.io/hashicorp/aws, or unset it"):
            cli_configuration(directory, {"TF_PROVIDER_MIRROR": str(tmp_path)}, iter([]))

    def test_configuration_of_ones_own(self, tmp_path: Path, directory: Path) -> None:
        """A configuration file that exists is used unchanged."""
        own = tmp_path / "own.tfrc"
        own.touch()

        configuration = cli_configuration(
            directory, {"TF_CLI_CONFIG_FILE": str(own)}, iter([mirror(tmp_path / "other")])
        )

        assert configuration == {"TF_CLI_CONFIG_FILE": str(own)}

    def test_configuration_that_does_not_exist(self, tmp_path: Path, directory: Path) -> None:
        """If the configuration file does not exist, the first folder with the provider is used."""
        folders = iter([tmp_path / "nothing", mirror(tmp_path / "first"), mirror(tmp_path / "second")])

        configuration = cli_configuration(directory, {"TF_CLI_CONFIG_FILE": str(tmp_path / "missing")}, folders)

        assert configured_mirror(configuration) == str(tmp_path / "first")

    def test_registry(self, tmp_path: Path, directory: Path) -> None:
        """Without a mirror, the provider comes from the registry and is cached for the next copy of the module."""
        configuration = cli_configuration(directory, {"XDG_CACHE_HOME": str(tmp_path / "cache")}, iter([]))

        assert "TF_CLI_CONFIG_FILE" not in configuration
        cache = Path(configuration["TF_PLUGIN_CACHE_DIR"])
        assert cache.is_dir()
        assert cache.is_relative_to(tmp_path / "cache")

    def test_usual_folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Terraform's own folders come first, then those in the home folder and in the systems' places for mirrors."""
        home = tmp_path / "home"
        (home / "my-mirror").mkdir(parents=True)
        monkeypatch.setenv("HOME", str(home))

        folders = list(usual_folders({"XDG_DATA_HOME": str(tmp_path / "data")}))

        assert folders[:2] == [home / ".terraform.d" / "plugins", tmp_path / "data" / "terraform" / "plugins"]
        assert home / "my-mirror" in folders

    def test_no_provider(self, program: FakeTerraform, module: Path, directory: Path) -> None:
        """If neither registry nor mirror has the provider, the error says what to do."""
        program.answer("init", 1, "Error: Failed to query available provider packages\n\nfor provider hashicorp/aws")

        with pytest.raises(TerraformError, match=r"reaches the Terraform registry, or set TF_PROVIDER_MIRROR"):
            Terraform(module, directory, {}, module=module).init()


class TestProgram:
    def test_missing(self, module: Path, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without Terraform, the error says what to install."""
        monkeypatch.setenv("PATH", str(tmp_path / "empty"))

        with pytest.raises(TerraformError, match=r"not installed\. Install Terraform 1\.11 or newer"):
            Terraform(module, directory, {}, module=module).init()

    def test_too_old(self, program: FakeTerraform, module: Path, directory: Path) -> None:
        """A Terraform without write-only arguments is refused before it writes a secret into its state."""
        program.answer("version", 0, json.dumps({"terraform_version": "1.9.8"}))

        with pytest.raises(TerraformError, match=r"Terraform 1\.9\.8 .* Install Terraform 1\.11 or newer"):
            Terraform(module, directory, {}, module=module).init()

    def test_failure(self, program: FakeTerraform, module: Path, directory: Path) -> None:
        """A failed command's error has Terraform's errors without the plan before them. The log has all output."""
        program.answer("apply", 1, "a long plan\n\nError: no such broker\n\nchange it")
        terraform = Terraform(module, directory, {}, module=module)

        with pytest.raises(TerraformError) as raised:
            terraform.apply({})

        assert str(raised.value).endswith("Error: no such broker\n\nchange it")
        assert "a long plan" not in str(raised.value)
        assert "a long plan" in terraform.log.read_text()

    def test_interrupted(self, program: FakeTerraform, module: Path, directory: Path) -> None:
        """An interrupted Terraform finishes its current work, so that its state names every resource."""
        program.answer("apply", "waits", "aws_sqs_queue.failures: Creation complete after 25s [id=x]")

        def interrupt(line: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Terraform(module, directory, {}, module=module, progress=interrupt).apply({})

        assert (program.folder / "interrupted").exists()

    def test_progress(self, program: FakeTerraform, module: Path, directory: Path) -> None:
        """Each resource that is done or takes long is reported when it happens, without its identifier."""
        program.answer(
            "apply",
            0,
            "Terraform will perform\na: Creating...\na: Still creating... [10s elapsed]\n"
            "a: Creation complete after 1s [id=x]\nb: Modifications complete after 0s [id=y]",
        )
        told: list[str] = []

        Terraform(module, directory, {}, module=module, progress=told.append).apply({})

        assert told == [
            "a: Still creating... [10s elapsed]",
            "a: Creation complete after 1s",
            "b: Modifications complete after 0s",
        ]


class TestEnvironment:
    def test_nothing_of_the_developer(
        self, program: FakeTerraform, module: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither a developer's AWS account nor their Terraform settings reach Terraform."""
        for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL_SQS", "TF_VAR_name", "TF_CLI_ARGS_apply"):
            monkeypatch.setenv(name, "mine")

        Terraform(module, directory, {"AWS_ACCESS_KEY_ID": "test"}, module=module).apply({})

        environment = program.environment("apply")
        assert "mine" not in environment.values()
        assert environment["AWS_ACCESS_KEY_ID"] == "test"
        assert environment["AWS_CONFIG_FILE"] == environment["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
        assert environment["CHECKPOINT_DISABLE"] == environment["TF_IN_AUTOMATION"] == "1"

    def test_variables(self, program: FakeTerraform, module: Path, directory: Path) -> None:
        """Variables reach Terraform in its environment, because every user of the machine can read arguments."""
        terraform = Terraform(module, directory, {}, module=module)

        for run in (terraform.apply, terraform.plan, terraform.destroy):
            run({"kafka_credentials": {"password": "hidden"}, "name": "runner", "port_region": None})

        for command in ("apply", "plan", "destroy"):
            [(arguments, environment, _)] = program.calls(command)
            assert "hidden" not in " ".join(arguments)
            assert "hidden" in environment["TF_VAR_kafka_credentials"]
            assert environment["TF_VAR_name"] == "runner"
            assert "TF_VAR_port_region" not in environment


class TestCopy:
    def test_repository_stays_as_it_is(self, program: FakeTerraform, module: Path, directory: Path) -> None:
        """Terraform works in a copy, without the files that a run by hand has left."""
        Terraform(module / "examples" / "basic", directory, {}, module=module).apply({})

        [(_, _, folder)] = program.calls("apply")
        assert Path(folder) == directory / "terraform" / "examples" / "basic"
        assert [path.name for path in Path(folder).iterdir()] == ["main.tf"]

    def test_packages(self, program: FakeTerraform, module: Path, directory: Path) -> None:
        """The copy finds the packages where the module looks for them by default."""
        packages = module.parent / "dist"
        packages.mkdir()
        (packages / "function.zip").write_bytes(b"zip")

        terraform = Terraform(module, directory, {}, module=module)

        assert (terraform.root_module / ".." / "dist" / "function.zip").read_bytes() == b"zip"

    def test_second_use(self, program: FakeTerraform, module: Path, directory: Path) -> None:
        """A directory can be used again, and keeps the state of the first time."""
        first = Terraform(module, directory, {}, module=module)
        (first.root_module / "terraform.tfstate").write_text("state")

        second = Terraform(module, directory, {}, module=module)

        assert second.state_text() == "state"


class TestPlan:
    def test_empty(self, program: FakeTerraform, module: Path, directory: Path) -> None:
        """A plan without changes is empty."""
        program.answer("plan", 0, "No changes.")

        plan = Terraform(module, directory, {}, module=module).plan({})

        assert plan.empty
        assert plan.changes == {}
        assert "No changes." in plan.text

    def test_changes(self, program: FakeTerraform, module: Path, directory: Path) -> None:
        """A plan names each resource that would change, and its change, but no resource that stays or is only read."""
        actions = {"a": ["update"], "b": ["delete", "create"], "c": ["no-op"], "d": ["read"]}
        program.answer("plan", 2, "Plan: 1 to add, 1 to change, 1 to destroy.")
        program.answer(
            "show",
            0,
            json.dumps(
                {"resource_changes": [{"address": a, "change": {"actions": words}} for a, words in actions.items()]}
            ),
        )

        plan = Terraform(module, directory, {}, module=module).plan({})

        assert not plan.empty
        assert plan.changes == {"a": ["update"], "b": ["delete", "create"]}


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """A module that outputs its variables unchanged. It needs no provider."""
    module = tmp_path / "echo"
    module.mkdir()
    (module / "main.tf").write_text(
        "\n".join(
            f'variable "{name}" {{ type = {kind} }}\noutput "{name}" {{ value = var.{name} }}'
            for name, kind in {"text": "string", "number": "number", "list": "list(string)", "object": "any"}.items()
        )
    )
    return module


def test_values_arrive_unchanged(echo: Path, directory: Path) -> None:
    """Real Terraform takes every value unchanged: it reads no template and no escape into it."""
    values: dict[str, Any] = {
        "text": '${path.module} %{if} "quoted" \\ line\nline é',
        "number": 1.5,
        "list": ["${x}", "%{y}", "$${z}", 'a"b\\c\td\ne', "é😀"],
        "object": {"password": "${upper(1)}", "nested": {"yes": True, "no": None}},
    }
    terraform = Terraform(echo, directory, {}, module=echo)
    terraform.init()

    terraform.apply(values)

    assert terraform.output() == values
    assert terraform.plan(values).empty
