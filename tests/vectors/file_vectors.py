#!/usr/bin/env python3
"""Independent reference for sealed files, kind 04 (design/api.md, "Files").

Prints JSON vectors; every input is fixed, so the output is reproducible byte for byte. The plaintext of n bytes is
byte i = 7 i mod 256; files too long to print whole are given by their header and SHA-256.
Needs the Python package `cryptography`.
"""
import hashlib, json, struct
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from reference_vectors import data_key, hkdf

CHUNK_LOG2 = 16
CHUNK = 1 << CHUNK_LOG2

def seal_file(dek, version_id, data_key_id, salt, prefix, plaintext):
    head = b"\x4b\x04" + struct.pack(">QI", version_id, data_key_id) + bytes([CHUNK_LOG2]) + salt + prefix
    okm = hkdf(salt, dek, b"kms/file/v1" + head, 64)
    chunks = [plaintext[at:at + CHUNK] for at in range(0, len(plaintext), CHUNK)] or [b""]
    out = head + okm[32:]
    for number, chunk in enumerate(chunks):                       # STREAM-BE32
        nonce = prefix + struct.pack(">I", number) + bytes([number + 1 == len(chunks)])
        out += AESGCM(okm[:32]).encrypt(nonce, chunk, b"")
    return head + okm[32:], out

if __name__ == "__main__":
    version_id = (5 << 32) | 288
    dek = data_key(b"\xaa" * 32, version_id, 19)
    files = []
    for number, length in enumerate((0, 1, 11, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 1000)):
        salt, prefix = bytes([0x40 + number]) * 32, bytes([0x60 + number]) * 7
        header, file = seal_file(dek, version_id, 19, salt, prefix, bytes(at * 7 % 256 for at in range(length)))
        entry = dict(plaintext_length=length, salt=salt.hex(), nonce_prefix=prefix.hex(), header=header.hex(), sha256=hashlib.sha256(file).hexdigest(), size=len(file))
        files.append(entry | (dict(file=file.hex()) if length < 1000 else {}))
    print(json.dumps(dict(data_key=dek.hex(), version_id=version_id, data_key_id=19, files=files), indent=1))
