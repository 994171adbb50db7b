// Drives @modelcontextprotocol/client 2.x: URL ERA SERVER VERSION. ERA legacy is its default, auto asks for
// the modern era and may fall back. It ends its session with DELETE, as a tidy client does.
import { load, main } from "./exercise.mjs";

const { Client, StreamableHTTPClientTransport } = load("@modelcontextprotocol/client");

await main(async (url, era) => {
  const options = era === "legacy" ? {} : { versionNegotiation: { mode: era } };
  const client = new Client({ name: "ts-client2", version: "1.0.0" }, options);
  const transport = new StreamableHTTPClientTransport(url);
  await client.connect(transport);
  return {
    version: () => client.getNegotiatedProtocolVersion(),
    toolNames: async () => (await client.listTools()).tools.map((tool) => tool.name),
    call: (name, args, onprogress) => client.callTool({ name, arguments: args }, { onprogress }),
    close: async () => {
      if (client.getProtocolEra() === "legacy") await transport.terminateSession();
      await client.close();
    },
  };
});
