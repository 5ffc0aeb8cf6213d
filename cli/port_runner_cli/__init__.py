"""What an operator does around the function, as one command with sub-commands: `scripts/port-runner`."""
