"""The zips that Terraform deploys."""

import hashlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts import package
from scripts.package import PackageError, check_unzipped, package_function, package_layer
from tests.support.project import ROOT

RUNTIME_PYTHON = ROOT / ".venv-runtime/bin/python"


@dataclass(frozen=True)
class Index:
    """A folder of wheels, the only place that pip installs from."""

    directory: Path

    def add(self, name: str, tag: str, files: dict[str, str]) -> str:
        """Put a wheel into the folder; return its line for a lock file."""
        path = self.directory / f"{name}-1.0-{tag}.whl"
        records = f"{name}-1.0.dist-info"
        contents = {
            **files,
            f"{records}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{records}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n",
            f"{records}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
            f"{records}/RECORD": "",
        }
        with zipfile.ZipFile(path, "w") as wheel:
            for file, text in contents.items():
                wheel.writestr(file, text)
        return f"{name}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    directory = tmp_path / "index"
    directory.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return Index(directory)


@pytest.fixture
def requirements(index: Index, tmp_path: Path) -> Path:
    """A lock file of one package that has only a wheel for x86_64."""
    path = tmp_path / "layer.txt"
    path.write_text(index.add("speedy", "cp313-cp313-manylinux2014_x86_64", {"speedy/__init__.py": "FAST = 1\n"}))
    return path


