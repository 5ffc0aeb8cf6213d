"""The checks of the Terraform module say what to correct."""

import os
from pathlib import Path

import pytest

from port_runner_sandbox.terraform import MODULE
from scripts.terraform_checks import main
from tests.support.fake_terraform import FakeTerraform


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTerraform:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return FakeTerraform(folder)


def test_lint_names_an_unformatted_file(
    program: FakeTerraform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a file is not formatted, the lint fails and names the command that formats it."""
    program.answer("fmt", 3, "main.tf\n-a=1\n+a = 1")

    assert main(["lint"]) == 1

    assert "terraform fmt -recursive terraform" in capsys.readouterr().err
    [(arguments, _, _)] = program.calls("fmt")
    assert str(MODULE) in arguments
