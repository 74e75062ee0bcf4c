// What an operator looks at: health, metrics, logs, the page's headers.

import assert from "node:assert/strict";
import { test } from "./lib/harness.mjs";
import { openV1 } from "./lib/clients.mjs";

test("health, readiness and metrics answer", async (t) => {
  const server = await t.server();
  assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
  assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
  const client = await openV1(t, server.ws);
  await client.join("lobby");
  await client.publish("lobby", "counted");
  const metrics = await fetch(`${server.url}/metrics`);
  assert.match(metrics.headers.get("content-type"), /^text\/plain; version=0\.0\.4/);
  const text = await metrics.text();
  for (const line of text.trim().split("\n")) {
    assert.match(line, /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+)$/, line);
  }
  assert.match(text, /^madang_/m);
});

test("the page comes compressed, tagged, cached by its name, and locked down", async (t) => {
  const server = await t.server();
  const page = await fetch(`${server.url}/chat`);
  assert.equal(page.status, 200);
  assert.match(page.headers.get("content-type"), /^text\/html; charset=utf-8/);
  const policy = page.headers.get("content-security-policy");
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
  const html = await page.text();
  const script = /src="(chat\/[^"]+\.js)"/.exec(html)[1];
  const asset = await fetch(`${server.url}/${script}`);
  assert.equal(asset.status, 200);
  assert.equal(asset.headers.get("content-encoding"), "gzip");
  assert.match(asset.headers.get("cache-control"), /immutable/);
  assert.match(asset.headers.get("vary"), /accept-encoding/i);
  const tag = page.headers.get("etag");
  const same = await fetch(`${server.url}/chat`, { headers: { "If-None-Match": tag } });
  assert.equal(same.status, 304);
  const plain = await fetch(`${server.url}/${script}`, { headers: { "Accept-Encoding": "identity" } });
  assert.equal(plain.headers.get("content-encoding"), null);
});

test("logs are logfmt or JSON, a line an event", { once: true }, async (t) => {
  const server = await t.server({ args: ["--log-format", "json", "--log-level", "debug"] });
  await openV1(t, server.ws);
  await server.stop();
  const lines = server.output.split("\n").filter((l) => l.startsWith("{"));
  assert.ok(lines.length > 0, server.output);
  for (const line of lines) JSON.parse(line);
});
