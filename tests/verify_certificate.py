#!/usr/bin/env python3
"""A second, independent verifier of destruction certificates, written from docs/verifying.md alone.

    verify_certificate.py CERT [--key FILE] [--pin FILE] [--policy FILE] [--name SUBJECT --salt FILE]
    verify_certificate.py --many DIR [--key FILE] [--pin FILE] [--policy FILE] [--name SUBJECT --salt FILE]

First line: `erased`, `residual`, `pending` or `invalid`; then each check that failed, by its name, or each risk that stands. Exit code
0 erased, 3 residual, 4 pending, 1 invalid, 2 wrong usage. With --many: a line `FILE VERDICT NAMES` for each *.json of the directory.
Needs Python 3.11 and the package `cryptography` (for Ed25519). Opens no connection."""
import argparse, base64, datetime, hashlib, json, pathlib, re, struct, sys, tomllib
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

class Failed(Exception):
    """A check that failed: its name, and a sentence."""

def need(condition, check, sentence):
    if not condition: raise Failed(check, sentence)

# ---- forms: each takes a value and says whether it has the form --------------------------------------
MAX = 2**63 - 1
def whole(low=0, high=MAX): return lambda v: type(v) is int and low <= v <= high
def hexes(size): return lambda v: type(v) is str and re.fullmatch("[0-9a-f]{%d}" % (2 * size), v) is not None
def one(*values): return lambda v: type(v) in (str, int) and v in values
def text(v): return type(v) is str
def word(pattern): return lambda v: text(v) and re.fullmatch(pattern, v) is not None
def many(form): return lambda v: type(v) is list and all(map(form, v))
def record(**members): return lambda v: type(v) is dict and set(v) == set(members) and all(form(v[m]) for m, form in members.items())
def either(*forms): return lambda v: any(form(v) for form in forms)
def rising(form, key): return lambda v: many(form)(v) and all(key(a) < key(b) for a, b in zip(v, v[1:]))
def instant(v):
    if not text(v) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z", v): return False
    try: return datetime.datetime.strptime(v, "%Y-%m-%dT%H:%M:%S.%fZ").second < 60
    except ValueError: return False
def effaced_list(v): return text(v) and re.fullmatch("([0-9]{1,19}:[0-9a-f]{32}( [0-9]{1,19}:[0-9a-f]{32})*)?", v) is not None

UID, HASH, COUNT, ALG, SLOT, NUMBER, HEIGHT = hexes(16), hexes(32), whole(), whole(0, 2**16 - 1), whole(0, 2**32 - 1), whole(1, 2**32 - 1), whole(0, 7)
SCOPE, MEDIUM_CLASS, KEY_CLASS = one("version", "key", "tenant"), one("none", "token", "clear"), one("L1", "L2", "L3", "L4")
REASON = one("retention-ended", "subject-request", "contract-ended", "compromise", "superseded", "test", "other")
RISK = one("audit-written", "classical-key-exchange", "clock-unproven", "derived-copies", "exported", "imported-original", "index-values", "log-key-unconfirmed", "log-not-replayed",
    "medium-none", "memory-swap-core", "name-guessable", "no-rollback-protection", "no-witness", "restore-unwitnessed", "rows-linkable", "token-backup", "token-software")
PLAIN = "[a-z0-9][a-z0-9._-]{0,62}"
NAME, KEY_NAME, SLOT_PROOF = word(PLAIN), word(PLAIN + "(/[\x20-\x2e\x30-\x7e]{1,128})?"), many(lambda v: v == "" or HASH(v))
MEDIUM = dict(**{"class": MEDIUM_CLASS}, assurance=text, technique=text, media=text, verification=text)
TENANT, KEY, WHY = dict(tenant=NAME, tenant_uid=UID, tenant_slot=SLOT), dict(tenant_uid=UID, key=KEY_NAME, key_uid=UID), dict(reason=REASON, ticket=text)
def entry_form(kind, **members): return record(v=one(1), type=one(kind), at=instant, commit=COUNT, by=text, **members)
CREATE = dict(KEY, **{"class": KEY_CLASS}, number=NUMBER, version_uid=UID, slot=SLOT, alg=ALG, kc=HASH, origin=one("generated"))
DESTROY = dict(KEY, **WHY, epoch=COUNT, live=COUNT, last=NUMBER)
ENTRIES = {                                                       # the types that a certificate can refer to
    "KEY_CREATE": entry_form("KEY_CREATE", **CREATE), "KEY_ROTATE": entry_form("KEY_ROTATE", **CREATE),
    "TENANT_DESTROY": entry_form("TENANT_DESTROY", **TENANT, **WHY, live=COUNT, epoch=COUNT),
    "DESTROY": either(entry_form("DESTROY", **DESTROY, scope=one("version"), number=NUMBER, version_uid=UID, slot=SLOT),
                      entry_form("DESTROY", **dict(DESTROY, live=one(0)), scope=one("key"))),
    "EPOCH_COMMIT": entry_form("EPOCH_COMMIT", epoch=COUNT, attempt=UID, state_root_before=HASH, state_root=HASH, live=COUNT, first=COUNT, last=COUNT),
    "EPOCH_EFFACED": entry_form("EPOCH_EFFACED", epoch=COUNT, attempt=UID, effaced=effaced_list, **MEDIUM)}

