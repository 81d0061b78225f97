#!/usr/bin/env python3
"""Verifies an entrabot audit directory from docs/audit-format.md alone: verify_audit.py DIR [VKEYS [ANCHOR]]"""
import base64, hashlib, json, os, re, subprocess, sys, tempfile
sha = lambda *parts: hashlib.sha256(b"".join(parts)).digest()
def fail(where, why):
    sys.exit(f"NOT intact: {where}: {why}")
def root(stack):  # RFC 6962: fold the subtrees from the right
    acc = stack[-1][1] if stack else sha()
    for _, left in reversed(stack[:-1]):
        acc = sha(b"\1", left, acc)
    return acc
def signed(note, key):  # a vkey is name+id+base64(type, key); type 2: ECDSA P-256, the key as SubjectPublicKeyInfo
    text, lines = note.split("\n\n", 1)
    name, ident, data = key.split("+", 2)
    spki = base64.b64decode(data)[1:]
    for line in lines.splitlines():
        who, sig = line[2:].rsplit(" ", 1)
        sig = base64.b64decode(sig)
        if who == name and sig[:4].hex() == ident and sha(spki)[:4] == sig[:4]:
            with tempfile.TemporaryDirectory() as tmp:
                pem = "-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(spki).decode() + "-----END PUBLIC KEY-----\n"
                for file, data in ("k", pem.encode()), ("s", sig[4:]), ("t", text.encode() + b"\n"):
                    open(f"{tmp}/{file}", "wb").write(data)
                run = ["openssl", "dgst", "-sha256", "-verify", f"{tmp}/k", "-signature", f"{tmp}/s", f"{tmp}/t"]
                return subprocess.run(run, capture_output=True).returncode == 0 or fail(who, "a forged signature")
    return False
directory, vkeys = sys.argv[1], [l.strip() for f in sys.argv[2:3] for l in open(f) if l.strip()]
chain, stack, size, seq, allowed, ids, at = bytes(32), [], 0, 0, {bytes(32)}, set(), {0: (bytes(32), sha())}
days = sorted(f for f in os.listdir(directory) if re.fullmatch(r"\d{4}-\d\d-\d\d\.jsonl", f))
for day in days:
    data = open(f"{directory}/{day}", "rb").read()
    *lines, tail = data.split(b"\n")
    if tail and day != days[-1]: fail(day, "unfinished line in a closed day")
    for number, line in enumerate(lines, 1):
        where = f"{day}:{number}"
        try: event = dict(json.loads(line.decode()))
        except (ValueError, TypeError) as error: fail(where, error)
        native, before = "prev" in event, chain
        if native and bytes.fromhex(event["prev"]) not in allowed | {chain}: fail(where, "the chain breaks")
        if native and (event["seq"] != seq or event["event_id"] in ids): fail(where, "seq or event_id")
        seq, chain, allowed = seq + native, sha(chain, line), set() if native else allowed | {before}
        ids.add(event["event_id"])
        stack.append((1, sha(b"\0", line)))
        while len(stack) > 1 and stack[-2][0] == stack[-1][0]:
            right, left = stack.pop(), stack.pop()
            stack.append((2 * right[0], sha(b"\1", left[1], right[1])))
        at[size := size + 1] = (chain, root(stack))
notes, current = os.path.join(directory, "checkpoints"), 0
for file in sorted(os.listdir(notes)) if os.path.isdir(notes) else []:
    for note in re.findall(r"(?:[^\n]+\n)+\n(?:\u2014 [^\n]+\n)+", open(f"{notes}/{file}", encoding="utf-8").read()):
        _origin, count, top, link = note.split("\n")[:4]
        if int(count) not in at: fail(file, f"a checkpoint covers {count} lines, there are {size}")
        if at[int(count)] != (bytes.fromhex(link[6:]), base64.b64decode(top)): fail(file, f"other lines at {count}")
        good = [i for i, key in enumerate(vkeys) if signed(note, key)]
        if vkeys and (current not in good): fail(file, "not signed by the key in force")
        current = good[-1] if good else current
for line in [l.split() for f in sys.argv[3:4] for l in open(f) if l.endswith("\n")]:
    if at.get(int(line[1])) != (bytes.fromhex(line[3]), bytes.fromhex(line[2])): fail("anchor", f"no such {line[1]} lines")
print(f"intact: {size} lines, {seq} of them ours")
