"""A short story, and ways to change one thing in a certificate, or in the log that it is from, and to sign the outcome."""
import copy
from centre import LOG, Centre, Signer, of, relog, signed

OTHER = Signer(LOG.name, 1, "another")                            # another key under the log's name

def small():
    """A short story, so that the certificates are short."""
    c = Centre()
    c.create_tenant("acme")
    for key in ("orders", "cards", "cards", "cards", "stays"): c.create("acme", key)
    c.create("acme", "logs", level="L1")
    c.destroy(("acme", "orders", 1)); c.efface()                                    # epoch 2
    c.destroy(("acme", "cards", 1)); c.efface("none", "describes the erase")        # 3
    c.destroy(("acme", "cards")); c.efface()                                        # 4
    c.create_tenant("doomed")
    for key in ("payroll", "badges"): c.create("doomed", key)
    c.destroy(("doomed",)); c.efface("token", "software token")                     # 5
    c.destroy(("acme", "logs", 1), ("acme", "stays", 1)); c.efface()                # 6
    c.create("acme", "late")
    c.destroy(("acme", "late", 1))                                                  # 7 is not effaced yet
    return c

def people():
    """Two subjects of a family; one goes, then their tenant."""
    c = Centre()
    c.create_tenant("acme")
    for subject in ("one", "one", "two"): c.create("acme", of(subject))
    c.destroy(("acme", of("one")), reason="subject-request"); c.efface()
    c.destroy(("acme",), reason="contract-ended"); c.efface()
    return c

C = small()
def version(**changes): return C.certificate("acme", "orders", 1, **changes)
def tenant(): return C.certificate("doomed")
def key(**changes): return C.certificate("acme", "cards", **changes)

def edited(body, change):
    """The certificate says something else than the log."""
    change(body)
    return signed(body)

def at(body, path):
    """Where a member stands: the object or list, and its name or index there."""
    *way, last = path.split("/")
    for step in way: body = body[int(step) if isinstance(body, list) else step]
    return body, int(last) if isinstance(body, list) else last

def put(body, path, value):
    place, last = at(body, path)
    place[last] = value(place[last]) if callable(value) else value
    return body

def with_member(body, path, value): return signed(put(body, path, value))
def without(body, path):
    place, last = at(body, path)
    del place[last]
    return signed(body)

def logged(body, index, change, also=lambda body: None, story=C):
    """The log says something else than the certificate."""
    entries = copy.deepcopy(story.entries)
    change(entries[index])
    also(body)
    return signed(relog(body, entries))

def reordered(body, order):
    """The log with its entries in another order, and times that rise in it; the certificate agrees with it in everything."""
    new = {old: place for place, old in enumerate(order)}
    entries = [copy.deepcopy(C.entries[old]) for old in order]
    for entry, was in zip(entries, C.entries):
        entry.update(at=was["at"], commit=was["commit"])
        if entry["type"] == "EPOCH_COMMIT": entry.update(first=new[entry["first"]], last=new[entry["last"]])
    for v in body["subject"]["versions"]: v.update(created=new[v["created"]], destroyed=new[v["destroyed"]])
    for r in body["request"]: r.update(destroy=new[r["destroy"]], at=entries[new[r["destroy"]]]["at"])
    for e in body["erasure"]["epochs"]:
        e.update(commit=new[e["commit"]], effacement=new[e["effacement"]])
        e.update(committed=entries[e["commit"]]["at"], effaced=entries[e["effacement"]]["at"], quiesced=entries[e["commit"]]["at"])
    for m in body["effaceable"]: m["effacement"] = new[m["effacement"]]
    return signed(relog(body, entries, [new[e["index"]] for e in body["proofs"]["entries"]]))

def moved(index, to):
    order = [i for i in range(len(C.entries)) if i != index]
    order.insert(to, index)
    return order
