"""A program that stands for Terraform."""

import json
import stat
import sys
from pathlib import Path

TERRAFORM = f"""#!{sys.executable}
import json, os, signal, sys, time
from pathlib import Path

folder = Path(__file__).parent

def interrupted(*_):
    time.sleep(0.2)
    print("Stopping", flush=True)
    (folder / "interrupted").touch()
    sys.exit(1)

signal.signal(signal.SIGINT, interrupted)
command = sys.argv[1]
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]) + "\\n")
answers = json.loads((folder / "answers").read_text())
status, text = answers.get(command, [0, ""])
print(text, flush=True)
if status == "waits":
    time.sleep(60)
sys.exit(status)
"""


class FakeTerraform:
    """A program named terraform that gives prepared answers and keeps its calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "terraform"
        program.write_text(TERRAFORM)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.answers: dict[str, tuple[int | str, str]] = {}
        self.answer("version", 0, json.dumps({"terraform_version": "1.11.4"}))

    def answer(self, command: str, status: int | str, text: str) -> None:
        self.answers[command] = (status, text)
        (self.folder / "answers").write_text(json.dumps(self.answers))

    def calls(self, command: str) -> list[tuple[list[str], dict[str, str], str]]:
        calls = (self.folder / "calls").read_text().splitlines()
        return [(arguments, env, cwd) for arguments, env, cwd in map(json.loads, calls) if arguments[0] == command]

    def environment(self, command: str) -> dict[str, str]:
        [(_, environment, _)] = self.calls(command)
        return environment
