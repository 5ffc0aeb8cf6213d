"""Secret inputs as they stand in Port's messages: base64 of IV, wrapped key if any, ciphertext and tag."""

import base64
import json
import os
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from port_templates import well_formed


def encrypt(value: Any, method: Any, client_secret: str) -> str:
    """Return one input, encrypted. `method` is the input's `encryption` in the action's definition."""
    text = well_formed(value if isinstance(value, str) else json.dumps(value))
    if method == "aes256-gcm":
        return _with_client_secret(text, client_secret)
    return _with_public_key(text, method["key"])


def _with_client_secret(text: str, client_secret: str) -> str:
    iv = os.urandom(16)
    return _base64(iv, AESGCM(client_secret.encode()[:32]).encrypt(iv, text.encode(), None))


def _with_public_key(text: str, pem: str) -> str:
    iv, key = os.urandom(12), os.urandom(32)
    public_key = load_pem_public_key(pem.encode())
    assert isinstance(public_key, RSAPublicKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return _base64(iv, public_key.encrypt(key, oaep), AESGCM(key).encrypt(iv, text.encode(), None))


def _base64(*parts: bytes) -> str:
    return base64.b64encode(b"".join(parts)).decode()
