// Drives @modelcontextprotocol/sdk 1.x, which knows the handshake era only: URL ERA SERVER VERSION.
// It never sends DELETE on close: its session is left for the gateway to expire.
import { load, main } from "./exercise.mjs";

const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = load("@modelcontextprotocol/sdk/client/streamableHttp.js");

await main(async (url) => {
  const client = new Client({ name: "ts-sdk1", version: "1.0.0" });
  const transport = new StreamableHTTPClientTransport(url);
  await client.connect(transport);
  return {
    version: () => transport.protocolVersion,
    toolNames: async () => (await client.listTools()).tools.map((tool) => tool.name),
    call: (name, args, onprogress) => client.callTool({ name, arguments: args }, undefined, { onprogress }),
    close: () => client.close(),
  };
});
