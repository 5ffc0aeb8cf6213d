"""Build the zips that Terraform deploys: dist/function.zip and dist/layer-<architecture>.zip.

The function's zip holds lambda/. The layer's zip holds the packages of requirements/layer.txt. The same inputs give
the same bytes on every machine at any time, so Terraform sees a change only if there is one.
This script needs only the standard library and pip.
"""

import argparse
import hashlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

# Lambda's name of an architecture, and the name that wheels use.
MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}
RUNTIMES = ("python3.13", "python3.14")

# These runtimes are built on Amazon Linux 2023, which has glibc 2.34. The oldest glibc for which wheels are made is
# 2.17.
GLIBC_MINORS = range(34, 16, -1)

# Lambda's limits: for a zip that is uploaded directly, and for the function with its layers, unzipped.
ZIP_LIMIT = 50 * 1024 * 1024
UNZIPPED_LIMIT = 250 * 1024 * 1024

# The oldest time a zip can hold.
TIME = (1980, 1, 1, 0, 0, 0)

# Files that pip writes about this installation: its own name, and hashes of files that are not in the zip.
INSTALLATION_RECORDS = {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"}


class PackageError(Exception):
    """A zip could not be built. The text says why and what to do."""


class File(NamedTuple):
    """One file of a zip."""

    name: str
    content: bytes
    executable: bool


class Package(NamedTuple):
    """A built zip."""

    path: Path
    size: int
    sha256: str
    built: bool
    """False if the zip existed already and none of its inputs has changed."""


def package_function(source: Path, target: Path) -> Package:
    """Pack the folder `source`, with its files at the zip's root. Raise PackageError if it holds no file."""
    files = sorted(file for file in _files_below(source) if not _is_hidden(file.name))
    if not files:
        raise PackageError(f"{source} holds no file: there is no function to pack.")
    inputs = [part for file in files for part in (file.name, str(file.executable), file.content)]
    return _package(target, inputs, lambda: files)


def package_layer(requirements: Path, target: Path, *, runtime: str, architecture: str) -> Package:
    """Pack the packages of the lock file `requirements` below python/, from wheels for that platform only.

    Raise PackageError if pip cannot install them, or if the zip is too large.
    """

    def files() -> Iterator[File]:
        print(f"Installing {requirements.name} for {runtime} on {architecture}", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            installed = _install(requirements, Path(directory), runtime, architecture)
            for file in _files_below(installed):
                if not _is_of_this_installation(file.name):
                    yield file._replace(name=f"python/{file.name}")

    return _package(target, [runtime, architecture, requirements.read_bytes()], files)


def _files_below(directory: Path) -> Iterator[File]:
    for path in directory.rglob("*"):
        name = path.relative_to(directory)
        if path.is_file() and "__pycache__" not in name.parts:
            executable = bool(path.stat().st_mode & stat.S_IXUSR)
            yield File(name.as_posix(), path.read_bytes(), executable)


def _is_hidden(name: str) -> bool:
    """Return True if an editor or the operating system left the file among the sources."""
    return any(part.startswith(".") for part in name.split("/"))


def _is_of_this_installation(name: str) -> bool:
    """Return True if pip made the file for this machine: a script that names its Python, or a record of its work."""
    folder, _, rest = name.partition("/")
    return folder == "bin" or (folder.endswith(".dist-info") and rest in INSTALLATION_RECORDS)


def _package(target: Path, inputs: Iterable[str | bytes], files: Callable[[], Iterable[File]]) -> Package:
    """Write the zip, unless the existing one was built from the same inputs and has not changed since."""
    inputs_hash = _hash_of([Path(__file__).read_bytes(), *inputs])
    record = target.with_name(f"{target.name}.inputs")
    there = target.is_file() and record.is_file()
    built = not there or record.read_text() != f"{inputs_hash} {_sha256(target)}\n"
    if built:
        _write_zip(target, files())
        record.write_text(f"{inputs_hash} {_sha256(target)}\n")
    return Package(target, target.stat().st_size, _sha256(target), built)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _hash_of(parts: Iterable[str | bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8))
        digest.update(data)
    return digest.hexdigest()


def _write_zip(target: Path, files: Iterable[File]) -> None:
    """Write the zip to a temporary file, and give it the target's name only when it is complete."""
    contents = sorted(files)
    # Compressed bytes differ between versions of zlib, stored bytes do not. Compress only if the zip is too large.
    fits = sum(len(file.content) for file in contents) < ZIP_LIMIT
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for file in contents:
                entry = zipfile.ZipInfo(file.name, TIME)
                entry.create_system = 3  # Unix: its mode is read
                entry.external_attr = (stat.S_IFREG | (0o755 if file.executable else 0o644)) << 16
                entry.compress_type = zipfile.ZIP_STORED if fits else zipfile.ZIP_DEFLATED
                archive.writestr(entry, file.content)
        size = unfinished.stat().st_size
        if size > ZIP_LIMIT:
            raise PackageError(_too_large(target.name, size, ZIP_LIMIT))
        unfinished.chmod(0o644)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _too_large(what: str, size: int, limit: int) -> str:
    megabytes = 1024 * 1024
    return (
        f"{what} would have {size / megabytes:.1f} MB, and Lambda takes {limit / megabytes:.0f} MB at most. "
        "Remove files and packages that the function does not need at run time."
    )


def _install(requirements: Path, directory: Path, runtime: str, architecture: str) -> Path:
    """Install below `directory`, and return the folder of the packages. Keep pip's temporary files in it too."""
    installed = directory / "installed"
    machine = MACHINES[architecture]
    tags = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS]
    platforms = [f"--platform={tag}" for tag in [*tags, f"manylinux2014_{machine}"]]
    # The lock file is complete. Without --no-deps, pip would add the dependencies that this machine needs.
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile", "--no-user"]
    quiet = ["--disable-pip-version-check", "--no-input", "--quiet"]
    python = ["--implementation=cp", f"--python-version={runtime.removeprefix('python')}"]
    command = [sys.executable, "-m", "pip", "install", *quiet, *options, *python, *platforms]
    result = subprocess.run(
        [*command, "--target", str(installed), "--requirement", str(requirements)],
        env={**os.environ, "TMPDIR": str(directory)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise PackageError(_explain(result.stderr, requirements, runtime, architecture))
    return installed


def _explain(errors: str, requirements: Path, runtime: str, architecture: str) -> str:
    missing = [line for line in errors.splitlines() if "No matching distribution found" in line]
    if "No module named pip" in errors:
        reason = f"{sys.executable} has no pip. Run `make package`, which uses a Python with pip."
    elif "connection" in errors.lower():
        reason = "The package index cannot be reached. Check the network, or name your mirror in PIP_INDEX_URL."
    elif "DO NOT MATCH THE HASHES" in errors:
        reason = (
            f"A package is not the one that {requirements.name} was locked with. "
            "Find out why before you run `make lock`."
        )
    elif missing:
        reason = (
            f"There is no wheel of {missing[0].split()[-1]} for {runtime} on {architecture}. "
            f"Choose another release in {requirements.with_suffix('.in').name} and run `make lock`."
        )
    else:
        reason = f"pip could not install {requirements.name} for {runtime} on {architecture}."
    indented = "\n".join(f"    {line}" for line in errors.strip().splitlines()[-10:])
    return f"{reason}\npip said:\n{indented}"


def check_unzipped(packages: Iterable[Path]) -> None:
    """Raise PackageError if these zips together, unzipped, are larger than Lambda allows for one function."""
    size = 0
    for path in packages:
        with zipfile.ZipFile(path) as archive:
            size += sum(entry.file_size for entry in archive.infolist())
    if size > UNZIPPED_LIMIT:
        raise PackageError(_too_large("The function with its layer, unzipped,", size, UNZIPPED_LIMIT))


def package(root: Path, *, runtime: str, architectures: Sequence[str]) -> None:
    """Build the zips below `root` and print each one's size and hash."""
    function = package_function(root / "lambda", root / "dist/function.zip")
    _show(root, function)
    for architecture in architectures:
        target = root / f"dist/layer-{architecture}.zip"
        requirements = root / "requirements/layer.txt"
        layer = package_layer(requirements, target, runtime=runtime, architecture=architecture)
        _show(root, layer)
        check_unzipped([function.path, layer.path])


def _show(root: Path, built: Package) -> None:
    state = "built" if built.built else "unchanged"
    print(f"{built.path.relative_to(root)}: {state}, {built.size:,} bytes, sha256 {built.sha256}", flush=True)


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", choices=RUNTIMES, default=RUNTIMES[0], help="Lambda's runtime (%(default)s)")
    parser.add_argument(
        "--architecture", choices=[*MACHINES, "all"], default="x86_64", help="the layer's architecture (%(default)s)"
    )
    arguments = parser.parse_args()
    architectures = list(MACHINES) if arguments.architecture == "all" else [arguments.architecture]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        package(ROOT, runtime=arguments.runtime, architectures=architectures)
    except PackageError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The files in dist/ are unchanged.", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
