# A plan of calls through the official Python SDK of the revisions with sessions; what its user sees, as JSON.
import asyncio, json, os
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client
plan = json.loads(os.environ.pop("PLAN"))
def way():
    if "url" in plan:
        return streamablehttp_client(plan["url"], headers=plan["headers"])
    return stdio_client(StdioServerParameters(command=plan["command"], args=plan["arguments"], env=plan["environment"]))
async def main():
    async with way() as streams, ClientSession(*streams[:2]) as session:
        said = await session.initialize()
        tools = await session.list_tools()
        answers = []
        for call in plan["calls"]:
            result = await session.call_tool(call["tool"], call["arguments"])
            answers.append(result.model_dump(by_alias=True, exclude_none=True, mode="json"))
        print(json.dumps({"server": said.serverInfo.name, "revision": said.protocolVersion,
            "tools": [tool.name for tool in tools.tools], "answers": answers}))
asyncio.run(main())
