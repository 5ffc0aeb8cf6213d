"""Create or update the project's Python environments. Skip those that are up to date.

usage: environments.py [dev] [localstack] [runtime] [old-kafka] [checkov]     (all of them without arguments)

`dev` is always included: it holds uv, which fills the others.
Run this with Python 3.13 (scripts/find-python finds one). The environments use the Python that runs this script, but
`old-kafka` an older one if this machine has it.
"""

import contextlib
import fcntl
import hashlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

PYTHON = (3, 13)

FAILED = """\
{requirements} could not be installed into {directory}:

{output}

If the package index cannot be reached, check the network, or name your mirror in both PIP_INDEX_URL
and UV_DEFAULT_INDEX. Then run the same command again: it continues from here."""


class Environment(NamedTuple):
    """A virtual environment below the project's root, and the file that lists its packages."""

    directory: str
    requirements: str
    # Compile ahead only where all of it is used. LocalStack (11,000 files) and checkov use little of what they install,
    # and Python compiles that on import.
    compile_bytecode: bool
    # Install the project in place: its modules are imported from the tree, and its entry points are registered.
    holds_project: bool
    # The Pythons to take instead of this one, if the machine has them.
    preferred_pythons: tuple[str, ...] = ()


ENVIRONMENTS = {
    "dev": Environment(".venv", "requirements/dev.txt", compile_bytecode=True, holds_project=True),
    "localstack": Environment(
        ".venv-localstack", "requirements/localstack.txt", compile_bytecode=False, holds_project=True
    ),
    "runtime": Environment(".venv-runtime", "requirements/runtime.txt", compile_bytecode=True, holds_project=False),
    # The old client has no wheel for a newer Python.
    "old-kafka": Environment(
        ".venv-old-kafka",
        "requirements/old-kafka.txt",
        compile_bytecode=False,
        holds_project=False,
        preferred_pythons=("python3.11", "python3.10"),
    ),
    "checkov": Environment(".venv-checkov", "requirements/checkov.txt", compile_bytecode=False, holds_project=False),
}
INSTALLER = "requirements/uv.txt"
PROJECT = "pyproject.toml"


class InstallationError(Exception):
    """An environment could not be created. The text says why and what to do."""


def make_environments(root: Path, names: Sequence[str], python: Path) -> None:
    """Bring the named environments below `root` up to date with their requirements.

    Raise InstallationError if one of them fails, after the others are finished.
    """
    wanted = [environment for name, environment in ENVIRONMENTS.items() if name in {"dev", *names}]
    if not _outdated(root, wanted, python):
        return
    with _alone(root) as lock:
        outdated = _outdated(root, wanted, python)
        if outdated:
            _install(root, outdated, python, lock)


def _outdated(root: Path, environments: list[Environment], python: Path) -> list[Environment]:
    return [one for one in environments if _read(_stamp(root, one)) != _state(root, one, python)]


def _stamp(root: Path, environment: Environment) -> Path:
    """Return the path of the file that records what an environment was made of.

    It is written last. An environment without it is unfinished and is created again.
    """
    return root / environment.directory / "made-of.txt"


def _state(root: Path, environment: Environment, python: Path) -> str:
    files = [INSTALLER, environment.requirements, *([PROJECT] if environment.holds_project else [])]
    digest = hashlib.sha256(b"".join((root / file).read_bytes() for file in files))
    return f"{_foundation(root, environment, python)}{digest.hexdigest()}\n"


def _foundation(root: Path, environment: Environment, python: Path) -> str:
    """Return the parts that an environment cannot change: its interpreter, and its path, which its scripts contain."""
    version = sys.version.splitlines()[0]
    return f"{_interpreter(environment, python)} {version}\n{root / environment.directory}\n"


