"""Check the Terraform module: `lint` checks format and validity, `test` runs the module's own tests."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from port_runner_sandbox.terraform import MODULE, Terraform, TerraformError, own_environment, require_terraform


@contextmanager
def _terraform(root_module: Path, progress: Callable[[str], None]) -> Iterator[Terraform]:
    with tempfile.TemporaryDirectory(prefix="terraform-") as directory:
        terraform = Terraform(root_module, Path(directory), {}, progress=progress)
        terraform.init()
        yield terraform


def lint(progress: Callable[[str], None]) -> None:
    """Check the format of all files and the validity of each example, which includes the module that it calls."""
    require_terraform(own_environment())
    command = ["terraform", "fmt", "-check", "-recursive", "-diff", str(MODULE)]
    answer = subprocess.run(command, env=own_environment(), capture_output=True, text=True, check=False)
    if answer.returncode:
        raise TerraformError(
            f"Run `terraform fmt -recursive terraform`. What it will change:\n{answer.stdout}{answer.stderr}"
        )
    progress("formatted")
    for example in sorted(path.parent for path in MODULE.glob("examples/*/versions.tf")):
        with _terraform(example, lambda _: None) as terraform:
            terraform.validate()
        progress(f"{example.relative_to(MODULE)} valid")


def test(progress: Callable[[str], None]) -> None:
    """Run the module's own tests."""
    with _terraform(MODULE, progress) as terraform:
        terraform.test()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check the Terraform module.")
    parser.add_argument("command", choices=["lint", "test"])
    command = {"lint": lint, "test": test}[parser.parse_args(arguments).command]
    started = time.monotonic()
    try:
        command(lambda line: print(f"  {line}", flush=True))
    except TerraformError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"terraform {command.__name__}: {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
