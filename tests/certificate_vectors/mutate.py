#!/usr/bin/env python3
"""Changes valid certificates in every way that is one change, and has the verifier judge the outcome: none may pass.

    mutate.py            says how many mutations there were, and which passed that must not; exit code 1 if any did
    mutate.py --stream   writes each as a line of JSON: `file`, `mutation`, `verdict`, and `changes` to the file's bytes, by rising place in it:
                         from which byte on, how many go, and what comes instead, in hexadecimal

Three kinds: of bytes (each flipped; the file cut); of members, under the old signature; of members, signed again by the log's key. Of the last a few are as true as what they
were made from, since the signer alone vouches for what changed: FREE names them all, and each must come up. Needs the package `cryptography`."""
import copy, fnmatch, json, pathlib, sys, types
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
from centre import LOG, pretty
from verify_certificate import verify

WHOLE = ["tenant", "version-died-with-tenant"]                                             # every byte of these is flipped; of the others, one in 41
PARTNERS = {"version": "version-batch", "version-died-with-tenant": "key-died-with-tenant", "version-cosigned-twice": "version-consistency", "version-consistency": "version-batch",
            "version-data-keys": "version-medium-none", "version-pending": "version-lease", "version-purged-by-some": "version-batch", "key": "key-singly", "key-died-with-tenant": "key",
            "tenant": "tenant-token", "tenant-token": "version-class-l1", "subject-named": "subject-version-named"}                  # members of these are changed, and exchanged with the other's
FREE = {                                                                                    # paths, with the reason why a new signature may change them
    "issued": "when it was issued is the signer's to say",
    "subject/tenant": "no entry that the certificate of a version carries names its tenant, which has a uid",
    "subject/versions/*/data_keys_issued": "the count is attested; that there were any is a risk which has to be named",
    "subject/subject_name": "whose key it was is attested, and need not be said",
    "request/*/approvals": "who approved is attested, and may be taken on trust or not",
    "erasure/epochs/*/quiesced": "when leases ended is attested",
    "erasure/epochs/*/clients_confirmed": "how many clients confirmed is attested", "erasure/epochs/*/clients_ended": "and of how many the lease ended",
    "sanitization": "a form for people", "sanitization/*": "a form for people",
    "proven": "sentences for people", "proven/*": "sentences for people",
    "attested": "sentences for people", "attested/*": "sentences for people",
    "assumed": "sentences for people", "assumed/*": "sentences for people",
    "risks": "more risks may be named than follow", "risks/*": "those that do not follow may be left out",
    "kind": "the only version that a key ever had is the key",
    "proofs/checkpoint/cosignatures": "one witness fewer, or the same ones in another order", "proofs/checkpoint/cosignatures/*": "one witness fewer",
    "proofs/consistency": "earlier checkpoints may be left out", "proofs/consistency/*": "earlier checkpoints may be left out"}
TWICE = "~twice"                                                                            # marks the second of two members of one name, until it is written

def written(text, signature):
    """The file of a body's text."""
    return ('{\n "certificate": ' + text.replace("\n", "\n ") + f',\n "signature": "{signature}"\n}}\n').encode()

def bytes_changed(data, whole):
    for at in range(0, len(data), 1 if whole else 41):
        flip = 1 if whole else 1 << at % 8
        yield f"byte {at} ^ {flip}", data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
    for size in range(0, len(data), 97): yield f"cut to {size}", data[:size]
    for size in range(1, len(data), 97): yield f"without the first {size}", data[size:]
    for name, extra in ("line feed", b"\n"), ("space", b" "), ("zero", b"\0"), ("itself", data): yield f"{name} behind", data + extra

def values_changed(value):
    """What may stand in place of a value."""
    if type(value) is int: yield from (("+ 1", value + 1), ("- 1", value - 1), ("as a string", str(value)))
    elif type(value) is str:
        if value: yield "emptied", ""
        digit = max((at for at, c in enumerate(value) if c in "0123456789abcdef"), default=None)
        if digit is not None: yield "last digit changed", value[:digit] + "0123456789abcdef"[int(value[digit], 16) ^ 1] + value[digit + 1 :]
        yield "longer", value + "0"
    elif type(value) is list:
        if value: yield "emptied", []
        yield "extended", value + (value[-1:] or ["00" * 32])
        if len(value) > 1: yield from (("reversed", value[::-1]), ("rotated", value[1:] + value[:1]), ("truncated", value[:-1]))
    else: yield "emptied", {}

