// A plan of calls through the official TypeScript SDK, old or new; what its user sees, as JSON.
const plan = JSON.parse(process.env.PLAN);
delete process.env.PLAN;
const { Client } = await import(plan.sdk.client);
const { StdioClientTransport } = await import(plan.sdk.stdio);
const { StreamableHTTPClientTransport } = await import(plan.sdk.http);
const transport = plan.url
    ? new StreamableHTTPClientTransport(new URL(plan.url), { requestInit: { headers: plan.headers } })
    : new StdioClientTransport({ command: plan.command, args: plan.arguments, env: plan.environment, stderr: "ignore" });
const client = new Client({ name: "entrabot-tests", version: "1" }, plan.options);
const asked = [];
if (plan.person) {
    client.setRequestHandler("elicitation/create", async (question) => {
        asked.push(question.params.message);
        return plan.person === "accept" ? { action: "accept", content: {} } : { action: plan.person };
    });
}
await client.connect(transport);
const { tools } = await client.listTools();
const answers = [];
for (const call of plan.calls) {
    answers.push(await client.callTool({ name: call.tool, arguments: call.arguments }));
}
console.log(JSON.stringify({
    server: client.getServerVersion()?.name,
    // The old SDK does not tell it over stdio.
    revision: client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion,
    tools: tools.map((tool) => tool.name),
    answers,
    asked,
}));
await client.close();
