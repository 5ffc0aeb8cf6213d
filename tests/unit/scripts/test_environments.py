"""The creation of the environments, with fakes of Python, pip and uv, and the search for a Python."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts import environments
from scripts.environments import InstallationError, make_environments
from tests.support.project import ROOT

# A fake of Python, pip and uv. It records each call, and installs by copying the requirements file.
# The requirement "unreachable" fails; the requirement "slow" waits for the file `go`.
PROGRAM = """\
#!/bin/sh
for last; do :; done
case "$0 $*" in
    *" -m venv "*)
        echo "venv $(basename "$last")" >> "{root}/calls"
        rm -rf "$last" && mkdir -p "$last/bin" && cp "$0" "$last/bin/python" ;;
    *" -m pip install "*)
        echo "pip $(basename "$last")" >> "{root}/calls"
        cp "$0" "$(dirname "$0")/uv" ;;
    *"/uv pip sync "*)
        echo "uv $(basename "$last")" >> "{root}/calls"
        if grep -q unreachable "$last"; then echo "error: dns lookup failed" >&2; exit 2; fi
        if grep -q slow "$last"; then while [ ! -e "{root}/go" ]; do sleep 0.02; done; fi
        while [ "$1" != --python ]; do shift; done
        cp "$last" "$(dirname "$2")/../installed" && echo "uv done" >> "{root}/calls" ;;
    *" -m hatchling build "*)
        cp pyproject.toml "$last/port_runner-1-py3-none-any.whl" ;;
    *"/uv pip install "*)
        while [ "$1" != --python ]; do shift; done
        directory=$(dirname "$(dirname "$2")")
        cp "$last" "$directory/project" && echo "project $(basename "$directory")" >> "{root}/calls" ;;