def members_changed(place, other, path):
    """Changes what stands in an object or list, in place, and says how; puts it back afterwards."""
    for last in list(place) if type(place) is dict else range(len(place)):
        here, value = f"{path}{last}", place[last]
        exchanged = other[last] if type(other) is type(place) and (last in other if type(place) is dict else last < len(other)) else None
        changes = list(values_changed(value)) + ([("exchanged", exchanged)] if exchanged is not None else [])
        for how, changed in changes:
            place[last] = changed
            yield here, how
        if type(place) is dict:
            place[last + TWICE] = place[last] = value
            yield here, "doubled"
            del place[last + TWICE], place[last]
            yield here, "dropped"
            place[last + "_"] = value
            yield here, "renamed"
            del place[last + "_"]
            place[last] = value
        else:
            place[last] = value
            place.insert(last, value)
            yield here, "doubled"
            del place[last : last + 2]
            yield here, "dropped"
            place.insert(last, value)
        if type(value) in (dict, list): yield from members_changed(value, exchanged, here + "/")

def mutations():
    """File, mutation, path if it was signed again, contents."""
    for file in sorted((HERE / "valid").glob("*.json")):
        data, name = file.read_bytes(), file.stem
        for how, changed in bytes_changed(data, name in WHOLE): yield file, how, None, changed
        if name not in PARTNERS: continue
        body, signature = json.loads(data).values()
        other = json.loads((HERE / f"valid/{PARTNERS[name]}.json").read_bytes())["certificate"]
        original = copy.deepcopy(body)
        text = pretty(body)
        yield file, "signature exchanged", None, written(text, "ab" * 64)
        for path, how in members_changed(body, other, ""):
            changed = pretty(body).replace(TWICE, "")
            if changed == text: continue
            yield file, f"{path} {how}", None, written(changed, signature)
            yield file, f"{path} {how}, signed again", path, written(changed, LOG.sign(b"kms/certificate/v1\n" + changed.encode()).hex())
        assert body == original

def common(a, b):
    """How many bytes two files begin with alike."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[:middle] == b[:middle] else (low, middle - 1)
    return low

SIGNATURE = 132                                                                             # bytes from the signature's first to the end of the file
def changes(old, new):
    """What makes one file of the other: from where on, how many bytes go, and what comes; a signature that changed is one of its own."""
    parts = [(0, old, new)]
    if len(new) > SIGNATURE and old[-SIGNATURE:] != new[-SIGNATURE:] and new[-4:] == old[-4:]:
        parts = [(0, old[:-SIGNATURE], new[:-SIGNATURE]), (len(old) - SIGNATURE, old[-SIGNATURE:], new[-SIGNATURE:])]
    for start, was, is_now in parts:
        at = common(was, is_now)
        behind = common(was[at:][::-1], is_now[at:][::-1])
        if was != is_now: yield [start + at, len(was) - at - behind, is_now[at : len(is_now) - behind].hex()]

def main():
    stream, nothing_given = sys.argv[1:] == ["--stream"], types.SimpleNamespace(key=None, pin=None, name=None, policy={})
    originals, wrong, count, unused = {}, [], 0, set(FREE)
    for file, how, path, changed in mutations():
        verdict, _ = verify(changed, nothing_given)
        count += 1
        if verdict != "invalid":
            free = [pattern for pattern in FREE if path and fnmatch.fnmatchcase(path, pattern) and path.count("/") == pattern.count("/")]
            unused -= set(free)
            if not free: wrong.append(f"{file.name}: {how}: {verdict}")
        if stream:
            old = originals.setdefault(file, file.read_bytes())
            print(json.dumps(dict(file=f"valid/{file.name}", mutation=how, verdict=verdict, changes=list(changes(old, changed)))))
    print(*wrong, *(f"FREE names {path}, and no mutation of it passed" for path in sorted(unused)), f"{count} mutations, {len(wrong)} passed that must not", sep="\n", file=sys.stderr)
    return 1 if wrong or unused else 0

if __name__ == "__main__": sys.exit(main())