VERSION = record(number=NUMBER, uid=UID, slot=SLOT, alg=ALG, kc=HASH, origin=one("generated"), created=COUNT, destroyed=COUNT, epoch=COUNT, data_keys_issued=COUNT)
REQUEST = record(destroy=COUNT, by=text, at=instant, scope=SCOPE, **WHY, approvals=many(text))
EPOCH = dict(epoch=COUNT, attempt=UID, commit=COUNT, committed=instant, quiesced=instant)
CLIENTS, DONE = dict(clients_confirmed=COUNT, clients_ended=COUNT), dict(effacement=COUNT, effaced=instant)
STATE = dict(live=COUNT, top_height=HEIGHT, top=SLOT_PROOF)
SLOTS, CLONE = dict(STATE, tenant_height=HEIGHT, tenant=SLOT_PROOF), dict(STATE, tenant_height=HEIGHT, tenant_root=HASH)

def body_form(kind):
    keyed = kind != "tenant"
    versions = rising(VERSION, lambda v: v["number"])
    subject = dict(TENANT | KEY, **{"class": KEY_CLASS}, versions=lambda v: versions(v) and (len(v) == 1 if kind == "version" else v))
    named = dict(subject, key=lambda v: KEY_NAME(v) and "/" in v, subject_name=HASH)
    state = record(epoch=COUNT, before=record(**SLOTS), after=either(record(**SLOTS), record(**STATE))) if keyed else \
        record(epoch=COUNT, before=record(**CLONE), after=record(**STATE))
    return record(v=one(1), kind=one(kind), issued=instant, instance=UID, log=record(key=text),
        subject=either(record(**subject), record(**named)) if keyed else record(**TENANT, live=COUNT),
        request=rising(REQUEST, lambda v: v["destroy"]),
        erasure=record(status=one("erased", "pending"), horizon=one("none"),
            epochs=rising(either(*(record(**EPOCH, **clients, **done) for clients in ({}, CLIENTS) for done in ({}, DONE))), lambda v: v["epoch"])),
        effaceable=many(record(effacement=COUNT, **MEDIUM)),
        sanitization=lambda v: type(v) is dict and all(map(text, v.values())),
        proofs=record(checkpoint=record(size=COUNT, root=HASH, signature=hexes(68), cosignatures=many(record(key=text, signature=hexes(76)))),
            entries=rising(record(index=COUNT, entry=lambda v: type(v) is dict), lambda v: v["index"]), inclusion=many(HASH),
            consistency=rising(record(size=NUMBER, root=HASH, proof=many(HASH)), lambda v: v["size"]), states=rising(state, lambda v: v["epoch"])),
        proven=many(text), attested=many(text), assumed=many(text), risks=rising(RISK, lambda v: v))

def pretty(value): return json.dumps(value, indent=1, sort_keys=True)
def compact(value): return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
def plain(value):                                                 # no null, boolean, fraction, or number out of range
    if type(value) is dict: return all(map(plain, value.values()))
    return all(map(plain, value)) if type(value) is list else text(value) or COUNT(value)

