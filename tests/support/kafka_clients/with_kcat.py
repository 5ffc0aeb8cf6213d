"""kcat, the command-line client of librdkafka."""

import re
import subprocess

from tests.support.kafka_clients.commands import Json, serve

# kcat keeps trying after these lines.
REFUSED = re.compile("ERROR|FAIL|Delivery failed")


def kcat(command: Json, *arguments: str, standard_input: str = "") -> str:
    """Run kcat and return its output. Raises RuntimeError with its first line about an error."""
    login = command["login"]
    settings = {
        "security.protocol": login["protocol"],
        "ssl.ca.location": login["ca_file"],
        "sasl.mechanism": login["mechanism"],
        "sasl.username": login["username"],
        "sasl.password": login["password"],
        "auto.offset.reset": "earliest",
        "message.max.bytes": "10000000",
    }
    options = [each for name, value in settings.items() for each in ("-X", f"{name}={value}")]
    process = subprocess.Popen(
        ["kcat", "-b", login["brokers"], *options, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(standard_input)
        process.stdin.close()
        for line in process.stderr:
            if REFUSED.search(line):
                process.kill()
                raise RuntimeError(line)
        return process.stdout.read()


def read(command: Json) -> list[str]:
    """Read and commit."""
    return kcat(command, "-G", command["group"], "-c", str(command["count"]), command["topic"]).split()


def produce(command: Json) -> int:
    """Produce a record, and return its offset."""
    kcat(command, "-P", "-t", command["topic"], standard_input="x" * command["size"])
    return int(kcat(command, "-Q", "-t", f"{command['topic']}:0:-1").split()[-1]) - 1


serve(read, produce)
