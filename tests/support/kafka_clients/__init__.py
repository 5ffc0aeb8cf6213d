"""Programs that use the sandbox's Kafka with other clients. Some run with a Python older than the project's."""
