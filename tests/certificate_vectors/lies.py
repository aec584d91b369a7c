"""Certificates that the log's own key signed and that lie, each in one respect.

A name is the check that has to fail, a dot, and what the lie is. Each function makes those of one check."""
import copy
from centre import WITNESS, Centre, compact, consistency_proof, fixed, log_root, of, relog, sha256, signed, slots_root
from forgeries import certificate_signature, checkpoint, form, log_key
from small import C, edited, key, logged, people, put, reordered, moved, small, tenant, version, with_member, without

def entries():
    destroyed, created = version()["subject"]["versions"][0]["destroyed"], version()["subject"]["versions"][0]["created"]
    yield "member-unknown", logged(version(), destroyed, lambda e: e.update(note="x"))
    yield "member-missing", logged(version(), destroyed, lambda e: e.pop("live"))
    yield "member-of-another-form", logged(version(), created, lambda e: e.update(kc=e["kc"].upper()))
    yield "key-destroyed-with-live", logged(key(), key()["subject"]["versions"][2]["destroyed"], lambda e: e.update(live=1))
    yield "layout-2", logged(version(), destroyed, lambda e: e.update(v=2))
    yield "type-unknown", logged(version(), created, lambda e: e.update(type="KEY_IMPORT"))
    yield "origin-unknown", logged(version(), created, lambda e: e.update(origin="imported"))
    yield "reason-unknown", logged(version(), destroyed, lambda e: e.update(reason="because"), lambda b: put(b, "request/0/reason", "other"))
    def carrying(body, *indexes): return relog(body, C.entries, indexes)
    own = [e["index"] for e in version()["proofs"]["entries"]]
    yield "nobody-refers-to", signed(carrying(version(), *own, destroyed + 5))
    yield "one-missing", signed(carrying(version(), *own[:-1]))
    yield "none", signed(put(put(version(), "proofs/entries", []), "proofs/inclusion", [version()["proofs"]["checkpoint"]["root"]]))
    beyond = relog(version(), C.entries[: own[-1]], own[:-1])
    beyond["proofs"]["entries"].append(dict(index=own[-1], entry=C.entries[own[-1]]))
    yield "beyond-the-checkpoint", signed(beyond)

def inclusion():
    flip = lambda h: h[:-1] + "0123456789abcdef"[int(h[-1], 16) ^ 1]
    yield "hash-flipped", with_member(version(), "proofs/inclusion/0", flip)
    yield "hash-too-many", with_member(version(), "proofs/inclusion", lambda p: p + [p[-1]])
    yield "hash-missing", without(version(), "proofs/inclusion/0")
    yield "hashes-swapped", with_member(version(), "proofs/inclusion", lambda p: [p[1], p[0], *p[2:]])
    yield "none", with_member(version(), "proofs/inclusion", [])
    def never_logged(body):
        for place in body["request"][0], body["proofs"]["entries"][1]["entry"]: place["ticket"] = "T-1"
    yield "entry-that-was-never-logged", edited(version(), never_logged)
    body = version()
    other = relog(version(), [dict(e, by="somebody") if e["type"] == "GENESIS" else e for e in C.entries])
    body["proofs"]["checkpoint"] = other["proofs"]["checkpoint"]
    yield "checkpoint-of-another-tree", signed(body)

def consistency():
    def earlier(size): return version(consistency=[size])
    proof = "proofs/consistency/0/proof"
    yield "hash-too-many", with_member(earlier(9), proof, lambda p: p + [p[-1]])
    yield "hash-missing", without(earlier(9), proof + "/0")
    yield "hashes-swapped", with_member(earlier(9), proof, lambda p: [p[1], p[0], *p[2:]])
    yield "none", with_member(earlier(9), proof, [])
    yield "root-of-another-size", with_member(earlier(9), "proofs/consistency/0/size", 10)
    leaves = [sha256(b"\0" + compact(e)) for e in C.entries]
    forked = [fixed("another first entry", 32), *leaves[1:]]
    for size, name in (9, "history-rewritten"), (16, "history-rewritten-at-a-power-of-two"):
        yield name, with_member(version(), "proofs/consistency", [dict(size=size, root=log_root(forked[:size]).hex(), proof=consistency_proof(size, forked))])
    yield "larger", with_member(version(), "proofs/consistency", [dict(size=len(leaves) + 1, root=log_root(leaves).hex(), proof=[])])
    yield "second-of-two", with_member(version(consistency=[9, 12]), "proofs/consistency/1/root", fixed("another root", 32).hex())

