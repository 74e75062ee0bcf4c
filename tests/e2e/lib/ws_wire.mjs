// A WebSocket client that says exactly what it is told to, byte by byte, and takes from the server
// only what RFC 6455 and RFC 7692 allow.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import net from "node:net";
import zlib from "node:zlib";

export const OP = { cont: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 };
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WAIT_MS = 5000;
const SYNC = zlib.constants.Z_SYNC_FLUSH;
const TAIL = Buffer.from([0, 0, 0xff, 0xff]);

/** One frame as bytes. form: "least" (as it must be), 16 or 64: a wider length than needed. */
export function frame(op, payload = Buffer.alloc(0), options = {}) {
  const { fin = true, rsv = 0, mask = true, key = randomBytes(4), form = "least", length } = options;
  const body = Buffer.from(payload);
  const len = BigInt(length ?? body.length);
  let head;
  if (form === 64 || (form === "least" && len > 65535n)) {
    head = Buffer.alloc(10);
    head.writeBigUInt64BE(BigInt.asUintN(64, len), 2);
    head[1] = 127;
  } else if (form === 16 || len > 125n) {
    head = Buffer.alloc(4);
    head.writeUInt16BE(Number(len), 2);
    head[1] = 126;
  } else {
    head = Buffer.from([0, Number(len)]);
  }
  head[0] = (fin ? 0x80 : 0) | (rsv << 4) | op;
  if (!mask) return Buffer.concat([head, body]);
  head[1] |= 0x80;
  for (let i = 0; i < body.length; i++) body[i] ^= key[i & 3];
  return Buffer.concat([head, key, body]);
}

export const closeFrame = (code, reason = "", options = {}) => {
  const payload = Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]);
  return frame(OP.close, payload, options);
};

/** The lines of a good request; `change` maps a lower-case name to a value, null takes it away. */
export function request(target, change = {}, options = {}) {
  const key = options.key ?? randomBytes(16).toString("base64");
  const headers = {
    host: `${target.host}:${target.port}`, upgrade: "websocket", connection: "Upgrade",
    "sec-websocket-key": key, "sec-websocket-version": "13", ...change,
  };
  const lines = [`${options.method ?? "GET"} ${options.path ?? target.path} ${options.version ?? "HTTP/1.1"}`];
  for (const [name, value] of Object.entries(headers)) {
    for (const each of value === null ? [] : [value].flat()) lines.push(`${name}: ${each}`);
  }
  return { key, bytes: Buffer.from(`${lines.join("\r\n")}\r\n\r\n`) };
}

export class Wire {
  #socket;
  #bytes = Buffer.alloc(0);
  #chunks = [];
  #ended = false;
  #wake = null;
  #message = null;
  #waiting = 0;
  #want = 2;
  #sent;
  #received;
  agreed = null;

