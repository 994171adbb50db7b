// What every TypeScript SDK client has to do against a server, and what it has to get back: the steps of
// exercise.py. How an SDK spells a call is the driver's business.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const ABSENT_TOOL = "no_such_tool";

// The packages live in the test cache, outside of every folder that a plain import would search.
export const load = createRequire(`${process.env.MAINSTAY_TEST_NODE_MODULES}/`);

// A CallToolResult, or the JSON-RPC error that came instead.
async function replyOf(pending) {
  try {
    const result = await pending;
    const text = result.content.filter((item) => item.type === "text").map((item) => item.text).join("");
    return { text, isError: result.isError === true, code: null };
  } catch (error) {
    if (typeof error.code !== "number") throw error;
    return { text: error.message, isError: false, code: error.code };
  }
}

async function exercise(client, server, version) {
  const wanted = JSON.parse(readFileSync(new URL("expectations.json", import.meta.url)))[server];
  const good = (text) => ({ text, isError: false, code: null });
  const call = ([name, args], onprogress) => replyOf(client.call(name, args, onprogress));

  assert.equal(client.version(), version, "connect");
  console.log("ok connect", version);

  const names = await client.toolNames();
  assert.deepEqual(wanted.tools.filter((name) => !names.includes(name)), [], "list: missing tools");
  console.log("ok list", names.length);

  assert.deepEqual(await call(wanted.call), good(wanted.call[2]), "call");
  console.log("ok call");

  const seen = [];
  const reply = await call(wanted.progress, ({ progress, total }) => seen.push([progress, total]));
  assert.equal(reply.isError, false, "progress: answer is an error");
  assert.deepEqual(seen, wanted.progress[2], "progress");
  console.log("ok progress", seen.length);

  const replies = await Promise.all(wanted.parallel.map((asked) => call(asked)));
  assert.deepEqual(replies, wanted.parallel.map((asked) => good(asked[2])), "parallel");
  console.log("ok parallel", replies.length);

  const refused = await call([ABSENT_TOOL, {}]);
  if (wanted.unknown.code) assert.equal(refused.code, wanted.unknown.code, "error: code");
  else assert.equal(refused.isError, true, "error: isError");
  assert.match(refused.text, new RegExp(ABSENT_TOOL), "error: names the tool");
  console.log("ok error");

  assert.deepEqual(await call(wanted.call), good(wanted.call[2]), "call after the error");
}

// Entry of each driver: URL ERA SERVER VERSION on the command line.
export async function main(open) {
  const [url, era, server, version] = process.argv.slice(2);
  const client = await open(new URL(url), era);
  await exercise(client, server, version);
  await client.close();
  console.log("ok close");
}