def binding():
    """First what the certificate says, then what the log says."""
    another = fixed("something else")
    says = {"number": 2, "uid": another.hex(), "slot": 9, "alg": 2, "kc": fixed("another kc", 32).hex(), "created": version()["subject"]["versions"][0]["created"] + 1}
    for member, value in says.items():
        body = put(version(), "subject/versions/0/" + member, value)
        if member == "created": body = relog(body, C.entries, {e["index"] + 1 if e["entry"]["type"] == "KEY_CREATE" else e["index"] for e in body["proofs"]["entries"]})
        yield "version-" + member, signed(body)
    for member, value in {"tenant_uid": another.hex(), "key": "order", "key_uid": another.hex(), "class": "L4"}.items(): yield "subject-" + member, with_member(version(), "subject/" + member, value)
    for member, value in {"tenant": "doom", "tenant_uid": another.hex(), "tenant_slot": 0, "live": 1}.items(): yield "tenant-" + member, with_member(tenant(), "subject/" + member, value)
    for member, value in {"by": "nobody", "at": version()["issued"], "scope": "key", "reason": "test", "ticket": ""}.items(): yield "request-" + member, with_member(version(), "request/0/" + member, value)
    yield "erasure-attempt", with_member(C.certificate("acme", "late", 1), "erasure/epochs/0/attempt", another.hex())
    for member in ("committed", "effaced"): yield "erasure-" + member, with_member(version(), "erasure/epochs/0/" + member, version()["issued"])
    weak = lambda: C.certificate("doomed", "badges", 1)
    yield "medium-class", with_member(weak(), "effaceable/0/class", "clear")
    def hardware(body):
        body["effaceable"][0].update(assurance="hardware token"); body["risks"].remove("token-software")
    yield "medium-assurance", edited(weak(), hardware)
    for member in ("technique", "media", "verification"): yield "medium-" + member, with_member(version(), "effaceable/0/" + member, "x")
    yield "medium-left-out", edited(weak(), lambda b: (b["effaceable"].clear(), b["risks"].remove("token-software")))
    place = version()["subject"]["versions"][0]["destroyed"]
    for member, value in {"number": 2, "version_uid": another.hex(), "slot": 9, "key": "order", "key_uid": another.hex(), "tenant_uid": another.hex()}.items():
        yield "destroy-" + member, logged(version(), place, lambda e: e.update({member: value}))
    third = C.certificate("acme", "cards", 3)
    yield "destroy-last", logged(third, third["request"][0]["destroy"], lambda e: e.update(last=2))
    place = tenant()["request"][0]["destroy"]
    for member, value in {"tenant": "doom", "tenant_uid": another.hex(), "tenant_slot": 0}.items():
        yield "tenant-destroy-" + member, logged(C.certificate("doomed", "badges", 1), place, lambda e: e.update({member: value}))
    place = C.commits[2]
    for member, value in {"epoch": 3, "attempt": another.hex()}.items(): yield "commit-" + member, logged(version(), place, lambda e: e.update({member: value}))
    body, other = C.certificate("acme", "logs", 1), C.certificate("acme", "stays", 1)
    own, its = body["request"][0]["destroy"], other["request"][0]["destroy"]
    put(put(body, "subject/versions/0/destroyed", its), "request", other["request"])
    yield "destroy-of-another-key", signed(relog(body, C.entries, {e["index"] for e in body["proofs"]["entries"]} - {own} | {its}))

def order():
    v, e = version()["subject"]["versions"][0], version()["erasure"]["epochs"][0]
    yield "created-after-it-was-destroyed", reordered(version(), moved(v["created"], e["effacement"]))
    yield "destroyed-after-the-commit", reordered(version(), moved(v["destroyed"], e["commit"]))
    yield "effaced-before-the-commit", reordered(version(), moved(e["effacement"], v["destroyed"]))
    yield "destroyed-before-the-first", logged(version(), e["commit"], lambda c: c.update(first=v["destroyed"] + 1))
    yield "destroyed-after-the-last", logged(version(), e["commit"], lambda c: c.update(first=v["destroyed"] - 1, last=v["destroyed"] - 1))
    yield "last-after-the-commit", logged(version(), e["commit"], lambda c: c.update(last=e["commit"]))
    early = C.entries[v["created"]]["at"]
    yield "time-falls", logged(version(), e["effacement"], lambda c: c.update(at=early), lambda b: put(b, "erasure/epochs/0/effaced", early))
    yield "commit-number-falls", logged(version(), e["effacement"], lambda c: c.update(commit=1))

