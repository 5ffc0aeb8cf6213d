"""The command line with its sub-commands, in the order in which a newcomer needs them."""

import click

from port_runner_cli.commands.action_json import action_json
from port_runner_cli.commands.check import check
from port_runner_cli.commands.doctor.command import doctor
from port_runner_cli.commands.failures.command import failures
from port_runner_cli.commands.kafka_secret import kafka_secret
from port_runner_cli.commands.local.command import local
from port_runner_cli.commands.run import run
from port_runner_cli.commands.setup import setup
from port_runner_cli.commands.tail import tail
from port_runner_cli.output import COMMAND, OrderedGroup

COMMANDS: list[click.Command] = [kafka_secret, action_json, setup, check, local, run, tail, failures, doctor]


@click.group(
    cls=OrderedGroup,
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def main() -> None:
    """Set up Port, execute a run, watch it, and find out why nothing arrives.

    Port's credentials come from PORT_CLIENT_ID and PORT_CLIENT_SECRET in the environment, from a file, or from a secret
    in AWS. All commands that call Port have the same three options for this: see COMMAND --help.

    The exit code is 0 for success, 1 for a failure, 2 for a wrong setting, and 130 after Ctrl-C.
    """


if __name__ == "__main__":
    main(prog_name=COMMAND)
