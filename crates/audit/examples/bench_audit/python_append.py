"""The original's append: eight fields, one open, one write, one close per event, no sync."""
import json, os, sys, time, uuid
from datetime import datetime, timezone

directory, count = sys.argv[1], int(sys.argv[2])
os.makedirs(directory, exist_ok=True)
took = []
begin = time.perf_counter()
for _ in range(count):
    start = time.perf_counter()
    now = datetime.now(timezone.utc)
    event = {
        "event_id": str(uuid.uuid4()), "timestamp": now.isoformat(), "agent_id": "22222222-2222-4222-8222-222222222222",
        "action": "a365.mcp_WordServer.GetDocumentContent", "resource": "a365.mcp_WordServer.GetDocumentContent",
        "outcome": "pending", "attribution_type": "agent",
        "metadata": {"server": "mcp_WordServer", "tool": "GetDocumentContent"},
    }
    with open(os.path.join(directory, datetime.now(timezone.utc).strftime("%Y-%m-%d") + ".jsonl"), "a") as file:
        file.write(json.dumps(event) + "\n")
    took.append(time.perf_counter() - start)
total = time.perf_counter() - begin
took.sort()
print(json.dumps({"events_per_second": count / total, "p50_us": took[count // 2] * 1e6, "p99_us": took[count * 99 // 100] * 1e6}))
