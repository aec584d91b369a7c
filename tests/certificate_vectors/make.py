#!/usr/bin/env python3
"""Makes the certificates of this directory, from docs/verifying.md alone.

    make.py          writes valid/, invalid/, and the keys, checkpoints and policies beside them;
                     expected.json: the verdict on each file, by what the one who checks brings along; checks.json: the one check that an invalid one fails

Every input is fixed, so that the output is the same byte for byte: all keys follow from labels and protect nothing. Needs the package `cryptography`."""
import json, pathlib, shutil
from centre import LOG, SALT, STRANGER, WITNESS, Centre, Signer, checkpoint_file, compact, fixed, log_root, of, sha256, signed
from lies import lies
from small import people

HERE = pathlib.Path(__file__).resolve().parent

def story():
    c = Centre()
    for tenant in ("acme", "globex", "doomed", "twice"): c.create_tenant(tenant)
    c.create_tenant("far", slot=40)                               # the top tree has two levels
    c.create("acme", "orders")
    for key in ("cards", "cards", "mail"): c.create("acme", key, alg=2)
    for n in range(30): c.create("acme", f"bulk-{n:02}")          # acme's tree grows to two levels
    c.create("acme", "cards")
    c.create("globex", "audit-trail", level="L1")
    for key in ("payroll", "payroll", "badges"): c.create("doomed", key)
    for key in ("one", "one", "two"): c.create("twice", key)
    c.create("far", "only")
    c.destroy(("acme", "cards", 2), ("acme", "bulk-03")); c.efface()                                   # epoch 2
    c.add("AUDIT_HEAD", by="kms", count=41, hash=fixed("audit", 32).hex())
    c.destroy(("acme", "orders", 1)); c.efface()                                                        # 3
    c.create("acme", "late")
    c.destroy(("acme", "cards"), reason="contract-ended"); c.efface()                                   # 4
    c.destroy(("doomed",), reason="contract-ended"); c.efface()                                         # 5
    c.destroy(("acme", "bulk-05", 1)); c.efface("none", "describes the erase")                           # 6
    c.destroy(("twice", "one", 1), ("twice", "one", 2), ("twice",)); c.efface("token", "software token") # 7
    c.destroy(("globex", "audit-trail", 1)); c.efface()                                                 # 8
    c.destroy(("acme", "bulk-07", 1), ("acme", "bulk-08", 1)); c.efface()                               # 9
    c.destroy(("far",)); c.efface()                                                                     # 10
    c.destroy(("acme", "mail")); c.efface()                                                             # 11
    c.destroy()                                                                                         # 12 changes the seal only
    c.efface()
    c.destroy(("acme", "bulk-09", 1), ("acme", "late", 1))                                              # 13 is not effaced yet
    return c

def deep():
    """The last slot of the highest trees there can be."""
    c = Centre()
    c.create_tenant("first")
    c.create_tenant("last", slot=2**32 - 1)
    c.create("last", "orders", slot=2**32 - 1)
    c.create("last", "others", slot=1)
    c.destroy(("last", "orders", 1)); c.efface()
    c.destroy(("last",)); c.efface()
    return c

