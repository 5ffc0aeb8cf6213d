"""The tables of the module's README, and the agreement of the module's files with other files."""

import io
import json
import re
from pathlib import Path

import hcl2
import pytest

from port_runner import logs
from port_runner.metrics import NAMESPACE, Metrics
from port_runner.settings import Settings
from port_runner.version import VERSION
from scripts.terraform_docs import BEGIN, END, MODULE, main

ROOT = MODULE.parent

VERSIONS = """
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}
"""
VARIABLES = """
# Port

variable "organization" {
  description = "What <org> is called, or \\"none\\" | nothing."
  type        = string
}

variable "login" {
  description = "Who reads."
  type = object({
    username = string
    password = optional(string)
  })
  default   = null
  ephemeral = true
}

# Function

variable "memory" {
  # A note that is no title.
  description = "Memory in MB."
  type        = number
  default     = 256
}

variable "names" {
  description = "Names, as in `<a>`."
  type        = list(string)
  default     = []
}
"""
OUTPUTS = """
output "arn" {
  description = "ARN of it."
  value       = aws_sqs_queue.this.arn
}
"""
RESOURCES = """
resource "aws_sqs_queue" "this" {
  name = "${var.organization}-queue"
}

resource "aws_iam_role" "this" {
  assume_role_policy = "{}"
}
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A module with a README that has no tables yet."""
    texts = {"versions": VERSIONS, "variables": VARIABLES, "outputs": OUTPUTS, "main": RESOURCES}
    for name, text in texts.items():
        (tmp_path / f"{name}.tf").write_text(text)
    (tmp_path / "README.md").write_text(f"# A module\n\n{BEGIN}{END}\nThe end.\n")
    return tmp_path


def rows(module: Path) -> list[str]:
    return [line for line in (module / "README.md").read_text().splitlines() if line.startswith(("| ", "###"))]


class TestTables:
    def test_rows(self, module: Path) -> None:
        """Each requirement, resource, input and output has a row, with its type and default from the file."""
        assert main([], module) == 0

        assert rows(module) == [
            "### Requirements",
            "| name | version |",
            "| --- | --- |",
            "| Terraform | >= 1.11 |",
            "| hashicorp/aws | >= 5.100, \\< 7.0 |",
            "### Resources",
            "| type | name |",
            "| --- | --- |",
            "| aws_iam_role | this |",
            "| aws_sqs_queue | this |",
            "### Inputs: Port",
            "| name | description | type | default |",
            "| --- | --- | --- | --- |",
            '| `organization` | What \\<org> is called, or "none" \\| nothing. | `string` | required |',
            "| `login` | Who reads. | `object({username = string, password = optional(string)})`, ephemeral | `null` |",
            "### Inputs: Function",
            "| name | description | type | default |",
            "| --- | --- | --- | --- |",
            "| `memory` | Memory in MB. | `number` | `256` |",
            "| `names` | Names, as in `<a>`. | `list(string)` | `[]` |",
            "### Outputs",
            "| name | description |",
            "| --- | --- |",
            "| `arn` | ARN of it. |",
        ]

    def test_other_text_stays(self, module: Path) -> None:
        """The text around the marks is not changed, and a second run changes nothing."""
        main([], module)
        readme = (module / "README.md").read_text()
        main([], module)

        assert readme.startswith("# A module\n\n")
        assert readme.endswith("\nThe end.\n")
        assert (module / "README.md").read_text() == readme

    def test_check(self, module: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """`--check` refuses a README that disagrees with a variable, shows the difference, and writes nothing."""
        main([], module)
        assert main(["--check"], module) == 0
        changed = VARIABLES.replace("256", "512")
        (module / "variables.tf").write_text(changed)
        before = (module / "README.md").read_text()

        assert main(["--check"], module) == 1

        shown = capsys.readouterr()
        assert "+| `memory` | Memory in MB. | `number` | `512` |" in shown.out
        assert "Run `make docs`." in shown.err
        assert (module / "README.md").read_text() == before

    @pytest.mark.parametrize(
        ("file", "line", "sentence"),
        [
            ("variables.tf", '  description = "Memory in MB."\n', "memory needs a description."),
            ("variables.tf", "  type        = number\n", "memory needs a type."),
            ("outputs.tf", '  description = "ARN of it."\n', "arn needs a description."),
            ("README.md", BEGIN, "must hold these two lines"),
        ],
    )
    def test_missing_text_is_named(
        self, module: Path, capsys: pytest.CaptureFixture[str], file: str, line: str, sentence: str
    ) -> None:
        """The error names a variable or output without a description or type, or the missing marks."""
        text = (module / file).read_text()
        (module / file).write_text(text.replace(line, ""))

        assert main([], module) == 1

        assert sentence in capsys.readouterr().err


class TestAgreement:
    def test_version(self) -> None:
        """The newest released version in the changelog is the library's version."""
        entries = re.findall(r"^## \[(.+?)\](?: - (.+))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
        released = [entry for entry in entries if entry[0] != "Unreleased"]

        version, date = released[0]
        assert version == VERSION
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", date)
        assert entries.index(released[0]) <= 1

    def test_required_terraform(self) -> None:
        """Every root module requires the same Terraform as the module, and every example the same provider."""
        texts = {path: path.read_text() for path in MODULE.rglob("versions.tf") if ".terraform" not in path.parts}
        module = texts[MODULE / "versions.tf"]
        examples = [text for path, text in texts.items() if path.parent.parent.name == "examples"]

        assert len(examples) == len(list((MODULE / "examples").iterdir()))
        assert set(examples) == {module}
        versions = [re.search(r'required_version = "(.+)"', text) for text in texts.values()]
        assert {found and found[1] for found in versions} == {">= 1.11"}

    def test_metrics(self) -> None:
        """Alarms and dashboard read the metrics that the function writes, by namespace and function name only."""
        stream = io.StringIO()
        logs.configure("INFO", stream)
        metrics = Metrics("runner")
        metrics.run_started("create_vm")
        metrics.run_ended("create_vm", "SUCCESS", handler_seconds=1, delivery_seconds=1)
        metrics.failure_kept()
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
        written = [line["_aws"]["CloudWatchMetrics"][0] for line in lines]
        names = {metric["Name"] for each in written for metric in each["Metrics"]}
        assert len(written) == 3
        assert all(["FunctionName"] in each["Dimensions"] for each in written)

        [watched] = hcl2.loads((MODULE / "alarms.tf").read_text())["locals"]
        assert watched["metric_namespace"] == f'"{NAMESPACE}"'
        alarms, dashboard = ((MODULE / name).read_text() for name in ("alarms.tf", "dashboard.tf"))
        in_alarms = re.findall(r'local\.metric_namespace\s+metric_name += "(\w+)"\s+dimensions += (\S+)', alarms)
        assert in_alarms == [(name, "local.function_dimensions") for name in ("RunsStarted", "RunsEnded")]
        assert {name for name, _ in in_alarms} <= names
        [several] = re.findall(r'for name in (\[.+\]) : \[local\.metric_namespace, name, "FunctionName"', dashboard)
        single = re.findall(r'\[local\.metric_namespace, "(\w+)", "FunctionName"', dashboard)
        assert {*json.loads(several), *single} == names

    def test_environment(self) -> None:
        """The library reads every environment variable that the module sets."""
        main_tf = (MODULE / "main.tf").read_text()
        environment = main_tf.partition("  environment {")[2].partition("\n  }\n")[0]
        names = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", environment))

        assert "PORT_API_URL" in names
        read = {name.upper() for name in Settings.__dataclass_fields__}
        assert names - read == set()
