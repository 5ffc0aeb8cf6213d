"""The GitHub workflow: its rights, the order of its jobs, and its agreement with the other documents."""

import re
from typing import Any

import hcl2
import pytest
import yaml

from tests.support.project import ROOT

DEPLOYMENT = ROOT / "terraform" / "deployment"
TEXT = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
WORKFLOW = yaml.safe_load(TEXT)
JOBS = WORKFLOW["jobs"]
SECRETS = {
    "TF_VAR_kafka_username": "${{ secrets.KAFKA_USERNAME }}",
    "TF_VAR_kafka_password": "${{ secrets.KAFKA_PASSWORD }}",
    "TF_VAR_port_client_id": "${{ secrets.PORT_CLIENT_ID }}",
    "TF_VAR_port_client_secret": "${{ secrets.PORT_CLIENT_SECRET }}",
}


def steps(job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = JOBS[job]["steps"]
    return found


def commands(*jobs: str) -> list[str]:
    """Return the commands of the jobs, in order."""
    return [step["run"] for job in jobs for step in steps(job) if "run" in step]


def step(job: str, name: str) -> dict[str, Any]:
    [found] = [each for each in steps(job) if name in (each.get("name"), each.get("uses", "").partition("@")[0])]
    return found


def place(job: str, name: str) -> int:
    return steps(job).index(step(job, name))


class TestRights:
    def test_triggers(self) -> None:
        """The workflow runs for pull requests, with only their own rights, and for pushes to main."""
        # YAML reads the key `on` as true.
        assert WORKFLOW[True] == {"pull_request": None, "push": {"branches": ["main"]}}

    def test_permissions(self) -> None:
        """Each job has only the rights that it needs. No job both writes to a pull request and has access to AWS."""
        assert WORKFLOW["permissions"] == {}
        assert {name: job["permissions"] for name, job in JOBS.items()} == {
            "lint": {"contents": "read"},
            "test": {"contents": "read"},
            "package": {"contents": "read"},
            "plan": {"contents": "read", "id-token": "write"},
            "comment": {"pull-requests": "write"},
            "apply": {"contents": "read", "id-token": "write"},
        }

    def test_no_long_lived_keys(self) -> None:
        """Access to AWS is only through the role that the environment names."""
        login = "aws-actions/configure-aws-credentials"
        reaching = [job for job in JOBS if any(each.get("uses", "").startswith(login) for each in steps(job))]
        assert reaching == ["plan", "apply"]
        for job in reaching:
            assert step(job, login)["with"] == {
                "role-to-assume": "${{ vars.AWS_ROLE_ARN }}",
                "aws-region": "${{ vars.AWS_REGION }}",
            }
        assert not re.search("access.key", TEXT, re.IGNORECASE)

    def test_secrets(self) -> None:
        """Only the apply command gets the environment's secrets. A plan is made without them."""
        assert step("apply", "Apply")["env"] == SECRETS
        assert TEXT.count("secrets.") == len(SECRETS)
        assert {JOBS["plan"]["env"][name] for name in SECRETS} == {"none"}

    def test_forks(self) -> None:
        """A fork's pull request gets neither a plan nor a comment."""
        condition = JOBS["plan"]["if"]

        assert "github.event.pull_request.head.repo.full_name == github.repository" in condition
        assert "||" not in condition
        assert JOBS["comment"]["needs"] == ["plan"]
        assert "if" not in JOBS["comment"]

    def test_environments(self) -> None:
        """An apply runs only on main, in its environment. A plan runs in another one, whose role cannot change AWS."""
        assert JOBS["apply"]["if"].endswith("github.event_name == 'push' && github.ref == 'refs/heads/main'")
        assert JOBS["apply"]["environment"] == "${{ matrix.environment }}"
        assert JOBS["plan"]["environment"] == "${{ matrix.environment }}-plan"
        for job in ("plan", "apply"):
            assert JOBS[job]["if"].startswith("vars.ENVIRONMENTS && ")
            assert JOBS[job]["strategy"]["matrix"] == {"environment": "${{ fromJSON(vars.ENVIRONMENTS) }}"}

    def test_actions_are_pinned(self) -> None:
        """Each action is pinned to a commit, with its version in a comment."""
        uses = re.findall(r"uses: (.+)", TEXT)

        assert uses
        assert [each for each in uses if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []
        assert len({each.partition("@")[0] for each in uses}) == len(set(uses))

    def test_nothing_is_put_into_scripts(self) -> None:
        """No command contains an expression, so text from outside cannot become a part of it."""
        assert [command for command in commands(*JOBS) if "${{" in command] == []
        checkouts = [each for job in JOBS for each in steps(job) if "checkout" in each.get("uses", "")]
        assert {each["with"]["persist-credentials"] for each in checkouts} == {False}


class TestOrder:
    @pytest.mark.parametrize("job", ["plan", "apply"])
    def test_only_what_was_checked(self, job: str) -> None:
        """Plan and apply run only after lint, tests and packaging."""
        assert JOBS[job]["needs"] == ["lint", "test", "package"]

    def test_packages_are_built_once(self) -> None:
        """One job builds the zips. The others get them with their hashes, and check these before Terraform starts."""
        assert [job for job in JOBS if "make package" in commands(job)] == ["package"]
        assert JOBS["package"]["outputs"] == {"sha256": "${{ steps.hashes.outputs.sha256 }}"}
        hashes = step("package", "Note the hashes")
        assert hashes["id"] == "hashes"
        assert "sha256sum -- *.zip" in hashes["run"]
        uploaded = step("package", "actions/upload-artifact")["with"]
        assert (uploaded["name"], uploaded["path"]) == ("packages", "dist/*.zip")
        for job in ("plan", "apply"):
            assert step(job, "actions/download-artifact")["with"] == {"name": "packages", "path": "dist"}
            check = step(job, "Check the hashes")
            assert check["run"] == '(cd dist && sha256sum --check --strict <<< "$SHA256SUMS")'
            assert check["env"] == {"SHA256SUMS": "${{ needs.package.outputs.sha256 }}"}
            assert place(job, "actions/download-artifact") < place(job, "Check the hashes") < place(job, "Initialize")

    def test_one_apply_at_a_time(self) -> None:
        """An apply is never interrupted, one environment has one apply at a time, and a failure stops the rest."""
        assert JOBS["apply"]["concurrency"] == {"group": "apply-${{ matrix.environment }}", "cancel-in-progress": False}
        assert JOBS["apply"]["strategy"]["max-parallel"] == 1
        assert "fail-fast" not in JOBS["apply"]["strategy"]
        assert WORKFLOW["concurrency"]["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"

    def test_states(self) -> None:
        """Each environment has its own state in S3, with a lock. A plan takes no lock and reads only the state."""
        for job in ("plan", "apply"):
            assert JOBS[job]["env"]["ENVIRONMENT"] == "${{ matrix.environment }}"
            init = step(job, "Initialize")["run"]
            assert '-backend-config="key=$ENVIRONMENT/port-runner.tfstate"' in init
            assert '-backend-config="bucket=$STATE_BUCKET"' in init
        assert "-lock=false -refresh=false" in step("plan", "Plan")["run"]
        assert "-lock" not in step("apply", "Apply")["run"]
        [settings] = hcl2.loads((DEPLOYMENT / "versions.tf").read_text())["terraform"]
        [backend] = settings["backend"]
        [s3] = backend.values()
        assert (s3["use_lockfile"], s3["encrypt"]) == (True, True)
        assert not {"bucket", "key"} & set(s3)

    def test_every_job_ends(self) -> None:
        """Every job has a time limit of 30 minutes or less."""
        assert [name for name, job in JOBS.items() if job["timeout-minutes"] > 30] == []


class TestAgreement:
    def test_make(self) -> None:
        """The workflow runs checkov and everything that `make test` runs, through the Makefile's verbs."""
        makefile = (ROOT / "Makefile").read_text()
        [both] = re.findall(r"^test: .*\n(?:\t.*\n)*?\t.*\$\(side_by_side\) (.+)$", makefile, re.MULTILINE)
        [quick] = re.findall(r"^quick-tests:\n\t.* --jobs=1 (.+)$", makefile, re.MULTILINE)
        recipe = both.replace("quick-tests", quick)
        verbs = [verb for command in commands("lint", "test") for verb in command.removeprefix("make ").split()]

        assert set(verbs) == {*recipe.split(), "checkov"}
        assert commands("package")[0] == "make package"
        assert [verb for verb in (*verbs, "package") if not re.search(rf"^{verb}:", makefile, re.MULTILINE)] == []

    def test_variables(self) -> None:
        """Plan and apply set the same variables, and all variables of the root module."""
        plan, apply = JOBS["plan"]["env"], {**JOBS["apply"]["env"], **SECRETS}

        assert {name: value for name, value in plan.items() if name not in SECRETS} == JOBS["apply"]["env"]
        declared = [
            name.strip('"')
            for each in hcl2.loads((DEPLOYMENT / "variables.tf").read_text())["variable"]
            for name in each
        ]
        given = [name.removeprefix("TF_VAR_") for name in apply if name.startswith("TF_VAR_")]
        assert sorted(given) == sorted(declared)

    def test_readme(self) -> None:
        """The README gives the same commands for other CIs, and a table row for every variable and secret."""
        readme = (ROOT / "terraform" / "README.md").read_text()
        others = readme.partition("## Other CIs")[2].partition("\n## ")[0]
        told = [line for block in re.findall(r"```sh\n(.*?)```", others, re.DOTALL) for line in block.splitlines()]
        ours = [line for line in commands("lint", "test", "package", "plan", "apply") if "\n" not in line]

        assert [line for line in ours if line not in told] == []
        assert "(cd dist && sha256sum -- *.zip) | tee SHA256SUMS" in told
        names = set(re.findall(r"(?:vars|secrets)\.(\w+)", TEXT))
        assert len(names) > 10
        assert [name for name in names if f"`{name}`" not in readme] == []

    def test_terraform(self) -> None:
        """The pipeline's Terraform version is one that the module accepts, and its provider is one exact version."""
        assert tuple(map(int, WORKFLOW["env"]["TERRAFORM_VERSION"].split("."))) >= (1, 11)
        assert re.search(r'version = "\d+\.\d+\.\d+"', (DEPLOYMENT / "versions.tf").read_text())
