#!/usr/bin/env python3
"""Independent reference for the plaintext encodings (design/api.md, "Plaintext encoding").

Prints JSON vectors; every input is fixed, so the output is reproducible byte for byte.
Needs Python only.
"""
import datetime, json, struct, uuid

def lp(data): return struct.pack(">I", len(data)) + data          # length prefix

def time_text(seconds, nanoseconds):
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return f"{moment.year:04d}" + moment.strftime("-%m-%dT%H:%M:%S") + fraction + "Z"

def encode(kind, value):
    if kind in ("text", "json"): return value.encode()
    if kind == "bytes": return bytes.fromhex(value)
    if kind == "integer": return str(int(value)).encode()
    if kind == "boolean": return b"true" if value else b"false"
    if kind == "uuid": return str(uuid.UUID(hex=value)).encode()
    if kind == "time": return time_text(*value).encode()

def scalar(kind, value): return dict(type=kind, value=value, encoded=encode(kind, value).hex())

SCALARS = [
    ("text", ""), ("text", "row-42"), ("text", " kept as it is\n"), ("text", "王秀英"), ("text", "Zoë"), ("text", "Zoe\u0308"), ("text", "علي"), ("text", "\U0001f512"), ("text", "\0"),
    ("bytes", ""), ("bytes", "00ff80"), ("bytes", "74727565"),
    ("integer", "0"), ("integer", "7"), ("integer", "-1"), ("integer", "9223372036854775807"), ("integer", "-9223372036854775808"), ("integer", "18446744073709551615"),
    ("integer", "170141183460469231731687303715884105727"), ("integer", "-170141183460469231731687303715884105728"),
    ("boolean", True), ("boolean", False),
    ("uuid", "00000000000000000000000000000000"), ("uuid", "ffffffffffffffffffffffffffffffff"), ("uuid", "0190b5a27c1e7d3a9c551f2e3d4c5b6a"),
    ("time", [0, 0]), ("time", [0, 1]), ("time", [0, 500000000]), ("time", [1700000000, 123000000]), ("time", [1700000000, 123456789]), ("time", [1709164800, 0]),
    ("time", [-1, 999999999]), ("time", [-2208988800, 0]), ("time", [253402300799, 999999999]), ("time", [-62135596800, 0]), ("time", [4102444800, 100]),
    ("json", '{"lat":31.2304,"lon":121.4737}'), ("json", "null"), ("json", "1.5"), ("json", '["a","b"]'),
]

REFUSED = {
    "text": [b"\xff", b"\xc0\x80", b"\xed\xa0\x80"],
    "integer": [b"", b"+1", b"01", b"-0", b"00", b" 1", b"1 ", b"1.0", b"1e3", b"0x10", b"-", b"1_000", "١".encode(), b"170141183460469231731687303715884105728"],
    "boolean": [b"", b"True", b"TRUE", b"1", b"0", b"t", b"true ", b"yes"],
    "uuid": [b"", b"0190B5A2-7C1E-7D3A-9C55-1F2E3D4C5B6A", b"0190b5a27c1e7d3a9c551f2e3d4c5b6a", b"{0190b5a2-7c1e-7d3a-9c55-1f2e3d4c5b6a}",
             b"urn:uuid:0190b5a2-7c1e-7d3a-9c55-1f2e3d4c5b6a", b"0190b5a2-7c1e-7d3a-9c55-1f2e3d4c5b6", b"0190b5a2-7c1e-7d3a-9c55-1f2e3d4c5b6ag", b"0190b5a27-c1e-7d3a-9c55-1f2e3d4c5b6a"],
    "time": [b"", b"1970-01-01", b"1970-01-01T00:00:00", b"1970-01-01T00:00:00+00:00", b"1970-01-01T00:00:00-00:00", b"1970-01-01T01:00:00+01:00", b"1970-01-01t00:00:00z",
             b"1970-01-01 00:00:00Z", b"1970-01-01T00:00:00.0Z", b"1970-01-01T00:00:00.50Z", b"1970-01-01T00:00:00.Z", b"1970-01-01T00:00:00,5Z", b"1970-02-30T00:00:00Z",
             b"1970-01-01T24:00:00Z", b"2016-12-31T23:59:60Z", b"1970-1-1T00:00:00Z", b"+1970-01-01T00:00:00Z", b"1970-01-01T00:00:00.1234567891Z"],
}

RECORD_IDS = [
    [("text", "row-42")], [("integer", "42")], [("uuid", "0190b5a27c1e7d3a9c551f2e3d4c5b6a")],
    [("text", "company-1"), ("uuid", "0190b5a27c1e7d3a9c551f2e3d4c5b6a")], [("text", "ab"), ("text", "c")], [("text", "a"), ("text", "bc")],
    [("text", ""), ("text", "")], [("integer", "-5"), ("boolean", True), ("time", [1700000000, 250000000]), ("bytes", "00ff")],
]

if __name__ == "__main__":
    record_ids = []
    for columns in RECORD_IDS:
        parts = [encode(*column) for column in columns]
        joined = parts[0] if len(parts) == 1 else b"".join(lp(part) for part in parts)
        record_ids.append(dict(columns=[dict(type=kind, value=value) for kind, value in columns], encoded=joined.hex()))
    refused = [dict(type=kind, encoded=encoded.hex()) for kind, group in REFUSED.items() for encoded in group]
    print(json.dumps(dict(scalars=[scalar(*entry) for entry in SCALARS], refused=refused, record_ids=record_ids), indent=1))