esac
"""


class Project:
    """A tree with requirements and fake programs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.python = self.program("python3.13")
        self.processes: list[subprocess.Popen[str]] = []
        (root / "requirements").mkdir()
        (root / "pyproject.toml").write_text("[project]")
        for name in ("uv", *environments.ENVIRONMENTS):
            self.require(name, f"{name}-package==1")

    def program(self, name: str) -> Path:
        path = self.root / name
        path.write_text(PROGRAM.format(root=self.root))
        path.chmod(0o755)
        return path

    def require(self, name: str, text: str) -> None:
        (self.root / f"requirements/{name}.txt").write_text(text)

    def make(self, *names: str) -> list[str]:
        """Create the environments and return the calls that this took."""
        before = len(self.calls())
        make_environments(self.root, names, self.python)
        return self.calls()[before:]

    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def installed(self, directory: str) -> str:
        return (self.root / directory / "installed").read_text()

    def made_with(self, directory: str) -> str:
        """Return the path of the Python that an environment was made with."""
        return (self.root / directory / "made-of.txt").read_text().split()[0]

    def start(self) -> subprocess.Popen[str]:
        """Create all environments in another process."""
        program = (
            "from scripts.environments import Path, make_environments\n"
            f"make_environments(Path({str(self.root)!r}), {ALL}, Path({str(self.python)!r}))\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        return process

    def unlocked(self) -> bool:
        """Return True if no process holds the lock on the environments."""
        with (self.root / environments.INSTALLER).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def end(self) -> None:
        """End the processes that a failed test left running."""
        (self.root / "go").touch()
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    yield project
    project.end()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# The environments that are made with the project's own Python.
ALL = tuple(name for name, environment in environments.ENVIRONMENTS.items() if not environment.preferred_pythons)


class TestMakeEnvironments:
    def test_first_time(self, project: Project) -> None:
        """Each environment holds its requirements, and uv is installed to fill them."""
        project.make(*ALL)
        assert project.installed(".venv") == "dev-package==1"
        assert project.installed(".venv-localstack") == "localstack-package==1"
        assert project.installed(".venv-runtime") == "runtime-package==1"
        assert (project.root / ".venv/bin/uv").exists()

    def test_second_time_nothing_runs(self, project: Project) -> None:
        """If nothing has changed, no program is started."""
        project.make(*ALL)
        assert project.make(*ALL) == []

    def test_only_what_is_asked_for(self, project: Project) -> None:
        """The development environment is always created, because uv is in it. Others are created only if named."""
        project.make("runtime")
        assert sorted(path.name for path in project.root.glob(".venv*")) == [".venv", ".venv-runtime"]

    def test_changed_requirements(self, project: Project) -> None:
        """An environment whose requirements changed is updated in place. The others are not touched."""
        project.make(*ALL)
        project.require("runtime", "runtime-package==2")
        assert project.make(*ALL) == ["uv runtime.txt", "uv done"]
        assert project.installed(".venv-runtime") == "runtime-package==2"

    def test_the_project_is_installed_in_place(self, project: Project) -> None:
        """The project is installed where programs import it, and again when pyproject.toml changes."""
        project.make(*ALL)
        (project.root / "pyproject.toml").write_text("[project] # changed")
        calls = project.make(*ALL)
        assert [call for call in calls if call.startswith("project")] == ["project .venv", "project .venv-localstack"]
        assert (project.root / ".venv-localstack/project").read_text() == "[project] # changed"
        assert not (project.root / ".venv-runtime/project").exists()

    def test_another_python(self, project: Project) -> None:
        """With another interpreter all environments are created again, and nothing of the old one remains."""
        project.make(*ALL)
        (project.root / ".venv/left-over").touch()
        project.python = project.program("another-python3.13")
        calls = project.make(*ALL)
        assert [call for call in calls if call.startswith("venv")] == [
            "venv .venv",
            "venv .venv-localstack",
            "venv .venv-runtime",
            "venv .venv-checkov",
        ]
        assert not (project.root / ".venv/left-over").exists()

    def test_an_older_python_where_one_is_needed(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """The environment of the old Kafka client is made with an older Python, or with the project's own."""
        folder = project.root / "path"
        folder.mkdir()
        monkeypatch.setenv("PATH", str(folder))
        for name in ("basename", "cp", "dirname", "grep", "mkdir", "rm"):
            (folder / name).symlink_to(str(shutil.which(name, path=os.defpath)))
        shim = folder / "python3.11"
        shim.write_text("#!/bin/sh\nexit 1\n")
        shim.chmod(0o755)
        project.make("old-kafka")
        assert project.made_with(".venv-old-kafka") == str(project.python)
        older = project.program("older-python")
        found = folder / "python3.10"
        found.write_text(f"#!/bin/sh\necho {older}\n")
        found.chmod(0o755)
        assert project.make("old-kafka") == ["venv .venv-old-kafka", "uv old-kafka.txt", "uv done"]
        assert project.made_with(".venv-old-kafka") == str(older)
        assert project.made_with(".venv") == str(project.python)

    def test_moved_tree(self, project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
        """A moved tree creates its environments again, because their scripts contain the old path."""
        project.make("dev")
        moved = tmp_path_factory.mktemp("moved") / "project"
        project.root.rename(moved)
        project.root.mkdir()
        make_environments(moved, ["dev"], project.program("python3.13"))
        assert "venv .venv" in project.calls()

    def test_failure(self, project: Project) -> None:
        """The error names the failed requirements, the reason and what to do. The other environments are finished."""
        project.require("localstack", "unreachable")
        with pytest.raises(InstallationError) as caught:
            project.make(*ALL)
        text = str(caught.value)
        assert "requirements/localstack.txt could not be installed into .venv-localstack" in text
        assert "error: dns lookup failed" in text
        assert "check the network" in text
        assert project.installed(".venv-runtime") == "runtime-package==1"

    def test_after_failure(self, project: Project) -> None:
        """An environment whose installation failed counts as unfinished and is created again."""
        project.require("localstack", "unreachable")
        for _ in range(2):
            with pytest.raises(InstallationError):
                project.make(*ALL)
        project.require("localstack", "localstack-package==1")
        assert project.make(*ALL) == [
            "venv .venv-localstack",
            "uv localstack.txt",
            "uv done",
            "project .venv-localstack",
        ]

    def test_failed_change_that_is_taken_back(self, project: Project) -> None:
        """After a failed update the environment is created again, even if the old requirements are restored."""
        project.make(*ALL)
        project.require("runtime", "unreachable")
        with pytest.raises(InstallationError):
            project.make(*ALL)
        project.require("runtime", "runtime-package==1")
        assert project.make(*ALL) == ["venv .venv-runtime", "uv runtime.txt", "uv done"]

    def test_interrupted(self, project: Project) -> None:
        """Ctrl-C ends the started programs. An unfinished environment is created again next time."""
        project.require("localstack", "slow")
        process = project.start()
        wait_until(lambda: {"uv localstack.txt", "project .venv"} <= set(project.calls()))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode != 0
        wait_until(project.unlocked)  # every program that the first process started has ended
        (project.root / "go").touch()
        assert "venv .venv-localstack" in project.make(*ALL)
        assert project.installed(".venv-localstack") == "slow"

    def test_two_at_once(self, project: Project) -> None:
        """The second process waits for the first, says so, and then has nothing left to do."""
        project.require("localstack", "slow")
        first = project.start()
        wait_until(lambda: "uv localstack.txt" in project.calls())
        second = project.start()
        assert second.stdout
        assert second.stdout.readline() == "Waiting for another command that is creating the environments.\n"
        (project.root / "go").touch()
        for process in (first, second):
            _, errors = process.communicate(timeout=30)
            assert (process.returncode, errors) == (0, "")
        assert project.calls().count("uv localstack.txt") == 1

    def test_killed_while_uv_runs(self, project: Project) -> None:
        """If the first process is killed while its uv still runs, the next one waits until that uv has ended."""
        project.require("localstack", "slow")
        first = project.start()
        wait_until(lambda: "uv localstack.txt" in project.calls())
        first.kill()
        first.wait()
        second = project.start()
        assert second.stdout
        assert second.stdout.readline().startswith("Waiting")
        calls = project.calls()
        (project.root / "go").touch()
        second.communicate(timeout=30)
        assert "uv done" in project.calls()[len(calls) :][:1]
        assert project.installed(".venv-localstack") == "slow"


class TestCommand:
    def test_unknown_environment(self, capsys: pytest.CaptureFixture[str]) -> None:
        """An unknown name is refused with the list of environments."""
        assert environments.main(["prod"]) == 2
        assert "Choose from: dev, localstack, runtime" in capsys.readouterr().err

    def test_installers_agree(self) -> None:
        """requirements/uv.txt and requirements/dev.txt have the same version of uv."""
        installer = (ROOT / "requirements/uv.txt").read_text()
        assert installer.splitlines()[0] in (ROOT / "requirements/dev.txt").read_text().splitlines()

    @pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
    def test_requirements_name_no_place(self, path: Path) -> None:
        """Every requirement has one version and hashes, and no line names a package index."""
        lines = [line for line in path.read_text().splitlines() if not re.match(r"\s*#|\s+--hash=sha256:", line)]
        assert lines
        assert [line for line in lines if not re.fullmatch(r"[\w.-]+==\S+( ; [^\\]+)? \\", line)] == []

    def test_layer_is_what_tests_run_with(self) -> None:
        """The tests run with the releases that are in the layer, and all environments have the same Kafka client."""

        def pins(name: str) -> set[str]:
            return set(re.findall(r"^[\w.-]+==[^\s;]+", (ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE))

        assert pins("layer") <= pins("dev")
        clients = [pin for name in ("dev", "localstack") for pin in pins(name) if pin.startswith("confluent-kafka==")]
        assert len(clients) == 2
        assert clients[0] == clients[1]


class TestFindPython:
    @pytest.fixture
    def bin(self, tmp_path: Path) -> Path:
        """A folder for PATH, next to a copy of the script that finds no Python in this system's folders."""
        script = (ROOT / "scripts/find-python").read_text()
        (tmp_path / "scripts").mkdir()
        (tmp_path / "scripts/find-python").write_text(re.sub(r"(?m)^    /", "    /nowhere/", script))
        path = tmp_path / "bin"
        path.mkdir()
        for tool in ("dirname", "cat"):
            self.put(path / tool, f'exec env -i PATH=/usr/bin:/bin {tool} "$@"')
        return path

    def put(self, path: Path, command: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{command}\n")
        path.chmod(0o755)
        return path

    def find(self, bin: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["/bin/sh", str(bin.parent / "scripts/find-python")]
        env = {"PATH": str(bin), "HOME": str(bin.parent / "home"), **environment}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    # The Python that the environment of these tests is based on.
    REAL = sys._base_executable  # type: ignore[attr-defined]
    RUN_REAL = f'exec "{REAL}" "$@"'

    def test_shim_that_refuses_is_passed_over(self, bin: Path) -> None:
        """A command with the right name that does not start is skipped. The next one that works is used."""
        self.put(bin / "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
        self.put(bin / "python3", self.RUN_REAL)
        found = self.find(bin)
        assert (found.returncode, found.stdout, found.stderr) == (0, f"{self.REAL}\n", "")

    def test_named_python_comes_first(self, bin: Path) -> None:
        """The path in PYTHON is tried before all others."""
        chosen = self.put(bin.parent / "my python/python", f"touch {bin.parent}/asked; {self.RUN_REAL}")
        self.put(bin / "python3.13", self.RUN_REAL)
        assert self.find(bin, PYTHON=str(chosen)).stdout == f"{self.REAL}\n"
        assert (bin.parent / "asked").exists()

    def test_version_of_another_kind_is_passed_over(self, bin: Path) -> None:
        """A Python of another version, without the GIL, or without venv is skipped."""
        for change in (
            "sys.version_info = (3, 12, 1)",
            "sys.abiflags = 't'",
            "sys.implementation.name = 'pypy'",
            "import importlib.util as u; u.find_spec = lambda name: None if name == 'ensurepip' else name",
        ):
            self.put(bin / "python3.13", f"""exec "{self.REAL}" -c "import sys; {change}; exec(sys.argv[3])" "$@" """)
            assert self.find(bin).returncode == 1, change
        self.put(bin / "python3.13", f"""exec "{self.REAL}" -c "import sys; exec(sys.argv[3])" "$@" """)
        assert self.find(bin).returncode == 0

    @pytest.mark.parametrize(
        "place",
        [
            "home/.pyenv/versions/3.13.7/bin/python3.13",
            "home/.local/share/uv/python/cpython-3.13.7-linux-x86_64-gnu/bin/python3.13",
            ".venv/bin/python",
        ],
    )
    def test_usual_places(self, bin: Path, place: str) -> None:
        """The Pythons of pyenv and uv, and the one of the project's environment, are found without PATH."""
        self.put(bin.parent / place, self.RUN_REAL)
        assert self.find(bin).stdout == f"{self.REAL}\n"

    def test_environment_is_not_taken_for_a_python(self, bin: Path) -> None:
        """For a virtual environment, the Python that it is based on is printed."""
        found = self.find(bin, PYTHON=sys.executable)
        assert found.stdout == f"{self.REAL}\n"
        assert found.stdout.strip() != sys.executable

    def test_nothing_found(self, bin: Path) -> None:
        """Without a Python 3.13 the error says what to install and how to name one, and no path is printed."""
        found = self.find(bin, PYTHON="/nowhere/python")
        assert (found.returncode, found.stdout) == (1, "")
        assert "No working Python 3.13 with venv was found." in found.stderr
        assert "PYTHON=/path/to/python3.13" in found.stderr