def _interpreter(environment: Environment, python: Path) -> Path:
    """Return the Python that an environment is made with."""
    for name in environment.preferred_pythons:
        # Run each, because a command with the right name can be a shim that refuses to start.
        command = [name, "-IS", "-c", "import sys, venv; print(sys._base_executable)"]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            return Path(subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip())
    return python


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[int]:
    """Hold a lock, so that no other process changes the environments below `root` at the same time."""
    with (root / INSTALLER).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another command that is creating the environments.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _install(root: Path, environments: list[Environment], python: Path, lock: int) -> None:
    started = time.monotonic()
    for environment in environments:
        _prepare(root, environment, python, lock)

    running: dict[Environment, subprocess.Popen[str]] = {}
    failures = []
    try:
        for environment in environments:
            print(f"Installing {environment.requirements} into {environment.directory}", flush=True)
            running[environment] = _start(_sync(root, environment), lock)
        for environment, process in running.items():
            output, _ = process.communicate()
            if process.returncode:
                failures.append(_failure(environment.requirements, environment.directory, output))
            else:
                if environment.holds_project:
                    _install_project(root, environment, lock)
                _stamp(root, environment).write_text(_state(root, environment, python))
                print(f"{environment.directory} is ready", flush=True)
    finally:
        for process in running.values():
            if process.poll() is None:
                process.terminate()
                process.wait()
    if failures:
        raise InstallationError("\n\n".join(failures))
    print(f"This took {time.monotonic() - started:.0f} s. The next command does not repeat it.", flush=True)


def _prepare(root: Path, environment: Environment, python: Path, lock: int) -> None:
    """Create the virtual environment again if another Python made it. Install uv into the one for development."""
    directory = root / environment.directory
    stamp = _stamp(root, environment)
    usable = _read(stamp).startswith(_foundation(root, environment, python))
    stamp.unlink(missing_ok=True)
    development = environment == ENVIRONMENTS["dev"]
    if not usable:
        print(f"Creating {environment.directory}", flush=True)
        pip = [] if development else ["--without-pip"]
        interpreter = str(_interpreter(environment, python))
        command = [interpreter, "-m", "venv", "--clear", *pip, str(directory)]
        _run(command, "A new environment", environment.directory, lock)
    if development:
        options = ["--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes"]
        requirements = str(root / INSTALLER)
        command = [str(directory / "bin/python"), "-m", "pip", "install", *options, "-r", requirements]
        _run(command, INSTALLER, environment.directory, lock)


def _install_project(root: Path, environment: Environment, lock: int) -> None:
    """Install the project in place. The development environment comes first, because it holds the build tool."""
    development = root / ENVIRONMENTS["dev"].directory
    with tempfile.TemporaryDirectory() as directory:
        build = [str(development / "bin/python"), "-m", "hatchling", "build", "-t", "wheel:editable", "-d", directory]
        _run(build, PROJECT, environment.directory, lock, root)
        [wheel] = Path(directory).glob("*.whl")
        python = str(root / environment.directory / "bin/python")
        install = [
            str(development / "bin/uv"),
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--python",
            python,
            str(wheel),
        ]
        _run(install, PROJECT, environment.directory, lock, root)


def _sync(root: Path, environment: Environment) -> list[str]:
    uv = str(root / ENVIRONMENTS["dev"].directory / "bin/uv")
    python = str(root / environment.directory / "bin/python")
    compiled = ["--compile-bytecode"] if environment.compile_bytecode else []
    requirements = str(root / environment.requirements)
    return [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, *compiled, requirements]


def _run(command: list[str], what: str, directory: str, lock: int, folder: Path | None = None) -> None:
    process = _start(command, lock, folder)
    try:
        output, _ = process.communicate()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode:
        raise InstallationError(_failure(what, directory, output))


def _start(command: list[str], lock: int, folder: Path | None = None) -> subprocess.Popen[str]:
    # The child holds the lock too: if this process is killed, the next one still waits until the child has ended.
    return subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=[lock],
    )


def _failure(requirements: str, directory: str, output: str) -> str:
    indented = "\n".join(f"    {line}" for line in output.strip().splitlines()[-20:])
    return FAILED.format(requirements=requirements, directory=directory, output=indented)


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    unknown = [name for name in arguments if name not in ENVIRONMENTS]
    if unknown:
        print(
            f"There is no environment {unknown[0]!r}. Choose from: {', '.join(ENVIRONMENTS)}.",
            file=sys.stderr,
        )
        return 2
    if sys.version_info[:2] != PYTHON:
        print("Run this with Python 3.13: scripts/find-python prints the path of one.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    root = Path(__file__).resolve().parent.parent
    # Use the Python that a virtual environment is based on, never the virtual environment itself.
    python = Path(sys._base_executable)  # type: ignore[attr-defined]
    try:
        make_environments(root, arguments or list(ENVIRONMENTS), python)
    except InstallationError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to continue.", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
