"""Secret inputs are encrypted as Port encrypts them."""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.unit.sandbox.fake_port.client import Client, action


def test_secret_inputs_are_encrypted(client: Client, published: list[tuple[str, Any]]) -> None:
    """Port encrypts secret inputs, with the client secret's first 32 bytes or with the user's public key."""
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    body = action("secretive", "CREATE")
    body["trigger"]["userInputs"]["properties"] = {
        "password": {"type": "string", "encryption": "aes256-gcm"},
        "config": {"type": "object", "encryption": {"algorithm": "client-side", "key": pem.decode()}},
    }
    body["invocationMethod"]["payload"] = {
        "in": "{{ .inputs }}",
        "secret": "{{ .action.encryptedProperties }}",
    }
    client.ok("POST", "/actions", body)
    client.ok("POST", "/actions/secretive/runs", {"properties": {}})
    assert published[-1][1]["in"] == {}
    client.ok("POST", "/actions/secretive/runs", {"properties": {"password": "žluť", "config": {"a": 1}}})
    message = published[-1][1]
    assert message["secret"] == ["password", "config"]
    password = base64.b64decode(message["in"]["password"])
    key = AESGCM(client.port.client_secret.encode()[:32])
    assert key.decrypt(password[:16], password[16:], None).decode() == "žluť"
    config = base64.b64decode(message["in"]["config"])
    wrapped = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    key = AESGCM(private_key.decrypt(config[12:268], wrapped))
    assert json.loads(key.decrypt(config[:12], config[268:], None)) == {"a": 1}
