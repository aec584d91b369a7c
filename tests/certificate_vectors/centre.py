"""A small key centre in memory, with its own trees and proofs, written from docs/verifying.md alone: what the vectors are made with.

Shares no code with the verifier. Needs the package `cryptography`."""
import base64, copy, datetime, hashlib, json, struct
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

def sha256(data): return hashlib.sha256(data).digest()
def fixed(label, size=16): return sha256(b"certificate vectors/" + label.encode())[:size]
def pretty(value): return json.dumps(value, indent=1, sort_keys=True)
def compact(value): return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
def moment(ms): return (datetime.datetime(2026, 11, 27, 8) + datetime.timedelta(milliseconds=ms)).isoformat(timespec="milliseconds") + "Z"

# ---- keys and notes ----------------------------------------------------------------------------------------
class Signer:
    """An Ed25519 key made from a constant; kind 1 signs notes and certificates, kind 4 cosigns."""
    def __init__(self, name, kind, seed=None):
        self.name, self.key = name, Ed25519PrivateKey.from_private_bytes(fixed("seed of " + (seed or name), 32))
        blob = bytes([kind]) + self.key.public_key().public_bytes_raw()
        self.id = sha256(name.encode() + b"\n" + blob)[:4]
        self.vkey = f"{name}+{self.id.hex()}+{base64.b64encode(blob).decode()}"
    def sign(self, message): return self.key.sign(message)
    def note(self, text): return self.id + self.sign(text)
    def cosign(self, text, time): return self.id + struct.pack(">Q", time) + self.sign(b"cosignature/v1\ntime %d\n" % time + text)

INSTANCE = fixed("instance")
SALT = fixed("salt", 32)                                          # of subjects' names
def of(subject): return f"attendance/{fixed('subject ' + subject).hex()}"
LOG = Signer("keycentre/" + INSTANCE.hex(), 1)
WITNESS, STRANGER = Signer("witness.example/one", 4), Signer("witness.example/two", 4)
TIME = 1795766400

def note_text(origin, size, root): return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n".encode()
def checkpoint_file(size, root, signer=LOG):
    text = note_text(signer.name, size, root)
    return text + f"\n\u2014 {signer.name} {base64.b64encode(signer.note(text)).decode()}\n".encode()

# ---- the log's tree (RFC 6962) -----------------------------------------------------------------------------
def split(count): return 1 << (count - 1).bit_length() - 1
def log_root(leaves):
    if len(leaves) == 1: return leaves[0]
    return sha256(b"\1" + log_root(leaves[: split(len(leaves))]) + log_root(leaves[split(len(leaves)) :]))
def shared_proof(leaves, wanted, low=0):
    if not any(low <= i < low + len(leaves) for i in wanted): return [log_root(leaves).hex()]
    if len(leaves) == 1: return []
    k = split(len(leaves))
    return shared_proof(leaves[:k], wanted, low) + shared_proof(leaves[k:], wanted, low + k)
def consistency_proof(old, leaves, whole=True):                   # RFC 6962, 2.1.2
    if old == len(leaves): return [] if whole else [log_root(leaves).hex()]
    k = split(len(leaves))
    if old <= k: return consistency_proof(old, leaves[:k], whole) + [log_root(leaves[k:]).hex()]
    return consistency_proof(old - k, leaves[k:], False) + [log_root(leaves[:k]).hex()]

# ---- the trees of slots --------------------------------------------------------------------------------------
EMPTY = sha256(b"\2kms/empty/v1\0")
def slots_root(slots, levels):
    if levels == 0: return slots.get(0, EMPTY)
    if not slots: return sha256(b"\1" + slots_root({}, levels - 1) * 2)
    half = 1 << levels - 1
    return sha256(b"\1" + slots_root({s: v for s, v in slots.items() if s < half}, levels - 1) + slots_root({s - half: v for s, v in slots.items() if s >= half}, levels - 1))
def slot_proof(slots, levels, wanted):
    if not wanted: return [slots_root(slots, levels).hex() if slots else ""]
    if levels == 0: return []
    half = 1 << levels - 1
    low, high = {s: v for s, v in slots.items() if s < half}, {s - half: v for s, v in slots.items() if s >= half}
    return slot_proof(low, levels - 1, [s for s in wanted if s < half]) + slot_proof(high, levels - 1, [s - half for s in wanted if s >= half])