def valid(c):
    far, subjects = deep(), people()
    return {
        "subject": subjects.certificate("acme", of("one")),
        "subject-named": subjects.certificate("acme", of("one"), named="employee-17"),
        "subject-named-otherwise": subjects.certificate("acme", of("one"), named="employee-18"),
        "subject-version-named": subjects.certificate("acme", of("one"), 2, named="employee-17"),
        "subject-died-with-tenant": subjects.certificate("acme", of("two"), named="employee-18"),
        "version-slot-highest": far.certificate("last", "orders", 1),
        "key-died-in-high-trees": far.certificate("last", "others"),
        "tenant-slot-highest": far.certificate("last"),
        "version": c.certificate("acme", "orders", 1),
        "version-batch": c.certificate("acme", "bulk-08", 1),
        "version-of-three": c.certificate("acme", "cards", 2),
        "version-pending": c.certificate("acme", "late", 1),
        "version-lease": c.certificate("acme", "bulk-07", 1, quiesced=86_400_000),
        "version-died-with-tenant": c.certificate("doomed", "badges", 1),
        "version-by-scope-key": c.certificate("acme", "mail", 1),
        "version-data-keys": c.certificate("acme", "orders", 1, keys_issued=7),
        "version-purged": c.certificate("acme", "orders", 1, keys_issued=7, clients=(3, 0)),
        "version-purged-by-some": c.certificate("acme", "orders", 1, keys_issued=7, clients=(3, 1)),
        "version-approved": c.certificate("acme", "orders", 1, approvals=["dpo@shop.example", "cto@shop.example"]),
        "version-approved-twice-by-one": c.certificate("acme", "orders", 1, approvals=["dpo@shop.example", "dpo@shop.example"]),
        "version-medium-none": c.certificate("acme", "bulk-05", 1),
        "version-class-l1": c.certificate("globex", "audit-trail", 1),
        "version-cosigned": c.certificate("acme", "orders", 1, cosigners=[WITNESS]),
        "version-cosigned-by-a-stranger": c.certificate("acme", "orders", 1, cosigners=[STRANGER]),
        "version-cosigned-twice": c.certificate("acme", "orders", 1, cosigners=[STRANGER, WITNESS]),
        "version-consistency": c.certificate("acme", "orders", 1, consistency=[33, 64]),
        "version-smaller-log": c.certificate("acme", "orders", 1, size=c.effaced[3] + 1),
        "key": c.certificate("acme", "cards"),
        "key-purged-and-pending": c.certificate("acme", "cards", size=c.effaced[4], clients=(2, 0)),
        "key-one-version": c.certificate("acme", "mail"),
        "key-singly": c.certificate("twice", "one"),
        "key-died-with-tenant": c.certificate("doomed", "payroll"),
        "key-pending": c.certificate("acme", "cards", size=c.effaced[4]),
        "tenant": c.certificate("doomed"),
        "tenant-token": c.certificate("twice"),
        "tenant-slot-40": c.certificate("far"),
        "tenant-pending": c.certificate("doomed", quiesced=90_000_000),
    }

ALL_RISKS = sorted(["audit-written", "clock-unproven", "derived-copies", "log-key-unconfirmed", "log-not-replayed", "medium-none", "memory-swap-core", "name-guessable", "no-witness", "restore-unwitnessed", "rows-linkable", "token-software"])

def write(name, data):
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())

def main():
    for directory in ("valid", "invalid"): shutil.rmtree(HERE / directory, ignore_errors=True)
    c, expected, checks = story(), {}, {}
    bodies = valid(c)
    leaves = [sha256(b"\0" + compact(e)) for e in c.entries]
    write("key.vkey", LOG.vkey + "\n")
    write("name.salt", SALT.hex() + "\n")
    write("other.vkey", Signer(LOG.name, 1, "another").vkey + "\n")
    for size in (33, len(leaves)): write(f"checkpoint-{size}.txt", checkpoint_file(size, log_root(leaves[:size])))
    accept = "accept = [\n" + "".join(f'  "{risk}",\n' for risk in ALL_RISKS) + "]\n"
    write("policy.toml", accept)
    write("policy-witness.toml", f'accept = ["log-not-replayed", "memory-swap-core", "clock-unproven"]\nwitnesses = ["{WITNESS.vkey}"]\nlog_key = "{LOG.vkey}"\n')
    write("policy-clear.toml", 'minimum_class = "clear"\n' + accept)
    write("policy-approvals.toml", "approvals = 2\n" + accept)
    for name, body in bodies.items():
        write(f"valid/{name}.json", signed(body))
        verdict = "pending" if body["erasure"]["status"] == "pending" else "residual"
        accepted = "pending" if verdict == "pending" else "erased"
        weak = any(m["class"] != "clear" for m in body["effaceable"])
        witnessed = any(w["key"] == WITNESS.vkey for w in body["proofs"]["checkpoint"]["cosignatures"])
        pinned = body["proofs"]["checkpoint"]["size"] == len(leaves)
        expected[f"valid/{name}.json"] = {"plain": verdict, "key": verdict, "policy": accepted, "key+policy": accepted, "other-key": "invalid", "policy-witness": accepted if witnessed else verdict,
            "policy-clear": "invalid" if weak else accepted, "policy-approvals": accepted if name == "version-approved" else "invalid", "pin-33": verdict if name == "version-consistency" else "invalid", f"pin-{len(leaves)}": verdict if pinned else "invalid",
            "name": verdict if body["subject"].get("subject_name") == sha256(SALT + b"employee-17").hex() else "invalid"}
    for name, data in lies().items():
        write(f"invalid/{name}.json", data)
        expected[f"invalid/{name}.json"] = {"plain": "invalid"}
        checks[f"invalid/{name}.json"] = name.partition(".")[0]
    write("checks.json", json.dumps(checks, indent=1, sort_keys=True) + "\n")
    write("expected.json", json.dumps(expected, indent=1, sort_keys=True) + "\n")

if __name__ == "__main__": main()
