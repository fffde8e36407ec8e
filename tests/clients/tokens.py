"""Keys and tokens by PyJWT.

  tokens.py keys FOLDER
      writes rsa.pem, ec.pem, ed.pem (private), the public keys of all three to keys.pem and jwks.json, and
      secret.txt
  tokens.py token FOLDER ALGORITHM CLAIMS
      prints a token. Numbers of exp and nbf are seconds from now; ALGORITHM is RS256, ES256, EdDSA, HS256 or
      none.
"""

import json
import pathlib
import sys
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import ECAlgorithm
from jwt.algorithms import OKPAlgorithm
from jwt.algorithms import RSAAlgorithm

FILES = {"RS256": "rsa.pem", "ES256": "ec.pem", "EdDSA": "ed.pem"}
SECRET = "0123456789abcdef0123456789abcdef"


def make_keys(folder):
    made = {
        "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    to_jwk = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}
    public, jwks = b"", []
    for algorithm, key in made.items():
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (folder / FILES[algorithm]).write_bytes(private)
        public += key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        jwk = json.loads(to_jwk[algorithm].to_jwk(key.public_key()))
        jwks.append({**jwk, "kid": algorithm, "use": "sig", "alg": algorithm})
    (folder / "keys.pem").write_bytes(public)
    (folder / "jwks.json").write_text(json.dumps({"keys": jwks}))
    (folder / "secret.txt").write_text(SECRET + "\n")


def make_token(folder, algorithm, claims):
    for name in ("exp", "nbf"):
        if isinstance(claims.get(name), (int, float)):
            claims[name] = int(time.time() + claims[name])
    key = {"HS256": SECRET, "none": None}.get(algorithm)
    if algorithm in FILES:
        key = (folder / FILES[algorithm]).read_bytes()
    headers = {"kid": algorithm} if algorithm in FILES else None
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def main():
    command, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if command == "keys":
        make_keys(folder)
    else:
        print(make_token(folder, sys.argv[3], json.loads(sys.argv[4])))


if __name__ == "__main__":
    main()
