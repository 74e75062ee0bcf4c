// The state of the page and everything that may happen to it: signing in, rooms, messages out and
// in. Speaks madang.v1 (doc/protocols.md) over whatever transport the connection has.

import { Connection } from "../net/connection.js";
import { randomKey, storedRooms, storeRooms } from "./local.js";
import * as api from "./api.js";
import * as R from "./room.js";
import { chosenTransport, connectBy, keepTransport } from "../net/transports.js";

const HISTORY = 50;
const SETTLE_MS = 1500; // catch-up that promised more than the log still had
const ROOMS_EVERY_MS = 15_000;
const DEFAULT_ROOM = "lobby";

export class Chat {
  constructor() {
    this.listeners = new Set();
    this.phase = "starting"; // starting | out | in
    this.me = null;
    this.signInError = null;
    this.rooms = new Map();
    this.list = [];
    this.current = null;
    this.link = { state: "closed", retryAt: 0, ever: false };
    this.maxBytes = 65536;
    this.reading = true; // the newest message of the current room is on a visible screen
    this.timers = new Map();
    this.transport = chosenTransport();
    this.connection = new Connection(connectBy(this.transport), {
      state: (state, retryAt) => this.#linkState(state, retryAt),
      open: () => {},
      unit: (unit) => this.#unit(unit),
      down: (info) => this.#down(info),
    });
  }

  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  changed() {
    for (const listener of this.listeners) listener();
  }

  // ---- signing in and out

  async start() {
    const me = await api.me();
    if (me) this.#enter(me.name);
    else this.#out(null);
  }

  async signIn(name) {
    this.signInError = null;
    const answer = await api.login(name);
    if (answer.name) this.#enter(answer.name);
    else this.#out(answer.code);
  }

  async signOut() {
    this.connection.stop();
    await api.logout();
    this.rooms.clear();
    this.current = null;
    this.#out(null);
  }

