"""The first event of a new process of the function. This file runs in such a process.

usage: cold_start.py requests            imports `requests` and nothing else
       cold_start.py function < EVENT    imports the function and gives it the event

Print one JSON object: `finished_at` in nanoseconds of the monotonic clock, and `modules`, the heavy modules that were
imported. For an event of the action `measured`, the measurement ends when the handler starts.
"""

import sys
import time

HEAVY = ("boto3", "cryptography", "jsonpickle", "requests")


def handle_first_event() -> int:
    """Handle the event on stdin. Return the time when its handler started, or when the event was handled."""
    import json

    import lambda_function
    from port_runner import ActionRouter

    output, sys.stdout = sys.stdout, sys.stderr  # keep the log out of the result
    router = ActionRouter()
    began: list[int] = []
    router.action("measured")(lambda _: began.append(time.monotonic_ns()))
    lambda_function.runner.include(router)
    lambda_function.lambda_handler(json.load(sys.stdin), None)
    finished = time.monotonic_ns()
    sys.stdout = output
    return began[0] if began else finished


if __name__ == "__main__":
    if sys.argv[1] == "requests":
        import requests  # noqa: F401

        finished_at = time.monotonic_ns()
    else:
        finished_at = handle_first_event()
    modules = [name for name in HEAVY if name in sys.modules]

    import json

    print(json.dumps({"finished_at": finished_at, "modules": modules}))