def parse(data):
    need(re.fullmatch(rb"[\n\x20-\x5b\x5d-\x7e]*", data), "form", "it holds a byte that stands nowhere in canonical JSON")
    try:
        value = json.loads(data)
        need(plain(value) and pretty(value).encode() + b"\n" == data, "form", "it is not canonical JSON")
    except (ValueError, RecursionError): raise Failed("form", "it is not canonical JSON")
    need(record(certificate=lambda v: type(v) is dict, signature=hexes(64))(value), "form", "it is not a certificate and its signature")
    body = value["certificate"]
    need(body.get("kind") in ("version", "key", "tenant") and body_form(body["kind"])(body), "form", "a member is missing, unknown, of another form, or a list is out of order")
    return body, bytes.fromhex(value["signature"])

# ---- signatures ----------------------------------------------------------------------------------------
def sha256(*parts): return hashlib.sha256(b"".join(parts)).digest()
def node(left, right): return sha256(b"\1", left, right)

def verifier_key(line, kind):
    """The name, key id and public key of a C2SP verifier key; None if it is not one of this kind (1 Ed25519, 4 cosignature)."""
    match = re.fullmatch(r"([\x21-\x2a\x2c-\x7e]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})", line)
    if not match: return None
    title, key_id, blob = match[1], bytes.fromhex(match[2]), base64.b64decode(match[3])
    return (title, key_id, blob[1:]) if blob[0] == kind and sha256(title.encode(), b"\n", blob)[:4] == key_id and not small_order(blob[1:]) else None

# Points of small order by their y: 1, -1, 0, and plus or minus that of order 8. Under one of them a signature holds for many messages.
P, Y8 = 2**255 - 19, 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826
def small_order(point): return int.from_bytes(point, "little") % 2**255 % P in (1, P - 1, 0, Y8, P - Y8)
def signed(key, signature, message):
    try: Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError): return False
    return not small_order(key) and not small_order(signature[:32])

def note(origin, size, root): return b"%s\n%d\n%s\n" % (origin.encode(), size, base64.b64encode(root))

def parse_pin(data):
    """A checkpoint file: its note text, size, root, and its signatures as (name, key id and signature)."""
    head, _, tail = data.decode().partition("\n\n")
    lines = head.split("\n")
    size, root = int(lines[1]), base64.b64decode(lines[2], validate=True)
    signatures = [re.fullmatch(r"\u2014 ([^ +]+) ([A-Za-z0-9+/=]+)", line) for line in tail.splitlines()]
    if len(root) != 32 or note(lines[0], size, root) != head.encode() + b"\n" or not tail.endswith("\n") or None in signatures: raise ValueError
    return head.encode() + b"\n", size, root, [(s[1], base64.b64decode(s[2])) for s in signatures]

# ---- trees ---------------------------------------------------------------------------------------------
def shared_root(size, leaves, proof):
    """The root of a log of this size, from the leaves {index: hash} and the shared inclusion proof; None if the list does not fit."""
    proof = iter(proof)
    def root(low, high, known):
        if not known: return bytes.fromhex(next(proof))
        if high - low == 1: return leaves[known[0]]
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        return node(root(low, middle, [i for i in known if i < middle]), root(middle, high, [i for i in known if i >= middle]))
    try: result = root(0, size, sorted(leaves))
    except StopIteration: return None
    return result if next(proof, None) is None else None

ZERO = [EMPTY := sha256(b"\2kms/empty/v1\0")]
while len(ZERO) <= 35: ZERO.append(node(ZERO[-1], ZERO[-1]))

def slots_root(height, slots, proof):
    """The root of a slot tree of this height, from the known {slot: value}; None if the list does not fit."""
    proof = iter(proof)
    def root(level, prefix, known):
        if not known:
            item = bytes.fromhex(next(proof))
            if item == ZERO[level]: raise ValueError              # `""` is the one way to write it
            return item or ZERO[level]
        if level == 0: return slots[known[0]]
        split = (2 * prefix + 1) << (level - 1)
        return node(root(level - 1, 2 * prefix, [s for s in known if s < split]), root(level - 1, 2 * prefix + 1, [s for s in known if s >= split]))
    if max(slots) >= 32**height: return None
    try: result = root(5 * height, 0, sorted(slots))
    except (StopIteration, ValueError): return None
    return result if next(proof, None) is None else None