  constructor(socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk) => { this.#chunks.push(chunk); this.#waiting += chunk.length; this.#wake?.(); });
    socket.on("end", () => { this.#ended = true; this.#wake?.(); });
    socket.on("error", () => { this.#ended = true; this.#wake?.(); });
    socket.on("close", () => { this.#ended = true; this.#wake?.(); });
  }

  static connect(target) {
    return new Promise((done, failed) => {
      const socket = net.connect({ host: target.host, port: target.port, allowHalfOpen: true });
      socket.once("error", failed);
      socket.once("connect", () => done(new Wire(socket)));
    });
  }

  /** Connects and upgrades; the answer is checked as a client must. */
  static async open(target, change = {}, { behind = Buffer.alloc(0), ...options } = {}) {
    const wire = await Wire.connect(target);
    const { key, bytes } = request(target, change, options);
    await wire.send(Buffer.concat([bytes, behind]));
    const answer = await wire.answer();
    try {
      wire.#check(answer, key, change["sec-websocket-extensions"]);
    } catch (error) {
      wire.destroy();
      throw error;
    }
    return wire;
  }

  #check({ status, headers }, key, offered) {
    assert.equal(status, 101);
    assert.equal(headers.upgrade?.toLowerCase(), "websocket");
    assert.match(headers.connection ?? "", /\bupgrade\b/i);
    assert.equal(headers["sec-websocket-accept"], createHash("sha1").update(key + GUID).digest("base64"));
    const extensions = headers["sec-websocket-extensions"];
    if (extensions === undefined) return;
    assert.ok(offered, "an extension that was not offered");
    this.agreed = parseDeflate(extensions);
    this.answerText = extensions;
  }

  send(bytes) {
    return new Promise((done) => {
      if (this.#socket.destroyed) done();
      else this.#socket.write(bytes, () => done());
    });
  }

  /** In pieces of n bytes, each in a packet of its own as far as that can be had. */
  async sendIn(bytes, n) {
    for (let at = 0; at < bytes.length; at += n) {
      await this.send(bytes.subarray(at, at + n));
      if (n < 2000) await new Promise(setImmediate);
    }
  }

  /** A message under permessage-deflate, as the agreed parameters want it: what went before is the
   * dictionary, as far as the window reaches. */
  compress(payload, level = 6) {
    const bits = this.agreed.client_max_window_bits;
    const dictionary = this.agreed.client_no_context_takeover ? undefined : this.#sent;
    const packed = zlib.deflateRawSync(payload, { windowBits: Math.max(bits, 9), level, dictionary, finishFlush: SYNC });
    this.#sent = window(this.#sent, payload, bits);
    assert.deepEqual(packed.subarray(-4), TAIL);
    return packed.subarray(0, -4);
  }

  #expand(payload) {
    const bits = this.agreed.server_max_window_bits;
    const dictionary = this.agreed.server_no_context_takeover ? undefined : this.#received;
    const plain = zlib.inflateRawSync(Buffer.concat([payload, TAIL]), { windowBits: bits, dictionary, finishFlush: SYNC });
    this.#received = window(this.#received, plain, bits);
    return plain;
  }

  /** Waits until `want` bytes are there in one piece; false at the end of the connection. */
  async #more(ms, what, want = this.#bytes.length + 1) {
    while (this.#bytes.length + this.#waiting < want) {
      if (this.#ended) {
        this.#gather();
        return false;
      }
      let timer;
      await new Promise((done, failed) => {
        this.#wake = done;
        timer = setTimeout(() => failed(new Error(`nothing came within ${ms} ms: ${what}`)), ms);
      }).finally(() => { clearTimeout(timer); this.#wake = null; });
    }
    this.#gather();
    return true;
  }

  #gather() {
    if (this.#chunks.length > 0) this.#bytes = Buffer.concat([this.#bytes, ...this.#chunks]);
    this.#chunks = [];
    this.#waiting = 0;
  }

  /** An HTTP response's head (and body, by its length). */
  async answer(ms = WAIT_MS) {
    let end;
    while ((end = this.#bytes.indexOf("\r\n\r\n")) < 0) {
      if (!await this.#more(ms, "an HTTP answer")) throw new Error(`ended without an answer: ${this.#bytes}`);
    }
    const [first, ...lines] = this.#bytes.subarray(0, end).toString("latin1").split("\r\n");
    this.#bytes = this.#bytes.subarray(end + 4);
    const headers = {};
    for (const line of lines) {
      const at = line.indexOf(":");
      const name = line.slice(0, at).toLowerCase();
      const value = line.slice(at + 1).trim();
      headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
    }
    return { status: Number(first.split(" ")[1]), headers };
  }

  #need(n) {
    this.#want = n;
    return this.#bytes.length >= n;
  }

  /** The next frame, or null at the end of the connection. */
  async frame(ms = WAIT_MS) {
    for (;;) {
      const found = this.#parse();
      if (found) return found;
      if (!await this.#more(ms, "a frame", this.#want)) {
        assert.equal(this.#bytes.length, 0, "ended inside a frame");
        return null;
      }
    }
  }

  #parse() {
    if (!this.#need(2)) return null;
    const [first, second] = this.#bytes;
    let len = second & 0x7f;
    let at = 2;
    assert.equal(second & 0x80, 0, "a server masked its frame");
    if (len >= 126) {
      const width = len === 126 ? 2 : 8;
      if (!this.#need(2 + width)) return null;
      len = width === 2 ? this.#bytes.readUInt16BE(2) : Number(this.#bytes.readBigUInt64BE(2));
      assert.ok(len >= (width === 2 ? 126 : 65536), "a length that is not the shortest");
      at += width;
    }
    if (!this.#need(at + len)) return null;
    const found = { op: first & 15, fin: (first & 0x80) !== 0, rsv: (first >> 4) & 7, payload: this.#bytes.subarray(at, at + len) };
    this.#bytes = this.#bytes.subarray(at + len);
    this.#judge(found);
    return found;
  }

  #judge({ op, fin, rsv, payload }) {
    assert.ok([0, 1, 2, 8, 9, 10].includes(op), `opcode ${op}`);
    if (op >= 8) {
      assert.ok(fin && payload.length <= 125 && rsv === 0, "a broken control frame");
    } else {
      assert.equal(rsv & 3, 0);
      if (rsv) assert.ok(this.agreed && op !== 0, "RSV1 where it may not be");
    }
  }

  /** The next whole message or control frame: { op, payload, compressed } or null. */
  async next(ms = WAIT_MS) {
    for (;;) {
      const f = await this.frame(ms);
      if (f === null) return null;
      if (f.op >= 8) return f;
      if (f.op === OP.cont) {
        assert.ok(this.#message, "a continuation of nothing");
        this.#message.parts.push(f.payload);
      } else {
        assert.ok(!this.#message, "a message inside another");
        this.#message = { op: f.op, compressed: f.rsv === 4, parts: [f.payload] };
      }
      if (!f.fin) continue;
      const { op, compressed, parts } = this.#message;
      this.#message = null;
      const payload = Buffer.concat(parts);
      return { op, compressed, payload: compressed ? this.#expand(payload) : payload };
    }
  }

  async expect(op, payload, ms) {
    const got = await this.next(ms);
    assert.ok(got, "the connection ended instead of an answer");
    const name = (o) => Object.keys(OP).find((n) => OP[n] === o);
    const detail = got.op === OP.close ? ` (${got.payload.length > 1 ? got.payload.readUInt16BE(0) : "empty"} ${got.payload.subarray(2)})` : "";
    assert.equal(name(got.op) + detail, name(op));
    const want = Buffer.from(payload);
    assert.equal(got.payload.length, want.length);
    assert.ok(got.payload.equals(want), "the payload came back changed");
    return got;
  }

  /** A close frame with one of these codes (null: with none), then the end, and nothing else. */
  async expectClose(...codes) {
    const got = await this.next();
    assert.ok(got, `ended without a close frame (expected ${codes})`);
    assert.equal(got.op, OP.close, `opcode ${got.op} instead of a close`);
    assert.notEqual(got.payload.length, 1);
    const code = got.payload.length ? got.payload.readUInt16BE(0) : null;
    assert.ok(codes.includes(code), `closed with ${code} (${got.payload.subarray(2)}), not ${codes}`);
    assert.ok(Buffer.from(got.payload.subarray(2).toString("utf8")).equals(got.payload.subarray(2)), "the reason is not UTF-8");
    await this.expectEnd();
    return got.payload.subarray(2).toString();
  }

  async expectEnd(ms = WAIT_MS) {
    const got = await this.next(ms);
    assert.equal(got, null, "something came behind the close");
  }

  /** Nothing may come for a moment. */
  async expectSilence(ms = 60) {
    await assert.rejects(this.frame(ms), /nothing came/);
  }

  halfClose() {
    this.#socket.end();
  }

  reset() {
    this.#socket.resetAndDestroy();
  }

  destroy() {
    this.#socket.destroy();
  }
}

function window(before, more, bits) {
  const all = before ? Buffer.concat([before, more]) : more;
  return all.length > 0 ? all.subarray(-(1 << bits)) : undefined;
}

/** What the server answered; throws unless it is one well-formed permessage-deflate. */
export function parseDeflate(text) {
  const [name, ...params] = text.split(";").map((s) => s.trim());
  const agreed = { client_max_window_bits: 15, server_max_window_bits: 15 };
  const seen = new Set();
  assert.equal(name, "permessage-deflate");
  for (const param of params) {
    const [key, value] = param.split("=").map((s) => s.trim());
    assert.ok(!seen.has(key), `${key} twice`);
    seen.add(key);
    if (key.endsWith("_no_context_takeover")) {
      assert.equal(value, undefined);
      agreed[key] = true;
    } else {
      assert.match(key, /^(client|server)_max_window_bits$/);
      assert.match(value ?? "", /^"?([89]|1[0-5])"?$/);
      agreed[key] = Number(value.replaceAll('"', ""));
    }
  }
  agreed.params = seen;
  return agreed;
}
