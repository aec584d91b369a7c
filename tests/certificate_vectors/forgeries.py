"""Certificates that are not of the form, or not signed as they have to be."""
import base64, hashlib, json, struct
from centre import LOG, STRANGER, TIME, WITNESS, Signer, compact, fixed, note_text, of, pretty, relog, sha256, signed
from small import C, OTHER, key, people, put, tenant, version, with_member, without

def form():
    good = version()
    file = signed(good)
    text = file.decode()
    def spelled(old, new): return text.replace(old, new, 1).encode()
    def signed_text(old, new):
        """As with an implementation that signs whatever it is given."""
        inner = pretty(good).replace(old, new, 1)
        signature = LOG.sign(b"kms/certificate/v1\n" + inner.encode()).hex()
        return ('{\n "certificate": ' + inner.replace("\n", "\n ") + f',\n "signature": "{signature}"\n}}\n').encode()
    assert signed_text("x", "x") == file
    yield "member-unknown", with_member(version(), "note", "x")
    yield "member-missing", without(version(), "erasure/horizon")
    yield "member-of-another-kind", with_member(version(), "subject/live", 0)
    yield "member-twice", signed_text('"horizon": "none"', '"horizon": "none",\n  "horizon": "none"')
    yield "members-unsorted", signed_text('"data_keys_issued": 0,\n    "destroyed": 8', '"destroyed": 8,\n    "data_keys_issued": 0')
    yield "null", with_member(version(), "subject/versions/0/data_keys_issued", None)
    yield "boolean", with_member(version(), "subject/versions/0/data_keys_issued", False)
    yield "fraction", with_member(version(), "subject/versions/0/data_keys_issued", 0.5)
    yield "negative", with_member(version(), "subject/versions/0/data_keys_issued", -1)
    yield "too-large", with_member(version(), "subject/versions/0/data_keys_issued", 2**63)
    yield "leading-zero", signed_text('"data_keys_issued": 0', '"data_keys_issued": 00')
    yield "escape", signed_text("There is no", "There\\u0020is no")
    yield "quote-in-a-string", with_member(version(), "assumed/0", 'no "copy"')
    yield "not-ascii", with_member(version(), "assumed/0", "caf\u00e9")
    yield "not-ascii-raw", signed_text("There is no", "There is n\u00f6")
    yield "upper-case-hash", with_member(version(), "subject/versions/0/kc", str.upper)
    yield "short-hash", with_member(version(), "subject/versions/0/kc", lambda v: v[2:])
    yield "instant-without-milliseconds", with_member(version(), "issued", lambda v: v[:19] + "Z")
    yield "instant-that-is-none", with_member(version(), "issued", lambda v: v[:5] + "02-30" + v[10:])
    yield "layout-2", with_member(version(), "v", 2)
    yield "kind-unknown", with_member(version(), "kind", "epoch")
    yield "kind-of-two-versions", with_member(key(), "kind", "version")
    yield "no-version", with_member(key(), "subject/versions", [])
    yield "versions-falling", with_member(key(), "subject/versions", lambda v: v[::-1])
    yield "epochs-falling", with_member(key(), "erasure/epochs", lambda v: v[::-1])
    yield "requests-falling", with_member(key(), "request", lambda v: v[::-1])
    yield "entries-falling", with_member(version(), "proofs/entries", lambda v: v[::-1])
    yield "risks-falling", with_member(version(), "risks", lambda v: v[::-1])
    yield "risk-unknown", with_member(version(), "risks", lambda v: v + ["zeal"])
    yield "status-unknown", with_member(version(), "erasure/status", "done")
    yield "slot-too-large", with_member(version(), "subject/versions/0/slot", 2**32)
    yield "height-8", with_member(version(), "proofs/states/0/before/top_height", 8)
    yield "clients-confirmed-alone", without(version(clients=(3, 1)), "erasure/epochs/0/clients_ended")
    yield "clients-ended-alone", without(version(clients=(3, 1)), "erasure/epochs/0/clients_confirmed")
    yield "clients-fewer-than-none", with_member(version(clients=(3, 1)), "erasure/epochs/0/clients_ended", -1)
    yield "effaced-without-effacement", without(version(), "erasure/epochs/0/effacement")
    yield "name-of-no-subject", with_member(version(), "subject/subject_name", fixed("a name", 32).hex())
    yield "name-in-the-clear", with_member(people().certificate("acme", of("one"), named="employee-17"), "subject/subject_name", "employee-17")
    yield "compact", compact(dict(certificate=good, signature=text[-131:-3])) + b"\n"
    yield "two-spaces", (json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n").encode()
    yield "no-line-feed", file[:-1]
    yield "two-line-feeds", file + b"\n"
    yield "carriage-returns", file.replace(b"\n", b"\r\n")
    yield "byte-order-mark", b"\xef\xbb\xbf" + file
    yield "space-before", b" " + file
    yield "another-after-it", file + file
    yield "cut", file[: len(file) // 2]
    yield "empty", b""
    yield "list", b"[]\n"
    yield "deep", b"[" * 5000 + b"\n"

L = 2**252 + 27742317777372353535851937790883648493               # order of the curve's base point
def scalar(label): return int.from_bytes(hashlib.sha512(fixed("seed of " + label, 32)).digest()[:32], "little") & (2**254 - 8) | 2**254
IDENTITY = b"\1" + bytes(31)                                      # the point of order 1

class Anyone(Signer):
    """A key of order 1, and the signature that anybody can make under it: of any point R, over any message."""
    def __init__(self, name, kind):
        super().__init__(name, kind)
        blob = bytes([kind]) + IDENTITY
        self.id = sha256(name.encode() + b"\n" + blob)[:4]
        self.vkey = f"{name}+{self.id.hex()}+{base64.b64encode(blob).decode()}"
        self.made = Signer("anybody", 1).key.public_key().public_bytes_raw() + (scalar("anybody") % L).to_bytes(32, "little")
    def sign(self, message): return self.made

def certificate_signature():
    body = version()
    message, file = b"kms/certificate/v1\n" + pretty(body).encode(), signed(body)
    def by(signature): return (pretty(dict(certificate=body, signature=signature.hex())) + "\n").encode()
    yield "by-another-key", signed(body, OTHER)
    yield "over-the-compact-form", by(LOG.sign(b"kms/certificate/v1\n" + compact(body)))
    yield "without-the-prefix", by(LOG.sign(pretty(body).encode()))
    yield "of-another-certificate", by(LOG.sign(b"kms/certificate/v1\n" + pretty(tenant()).encode()))
    good = LOG.sign(message)
    yield "malleable", by(good[:32] + (int.from_bytes(good[32:], "little") + L).to_bytes(32, "little"))
    challenge = int.from_bytes(hashlib.sha512(IDENTITY + LOG.key.public_key().public_bytes_raw() + message).digest(), "little")
    yield "small-order", by(IDENTITY + (challenge * scalar(LOG.name) % L).to_bytes(32, "little"))
    yield "zeroes", by(bytes(64))
    yield "tampered-sentence", file.replace(b"There is no other copy.", b"There is one other copy")
    yield "tampered-count", file.replace(b'"data_keys_issued": 0', b'"data_keys_issued": 1').replace(b' "clock-unproven",\n', b' "clock-unproven",\n   "derived-copies",\n')

def log_key():
    yield "of-another-instance", with_member(version(), "instance", fixed("another instance").hex())
    def relabelled(vkey): return with_member(version(), "log/key", vkey)
    yield "id-of-another", relabelled(LOG.vkey.replace(LOG.id.hex(), OTHER.id.hex()))
    yield "of-a-witness", relabelled(Signer(LOG.name, 4).vkey)
    yield "no-key", relabelled("the log's key")
    anyone = Anyone(LOG.name, 1)
    yield "small-order", signed(put(relog(version(), C.entries, signer=anyone), "log/key", anyone.vkey), anyone)

def checkpoint():
    good = version()
    size, root = good["proofs"]["checkpoint"]["size"], bytes.fromhex(good["proofs"]["checkpoint"]["root"])
    def by(text, signer=LOG): return with_member(version(), "proofs/checkpoint/signature", signer.note(text).hex())
    def cosigned(witness, signature, vkey=None): return with_member(version(), "proofs/checkpoint/cosignatures", [dict(key=vkey or witness.vkey, signature=signature.hex())])
    text = note_text(LOG.name, size, root)
    yield "of-another-origin", by(note_text("keycentre/" + fixed("another instance").hex(), size, root))
    yield "of-another-size", by(note_text(LOG.name, size + 1, root))
    yield "of-another-root", by(note_text(LOG.name, size, fixed("another root", 32)))
    yield "by-another-key", by(text, OTHER)
    yield "id-of-another-key", with_member(version(), "proofs/checkpoint/signature", (OTHER.id + LOG.sign(text)).hex())
    yield "cosignature-by-another", cosigned(WITNESS, WITNESS.id + STRANGER.cosign(text, TIME)[4:])
    yield "cosignature-of-another-time", cosigned(WITNESS, WITNESS.id + struct.pack(">Q", TIME + 1) + WITNESS.cosign(text, TIME)[12:])
    yield "cosignature-of-another-checkpoint", cosigned(WITNESS, WITNESS.cosign(note_text(LOG.name, size - 1, root), TIME))
    yield "cosignature-id-of-another", cosigned(WITNESS, STRANGER.id + WITNESS.cosign(text, TIME)[4:])
    yield "cosignature-beyond-time", cosigned(WITNESS, WITNESS.cosign(text, 2**63))
    yield "cosignature-by-a-log-key", cosigned(WITNESS, LOG.id + struct.pack(">Q", TIME) + LOG.cosign(text, TIME)[12:], LOG.vkey)
    anyone = Anyone("witness.example/anyone", 4)
    yield "cosignature-small-order", cosigned(anyone, anyone.cosign(text, TIME))
    one = Signer("witness.example/one", 4)
    yield "second-cosignature-forged", with_member(version(), "proofs/checkpoint/cosignatures",
        [dict(key=one.vkey, signature=one.cosign(text, TIME).hex()), dict(key=STRANGER.vkey, signature=(STRANGER.id + one.cosign(text, TIME)[4:]).hex())])
