"""A plain handler for comparison, as a first version is usually written.

It does only what Port's guide for Lambda does: for one record after the other it saves the entity and ends the run.
Each call asks for a token, and each request opens a connection.
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
    """Save the VM in Port, and return True if Port accepted it."""
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
    """End the run in Port with this status."""
    requests.patch(
        f"{URL}/actions/runs/{run_id}", json={"status": status}, headers=authorization(), timeout=TIMEOUT_SECONDS
    ).raise_for_status()


def authorization() -> dict[str, str]:
    """Get a token from Port, and return the header that carries it."""
    credentials = {"clientId": os.environ["PORT_CLIENT_ID"], "clientSecret": os.environ["PORT_CLIENT_SECRET"]}
    response = requests.post(f"{URL}/auth/access_token", json=credentials, timeout=TIMEOUT_SECONDS)
    response.raise_for_status()
    return {"Authorization": f"Bearer {response.json()['accessToken']}"}
