#!/usr/bin/env python3
"""Renews the access token that the preset fcm sends with: fcm_token.py KEY_FILE TOKEN_FILE

KEY_FILE is the JSON key of the Google service account, TOKEN_FILE the file that option password_file
names. A token lives an hour; the extension reads the file at every request, and this replaces it whole, so
run it from cron every half hour as the server's user. The private key is used here only: it signs with the
program openssl. Without an answer the old token stays, and the exit code is 1.
"""
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"


def coded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def signature(key, text):
    """RSA with SHA-256; the key goes to openssl through a pipe of its own."""
    reading, writing = os.pipe()
    os.write(writing, key.encode())
    os.close(writing)
    return subprocess.run(["openssl", "dgst", "-sha256", "-sign", f"/dev/fd/{reading}"], input=text, pass_fds=[reading],
                          stdout=subprocess.PIPE, check=True).stdout


def token(account):
    now = int(time.time())
    claims = {"iss": account["client_email"], "scope": SCOPE, "aud": account["token_uri"], "iat": now, "exp": now + 3600}
    text = coded(json.dumps({"alg": "RS256", "typ": "JWT"}).encode()) + b"." + coded(json.dumps(claims).encode())
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": (text + b"." + coded(signature(account["private_key"], text))).decode()}
    with urllib.request.urlopen(account["token_uri"], urllib.parse.urlencode(form).encode(), timeout=60) as answer:
        return json.load(answer)["access_token"]


def replace(path, text):
    """Whole or not at all, readable for nobody else."""
    descriptor, new = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)))
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise


with open(sys.argv[1], encoding="utf-8") as key_file:
    replace(sys.argv[2], token(json.load(key_file)))