def consistent(old, old_root, size, new_root, proof):
    """RFC 9162, 2.1.4.2, for 0 < old < size."""
    proof = [bytes.fromhex(item) for item in proof]
    if old & (old - 1) == 0: proof.insert(0, old_root)
    if not proof: return False
    fn, sn = old - 1, size - 1
    while fn & 1: fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for item in proof[1:]:
        if sn == 0: return False
        if fn & 1 or fn == sn:
            fr, sr = node(item, fr), node(item, sr)
            while not fn & 1 and fn: fn, sn = fn >> 1, sn >> 1
        else: sr = node(sr, item)
        fn, sn = fn >> 1, sn >> 1
    return fr == old_root and sr == new_root and sn == 0

# ---- the checks ----------------------------------------------------------------------------------------
def verify(data, given):
    """The verdict on the bytes of a certificate, and a list of (name of a check that failed or of a risk that stands, sentence)."""
    failed = []
    def check(function, *arguments):
        try: function(*arguments)
        except Failed as failure: failed.append(failure.args)
    try: body, signature = parse(data)
    except Failed as failure: return "invalid", [failure.args]
    key = verifier_key(body["log"]["key"], 1)
    if key is None: return "invalid", [("log-key", "`log.key` is no Ed25519 verifier key")]
    entries = {item["index"]: item["entry"] for item in body["proofs"]["entries"]}
    check(check_signature, body, signature, key)
    check(check_log_key, body, key, given)
    check(check_checkpoint, body, key)
    before = len(failed)
    check(check_entries, body, entries)
    if len(failed) == before:
        for function in (check_inclusion, check_consistency, check_binding, check_order, check_coverage, check_effacement, check_status): check(function, body, entries)
        if len(failed) == before:
            for moment in ("before", "after"): check(check_states, body, entries, moment)
    check(check_risks, body)
    check(check_pin, body, key, given)
    check(check_name, body, given)
    check(check_policy, body, given)
    if failed: return "invalid", failed
    if body["erasure"]["status"] == "pending": return "pending", []
    standing = standing_risks(body, given) - set(given.policy.get("accept", []))
    return ("residual" if standing else "erased"), [(risk, "this risk stands and is not accepted") for risk in sorted(standing)]

def check_signature(body, signature, key):
    need(signed(key[2], signature, b"kms/certificate/v1\n" + pretty(body).encode()), "certificate-signature", "the signature does not hold")

def check_log_key(body, key, given):
    need(key[0] == "keycentre/" + body["instance"], "log-key", "the key's origin names another instance")
    need(given.key in (None, body["log"]["key"]), "log-key", "the log's key is not the one that was given")

def check_checkpoint(body, key):
    point = body["proofs"]["checkpoint"]
    text, line = note(key[0], point["size"], bytes.fromhex(point["root"])), bytes.fromhex(point["signature"])
    need(line[:4] == key[1] and signed(key[2], line[4:], text), "checkpoint", "the signature of the checkpoint does not hold")
    for item in point["cosignatures"]:
        witness, line = verifier_key(item["key"], 4), bytes.fromhex(item["signature"])
        time = int.from_bytes(line[4:12], "big")
        message = b"cosignature/v1\ntime %d\n" % time + text
        need(witness and time <= MAX and line[:4] == witness[1] and signed(witness[2], line[12:], message), "checkpoint", "a cosignature does not hold")

def check_entries(body, entries):
    for index, entry in entries.items():
        need(text(entry.get("type")) and entry["type"] in ENTRIES and ENTRIES[entry["type"]](entry), "entries", f"entry {index} has not the members of its type, or is of a type that nothing refers to")
        need(index < body["proofs"]["checkpoint"]["size"], "entries", f"entry {index} is beyond the checkpoint")
    named = {r["destroy"] for r in body["request"]} | {v[m] for v in body["subject"].get("versions", []) for m in ("created", "destroyed")}
    named |= {e[m] for e in body["erasure"]["epochs"] for m in ("commit", "effacement") if m in e}
    need(named == set(entries), "entries", "an entry is missing, or is carried and nothing refers to it")

def check_inclusion(body, entries):
    leaves, point = {i: sha256(b"\0", compact(e)) for i, e in entries.items()}, body["proofs"]["checkpoint"]
    need(leaves and shared_root(point["size"], leaves, body["proofs"]["inclusion"]) == bytes.fromhex(point["root"]), "inclusion", "the entries do not come to the checkpoint's root")

