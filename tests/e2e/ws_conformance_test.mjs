// The echo endpoint against the WebSocket cases, and with the published client.

import assert from "node:assert/strict";
import WebSocket from "ws";
import { test } from "./lib/harness.mjs";
import { runCases } from "./ws_conformance.mjs";

const GROUPS = { 1: "lengths", 2: "pings", 3: "reserved bits", 4: "opcodes", 5: "fragments", 6: "UTF-8", 7: "closing",
  8: "masks and limits", 9: "large messages", 10: "the opening handshake", 12: "compression", 13: "compression, refusals" };

for (const [group, name] of Object.entries(GROUPS)) {
  test(`WebSocket conformance: ${name}`, { timeout: 300 }, async (t) => {
    const server = await t.server({ args: ["--echo"] });
    const { total, failures } = await runCases(`ws://127.0.0.1:${server.port}/echo`, `${group}.`);
    assert.ok(total > 0);
    const lines = failures.map(({ each, error }) => `${each.id} ${each.title}: ${error.message}`);
    assert.equal(lines.length, 0, `${lines.length} of ${total}:\n${lines.slice(0, 40).join("\n")}`);
  });
}

function talk(url, options, messages) {
  return new Promise((done, failed) => {
    const got = [];
    const client = new WebSocket(url, options);
    client.on("error", failed);
    client.on("open", () => messages.forEach((m) => client.send(m)));
    client.on("message", (data, binary) => {
      got.push(binary ? data : data.toString());
      if (got.length === messages.length) client.close(1000, "done");
    });
    client.on("close", (code) => done({ got, code }));
  });
}

for (const perMessageDeflate of [false, true, { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true }, { threshold: 0, serverMaxWindowBits: 10 }]) {
  test(`the ws client, compression ${JSON.stringify(perMessageDeflate)}`, async (t) => {
    const server = await t.server({ args: ["--echo"] });
    const messages = ["", "hello", "안녕".repeat(5000), Buffer.alloc(100000, 7), Buffer.alloc(0), "x".repeat(2_000_000)];
    const { got, code } = await talk(`ws://127.0.0.1:${server.port}/echo`, { perMessageDeflate }, messages);
    assert.deepEqual(got, messages);
    assert.equal(code, 1000);
  });
}