def height(slots): return next(h for h in range(1, 8) if max(slots, default=0) < 32**h)

class State:
    """What the key centre commits to: the slots of tenants that stand, and of their versions."""
    def __init__(self): self.tenants, self.uids, self.heights, self.top_height, self.live = {}, {}, {}, 1, 0
    def tenant(self, slot): return sha256(b"\3" + self.uids[slot] + bytes([self.heights[slot]]) + slots_root(self.tenants[slot], 5 * self.heights[slot]))
    def top(self): return {slot: self.tenant(slot) for slot in self.tenants}
    def root(self): return sha256(b"\4" + bytes([self.top_height]) + slots_root(self.top(), 5 * self.top_height) + struct.pack(">Q", self.live))

# ---- the key centre ------------------------------------------------------------------------------------------
class Centre:
    def __init__(self):
        self.entries, self.state, self.states, self.commits, self.effaced = [], State(), {}, {}, {}
        self.now, self.commit, self.epoch, self.attempt, self.tenants, self.keys = 0, 0, 1, fixed("attempt 1"), {}, {}
        self.add("GENESIS", by="kms", instance=INSTANCE.hex(), epoch=1, attempt=self.attempt.hex(), state_root=self.state.root().hex())
    def add(self, kind, by="operator@keycentre.example", **members):
        self.now += 1250
        self.entries.append(dict(v=1, type=kind, at=moment(self.now), commit=self.commit, by=by, **members))
        return len(self.entries) - 1
    def create_tenant(self, name, slot=None):
        self.commit += 1
        slot = len(self.tenants) if slot is None else slot
        uid, index, kc = fixed("tenant " + name), fixed("index of " + name), fixed("kc of the index of " + name, 32)
        self.tenants[name] = dict(tenant=name, tenant_uid=uid.hex(), tenant_slot=slot)
        self.state.uids[slot], self.state.heights[slot] = uid, 1
        self.state.tenants[slot] = {0: sha256(b"\0kms/leaf/v1\0" + index + struct.pack(">QH", 0, 0) + kc)}
        self.state.top_height = max(self.state.top_height, height(self.state.tenants))
        self.add("TENANT_CREATE", **self.tenants[name], index_uid=index.hex(), index_kc=kc.hex())
    def create(self, tenant, key, level="L3", alg=1, slot=None, uid=None):
        """A key, or its next version."""
        self.commit += 1
        kind, t = "KEY_ROTATE" if (tenant, key) in self.keys else "KEY_CREATE", self.tenants[tenant]
        k = self.keys.setdefault((tenant, key), dict(tenant=tenant, key=key, key_uid=fixed(f"key {tenant}/{key}").hex(), level=level, versions=[]))
        number, slots = len(k["versions"]) + 1, self.state.tenants[t["tenant_slot"]]
        t["next"] = slot = slot or t.get("next", 0) + 1
        uid = uid or fixed(f"version {tenant}/{key}/{number}")
        kc = sha256(b"kms/kc/v1\0" + uid + struct.pack(">H", alg) + fixed(f"blind {tenant}/{key}/{number}", 32) + fixed(f"material {tenant}/{key}/{number}", 32))
        slots[slot] = sha256(b"\0kms/leaf/v1\0" + uid + struct.pack(">QH", slot, alg) + kc)
        self.state.heights[t["tenant_slot"]] = height(slots)
        self.state.live += 1
        index = self.add(kind, by="app@shop.example", tenant_uid=t["tenant_uid"], key=key, key_uid=k["key_uid"], **{"class": k["level"]}, number=number,
                         version_uid=uid.hex(), slot=slot, alg=alg, kc=kc.hex(), origin="generated")
        k["versions"].append(dict(number=number, uid=uid.hex(), slot=slot, alg=alg, kc=kc.hex(), origin="generated", created=index, data_keys_issued=0))
    def destroy(self, *wanted, reason="retention-ended"):
        """One epoch: each of wanted is (tenant,), (tenant, key) or (tenant, key, number)."""
        self.commit += 1
        before, first = copy.deepcopy(self.state), len(self.entries)
        self.epoch += 1
        why = dict(reason=reason, ticket=f"T-{1000 + self.epoch}", epoch=self.epoch)
        for tenant, *rest in wanted:
            t = self.tenants[tenant]
            owned = [(k, v) for k in self.keys.values() if k["tenant"] == tenant and rest[:1] in ([], [k["key"]]) for v in k["versions"] if rest[1:] in ([], [v["number"]])]
            dying = [(k, v) for k, v in owned if "destroyed" not in v]
            for k, v in dying: v.update(destroyed=len(self.entries), epoch=self.epoch)
            if not rest: self.add("TENANT_DESTROY", **{m: t[m] for m in ("tenant", "tenant_uid", "tenant_slot")}, live=len(dying), **why)
            else:
                k = self.keys[tenant, rest[0]]
                own = dict(scope="version", number=rest[1], version_uid=dying[0][1]["uid"], slot=dying[0][1]["slot"]) if rest[1:] else dict(scope="key")
                self.add("DESTROY", tenant_uid=t["tenant_uid"], key=k["key"], key_uid=k["key_uid"], live=sum("destroyed" not in v for v in k["versions"]), last=len(k["versions"]), **own, **why)
            for k, v in dying: del self.state.tenants[t["tenant_slot"]][v["slot"]]
            if not rest: del self.state.tenants[t["tenant_slot"]]
            self.state.live -= len(dying)
        self.states[self.epoch] = before, copy.deepcopy(self.state)
        attempt, commit = fixed(f"attempt {self.epoch}"), len(self.entries)
        span = (first, commit - 1) if wanted else (commit, commit)
        self.commits[self.epoch] = self.add("EPOCH_COMMIT", by="kms", epoch=self.epoch, attempt=attempt.hex(), state_root_before=before.root().hex(), state_root=self.state.root().hex(),
                                            live=self.state.live, first=span[0], last=span[1])
        self.old, self.attempt = f"{self.epoch - 1}:{self.attempt.hex()}", attempt
        return self.epoch
    def efface(self, rank="clear", assurance="operator declares a magnetic disk"):
        self.commit += 1
        medium = dict(assurance=assurance, technique="overwritten in place, read back", media="file on ST4000NM, serial Z1Z0", verification="read back, extents unchanged")
        self.effaced[self.epoch] = self.add("EPOCH_EFFACED", by="kms", epoch=self.epoch, attempt=self.attempt.hex(), effaced=self.old, **{"class": rank}, **medium)

    def certificate(self, tenant, key=None, number=None, size=None, quiesced=3000, issued=20000, consistency=(), cosigners=(), keys_issued=0, approvals=(), leave_out=(), clients=None, named=None):
        """The body of a certificate, over the first `size` entries; `quiesced` milliseconds after the commit, `issued` after the last entry.
        It lies where versions are left out."""
        size = size or len(self.entries)
        t, at = {m: self.tenants[tenant][m] for m in ("tenant", "tenant_uid", "tenant_slot")}, lambda i: self.entries[i]["at"]
        if key:
            k = self.keys[tenant, key]
            versions = [dict(v, data_keys_issued=keys_issued) for v in k["versions"] if number in (None, v["number"]) and v["number"] not in leave_out]
            subject = dict(t, key=key, key_uid=k["key_uid"], **{"class": k["level"]}, versions=versions)
            if named: subject["subject_name"] = sha256(SALT + named.encode()).hex()
            destroyed, epochs = sorted({v["destroyed"] for v in versions}), sorted({v["epoch"] for v in versions})
        else:
            versions, destroyed = [], [i for i, e in enumerate(self.entries) if e["type"] == "TENANT_DESTROY" and e["tenant"] == tenant]
            subject, epochs = dict(t, live=self.entries[destroyed[0]]["live"]), [self.entries[destroyed[0]]["epoch"]]
        requests = [dict({m: self.entries[i][m] for m in ("by", "at", "reason", "ticket")}, destroy=i, scope=self.entries[i].get("scope", "tenant"), approvals=list(approvals)) for i in destroyed]
        erasure, effaceable, states = [], [], []
        for e in epochs:
            commit, effaced = self.commits[e], self.effaced.get(e, size)
            ended = (datetime.datetime.fromisoformat(at(commit)) + datetime.timedelta(milliseconds=quiesced)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            erasure.append(dict(epoch=e, attempt=self.entries[commit]["attempt"], commit=commit, committed=at(commit), quiesced=ended))
            if clients: erasure[-1].update(clients_confirmed=clients[0], clients_ended=clients[1])
            if effaced < size:
                erasure[-1].update(effacement=effaced, effaced=at(effaced))
                effaceable.append(dict({m: self.entries[effaced][m] for m in ("class", "assurance", "technique", "media", "verification")}, effacement=effaced))
            sides = []
            for state in self.states[e]:
                slot, dead = t["tenant_slot"], [v["slot"] for v in versions if v["epoch"] == e]
                side = dict(live=state.live, top_height=state.top_height, top=slot_proof(state.top(), 5 * state.top_height, [slot]))
                if slot in state.tenants:
                    h, slots = state.heights[slot], state.tenants[slot]
                    side |= dict(tenant_height=h, tenant=slot_proof(slots, 5 * h, dead)) if key else dict(tenant_height=h, tenant_root=slots_root(slots, 5 * h).hex())
                sides.append(side)
            states.append(dict(epoch=e, before=sides[0], after=sides[1]))
        issued = moment(self.now + issued)
        done = all("effacement" in e and e["quiesced"] <= issued for e in erasure)
        risks = {"memory-swap-core", "clock-unproven"} | ({"no-witness", "restore-unwitnessed"} if not cosigners else set()) | ({"derived-copies"} if keys_issued else set())
        if subject.get("class") in ("L1", "L2"): risks.add("audit-written")
        risks |= {"medium-none" for m in effaceable if m["class"] == "none"} | {"token-software" for m in effaceable if "software" in m["assurance"]}
        if "/" in subject.get("key", ""): risks |= {"rows-linkable"} | {"name-guessable" for r in requests if r["scope"] != "tenant"}
        body = dict(v=1, kind="version" if number else "key" if key else "tenant", issued=issued, instance=INSTANCE.hex(), log=dict(key=LOG.vkey), subject=subject, request=requests,
            erasure=dict(status="erased" if done else "pending", horizon="none", epochs=erasure), effaceable=effaceable,
            sanitization=dict(manufacturer="n/a", method="clear", technique="cryptographic erase", tool="kms", verification="see effaceable"), risks=sorted(risks),
            proven=["The entries stand in the log."], attested=["The secrets were effaced."], assumed=["There is no other copy."], proofs=dict(states=states))
        indexes = set(destroyed) | {v["created"] for v in versions} | {e[m] for e in erasure for m in ("commit", "effacement") if m in e}
        return relog(body, self.entries[:size], indexes, consistency, cosigners)

def relog(body, entries, indexes=None, consistency=(), cosigners=(), signer=LOG):
    """Puts these entries, and what proves them, into the body."""
    indexes = sorted(indexes if indexes is not None else [e["index"] for e in body["proofs"]["entries"]])
    leaves = [sha256(b"\0" + compact(e)) for e in entries]
    text = note_text(signer.name, len(leaves), log_root(leaves))
    body["proofs"].update(
        checkpoint=dict(size=len(leaves), root=log_root(leaves).hex(), signature=signer.note(text).hex(), cosignatures=[dict(key=w.vkey, signature=w.cosign(text, TIME).hex()) for w in cosigners]),
        entries=[dict(index=i, entry=entries[i]) for i in indexes], inclusion=shared_proof(leaves, indexes),
        consistency=[dict(size=n, root=log_root(leaves[:n]).hex(), proof=consistency_proof(n, leaves)) for n in consistency])
    return copy.deepcopy(body)

def signed(body, signer=LOG):
    return (pretty(dict(certificate=body, signature=signer.sign(b"kms/certificate/v1\n" + pretty(body).encode()).hex())) + "\n").encode()
