"""A fake Port that answers at once, behind TLS, and a slow network to it. This file runs as its own process.

usage: slow_port.py CERTIFICATE KEY ROUND_TRIP_SECONDS

Print the two ports that it listens on as one JSON object: `near` is Port itself, `far` leads to it over a network on
which every byte takes half a round trip, and connecting takes a whole one. So each new connection pays for TCP and TLS.
End on SIGTERM.
"""

import asyncio
import json
import selectors
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

COUNTS = "/counts"
CREDENTIALS = {"client_id": "bench", "client_secret": "bench-client-secret"}

type Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
    """Return the status and body of Port's answer to a valid request.

    The path ``/`` answers as AWS Secrets Manager, with Port's credentials.
    """
    match method, path.split("?")[0].split("/")[1:]:
        case "POST", [""]:
            return 200, {"SecretString": json.dumps(CREDENTIALS)}
        case "POST", ["v1", "auth", "access_token"]:
            return 200, {"ok": True, "accessToken": "t" * 800, "expiresIn": 10800, "tokenType": "Bearer"}
        case "GET" | "PATCH", ["v1", "actions", "runs", run_id]:
            return 200, {"ok": True, "run": _run(run_id)}
        case "POST", ["v1", "actions", "runs", run_id, "logs"]:
            return 201, {"ok": True, "runLog": {"id": "l_1", "runId": run_id, "message": body["message"]}}
        case "POST", ["v1", "blueprints", blueprint, "entities"]:
            return 201, {"ok": True, "entity": {"blueprint": blueprint, "relations": {}, **body}}
    return 404, {"ok": False, "error": "not_found"}


def _run(run_id: str) -> dict[str, Any]:
    return {
        "id": run_id,
        "status": "IN_PROGRESS",
        "action": {
            "identifier": run_id.rpartition("-")[0] or "create_vm",
            "title": "Create VM",
            "icon": "Server",
            "deleted": False,
        },
        "blueprint": {"identifier": "vm", "title": "VM", "icon": "Server", "deleted": False},
        "properties": {"cpu": 2, "memory": 4, "storage": 50, "region": "eu-west-1"},
        "source": "UI",
        "requiredApproval": False,
        "createdBy": "auth0|638879fa62c686d381b36ecb",
        "createdAt": "2024-06-06T05:21:00.565Z",
        "updatedAt": "2024-06-06T05:21:00.565Z",
    }


def port(counts: Counter[str]) -> Serve:
    """Return a server of HTTP/1.1 that keeps connections alive. ``GET /counts`` returns *counts* and is not counted."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_new = True
        while head := await reader.readuntil(b"\r\n\r\n"):
            request_line, *header_lines = head.decode("latin-1").splitlines()
            method, path, _ = request_line.split()
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in header_lines)}
            text = await reader.readexactly(int(headers.get("content-length", 0)))
            if path == COUNTS:
                status, content = 200, dict(counts)
            else:
                body = json.loads(text) if text else {}
                status, content = answer(method, path, body)
                counts["connections"] += is_new
                counts["requests"] += 1
                counts["token calls"] += path.endswith("/access_token")
                counts["successes"] += body.get("status") == "SUCCESS"
                is_new = False
            answered = json.dumps(content).encode()
            lines = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(answered)}\r\n\r\n"
            writer.write(lines.encode() + answered)

    return serve


def network(to: int, round_trip: float) -> Serve:
    """Return a server that passes all bytes to the port *to* and back, each way half of *round_trip* seconds later."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(65536):
                loop.call_later(round_trip / 2, writer.write, data)
        finally:
            loop.call_later(round_trip / 2, writer.close)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65536)
        # Connecting takes no time on this machine. Add its time before the client's first bytes are passed on, not
        # before the client sends them: the client may work between connecting and sending.
        await asyncio.sleep(round_trip)
        port_reader, port_writer = await asyncio.open_connection("127.0.0.1", to)
        asyncio.get_running_loop().call_later(round_trip / 2, port_writer.write, first)
        await asyncio.gather(carry(reader, port_writer), carry(port_reader, writer))

    return serve


def forgiving(serve: Serve) -> Serve:
    """Wrap *serve* so that a client that disconnects causes no error."""

    async def serve_until_left(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    return serve_until_left


async def main() -> None:
    certificate, key, round_trip = sys.argv[1], sys.argv[2], float(sys.argv[3])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    near = await asyncio.start_server(forgiving(port(Counter())), "127.0.0.1", 0, ssl=tls, backlog=1000)
    near_port = near.sockets[0].getsockname()[1]
    far = await asyncio.start_server(forgiving(network(near_port, round_trip)), "127.0.0.1", 0, backlog=1000)
    print(json.dumps({"near": near_port, "far": far.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.gather(near.serve_forever(), far.serve_forever())


if __name__ == "__main__":
    # The default selector sleeps whole milliseconds, which is too coarse for a delay of 15 ms.
    asyncio.run(main(), loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector()))
