# A plan of calls through the official Python SDK of 2026-07-28; what its user sees, as JSON.
import asyncio, json, os, httpx2
from mcp import Client, StdioServerParameters
from mcp.types import ElicitResult
from mcp.client.streamable_http import streamable_http_client
plan = json.loads(os.environ.pop("PLAN"))
def way():
    if "url" in plan:
        return streamable_http_client(plan["url"], http_client=httpx2.AsyncClient(headers=plan["headers"]))
    return StdioServerParameters(command=plan["command"], args=plan["arguments"], env=plan["environment"])
asked = []
async def person(context, question):
    asked.append(question.message)
    return ElicitResult(action=plan["person"], content={} if plan["person"] == "accept" else None)
async def main():
    async with Client(way(), elicitation_callback=person if "person" in plan else None) as client:
        tools = await client.list_tools()
        answers = []
        for call in plan["calls"]:
            result = await client.call_tool(call["tool"], call["arguments"])
            answers.append(result.model_dump(by_alias=True, exclude_none=True, mode="json"))
        print(json.dumps({"server": client.server_info.name, "revision": client.protocol_version,
            "tools": [tool.name for tool in tools.tools], "answers": answers, "asked": asked}))
asyncio.run(main())
