"""The operator's command line, one command with sub-commands: `scripts/port-runner`."""