def check_consistency(body, _):
    point = body["proofs"]["checkpoint"]
    for old in body["proofs"]["consistency"]:
        need(old["size"] < point["size"] and consistent(old["size"], bytes.fromhex(old["root"]), point["size"], bytes.fromhex(point["root"]), old["proof"]),
             "consistency", f"the log does not go on from the checkpoint of size {old['size']}")

def check_binding(body, entries):
    subject, requests = body["subject"], {r["destroy"]: r for r in body["request"]}
    def agrees(index, types, said):
        entry = entries[index]
        need(entry["type"] in types, "binding", f"entry {index} is not of the type {' or '.join(types)}")
        for member, value in said.items(): need(entry.get(member) == value, "binding", f"entry {index} says another `{member}`")
        return entry
    def same(value, *members): return {m: value[m] for m in members}
    tenant, key = same(subject, "tenant", "tenant_uid", "tenant_slot"), {m: subject[m] for m in ("tenant_uid", "key", "key_uid") if m in subject}
    for v in subject.get("versions", []):
        own = dict(key, number=v["number"], version_uid=v["uid"], slot=v["slot"])
        agrees(v["created"], ["KEY_CREATE", "KEY_ROTATE"], dict(own, **same(v, "alg", "kc", "origin"), **same(subject, "class")))
        destroy = agrees(v["destroyed"], ["DESTROY", "TENANT_DESTROY"], same(v, "epoch"))
        agrees(v["destroyed"], ["DESTROY", "TENANT_DESTROY"], tenant if destroy["type"] == "TENANT_DESTROY" else own if destroy["scope"] == "version" else key)
        need(v["number"] <= destroy.get("last", MAX), "binding", f"the destruction of version {v['number']} names an older one as the last")
    if body["kind"] == "tenant":
        for index in requests: agrees(index, ["TENANT_DESTROY"], dict(tenant, live=subject["live"]))
    else: need(set(requests) == {v["destroyed"] for v in subject["versions"]}, "binding", "`request` names other destructions than the versions")
    for index, r in requests.items():
        entry = agrees(index, ["DESTROY", "TENANT_DESTROY"], same(r, "by", "at", "reason", "ticket"))
        need(r["scope"] == entry.get("scope", "tenant"), "binding", f"entry {index} says another `scope`")
    for e in body["erasure"]["epochs"]:
        agrees(e["commit"], ["EPOCH_COMMIT"], dict(same(e, "epoch", "attempt"), at=e["committed"]))
        if "effacement" in e: agrees(e["effacement"], ["EPOCH_EFFACED"], dict(at=e["effaced"]))
    need([m["effacement"] for m in body["effaceable"]] == [e["effacement"] for e in body["erasure"]["epochs"] if "effacement" in e], "binding", "`effaceable` names other entries than `erasure`")
    for m in body["effaceable"]: agrees(m["effacement"], ["EPOCH_EFFACED"], same(m, *MEDIUM))

def check_order(body, entries):
    epochs = {e["epoch"]: e for e in body["erasure"]["epochs"]}
    for v in body["subject"].get("versions", []): need(v["created"] < v["destroyed"], "order", f"version {v['number']} was destroyed before it was created")
    for index in (r["destroy"] for r in body["request"]):
        epoch = epochs.get(entries[index].get("epoch"))
        commit = entries[epoch["commit"]] if epoch else {}         # where there is none, `coverage` fails
        need(not epoch or commit.get("first", 0) <= index <= commit.get("last", 0) < epoch["commit"], "order", f"entry {index} does not stand among its epoch's destructions")
    for e in epochs.values(): need(e["commit"] < e.get("effacement", MAX), "order", f"epoch {e['epoch']} was effaced before it was committed")
    line = [(entry["commit"], entry["at"]) for _, entry in sorted(entries.items())]
    need(all(a[0] <= b[0] and a[1] <= b[1] for a, b in zip(line, line[1:])), "order", "`commit` or `at` falls from an entry to a later one")

