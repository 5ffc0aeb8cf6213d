"""What the function is measured against: a handler as one writes it first.

It does what Port's guide for Lambda does, no more: it saves the entity and ends the run, record by record. Each of its
calls asks for a token, and each request opens a connection.
"""

import base64
import json
import os
from typing import Any

import requests

URL = os.environ.get("PORT_API_URL", "https://api.port.io") + "/v1"
TIMEOUT_SECONDS = 30


def lambda_handler(event: dict[str, Any], context: Any) -> None:  # noqa: ARG001
    """Create a VM for every run of the event."""
    for records in event["records"].values():
        for record in records:
            message = json.loads(base64.b64decode(record["value"]))
            run_id = message["context"]["runId"]
            saved = save_vm(run_id, message["payload"]["properties"])
            end_run(run_id, "SUCCESS" if saved else "FAILURE")


def save_vm(run_id: str, inputs: dict[str, Any]) -> bool:
    """Whether Port has taken the VM."""
    response = requests.post(
        f"{URL}/blueprints/vm/entities",
        params={"upsert": "true", "merge": "true", "run_id": run_id},
        json={
            "identifier": f"vm-{run_id}",
            "title": f"VM in {inputs['region']}",
            "properties": {
                "cpu_cores": inputs["cpu"],
                "memory_size": inputs["memory"],
                "storage_size": inputs["storage"],
                "region": inputs["region"],
                "deployed": "Deploying",
            },
        },
        headers=authorization(),
        timeout=TIMEOUT_SECONDS,
    )
    return response.ok


def end_run(run_id: str, status: str) -> None:
    """Tell Port how the run went."""
    requests.patch(
        f"{URL}/actions/runs/{run_id}", json={"status": status}, headers=authorization(), timeout=TIMEOUT_SECONDS
    ).raise_for_status()


def authorization() -> dict[str, str]:
    """A header with a token of Port's."""
    credentials = {"clientId": os.environ["PORT_CLIENT_ID"], "clientSecret": os.environ["PORT_CLIENT_SECRET"]}
    response = requests.post(f"{URL}/auth/access_token", json=credentials, timeout=TIMEOUT_SECONDS)
    response.raise_for_status()
    return {"Authorization": f"Bearer {response.json()['accessToken']}"}
