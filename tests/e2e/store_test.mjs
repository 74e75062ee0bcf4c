// Rooms in a store: what was acknowledged is there after the process was killed at any moment.

import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "./lib/harness.mjs";
import { stateFolder } from "./lib/server.mjs";

async function publish(server, text) {
  const answer = await fetch(`${server.url}/publish?room=lobby`, {
    method: "POST", body: text, headers: { "Content-Type": "text/plain" },
  });
  assert.equal(answer.status, 200);
  return answer.json();
}

async function poll(server, after) {
  const query = after ? `&after=${after}` : "";
  return (await fetch(`${server.url}/poll?room=lobby${query}`)).json();
}

/** What the room's log has behind a cursor, page by page, as seq -> text. */
async function readOn(server, after) {
  const have = new Map();
  for (;;) {
    const page = await poll(server, after);
    assert.notEqual(page.recovered, false, "the log reaches back");
    if (page.messages.length === 0) return have;
    for (const m of page.messages) have.set(m.seq, m.text);
    after = page.cursor;
  }
}

test("the store is for its owner only", { once: true }, async (t) => {
  const state = stateFolder(t);
  const server = await t.server({ args: ["--store", join(state, "rooms.db")], state });
  await publish(server, "between us");
  const files = readdirSync(state).filter((name) => name.startsWith("rooms.db"));
  assert.ok(files.includes("rooms.db-queues") && files.includes("rooms.db-wal"), files.join());
  for (const name of files) assert.equal(statSync(join(state, name)).mode & 0o777, 0o600, name);
});

test("after kill -9 every acknowledged message is there, and a client goes on where it was", async (t) => {
  const state = stateFolder(t);
  const args = ["--store", join(state, "rooms.db")];
  const acked = [];
  let cursor = null;
  for (let round = 0; round < 3; round++) {
    const server = await t.server({ args, state });
    let stop = null;
    try {
      for (let n = 0; ; n++) {
        const text = `${round}.${n}`;
        const ack = await publish(server, text);
        acked.push({ ...ack, text });
        if (n === 3) {
          cursor = `${ack.epoch}:${ack.seq}`;
          // In the middle of a publication, whichever that will be.
          stop = sleep(20 + round * 45).then(() => server.program.signal("SIGKILL"));
        }
      }
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error; // the connection broke: killed
    }
    await stop;
    await server.program.exited;

    const again = await t.server({ args, state });
    const seqs = acked.map((a) => a.seq);
    assert.deepEqual(seqs, [...seqs].sort((a, b) => a - b), "in order");
    assert.equal(new Set(acked.map((a) => a.epoch)).size, 1, "one epoch");
    const have = await readOn(again, cursor);
    const before = Number(cursor.split(":")[1]);
    for (const a of acked.filter((ack) => ack.seq > before)) assert.equal(have.get(a.seq), a.text);
    assert.equal(Math.min(...have.keys()), before + 1, "nothing skipped");
    assert.equal(Math.max(...have.keys()), before + have.size, "no hole");
    await again.stop();
  }
});

test("a second server on the same store refuses to start and says why", { once: true }, async (t) => {
  const state = stateFolder(t);
  const args = ["--store", join(state, "rooms.db")];
  await t.server({ args, state });
  const second = await t.server({ args, state, expectExit: true });
  const { code } = await second.program.exited;
  assert.notEqual(code, 0);
  assert.match(second.output, /another process uses this store/);
});