def coverage():
    yield "first-version-left-out", signed(key(leave_out=[1]))
    yield "version-left-out", signed(key(leave_out=[2]))
    yield "last-version-left-out", signed(key(leave_out=[3]))
    c = Centre()
    c.create_tenant("acme")
    for _ in range(3): c.create("acme", "cards")
    c.destroy(("acme", "cards", 1), ("acme", "cards", 2)); c.efface()
    yield "version-that-lives-left-out", signed(c.certificate("acme", "cards", leave_out=[3]))
    c = Centre()
    c.create_tenant("acme")
    c.create("acme", "cards")
    c.create("acme", "cards", uid=bytes.fromhex(c.keys["acme", "cards"]["versions"][0]["uid"]))
    c.destroy(("acme", "cards")); c.efface()
    yield "uid-twice", signed(c.certificate("acme", "cards"))
    c = Centre()
    c.create_tenant("acme")
    c.create("acme", "cards", slot=1)
    c.destroy(("acme", "cards", 1)); c.efface()
    c.create("acme", "cards", slot=1)
    c.destroy(("acme", "cards")); c.efface()
    yield "slot-twice", signed(c.certificate("acme", "cards"))
    body = key()
    gone = body["erasure"]["epochs"].pop(0)
    body["proofs"]["states"].pop(0)
    body["effaceable"].pop(0)
    yield "epoch-left-out", signed(relog(body, C.entries, {e["index"] for e in body["proofs"]["entries"]} - {gone["commit"], gone["effacement"]}))
    body, other = version(), key()
    body["erasure"]["epochs"].append(other["erasure"]["epochs"][1])
    body["effaceable"].append(other["effaceable"][1])
    yield "epoch-too-many", signed(relog(body, C.entries, {e["index"] for e in body["proofs"]["entries"]} | {body["erasure"]["epochs"][1][m] for m in ("commit", "effacement")}))
    yield "states-left-out", signed(put(key(), "proofs/states", lambda s: s[:1]))

def states(moment):
    """Lies about the committed state before an epoch, or after it; `change` is made to the state before it is proven."""
    path, member = "proofs/states/0/" + moment, {"before": "state_root_before", "after": "state_root"}[moment]
    def state(change, who=("acme", "orders", 1)):
        c = small()
        epoch = c.certificate(*who)["erasure"]["epochs"][0]["epoch"]
        side = c.states[epoch][moment == "after"]
        change(side, c.states[epoch][0])
        c.entries[c.commits[epoch]][member] = side.root().hex()
        return c.certificate(*who)
    def stand(slot):
        """The version is where it should not be, or not where it should."""
        def change(side, before):
            if moment == "before": del side.tenants[0][slot]
            else: side.tenants[0][slot] = before.tenants[0][slot]
        return change
    yield "version-not-there" if moment == "before" else "version-still-there", signed(state(stand(1)))
    def other_leaf(side, _): side.tenants[0][1] = fixed("another leaf", 32)
    yield "another-leaf", signed(state(other_leaf))
    yield "root-of-nothing", logged(version(), C.commits[2], lambda e: e.update({member: fixed("a root", 32).hex()}))
    yield "root-of-the-other-moment", logged(version(), C.commits[2], lambda e: e.update({member: e["state_root" if moment == "before" else "state_root_before"]}))
    yield "of-another-epoch", with_member(key(), path, key()["proofs"]["states"][1][moment])
    yield "live", with_member(version(), path + "/live", lambda n: n + 1)
    yield "top-height", with_member(version(), path + "/top_height", 2)
    yield "top-height-0", with_member(version(), path + "/top_height", 0)
    yield "tenant-height", with_member(version(), path + "/tenant_height", 2)
    for part in ("top", "tenant"):
        yield part + "-hash-too-many", with_member(version(), f"{path}/{part}", lambda p: p + [""])
        yield part + "-hash-missing", with_member(version(), f"{path}/{part}", lambda p: p[:-1])
        yield part + "-none", with_member(version(), f"{path}/{part}", [])
    def written_out(proof):
        """The hash of an empty subtree in place of the empty string."""
        place = next(i for i, item in enumerate(proof) if not item)
        return [slots_root({}, place).hex() if i == place else item for i, item in enumerate(proof)]   # for slot 0, siblings stand by rising level
    yield "empty-written-out", with_member(version(), path + "/top", written_out)
    def standing(slot):
        def change(side, before):
            side.tenants[slot] = copy.deepcopy(before.tenants[slot])
            for s in list(side.tenants[slot]):
                if s: del side.tenants[slot][s]
        return change
    if moment == "before":
        yield "tenant-root", with_member(tenant(), path + "/tenant_root", fixed("another root", 32).hex())
    else:
        yield "tenant-still-there", signed(put(state(lambda side, before: side.tenants.update({1: before.tenants[1]}), ("doomed",)), path, lambda s: {m: v for m, v in s.items() if not m.startswith("tenant")}))
        yield "tenant-stands-without-the-version", signed(state(standing(1), ("doomed", "badges", 1)))
        yield "tenant-gone-that-stands", with_member(version(), path, lambda s: {m: v for m, v in s.items() if not m.startswith("tenant")})
        yield "live-of-the-entry", logged(version(), C.commits[2], lambda e: e.update(live=e["live"] - 1))

