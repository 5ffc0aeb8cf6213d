"""Terraform, on a copy of the module and with the AWS provider from wherever this machine has it."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODULE = Path(__file__).resolve().parents[2] / "terraform"
OLDEST_TERRAFORM = (1, 11)

# A provider mirror holds each provider under its source address: HOST/NAMESPACE/TYPE.
PROVIDER = Path("registry.terraform.io", "hashicorp", "aws")

# Files that people and Terraform leave in the module's folder must not get into a copy of it.
LEFT_OUT = shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars", "*.tfvars.json", "*.tfplan")

# Every command starts the provider, which spends a quarter of its time on collecting its garbage.
QUICK = {"GOGC": "400"}

# Lines that show progress: resources that are done or take long, and tests that have run.
PROGRESS = re.compile(r"(Creation|Modifications|Destruction) complete after |: Still |^(tests/|  run )")

INTERRUPTED_SECONDS = 60


class TerraformError(Exception):
    """Terraform is missing, too old or has no provider, or a command failed. The text says what to do."""


@dataclass(frozen=True)
class Plan:
    """The changes that Terraform would make.

    *changes* has the address of each resource that would change, with Terraform's words for the change: `["update"]`,
    `["delete", "create"]` and so on. *file* is the saved plan.
    """

    empty: bool
    text: str
    changes: dict[str, list[str]]
    file: Path


class Terraform:
    """One root module, run in a copy of the module's folder. State and plans stay in that copy.

    *root_module* is the module's folder or one below it. The developer's own settings and AWS account are not used:
    variables of this process that begin with TF_ or AWS_ are left out before *environment* is added. Every line goes to
    terraform.log in *directory*. Lines about a resource also go to *progress*.
    """

    def __init__(
        self,
        root_module: Path,
        directory: Path,
        environment: Mapping[str, str],
        *,
        module: Path = MODULE,
        progress: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._module_copy = directory / "terraform"
        shutil.copytree(module, self._module_copy, ignore=LEFT_OUT, dirs_exist_ok=True)
        packages = directory / "dist"
        if not packages.is_symlink():
            packages.symlink_to(module.resolve().parent / "dist", target_is_directory=True)

        self.root_module = self._module_copy / root_module.resolve().relative_to(module.resolve())
        self.log = directory / "terraform.log"
        self._progress = progress
        self._environment = own_environment() | cli_configuration(directory) | dict(environment)

    def init(self) -> None:
        """Install the provider."""
        require_terraform(self._environment)
        try:
            with _alone_in(self._environment.get("TF_PLUGIN_CACHE_DIR")):
                self._run("init", "-input=false", "-no-color")
        except TerraformError as error:
            if "hashicorp/aws" not in str(error):
                raise
            raise TerraformError(
                "Terraform found no AWS provider that fits this module. Connect to a network that reaches the "
                "Terraform registry, or set TF_PROVIDER_MIRROR to a folder that holds the provider in "
                f"{PROVIDER}.\n{error}"
            ) from None

    def override(self, arguments: Mapping[str, object]) -> None:
        """Give the root module's call of `port_runner` these arguments, in place of its own and of an earlier override.

        https://developer.hashicorp.com/terraform/language/files/override
        """
        text = json.dumps({"module": {"port_runner": arguments}}, ensure_ascii=False)
        (self.root_module / "sandbox_override.tf.json").write_text(text.replace("${", "$${").replace("%{", "%%{"))

    def apply(self, variables: Mapping[str, object]) -> None:
        """Create or change the resources. A variable that is None stays unset."""
        self._run("apply", "-input=false", "-auto-approve", "-no-color", variables=variables)

    def plan(self, variables: Mapping[str, object]) -> Plan:
        """Return the changes that an apply would make."""
        file = self.root_module / "saved.tfplan"
        command = ("plan", "-input=false", "-detailed-exitcode", f"-out={file}", "-no-color")
        status, text = self._run(*command, variables=variables, accept=(0, 2))
        resources = self._json("show", "-json", str(file))["resource_changes"] if status == 2 else []
        actions = {resource["address"]: resource["change"]["actions"] for resource in resources}
        changes = {address: words for address, words in actions.items() if words not in (["no-op"], ["read"])}
        return Plan(empty=status == 0, text=text, changes=changes, file=file)

    def destroy(self, variables: Mapping[str, object]) -> None:
        """Remove every resource in the state."""
        self._run("destroy", "-input=false", "-auto-approve", "-no-color", variables=variables)

    def validate(self) -> None:
        """Check the root module and the modules that it calls."""
        self._run("validate", "-no-color")

    def test(self) -> None:
        """Run the root module's tests/*.tftest.hcl."""
        self._run("test", "-no-color")

    def output(self) -> dict[str, object]:
        """Return the root module's outputs by name."""
        return {name: output["value"] for name, output in self._json("output", "-json").items()}

    def state_text(self) -> str:
        """Return the text of the state file, which is empty before the first apply."""
        state = self.root_module / "terraform.tfstate"
        return state.read_text() if state.exists() else ""

    def _json(self, *command: str) -> dict[str, Any]:
        _, text = self._run(*command, errors=subprocess.DEVNULL)
        answer: dict[str, Any] = json.loads(text)
        return answer

    def _run(
        self,
        *command: str,
        variables: Mapping[str, object] | None = None,
        accept: Sequence[int] = (0,),
        errors: int = subprocess.STDOUT,
    ) -> tuple[int, str]:
        with subprocess.Popen(
            ["terraform", *command],
            cwd=self.root_module,
            env=self._environment | _variables(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # Ctrl-C reaches the whole process group, and a second interrupt would make Terraform drop its state. In a
            # group of its own, Terraform gets only the one signal that is sent from here.
            process_group=0,
        ) as process:
            try:
                text = self._follow(process)
            except BaseException:
                _interrupt(process)
                raise
        if process.returncode not in accept:
            raise TerraformError(f"`terraform {command[0]}` failed (all output: {self.log}):\n{_errors(text)}")
        return process.returncode, text

    def _follow(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        lines = []
        with self.log.open("a", buffering=1) as log:
            for line in process.stdout:
                log.write(line)
                lines.append(line)
                if PROGRESS.search(line):
                    self._progress(line.partition(" [id=")[0].rstrip())
        process.wait()
        return "".join(lines)


def cli_configuration(
    directory: Path, environment: Mapping[str, str] = os.environ, folders: Iterator[Path] | None = None
) -> dict[str, str]:
    """Return the environment variables with which Terraform finds the AWS provider.

    A mirror named by TF_PROVIDER_MIRROR comes first, then an existing TF_CLI_CONFIG_FILE, then a mirror in one of
    *folders* (by default the usual ones), then the registry. A configuration for a mirror is written to *directory*.
    """
    if named := environment.get("TF_PROVIDER_MIRROR"):
        if not _is_mirror(Path(named)):
            raise TerraformError(
                f"TF_PROVIDER_MIRROR is {named}, which holds no AWS provider. Set it to the folder that holds "
                f"{PROVIDER}, or unset it."
            )
        return _mirror_configuration(directory, Path(named))
    configuration = environment.get("TF_CLI_CONFIG_FILE")
    if configuration and Path(configuration).is_file():
        return {"TF_CLI_CONFIG_FILE": configuration}
    for folder in folders if folders is not None else usual_folders(environment):
        if _is_mirror(folder):
            return _mirror_configuration(directory, folder)
    return _registry_cache(environment)


def _mirror_configuration(directory: Path, mirror: Path) -> dict[str, str]:
    file = directory / "terraform.tfrc"
    path = json.dumps(str(mirror.resolve()), ensure_ascii=False)
    file.write_text(f"provider_installation {{\n  filesystem_mirror {{\n    path = {path}\n  }}\n}}\n")
    return {"TF_CLI_CONFIG_FILE": str(file)}


def _registry_cache(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a cache of the provider, about 150 MB, so that copies of the module share it."""
    cache = environment.get("TF_PLUGIN_CACHE_DIR")
    if not cache:
        folder = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        cache = str(folder / "port-execution-lambda" / "terraform-providers")
        Path(cache).mkdir(parents=True, exist_ok=True)
    # The copies have no lock file. Without it, Terraform reuses a cached provider only if this variable is set.
    return {"TF_PLUGIN_CACHE_DIR": cache, "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE": "true"}


def usual_folders(environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield Terraform's own folders for providers, then every folder in the usual places of mirrors."""
    home = Path.home()
    data = Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share")
    yield home / ".terraform.d" / "plugins"
    yield data / "terraform" / "plugins"
    shared = [Path("/usr/local/share"), Path("/usr/share")]
    yield from (folder / "terraform" / "plugins" for folder in shared)
    for place in (home, Path("/opt"), *shared):
        try:
            yield from sorted(place.iterdir())
        except OSError:
            continue


def _is_mirror(folder: Path) -> bool:
    try:
        return (folder / PROVIDER).is_dir()
    except OSError:
        return False


def own_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "AWS_"))}
    return kept | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CHECKPOINT_DISABLE": "1",
        "TF_IN_AUTOMATION": "1",
        **QUICK,
    }


