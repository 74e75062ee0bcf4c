// madang's datagrams (doc/protocols.md, "UDP"): packets, and a client that acknowledges and repeats.

import { randomBytes } from "node:crypto";
import dgram from "node:dgram";

export const HELLO = 1, COOKIE = 2, WELCOME = 3, DATA = 4, ACK = 5, NACK = 6, GONE = 7, PING = 8, BYE = 12, UNKNOWN = 14;
const WANT_ACK = 1;
const NOTHING = { cookie: Buffer.alloc(8), token: Buffer.alloc(16), nonce: Buffer.alloc(8) };

export function hello({ flags = 0, nonce = NOTHING.nonce, cookie = NOTHING.cookie, token = NOTHING.token } = {}) {
  return Buffer.concat([Buffer.from([HELLO, 1, flags, 0]), nonce, cookie, token]);
}

export function data(seq, unit, flags = 0) {
  const head = Buffer.alloc(6);
  head[0] = DATA;
  head[1] = flags;
  head.writeUInt32BE(seq, 2);
  return Buffer.concat([head, Buffer.from(JSON.stringify(unit))]);
}

export function range(type, from, to) {
  const b = Buffer.alloc(9);
  b[0] = type;
  b.writeUInt32BE(from, 1);
  b.writeUInt32BE(to, 5);
  return b;
}

/**
 * A session with acknowledgements both ways: units come once and in order. on.unit(object), on.session() when a new
 * session began (its numbers too), so that rooms must be joined again.
 */
export class UdpSession {
  #port;
  #on;
  #timer;
  #token = NOTHING.token;

  constructor(port, on) {
    this.#port = port;
    this.#on = on;
    this.ticks = 0;
    this.#timer = setInterval(() => this.#repeat(), 100);
    this.#numbers();
    this.move();
  }

  #numbers() {
    this.next = 1; // of its own units
    this.flying = new Map();
    this.expected = 1; // of the server's
    this.early = new Map();
  }

  #say(bytes) {
    if (this.socket) this.socket.send(bytes, this.#port, "127.0.0.1", () => {});
  }

  /** Another address, the same session: as a phone that changes networks. */
  move() {
    const socket = dgram.createSocket("udp4");
    this.socket?.close();
    this.socket = socket;
    this.inside = false;
    this.cookie = NOTHING.cookie;
    this.nonce = randomBytes(8);
    socket.on("message", (m) => { if (socket === this.socket) this.#take(m); });
    socket.on("error", () => {});
    this.#hello();
  }

  /** Forgets the session, as a program that was started again. */
  forget() {
    this.#token = NOTHING.token;
    this.move();
  }

  #hello() {
    this.#say(hello({ flags: WANT_ACK, nonce: this.nonce, cookie: this.cookie, token: this.#token }));
  }

  #repeat() {
    if (!this.inside) return this.#hello();
    for (const bytes of this.flying.values()) this.#say(bytes);
    // Keeps the session, and brings UNKNOWN from a server that was started again.
    if (++this.ticks % 10 === 0) this.#say(Buffer.from([PING, 0, 0, 0, 0, 0, 0, 0, 0]));
  }

  send(unit) {
    const seq = this.next++;
    const bytes = data(seq, unit, WANT_ACK);
    this.flying.set(seq, bytes);
    this.#say(bytes);
  }

  #take(m) {
    if (m[0] === COOKIE) {
      this.cookie = Buffer.from(m.subarray(9, 17));
      this.#hello();
    } else if (m[0] === WELCOME && !this.inside && m.subarray(2, 10).equals(this.nonce)) {
      this.#welcome(Buffer.from(m.subarray(10, 26)));
    } else if (m[0] === DATA && this.inside) {
      this.#data(m);
    } else if (m[0] === ACK) {
      this.#acked(m);
    } else if ((m[0] === UNKNOWN || m[0] === BYE) && this.inside) {
      this.forget();
    }
  }

  #welcome(token) {
    this.inside = true;
    if (token.equals(this.#token)) return;
    this.#token = token;
    this.#numbers();
    this.#on.session();
  }

  #data(m) {
    const seq = m.readUInt32BE(2);
    const ack = Buffer.alloc(13);
    ack[0] = ACK;
    if (seq >= this.expected) this.early.set(seq, JSON.parse(m.subarray(6)));
    const units = [];
    for (; this.early.has(this.expected); this.expected++) {
      units.push(this.early.get(this.expected));
      this.early.delete(this.expected);
    }
    ack.writeUInt32BE(this.expected - 1, 1);
    let bits = 0n;
    for (const early of this.early.keys()) bits |= 1n << BigInt(early - this.expected);
    ack.writeBigUInt64BE(BigInt.asUintN(64, bits), 5);
    this.#say(ack);
    for (const unit of units) this.#on.unit(unit);
  }

  #acked(m) {
    const upTo = m.readUInt32BE(1);
    const bits = m.readBigUInt64BE(5);
    for (const seq of this.flying.keys()) {
      const ahead = BigInt(seq - upTo - 1);
      if (seq <= upTo || (ahead < 64n && (bits >> ahead) & 1n)) this.flying.delete(seq);
    }
  }

  close() {
    clearInterval(this.#timer);
    this.socket.close();
    this.socket = null;
  }
}