def check_coverage(body, entries):
    versions, destroyed = body["subject"].get("versions", []), [entries[r["destroy"]] for r in body["request"]]
    epochs = {e["epoch"] for e in body["erasure"]["epochs"]}
    need(epochs == {d.get("epoch") for d in destroyed} and (body["kind"] != "tenant" or len(destroyed) == 1), "coverage", "the epochs of the destructions and those of `erasure` differ")
    need(epochs == {s["epoch"] for s in body["proofs"]["states"]}, "coverage", "the epochs of `erasure` and those of the states differ")
    for member in ("uid", "slot"): need(len({v[member] for v in versions}) == len(versions), "coverage", f"a {member} stands twice")
    if body["kind"] == "key":
        need([v["number"] for v in versions] == list(range(versions[0]["number"], versions[0]["number"] + len(versions))), "coverage", "a version number is missing")
        need([entries[v["created"]]["type"] for v in versions] == ["KEY_CREATE"] + ["KEY_ROTATE"] * (len(versions) - 1), "coverage", "the first version, and no other, must be the one that KEY_CREATE made")
        need(any(d["type"] == "TENANT_DESTROY" or (d.get("live"), d.get("last")) == (0, versions[-1]["number"]) for d in destroyed), "coverage", "no destruction says that the key has no version left")

def check_states(body, entries, moment):
    check, member = ("presence", "state_root_before") if moment == "before" else ("absence", "state_root")
    subject, commits = body["subject"], {e["epoch"]: entries[e["commit"]] for e in body["erasure"]["epochs"]}
    for item in body["proofs"]["states"]:
        state, commit, versions = item[moment], commits[item["epoch"]], [v for v in subject.get("versions", []) if v["epoch"] == item["epoch"]]
        def value(v):                                             # of the slot of a version
            return sha256(b"\0kms/leaf/v1\0", bytes.fromhex(v["uid"]), struct.pack(">QH", v["slot"], v["alg"]), bytes.fromhex(v["kc"])) if moment == "before" else EMPTY
        if "tenant_root" in state: inner = bytes.fromhex(state["tenant_root"])
        elif "tenant" in state:
            need(moment == "before" or all(entries[v["destroyed"]]["type"] == "DESTROY" for v in versions), check, f"the tenant stands after epoch {item['epoch']}, which destroyed it")
            inner = slots_root(state["tenant_height"], {v["slot"]: value(v) for v in versions}, state["tenant"])
            need(inner, check, f"the proof of epoch {item['epoch']} does not fit the tenant's slots")
        else: inner = None
        tenant = EMPTY if inner is None else sha256(b"\3", bytes.fromhex(subject["tenant_uid"]), bytes([state["tenant_height"]]), inner)
        top = slots_root(state["top_height"], {subject["tenant_slot"]: tenant}, state["top"])
        need(top and sha256(b"\4", bytes([state["top_height"]]), top, struct.pack(">Q", state["live"])).hex() == commit[member], check, f"the state {moment} epoch {item['epoch']} does not come to its `{member}`")
        need(moment == "before" or state["live"] == commit["live"], check, f"`live` after epoch {item['epoch']} is not that of its entry")

def check_effacement(body, entries):
    for e in body["erasure"]["epochs"]:
        if "effacement" not in e: continue
        entry = entries[e["effacement"]]
        need((entry.get("epoch"), entry.get("attempt")) == (e["epoch"], e["attempt"]), "effacement", f"entry {e['effacement']} is of another epoch or attempt than {e['epoch']}")
        need(any(s.startswith(f"{e['epoch'] - 1}:") for s in entry.get("effaced", "").split()), "effacement", f"entry {e['effacement']} does not name a secret of the epoch before {e['epoch']}")

def check_status(body, _):
    done = all("effacement" in e and e["quiesced"] <= body["issued"] for e in body["erasure"]["epochs"])
    need(all(e["quiesced"] <= body["issued"] for e in body["erasure"]["epochs"] if "clients_confirmed" in e), "status", "clients are counted before the last of them is done")
    need((body["erasure"]["status"] == "erased") == done, "status", "`status` does not follow from the epochs")

def check_risks(body):
    subject, media = body["subject"], body["effaceable"]
    named = {"medium-none": any(m["class"] == "none" for m in media), "token-software": any("software" in m["assurance"] for m in media),
             "derived-copies": any(v["data_keys_issued"] for v in subject.get("versions", [])), "audit-written": subject.get("class") in ("L1", "L2")}
    named["rows-linkable"] = of_subject = "/" in subject.get("key", "")
    named["name-guessable"] = of_subject and any(r["scope"] != "tenant" for r in body["request"])
    named["no-witness"] = named["restore-unwitnessed"] = not body["proofs"]["checkpoint"]["cosignatures"]
    missing = sorted(risk for risk, follows in named.items() if follows and risk not in body["risks"])
    need(not missing, "risks", "it does not name: " + ", ".join(missing))

