// What the page knows of one room, without any network or screen: messages in order and once each,
// those still on their way, who is here, and what was lost. Plain functions on plain objects.

const ITEMS_MAX = 2000; // the page of a busy room must not grow for ever
const NOTICE_JOIN_MS = 60_000; // comings and goings this close together share a line

export function newRoom(name) {
  return {
    name,
    joined: false,
    epoch: null,
    seq: 0,
    items: [], // messages, notices and losses as shown, oldest first
    seen: new Set(),
    pending: [], // { key, text, time, state: "waiting" | "sent" | "failed", error }
    users: [],
    count: 0,
    unread: 0,
    firstUnread: null, // id of the item above which "new messages" is drawn
    more: true, // older messages may exist on the server
    settleAt: 0, // seq that ends the catch-up after a join
    error: null,
    nextId: 1,
  };
}

const idOf = (epoch, seq) => `${epoch}:${seq}`;

function push(room, item) {
  room.items.push(item);
  if (room.items.length > ITEMS_MAX) room.items.splice(0, room.items.length - ITEMS_MAX);
}

/** Puts a message where its seq belongs. False when it was there already. */
export function addMessage(room, message) {
  const id = idOf(message.epoch, message.seq);
  if (room.seen.has(id)) return false;
  room.seen.add(id);
  const item = { ...message, kind: "message", id };
  let at = room.items.length;
  for (let i = at - 1; i >= 0; i--) {
    const other = room.items[i];
    if (other.kind !== "message") continue;
    if (other.epoch !== message.epoch || other.seq < message.seq) break;
    at = i;
  }
  if (at === room.items.length) push(room, item);
  else room.items.splice(at, 0, item);
  if (message.epoch === room.epoch) room.seq = Math.max(room.seq, message.seq);
  return true;
}

/** A message came by itself: new to the room, and perhaps the echo of one that we sent. */
export function receive(room, message, me) {
  const mine = message.from?.name === me;
  const fresh = addMessage(room, message);
  if (fresh && mine) settleEcho(room, message);
  return fresh && !mine;
}

// An echo may arrive before its acknowledgement, or instead of it when the connection was cut in
// between. The key we gave tells which one it is; without it, the same text, oldest first.
function settleEcho(room, message) {
  const sent = room.pending.filter((p) => p.state !== "failed" && p.tried);
  const match = message.key
    ? sent.find((p) => p.key === message.key)
    : sent.find((p) => p.text === message.text);
  if (match) room.pending = room.pending.filter((p) => p !== match);
}

/** The server has taken our message and given it a place. */
export function acknowledge(room, ack, me) {
  const pending = room.pending.find((p) => p.key === ack.id);
  if (!pending) return;
  room.pending = room.pending.filter((p) => p !== pending);
  addMessage(room, {
    key: ack.id,
    epoch: ack.epoch,
    seq: ack.seq,
    from: { name: me },
    time: ack.time ?? pending.time,
    text: pending.text,
  });
}

export function fail(room, key, error) {
  room.pending = room.pending.map((p) => (p.key === key ? { ...p, state: "failed", error } : p));
}

/** The answer to a join, the first or one after the connection came back. */
export function onJoined(room, answer) {
  const before = { epoch: room.epoch, seq: room.seq };
  room.joined = true;
  room.error = null;
  room.count = answer.count ?? room.count;
  room.users = sortUsers(answer.users ?? []);
  room.settleAt = answer.seq;
  if (before.epoch !== null && answer.recovered === false) addLoss(room, before, answer);
  if (before.epoch !== answer.epoch) {
    room.epoch = answer.epoch;
    room.seq = 0;
  }
}

function addLoss(room, before, answer) {
  const restarted = before.epoch !== answer.epoch;
  const [from, to] = answer.missing ?? [before.seq + 1, answer.seq];
  if (!restarted && to < from) return;
  push(room, {
    kind: "lost",
    id: `lost:${room.nextId++}`,
    restarted,
    count: restarted ? 0 : to - from + 1,
    time: Date.now(),
  });
}

/** The server dropped messages on the way to us because we were slow to read. */
export function onGap(room, gap) {
  room.seq = Math.max(room.seq, gap.to);
  push(room, {
    kind: "lost",
    id: `lost:${room.nextId++}`,
    restarted: false,
    count: gap.to - gap.from + 1,
    time: Date.now(),
  });
}

/** True once everything that the last join promised has arrived. */
export const settled = (room) => room.joined && room.seq >= room.settleAt;

export function onPresence(room, event, me) {
  room.count = event.count ?? room.count;
  if (event.users) {
    room.users = sortUsers(event.users);
    return;
  }
  const came = event.joined ?? [];
  const left = event.left ?? [];
  const gone = new Set(left.map((u) => u.name));
  const names = new Set(came.map((u) => u.name));
  room.users = sortUsers([
    ...room.users.filter((u) => !gone.has(u.name) && !names.has(u.name)),
    ...came.filter((u) => !gone.has(u.name)),
  ]);
  notice(room, "came", came.map((u) => u.name).filter((n) => n !== me));
  notice(room, "left", left.map((u) => u.name).filter((n) => n !== me));
}

function notice(room, what, names) {
  if (names.length === 0) return;
  const last = room.items.at(-1);
  const now = Date.now();
  if (last?.kind === "notice" && last.what === what && now - last.time < NOTICE_JOIN_MS) {
    const all = [...last.names.filter((n) => !names.includes(n)), ...names];
    room.items[room.items.length - 1] = { ...last, names: all };
    return;
  }
  push(room, { kind: "notice", id: `notice:${room.nextId++}`, what, names, time: now });
}

export function onHistory(room, answer) {
  for (const message of answer.messages) addMessage(room, { epoch: room.epoch, ...message });
  room.more = answer.more === true && answer.messages.length > 0;
}

export const oldestSeq = (room) =>
  room.items.find((i) => i.kind === "message" && i.epoch === room.epoch)?.seq ?? null;

const sortUsers = (users) =>
  [...users].sort((a, b) => Number(a.guest ?? false) - Number(b.guest ?? false) || a.name.localeCompare(b.name));
