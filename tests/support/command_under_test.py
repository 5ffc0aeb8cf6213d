"""The command line as a person calls it, against a fake Port."""

from click.testing import CliRunner, Result

from port_runner_cli.__main__ import main
from port_runner_sandbox.fake_port import FakePort

# Variables that select Port, its credentials, or colors. A developer's own values must not affect a test.
UNSET = (
    "PORT_API_URL",
    "PORT_CLIENT_ID",
    "PORT_CLIENT_SECRET",
    "PORT_CREDENTIALS_SECRET_ARN",
    "AWS_PROFILE",
    "FORCE_COLOR",
    "TTY_COMPATIBLE",
)


def command(*arguments: str, port: FakePort | None = None, typed: str | None = None, **environment: str) -> Result:
    """Run `port-runner` with these arguments, with the address and credentials of `port` in the environment."""
    variables: dict[str, str | None] = dict.fromkeys(UNSET)
    if port is not None:
        variables |= {
            "PORT_API_URL": port.url,
            "PORT_CLIENT_ID": port.client_id,
            "PORT_CLIENT_SECRET": port.client_secret,
        }
    return CliRunner().invoke(main, arguments, input=typed, env={**variables, **environment})