def _variables(variables: Mapping[str, object]) -> dict[str, str]:
    """Return variables for the environment, because every user of the machine can read a process's arguments."""
    return {f"TF_VAR_{name}": _expression(value) for name, value in variables.items() if value is not None}


def _expression(value: object) -> str:
    """Return a string unchanged, and anything else as an expression, in which ${ and %{ begin a template."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")


@contextmanager
def _alone_in(cache: str | None) -> Iterator[None]:
    """Lock the cache. Terraform does not lock it, and two downloads at the same time destroy it."""
    if cache is None:
        yield
        return
    with Path(cache, "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def require_terraform(environment: Mapping[str, str]) -> None:
    oldest = ".".join(map(str, OLDEST_TERRAFORM))
    advice = f"Install Terraform {oldest} or newer: https://developer.hashicorp.com/terraform/install"
    try:
        command = ["terraform", "version", "-json"]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise TerraformError(f"Terraform is not installed. {advice}") from None
    version = json.loads(answer.stdout)["terraform_version"]
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_TERRAFORM:
        raise TerraformError(f"Terraform {version} cannot write secrets without keeping them in its state. {advice}")


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Interrupt Terraform as Ctrl-C does, so that it finishes its current work and writes its state."""
    process.send_signal(signal.SIGINT)
    try:
        # Keep reading its output: a write to a closed pipe would end it immediately.
        process.communicate(timeout=INTERRUPTED_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _errors(text: str) -> str:
    """Return the errors in Terraform's output, without a plan before them."""
    _, mark, errors = text.partition("Error: ")
    return (mark + errors if mark else text).strip()