def effacement():
    place = C.effaced[2]
    yield "of-another-epoch", logged(version(), place, lambda e: e.update(epoch=3))
    yield "of-nothing", logged(version(), place, lambda e: e.update(effaced=""))
    yield "of-the-epoch-itself", logged(version(), place, lambda e: e.update(effaced=f"{e['epoch']}:{fixed('attempt 3').hex()}"))
    yield "of-another-attempt", logged(version(), place, lambda e: e.update(attempt=fixed("attempt 3").hex()))
    body, later = version(), key()["erasure"]["epochs"][1]
    body["erasure"]["epochs"][0].update(effacement=later["effacement"], effaced=later["effaced"])
    body["effaceable"][0]["effacement"] = later["effacement"]
    yield "of-a-later-epoch", signed(relog(body, C.entries, {e["index"] for e in body["proofs"]["entries"]} - {place} | {later["effacement"]}))

def status():
    yield "erased-before-the-effacement", with_member(C.certificate("acme", "late", 1), "erasure/status", "erased")
    yield "erased-before-one-effacement-of-two", with_member(key(size=C.effaced[4]), "erasure/status", "erased")
    yield "erased-while-a-lease-runs", with_member(version(quiesced=86_400_000), "erasure/status", "erased")
    yield "clients-counted-while-a-lease-runs", signed(version(quiesced=86_400_000, clients=(3, 0)))
    yield "pending-though-erased", with_member(version(), "erasure/status", "pending")

def risks():
    def silent(body, *names): return with_member(body, "risks", lambda r: [risk for risk in r if risk not in names])
    yield "medium-none", silent(C.certificate("acme", "cards", 1), "medium-none")
    yield "token-software", silent(tenant(), "token-software")
    yield "derived-copies", silent(version(keys_issued=7), "derived-copies")
    yield "audit-written", silent(C.certificate("acme", "logs", 1), "audit-written")
    yield "restore-unwitnessed", silent(version(), "restore-unwitnessed")
    yield "no-witness", silent(version(), "no-witness")
    yield "cosignature-dropped", with_member(version(cosigners=[WITNESS]), "proofs/checkpoint/cosignatures", [])
    for risk in "rows-linkable", "name-guessable": yield risk, silent(people().certificate("acme", of("one")), risk)
    yield "none-named", with_member(version(), "risks", [])

def lies():
    """File names without their ends, and contents."""
    checks = {"form": form(), "certificate-signature": certificate_signature(), "log-key": log_key(), "checkpoint": checkpoint(), "entries": entries(), "inclusion": inclusion(),
              "consistency": consistency(), "binding": binding(), "order": order(), "coverage": coverage(), "presence": states("before"), "absence": states("after"),
              "effacement": effacement(), "status": status(), "risks": risks()}
    return {f"{check}.{lie}": data for check, told in checks.items() for lie, data in told}