@pytest.fixture
def project(tmp_path: Path, requirements: Path) -> Path:
    """A separate tree with the script, a function and the lock file of one package."""
    root = tmp_path / "project"
    (root / "lambda").mkdir(parents=True)
    (root / "lambda/lambda_function.py").write_text("lambda_handler = print\n")
    (root / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/package.py", root / "scripts")
    (root / "requirements").mkdir()
    shutil.copy(requirements, root / "requirements")
    return root


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(project / "scripts/package.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The project's own layer for each architecture, installed once for all tests."""
    directory = tmp_path_factory.mktemp("layers")
    paths = {architecture: directory / f"layer-{architecture}.zip" for architecture in package.MACHINES}
    for architecture, path in paths.items():
        locked = ROOT / "requirements/layer.txt"
        package_layer(locked, path, runtime="python3.13", architecture=architecture)
    return paths


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def tree(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


FUNCTION = {"lambda_function.py": "import port_runner\n", "port_runner/__init__.py": "", "handlers/vm.py": "x = 1\n"}


class TestFunction:
    def test_sources_stand_at_the_root(self, tmp_path: Path) -> None:
        """The zip holds every file of the folder under its name, in order, but no compiled or hidden file."""
        left_by_others = {
            "__pycache__/lambda_function.cpython-313.pyc": "",
            "handlers/__pycache__/vm.cpython-313.pyc": "",
            ".DS_Store": "",
            "handlers/.vm.py.swp": "",
            ".mypy_cache/x.json": "",
        }
        source = tree(tmp_path / "lambda", {**FUNCTION, "handlers/regions.json": "[]", **left_by_others})
        package_function(source, tmp_path / "function.zip")
        assert names(tmp_path / "function.zip") == [
            "handlers/regions.json",
            "handlers/vm.py",
            "lambda_function.py",
            "port_runner/__init__.py",
        ]

    def test_bytes_come_from_contents_alone(self, tmp_path: Path) -> None:
        """The zip does not depend on the order or time of the files, on the umask or on the folder's path."""
        first = package_function(tree(tmp_path / "a/lambda", FUNCTION), tmp_path / "a/dist/function.zip")
        before = os.umask(0o077)
        try:
            source = tree(tmp_path / "elsewhere/lambda", dict(reversed(FUNCTION.items())))
            for path in source.rglob("*"):
                os.utime(path, (2_000_000_000, 2_000_000_000))
            second = package_function(source, tmp_path / "elsewhere/dist/function.zip")
        finally:
            os.umask(before)
        assert second.sha256 == first.sha256
        assert second.path.read_bytes() == first.path.read_bytes()
        assert stat.S_IMODE(second.path.stat().st_mode) == 0o644

    def test_modes_and_times_are_fixed(self, tmp_path: Path) -> None:
        """Every file is readable for all, as Lambda requires. Executable files stay executable. All times are equal."""
        source = tree(tmp_path / "lambda", {"lambda_function.py": "", "tool": "#!/bin/sh\n"})
        (source / "lambda_function.py").chmod(0o600)
        (source / "tool").chmod(0o700)
        package_function(source, tmp_path / "function.zip")
        with zipfile.ZipFile(tmp_path / "function.zip") as archive:
            found = {entry.filename: (entry.external_attr >> 16, entry.date_time) for entry in archive.infolist()}
        assert found == {
            "lambda_function.py": (stat.S_IFREG | 0o644, (1980, 1, 1, 0, 0, 0)),
            "tool": (stat.S_IFREG | 0o755, (1980, 1, 1, 0, 0, 0)),
        }

    def test_nothing_changed_nothing_built(self, tmp_path: Path) -> None:
        """The zip is built again only if a source changes, is renamed, or becomes executable."""
        source = tree(tmp_path / "lambda", FUNCTION)
        target = tmp_path / "function.zip"
        assert package_function(source, target).built
        os.utime(target, (1_000_000_000, 1_000_000_000))

        unchanged = package_function(source, target)
        assert not unchanged.built
        assert target.stat().st_mtime == 1_000_000_000
        assert unchanged.size == target.stat().st_size

        (source / "handlers/vm.py").write_text("x = 2\n")
        assert package_function(source, target).built
        (source / "handlers/vm.py").rename(source / "handlers/box.py")
        assert package_function(source, target).built
        (source / "handlers/box.py").chmod(0o755)
        assert package_function(source, target).built

    def test_another_zip_of_that_name_is_replaced(self, tmp_path: Path) -> None:
        """A zip that this script did not write, or that was changed afterward, is replaced."""
        source = tree(tmp_path / "lambda", FUNCTION)
        target = tmp_path / "function.zip"
        built = package_function(source, target)
        target.write_bytes(b"PK of another program")
        assert package_function(source, target) == built

    def test_empty_source_is_refused(self, tmp_path: Path) -> None:
        """A missing or empty folder is refused, and no zip is written."""
        with pytest.raises(PackageError, match="holds no file"):
            package_function(tmp_path / "lambda", tmp_path / "function.zip")
        assert not (tmp_path / "function.zip").exists()

    def test_function_imports_with_its_layer_alone(self, layers: dict[str, Path], tmp_path: Path) -> None:
        """The entry point can be imported from the project's zip with its layer and the runtime's packages alone."""
        package_function(ROOT / "lambda", tmp_path / "function.zip")
        for path in (tmp_path / "function.zip", layers["x86_64"]):
            with zipfile.ZipFile(path) as archive:
                # Compiled modules are for Lambda's machine; charset_normalizer has a Python version of each.
                members = [name for name in archive.namelist() if not name.endswith(".so")]
                archive.extractall(tmp_path / "task", members)
        program = f"""
import sys
sys.path[:0] = {[str(tmp_path / "task"), str(tmp_path / "task/python")]!r}
import lambda_function, jsonpickle, requests
assert callable(lambda_function.lambda_handler)
print(*(module.__file__ for module in (lambda_function, jsonpickle, requests)), sep="\\n")
"""
        command = [str(RUNTIME_PYTHON), "-I", "-B", "-c", program]
        ended = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
        assert ended.stderr == ""
        assert all(line.startswith(str(tmp_path / "task")) for line in ended.stdout.splitlines())


class TestLayer:
    def test_packages_stand_below_python(self, requirements: Path, tmp_path: Path) -> None:
        """The layer holds the package and its metadata, but no script and no record that differs by machine."""
        target = tmp_path / "layer.zip"
        package_layer(requirements, target, runtime="python3.13", architecture="x86_64")
        assert names(target) == [
            "python/speedy-1.0.dist-info/METADATA",
            "python/speedy-1.0.dist-info/WHEEL",
            "python/speedy-1.0.dist-info/entry_points.txt",
            "python/speedy/__init__.py",
        ]

    def test_two_builds_are_the_same_bytes(self, requirements: Path, tmp_path: Path) -> None:
        """A second installation, under another umask, gives the same bytes."""
        first, second = (tmp_path / name / "layer.zip" for name in "ab")
        package_layer(requirements, first, runtime="python3.13", architecture="x86_64")
        before = os.umask(0o077)
        try:
            package_layer(requirements, second, runtime="python3.13", architecture="x86_64")
        finally:
            os.umask(before)
        assert first.read_bytes() == second.read_bytes()

    def test_nothing_changed_nothing_installed(self, index: Index, requirements: Path, tmp_path: Path) -> None:
        """With the same lock file, runtime and architecture pip is not called, so its wheels may be missing."""
        target = tmp_path / "layer.zip"
        package_layer(requirements, target, runtime="python3.13", architecture="x86_64")
        shutil.rmtree(index.directory)
        assert not package_layer(requirements, target, runtime="python3.13", architecture="x86_64").built
        with pytest.raises(PackageError):
            package_layer(requirements, target, runtime="python3.14", architecture="x86_64")

    def test_another_lock_file_is_another_layer(self, index: Index, requirements: Path, tmp_path: Path) -> None:
        """A changed lock file gives a new layer, without the packages that were removed."""
        target = tmp_path / "layer.zip"
        package_layer(requirements, target, runtime="python3.13", architecture="x86_64")
        requirements.write_text(index.add("steady", "py3-none-any", {"steady.py": ""}))
        assert package_layer(requirements, target, runtime="python3.13", architecture="x86_64").built
        assert "python/steady.py" in names(target)
        assert not [name for name in names(target) if "speedy" in name]

    def test_missing_wheel_names_package_and_platform(self, requirements: Path, tmp_path: Path) -> None:
        """A package without a wheel for the platform is refused by name, and the older layer stays."""
        target = tmp_path / "layer.zip"
        package_layer(requirements, target, runtime="python3.13", architecture="x86_64")
        older = target.read_bytes()
        with pytest.raises(PackageError, match=r"no wheel of speedy==1\.0 for python3\.13 on arm64"):
            package_layer(requirements, target, runtime="python3.13", architecture="arm64")
        assert target.read_bytes() == older
        assert sorted(path.name for path in tmp_path.glob("*layer*")) == ["layer.txt", "layer.zip", "layer.zip.inputs"]

    def test_package_that_is_not_the_locked_one(self, index: Index, requirements: Path, tmp_path: Path) -> None:
        """A wheel whose hash is not in the lock file is refused."""
        index.add("speedy", "cp313-cp313-manylinux2014_x86_64", {"speedy/__init__.py": "STEAL = 1\n"})
        with pytest.raises(PackageError, match=r"not the one that layer\.txt was locked with"):
            package_layer(requirements, tmp_path / "layer.zip", runtime="python3.13", architecture="x86_64")

    @pytest.mark.parametrize(("architecture", "machine"), package.MACHINES.items())
    def test_wheels_are_of_the_platform(self, layers: dict[str, Path], architecture: str, machine: str) -> None:
        """Each compiled module of the project's layer is for Python 3.13 on Linux of that architecture."""
        with zipfile.ZipFile(layers[architecture]) as layer:
            compiled = {name: layer.read(name) for name in layer.namelist() if name.endswith(".so")}
        assert compiled
        fitting = (f".cpython-313-{machine}-linux-gnu.so", ".abi3.so")  # the second is for every Python since 3.11
        assert [name for name in compiled if not name.endswith(fitting)] == []
        in_elf_header = {int.from_bytes(content[18:20], "little") for content in compiled.values()}
        assert in_elf_header == {{"x86_64": 62, "aarch64": 183}[machine]}

    @pytest.mark.parametrize("architecture", package.MACHINES)
    def test_project_layer_holds_what_is_locked(self, layers: dict[str, Path], architecture: str) -> None:
        """The layer holds exactly the lock file's packages and versions, and no bytecode or script."""
        locked = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements/layer.txt").read_text(), re.MULTILINE)
        inside = names(layers[architecture])
        found = {name.split("/")[1] for name in inside if name.endswith(".dist-info/METADATA")}
        assert found == {f"{name.replace('-', '_')}-{version}.dist-info" for name, version in locked}
        assert all(name.startswith("python/") for name in inside)
        assert not [name for name in inside if "__pycache__" in name or name.startswith("python/bin/")]


class TestLimits:
    def test_what_would_not_fit_is_compressed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Files are stored uncompressed, unless the zip would exceed Lambda's limit."""
        source = tree(tmp_path / "lambda", {"data.txt": "a" * 20_000})
        assert package_function(source, tmp_path / "stored.zip").size > 20_000
        monkeypatch.setattr(package, "ZIP_LIMIT", 10_000)
        assert package_function(source, tmp_path / "compressed.zip").size < 1_000

    def test_too_large_zip_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A zip over Lambda's limit is not written. The error has both sizes."""
        monkeypatch.setattr(package, "ZIP_LIMIT", 1024 * 1024)
        source = tmp_path / "lambda"
        source.mkdir()
        (source / "noise").write_bytes(os.urandom(2 * 1024 * 1024))
        with pytest.raises(PackageError, match=r"function\.zip would have 2\.0 MB, and Lambda takes 1 MB at most"):
            package_function(source, tmp_path / "dist/function.zip")
        assert list((tmp_path / "dist").iterdir()) == []

    def test_function_and_layer_count_together_unzipped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The limit of the unzipped size is for the function and its layer together."""
        monkeypatch.setattr(package, "UNZIPPED_LIMIT", 30_000)
        source = tree(tmp_path / "lambda", {"data.txt": "a" * 20_000})
        zips = [package_function(source, tmp_path / name).path for name in ("a.zip", "b.zip")]
        check_unzipped(zips[:1])
        with pytest.raises(PackageError, match="unzipped, would have"):
            check_unzipped(zips)


class TestCommand:
    def test_prints_size_and_hash(self, project: Path) -> None:
        """Each zip has one line with its size and the hash of its bytes. A second build reports it as unchanged."""
        first = run(project)
        lines = [line for line in first.stdout.splitlines() if line.startswith("dist/")]
        for line, name in zip(lines, ("function.zip", "layer-x86_64.zip"), strict=True):
            content = (project / "dist" / name).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            assert line == f"dist/{name}: built, {len(content):,} bytes, sha256 {digest}"
        second = run(project)
        assert second.stdout.splitlines() == [line.replace("built", "unchanged") for line in lines]
        assert (first.returncode, second.returncode) == (0, 0)

    def test_unknown_architecture(self, project: Path) -> None:
        """An unknown architecture is refused with the list of architectures."""
        ended = run(project, "--architecture", "sparc")
        assert ended.returncode == 2
        assert [word in ended.stderr for word in ("sparc", "x86_64", "arm64")] == [True] * 3

    def test_unreachable_index(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a network the error names the network, not a missing package."""
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
        monkeypatch.setenv("PIP_RETRIES", "1")
        ended = run(project)
        assert ended.returncode == 1
        assert ended.stderr.startswith("The package index cannot be reached.")
        assert "no wheel" not in ended.stderr

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupted_build_leaves_the_old_zips(
        self, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
    ) -> None:
        """An interrupted build keeps the older zips, and leaves no unfinished or temporary file."""
        assert run(project).returncode == 0
        before = {path.name: path.read_bytes() for path in (project / "dist").iterdir()}
        (project / "requirements/layer.txt").write_text("late==1.0 --hash=sha256:" + "0" * 64)
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setenv("TMPDIR", str(temporary))
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(30)
            monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
            command = [sys.executable, str(project / "scripts/package.py")]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            connection, _ = silent.accept()
            with connection:
                process.send_signal(number)
                _, errors = process.communicate(timeout=30)
        assert process.returncode == 128 + number
        assert "Traceback" not in errors
        assert {path.name: path.read_bytes() for path in (project / "dist").iterdir()} == before
        assert list(temporary.iterdir()) == []
