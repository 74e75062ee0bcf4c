// The parts of the page that need no browser: order and uniqueness of messages, links, words.

import assert from "node:assert/strict";
import { test } from "./lib/harness.mjs";
import * as R from "../../ui/src/chat/room.js";
import { backoff } from "../../ui/src/net/connection.js";
import { splitLinks } from "../../ui/src/links.js";
import { chooseLanguage } from "../../ui/src/i18n.js";
import { en } from "../../ui/src/words.en.js";
import { ko } from "../../ui/src/words.ko.js";

const once = { once: true };
const message = (seq, name, text, more = {}) => ({ epoch: "e1", seq, from: { name }, time: seq, text, ...more });
const texts = (room) => room.items.filter((i) => i.kind === "message").map((i) => i.text);

function joined(more = {}) {
  const room = R.newRoom("lobby");
  R.onJoined(room, { epoch: "e1", seq: 0, count: 1, users: [], ...more });
  return room;
}

test("a message that comes twice is shown once, and order follows seq", once, async () => {
  const room = joined();
  for (const seq of [1, 3, 2, 3, 1]) R.receive(room, message(seq, "ben", `m${seq}`), "ann");
  assert.deepEqual(texts(room), ["m1", "m2", "m3"]);
  assert.equal(room.seq, 3);
});

test("an echo before its acknowledgement is not a second message", once, async () => {
  const room = joined();
  room.pending = [{ key: "k1", text: "hi", state: "sent", tried: true }];
  R.receive(room, message(1, "ann", "hi", { key: "k1" }), "ann");
  assert.equal(room.pending.length, 0);
  R.acknowledge(room, { id: "k1", epoch: "e1", seq: 1 }, "ann");
  assert.deepEqual(texts(room), ["hi"]);
});

test("an acknowledgement before its echo is not a second message", once, async () => {
  const room = joined();
  room.pending = [{ key: "k1", text: "hi", time: 5, state: "sent", tried: true }];
  R.acknowledge(room, { id: "k1", epoch: "e1", seq: 1 }, "ann");
  R.receive(room, message(1, "ann", "hi", { key: "k1" }), "ann");
  assert.deepEqual(texts(room), ["hi"]);
});

test("a message that arrived before the cut is not sent again", once, async () => {
  const room = joined();
  room.pending = [
    { key: "k1", text: "one", state: "waiting", tried: true },
    { key: "k2", text: "two", state: "waiting", tried: true },
  ];
  R.onJoined(room, { epoch: "e1", seq: 1, recovered: true });
  assert.equal(R.settled(room), false);
  R.receive(room, message(1, "ann", "one"), "ann"); // a server that does not echo keys
  assert.equal(R.settled(room), true);
  assert.deepEqual(room.pending.map((p) => p.key), ["k2"]);
});

test("a restart is said once, and what follows belongs to the new epoch", once, async () => {
  const room = joined();
  R.receive(room, message(1, "ben", "old"), "ann");
  R.onJoined(room, { epoch: "e2", seq: 1, recovered: false });
  R.receive(room, message(1, "ben", "new", { epoch: "e2" }), "ann");
  assert.deepEqual(room.items.map((i) => i.kind), ["message", "lost", "message"]);
  assert.equal(room.items[1].restarted, true);
  assert.deepEqual([room.epoch, room.seq], ["e2", 1]);
});

test("what fell out of the log is counted", once, async () => {
  const room = joined();
  R.receive(room, message(4, "ben", "four"), "ann");
  R.onJoined(room, { epoch: "e1", seq: 20, recovered: false, missing: [5, 11] });
  assert.equal(room.items.at(-1).count, 7);
  R.onGap(room, { from: 21, to: 21 });
  assert.equal(room.items.at(-1).count, 1);
});

test("comings and goings share a line, our own are not told", once, async () => {
  const room = joined();
  const user = (name) => ({ name, guest: false });
  R.onPresence(room, { count: 2, joined: [user("ann")], left: [] }, "ann");
  R.onPresence(room, { count: 3, joined: [user("ben")], left: [] }, "ann");
  R.onPresence(room, { count: 4, joined: [user("cat")], left: [] }, "ann");
  R.onPresence(room, { count: 3, joined: [], left: [user("ben")] }, "ann");
  assert.deepEqual(room.items.map((i) => [i.what, i.names]), [["came", ["ben", "cat"]], ["left", ["ben"]]]);
  assert.deepEqual(room.users.map((u) => u.name), ["ann", "cat"]);
});

test("older messages go above, and the end of history is known", once, async () => {
  const room = joined();
  R.receive(room, message(9, "ben", "nine"), "ann");
  R.onHistory(room, { messages: [message(7, "ben", "seven"), message(8, "ann", "eight")], more: true });
  assert.deepEqual(texts(room), ["seven", "eight", "nine"]);
  assert.equal(R.oldestSeq(room), 7);
  R.onHistory(room, { messages: [], more: false });
  assert.equal(room.more, false);
});

test("only http and https become links, without the sentence's punctuation", once, async () => {
  const hrefs = (text) => splitLinks(text).filter((p) => p.href).map((p) => p.href);
  assert.deepEqual(hrefs("see https://a.example/x?y=1, and (http://b.example/z)."), ["https://a.example/x?y=1", "http://b.example/z"]);
  assert.deepEqual(hrefs("https://en.example/wiki/Yard_(court)"), ["https://en.example/wiki/Yard_(court)"]);
  for (const bad of ["javascript:alert(1)", "data:text/html,x", "https://bank.example@evil.example/", "http://", "ftp://a/b"]) {
    assert.deepEqual(hrefs(bad), [], bad);
  }
  for (const text of ["a https://a.example b", "<b>x</b>", "끝 https://a.example입니다", ""]) {
    assert.equal(splitLinks(text).map((p) => p.text).join(""), text);
  }
});

test("back-off doubles, is never more than half a minute, and has jitter", once, async () => {
  const low = [1, 2, 3, 4, 5, 6, 7, 50].map((n) => backoff(n, () => 0));
  const high = [1, 2, 3, 4, 5, 6, 7, 50].map((n) => backoff(n, () => 1));
  assert.deepEqual(low, [250, 500, 1000, 2000, 4000, 8000, 15000, 15000]);
  assert.deepEqual(high, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
});

test("both languages have the same words", once, async () => {
  const shape = (table, path = "") => Object.entries(table).flatMap(([key, value]) =>
    typeof value === "object" ? shape(value, `${path}${key}.`) : [`${path}${key}:${typeof value}`]);
  assert.deepEqual(shape(ko).sort(), shape(en).sort());
  assert.equal(chooseLanguage(["fr", "ko-KR", "en"]).base, "ko");
  assert.equal(chooseLanguage(["fr"]).base, "en");
  assert.equal(chooseLanguage(["constructor"]).base, "en");
});