def check_pin(body, key, given):
    if given.pin is None: return
    (text, size, root, signatures), point = given.pin, body["proofs"]["checkpoint"]
    need(text.split(b"\n")[0].decode() == key[0], "pin", "the checkpoint given is of another log")
    need(any(title == key[0] and line[:4] == key[1] and signed(key[2], line[4:], text) for title, line in signatures), "pin", "the checkpoint given is not signed by the log's key")
    known = {old["size"]: old["root"] for old in body["proofs"]["consistency"]} | {point["size"]: point["root"]}
    need(known.get(size) == root.hex(), "pin", "the certificate does not lead from the checkpoint given to its own")

def check_name(body, given):
    if given.name is None: return
    need(body["subject"].get("subject_name") == sha256(given.salt, given.name.encode()).hex(), "name", "the name given does not come, with its salt, to the one that it carries")

def check_policy(body, given):
    rank = ["none", "token", "clear"].index
    need(all(rank(m["class"]) >= rank(given.policy.get("minimum_class", "none")) for m in body["effaceable"]), "policy", "a medium is of a lower class than the policy wants")
    need(all(len(set(r["approvals"])) >= given.policy.get("approvals", 0) for r in body["request"]), "policy", "the policy wants more approvals")
    need(given.policy.get("log_key", body["log"]["key"]) == body["log"]["key"], "policy", "the log's key is not the one that the policy names")

def standing_risks(body, given):
    risks = set(body["risks"]) - {"log-not-replayed", "log-key-unconfirmed"} | {"log-not-replayed"}       # there is no --mirror here
    if given.key is None and given.pin is None and "log_key" not in given.policy: risks.add("log-key-unconfirmed")
    if not any(c["key"] in given.policy.get("witnesses", []) for c in body["proofs"]["checkpoint"]["cosignatures"]): risks |= {"no-witness", "restore-unwitnessed"}
    return risks

# ---- command ---------------------------------------------------------------------------------------------
def read_policy(path):
    policy = tomllib.loads(path.read_text())
    forms = dict(minimum_class=MEDIUM_CLASS, approvals=COUNT, accept=many(RISK), log_key=lambda v: text(v) and verifier_key(v, 1), witnesses=many(lambda v: text(v) and verifier_key(v, 4)))
    if any(m not in forms or not forms[m](v) for m, v in policy.items()): raise ValueError
    return policy

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("certificate", nargs="?", type=pathlib.Path)
    for option in ("--many", "--key", "--pin", "--policy", "--salt"): parser.add_argument(option, type=pathlib.Path)
    parser.add_argument("--name")
    given = parser.parse_args()                                   # leaves with 2 by itself
    if (given.certificate is None) == (given.many is None): parser.error("give one certificate, or --many DIR")
    try:
        option = "--key"
        if given.key: given.key = given.key.read_text().removesuffix("\n")
        if given.key is not None and not verifier_key(given.key, 1): raise ValueError
        option = "--pin"
        if given.pin: given.pin = parse_pin(given.pin.read_bytes())
        option = "--policy"
        given.policy = read_policy(given.policy) if given.policy else {}
        option = "--salt"
        if (given.name is None) != (given.salt is None): raise ValueError
        if given.salt: given.salt = bytes.fromhex(given.salt.read_text().removesuffix("\n"))
        if given.salt is not None and len(given.salt) != 32: raise ValueError
        option = "the certificate"
        files = sorted(given.many.iterdir()) if given.many else [given.certificate]
        files = [(path.name, path.read_bytes()) for path in files if given.certificate or path.suffix == ".json"]
    except (OSError, ValueError, IndexError): parser.error(f"{option} cannot be read, or is not of the right form")
    for title, data in files:
        verdict, sentences = verify(data, given)
        if given.many: print(title, verdict, *sorted({name for name, _ in sentences}))
        else: print(verdict, *(f"{check}: {sentence}" for check, sentence in sentences), sep="\n")
    return 0 if given.many else {"erased": 0, "residual": 3, "pending": 4, "invalid": 1}[verdict]

if __name__ == "__main__": sys.exit(main())
