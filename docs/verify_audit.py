#!/usr/bin/env python3
"""Verifies an entrabot audit directory from docs/audit-format.md alone: verify_audit.py DIR [VKEYS [ANCHOR]]"""
import base64, functools, hashlib, json, os, re, subprocess, sys, tempfile
sha = lambda *parts: hashlib.sha256(b"".join(parts)).digest()
node = lambda right, left: sha(b"\1", left, right)
root = lambda tops: functools.reduce(node, reversed(tops)) if tops else sha()  # RFC 6962: fold subtrees from the right
text_of = lambda path: open(path, encoding="utf-8").read() if os.path.exists(path) else ""
notes = lambda path: re.findall(r"(?:[^\n]+\n)+\n(?:\u2014 [^\n]+\n)+", text_of(path))
fail = lambda where, why: sys.exit(f"NOT intact: {where}: {why}")
def signed(note, name, ident, key):  # a vkey is name+id+base64(type, key); type 2: ECDSA P-256, the key as SubjectPublicKeyInfo
    (text, lines), spki = note.split("\n\n", 1), base64.b64decode(key)[1:]
    for who, sig in ((line.split(" ")[1], base64.b64decode(line.split(" ")[2])) for line in lines.splitlines()):
        if who == name and sig[:4].hex() == ident and sha(spki)[:4] == sig[:4]:
            with tempfile.TemporaryDirectory() as tmp:
                for file, data in ("k", spki), ("s", sig[4:]): open(f"{tmp}/{file}", "wb").write(data)
                run = ["openssl", "dgst", "-sha256", "-keyform", "DER", "-verify", f"{tmp}/k", "-signature", f"{tmp}/s"]
                return subprocess.run(run, input=text.encode() + b"\n", capture_output=True).returncode == 0 or fail(who, "forged")
directory, vkeys = sys.argv[1], [l.strip().split("+", 2) for f in sys.argv[2:3] for l in open(f) if l.strip()]
folder, chain, size, tops, seq, ids, pruned, record = f"{directory}/checkpoints", bytes(32), 0, [], 0, {}, {}, None
for stone in notes(f"{folder}/tombstones.notes"):  # the last says how the log stood behind the pruned days
    if not any(signed(stone, *key) for key in vkeys): fail("tombstones.notes", "not signed by a known key")
    said = [line.partition(" ")[::2] for line in stone.split("\n\n")[0].split("\n")]
    size, chain, seq, record = int(said[1][0]), bytes.fromhex(said[3][1]), int(said[5][1]), said[9][1]
    tops = [bytes.fromhex(top) for top in said[4][1].split()]
    pruned |= {value.split()[0]: value.split()[3] for name, value in said if name == "pruned"}
start, current, skipped, shadow, raced, at = size, 0, set(), None, [], {0: (bytes(32), sha()), size: (chain, root(tops))}
days = sorted(f for f in os.listdir(directory) if re.fullmatch(r"\d{4}-\d\d-\d\d\.jsonl", f))
for day in days:
    data = open(f"{directory}/{day}", "rb").read()
    if day in pruned: hashlib.sha256(data).hexdigest() == pruned[day] or fail(day, "pruned, and other lines"); continue
    *lines, tail = data.split(b"\n")
    if tail and day != days[-1]: fail(day, "unfinished line in a closed day")
    for number, line in enumerate(lines, 1):
        try: event = dict(json.loads(line.decode()))
        except (ValueError, TypeError) as error: fail(f"{day}:{number}", error)
        native, prev = bool(event.keys() & {"v", "seq", "prev"}), bytes.fromhex(event.get("prev", ""))
        inside, slipped = prev == shadow, prev in skipped  # of a batch that a foreign line slipped in front of
        explained = len(raced) < 2 or (event["action"], event.get("src")) == ("audit.raced", "system")
        sound = native and (inside or (prev == chain or slipped) and explained) and event["seq"] == seq
        if native and (not sound or event["event_id"] in ids): fail(f"{day}:{number}", "the chain, seq or event_id")
        raced = raced * (inside or not native) + [prev] * (inside or slipped)
        seq, skipped = seq + native, set() if native else skipped | {chain}
        shadow, chain = sha(prev, line) if inside or slipped else None, sha(chain, line)
        ids[event["event_id"]], tops, full = event["action"], tops + [sha(b"\0", line)], size
        while full % 2: full, tops = full // 2, tops[:-2] + [node(tops[-1], tops[-2])]
        at[size := size + 1] = (chain, root(tops))
said = text_of(f"{directory}/.lock").split()[2:4] if len(raced) > 1 else []  # such a batch ends the log: was it announced?
if raced[1:] and (said[1:] != [raced[0].hex()] or len(raced) > int(said[0])): fail(days[-1], "an unexplained foreign line")
if record and ids.get(record) != "audit.prune": fail("tombstones.notes", "nothing is on record of the pruning")
for file in sorted(f for f in os.listdir(folder) if f[0] == "2") if os.path.isdir(folder) else []:
    for note in notes(f"{folder}/{file}"):
        count, top, link = note.split("\n")[1:4]
        value = (bytes.fromhex(link[6:]), base64.b64decode(top))
        if int(count) < start: at.setdefault(int(count), value)  # of pruned lines: it has to agree with the others
        if at.get(int(count)) != value: fail(file, f"not the {count} lines that it covers")
        good = [i for i, key in enumerate(vkeys) if signed(note, *key)]
        current = good[-1] if current in good else vkeys and fail(file, "not signed by the key in force")
for line in [l.split() for f in sys.argv[3:4] for l in open(f) if l.endswith("\n")]:
    if at.get(int(line[1])) != (bytes.fromhex(line[3]), bytes.fromhex(line[2])): fail("anchor", f"not its {line[1]} lines")
print(f"intact: {size} lines, {seq} of them ours, {start} pruned")