  #enter(name) {
    this.phase = "in";
    this.me = name;
    const wanted = decodeURIComponent(location.hash.slice(1));
    const kept = storedRooms();
    for (const room of kept.length > 0 ? kept : [DEFAULT_ROOM]) this.#room(room);
    this.open(wanted || this.current || this.rooms.keys().next().value);
    this.connection.start();
    this.changed();
  }

  #out(error) {
    this.phase = "out";
    this.me = null;
    this.signInError = error;
    this.connection.stop();
    this.changed();
  }

  // ---- rooms

  #room(name) {
    let room = this.rooms.get(name);
    if (!room) {
      room = R.newRoom(name);
      this.rooms.set(name, room);
      storeRooms([...this.rooms.keys()]);
      if (this.link.state === "open") this.#join(room);
    }
    return room;
  }

  get room() {
    return this.rooms.get(this.current) ?? null;
  }

  open(name) {
    if (this.current === name) return;
    const old = this.room;
    if (old) old.firstUnread = null;
    this.current = name;
    const room = this.#room(name);
    history.replaceState(null, "", `#${encodeURIComponent(name)}`);
    this.reading = room.unread === 0;
    this.changed();
  }

  leave(name) {
    this.connection.send({ type: "leave", room: name });
    this.rooms.delete(name);
    if (this.rooms.size === 0) this.#room(DEFAULT_ROOM);
    storeRooms([...this.rooms.keys()]);
    if (this.current === name) {
      this.current = null;
      this.open(this.rooms.keys().next().value);
    }
    this.changed();
  }

  /** The reader has the end of the current room before their eyes, or no longer has. */
  setReading(reading) {
    this.reading = reading;
    const room = this.room;
    if (reading && room && room.unread > 0) {
      room.unread = 0;
      this.changed();
    }
  }

  get unread() {
    let sum = 0;
    for (const room of this.rooms.values()) sum += room.unread;
    return sum;
  }

  #join(room) {
    const join = { type: "join", room: room.name, id: `join:${room.name}`, history: HISTORY };
    if (room.epoch !== null) join.resume = { epoch: room.epoch, seq: room.seq };
    this.connection.send(join);
  }

  older() {
    const room = this.room;
    const before = R.oldestSeq(room);
    if (before === null) return;
    this.connection.send({ type: "history", room: room.name, id: `older:${room.name}`, before, limit: HISTORY });
  }

  // ---- messages out

  say(text) {
    const room = this.room;
    room.pending.push({ key: randomKey(), text, time: Date.now(), state: "waiting", tried: false });
    room.firstUnread = null;
    this.#flush(room);
    this.changed();
  }

  sayAgain(key) {
    const room = this.room;
    room.pending = room.pending.map((p) =>
      p.key === key ? { ...p, key: randomKey(), state: "waiting", tried: false, error: null } : p);
    this.#flush(room);
    this.changed();
  }

  discard(key) {
    this.room.pending = this.room.pending.filter((p) => p.key !== key);
    this.changed();
  }

  // Nothing is said before the catch-up has ended: only then is it known which messages of before
  // the cut had arrived.
  #flush(room, force = false) {
    if (this.link.state !== "open" || !(force ? room.joined : R.settled(room))) return;
    clearTimeout(this.timers.get(room.name));
    for (const pending of room.pending) {
      if (pending.state !== "waiting") continue;
      pending.state = "sent";
      pending.tried = true;
      this.connection.send({ type: "publish", room: room.name, id: pending.key, key: pending.key, text: pending.text });
    }
  }

  // ---- the connection

  #linkState(state, retryAt) {
    this.link = { state, retryAt, ever: this.link.ever || state === "open" };
    if (state !== "open") {
      for (const room of this.rooms.values()) {
        room.joined = false;
        room.pending = room.pending.map((p) => (p.state === "sent" ? { ...p, state: "waiting" } : p));
      }
    }
    this.changed();
  }

  // A refused upgrade looks like any failure to a page, so it asks whether it is still signed in.
  async #down({ attempts }) {
    if (attempts < 2) return;
    const me = await api.me().catch(() => undefined);
    if (me === null && this.phase === "in") this.#out("expired");
  }

  retryNow() {
    this.connection.retryNow();
  }

  /** Goes on over another transport; rooms resume as after any reconnection. */
  use(transport) {
    this.transport = transport;
    keepTransport(transport);
    this.connection.use(connectBy(transport));
    this.changed();
  }

  #unit(unit) {
    const handler = HANDLERS[unit?.type];
    if (!handler) return;
    handler.call(this, unit, this.rooms.get(unit.room));
    this.changed();
  }

  welcome(unit) {
    if (unit.user?.guest || unit.user?.name !== this.me) {
      this.#out("expired");
      return;
    }
    this.maxBytes = unit.max_message_bytes ?? this.maxBytes;
    for (const room of this.rooms.values()) this.#join(room);
    this.askRooms();
  }

  askRooms() {
    clearTimeout(this.timers.get(""));
    this.timers.set("", setTimeout(() => this.askRooms(), ROOMS_EVERY_MS));
    if (document.visibilityState === "visible") this.connection.send({ type: "rooms", id: "rooms" });
  }

  joined(unit, room) {
    if (!room) return;
    R.onJoined(room, unit);
    if (R.settled(room)) {
      this.#flush(room);
      return;
    }
    clearTimeout(this.timers.get(room.name));
    this.timers.set(room.name, setTimeout(() => this.#flush(room, true), SETTLE_MS));
  }

  message(unit, room) {
    if (!room) return;
    const wasSettled = R.settled(room);
    const others = R.receive(room, unit, this.me);
    if (others && wasSettled) this.#countUnread(room);
    if (!wasSettled && R.settled(room)) this.#flush(room);
  }

  #countUnread(room) {
    const watched = room.name === this.current && this.reading && document.visibilityState === "visible";
    if (watched) return;
    if (room.unread === 0) room.firstUnread = room.items.at(-1).id;
    room.unread += 1;
  }

  error(unit, room) {
    const id = String(unit.id ?? "");
    for (const each of this.rooms.values()) R.fail(each, id, unit.code);
    if (unit.code === "expired" || (unit.code === "name_taken" && id === "")) this.#out(unit.code);
    else if (id.startsWith("join:")) {
      const refused = room ?? this.rooms.get(id.slice(5));
      if (refused) refused.error = unit.code;
    }
  }
}

const HANDLERS = {
  welcome: Chat.prototype.welcome,
  joined: Chat.prototype.joined,
  message: Chat.prototype.message,
  error: Chat.prototype.error,
  ack(unit, room) {
    if (room) R.acknowledge(room, unit, this.me);
  },
  presence(unit, room) {
    if (room) R.onPresence(room, unit, this.me);
  },
  history(unit, room) {
    if (room) R.onHistory(room, unit);
  },
  gap(unit, room) {
    if (room) R.onGap(room, unit);
  },
  rooms(unit) {
    this.list = unit.rooms ?? [];
  },
};
