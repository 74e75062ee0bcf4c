// HTTP as bytes on a socket: each malformed request gets its own status and the connection closes,
// what could smuggle a second request never reaches a route, pipelined requests are answered in
// order, slow clients run out of time. The server is examples/http_echo, whose answer is 200 and the
// request's own body for every method and path: a 200 means that the request reached a route.

import assert from "node:assert/strict";
import net from "node:net";
import { dirname, join } from "node:path";
import { test, sleep } from "./lib/harness.mjs";
import { BINARY, Program } from "./lib/server.mjs";

const AT_ONCE = 16;
const once = { once: true, timeout: 120 };

async function startEcho(t, args = []) {
  const program = new Program(join(dirname(BINARY), "examples/http_echo"), ["--port", "0", ...args]);
  t.after(() => program.end());
  for (let i = 0; i < 500 && !/port \d+\n/.test(program.output); i++) await sleep(10);
  return Number(/port (\d+)/.exec(program.output)[1]);
}

/** Sends the pieces with a pause in between and returns everything until the server closes. */
function talk(port, pieces, { end = false, seconds = 8, pause = 5 } = {}) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1");
    const parts = [];
    const timer = setTimeout(() => finish(false), seconds * 1000);
    const finish = (closed) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ text: Buffer.concat(parts).toString("latin1"), closed });
    };
    socket.on("data", (data) => parts.push(data));
    socket.on("end", () => finish(true));
    socket.on("error", (error) => (error.code === "ECONNRESET" && parts.length > 0 ? finish(true) : reject(error)));
    socket.on("connect", async () => {
      for (const piece of [pieces].flat()) {
        socket.write(Buffer.from(piece, "latin1"));
        if (Array.isArray(pieces)) await sleep(pause);
      }
      if (end) socket.end();
    });
  });
}

const statuses = (text) => [...text.matchAll(/(?:^|(?<=\n|[^\n]))HTTP\/1\.1 (\d{3}) /g)].map((m) => Number(m[1]));
const show = (bytes) => JSON.stringify(bytes.length > 120 ? `${bytes.slice(0, 120)}...` : bytes);

/** Each [request, status]: exactly one answer, with that status, and the end of the connection. */
async function allRefused(port, cases) {
  const wrong = [];
  const queue = [...cases];
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (queue.length > 0) {
      const [request, wanted] = queue.shift();
      const { text, closed } = await talk(port, request);
      const got = statuses(text);
      if (got.length !== 1 || got[0] !== wanted || !closed || !/\r\nConnection: close\r\n/.test(text)) {
        wrong.push(`${show(request)}: ${got.join(",") || "nothing"}${closed ? "" : ", left open"}, not ${wanted}`);
      }
    }
  }));
  assert.deepEqual(wrong, []);
}

const H = "Host: a\r\n";
const get = (line, headers = H) => `${line}\r\n${headers}\r\n`;
const post = (headers, body = "") => `POST /x HTTP/1.1\r\n${H}${headers}\r\n${body}`;
const chunked = (body) => post("Transfer-Encoding: chunked\r\n", body);
// What a smuggler would like to have read as the next request.
const HIDDEN = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
const controls = [...Array(32).keys(), 127].filter((c) => c !== 9 && c !== 10 && c !== 13);
const byte = (c) => String.fromCharCode(c);

test("a malformed request line is refused for what it is", once, async (t) => {
  const port = await startEcho(t);
  const cases = [
    ["GET /\r\n\r\n", 400], ["GET\r\n\r\n", 400], ["GET / \r\n\r\n", 400], [" GET / HTTP/1.1\r\n", 400],
    ["GET  / HTTP/1.1\r\n", 400], ["GET /  HTTP/1.1\r\n", 400], ["GET\t/ HTTP/1.1\r\n", 400],
    ["GET /a b HTTP/1.1\r\n", 400], ["GET / HTTP/1.1 \r\n", 400], ["GET / http/1.1\r\n", 400],
    ["GET / HTTP/1.10\r\n", 400], ["GET / HTTP/11\r\n", 400], ["GET / HTTP/1\r\n", 400], ["GET / HTP/1.1\r\n", 400],
    ["GET / HTTP/2.0\r\n", 505], ["GET / HTTP/3.0\r\n", 505], ["GET / HTTP/1.2\r\n", 505], ["GET / HTTP/0.9\r\n", 505],
    ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505],
    ["GET / HTTP/1.1\n", 400], ["GET / HTTP/1.1\r\r\n", 400], ["\n\nGET / HTTP/1.1\r\n", 400],
    [get("GET #a HTTP/1.1"), 400], [get("GET /a#b HTTP/1.1"), 400], [get("GET a HTTP/1.1"), 400],
    [get("GET /\\..\\x HTTP/1.1"), 400], [get("GET /%zz HTTP/1.1").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"), 400],
    [get("GET /../x HTTP/1.1", `${H}Connection: close\r\n`), 400], [get("GET /%2e%2e/x HTTP/1.1", `${H}Connection: close\r\n`), 400],
    [get("GET ftp://a/ HTTP/1.1"), 400], [get("GET http:///x HTTP/1.1"), 400], [get("GET http://u:p@a/ HTTP/1.1"), 400],
    [get("GET http://a:99999/ HTTP/1.1"), 400], [get("GET * HTTP/1.1"), 400], [get("POST * HTTP/1.1"), 400],
    [get("CONNECT / HTTP/1.1"), 400], [get("CONNECT a HTTP/1.1"), 400], [get("CONNECT a:443 HTTP/1.1"), 405],
    [get(`${"M".repeat(40)} / HTTP/1.1`), 501], [get(`GET /${"a".repeat(9000)} HTTP/1.1`), 414],
    [get(`GET /?${"a".repeat(60000)} HTTP/1.1`), 414],
    ["(GET) / HTTP/1.1\r\n", 400], ["G@T / HTTP/1.1\r\n", 400],
  ];
  for (const c of [...controls, 0x80, 0xff]) {
    cases.push([get(`GET /a${byte(c)}b HTTP/1.1`), 400]);
    cases.push([get(`G${byte(c)}T / HTTP/1.1`), 400]);
  }
  await allRefused(port, cases);
});

test("a malformed header is refused for what it is", once, async (t) => {
  const port = await startEcho(t);
  const with_ = (header) => get("GET / HTTP/1.1", `${H}${header}`);
  const cases = [
    [get("GET / HTTP/1.1", ""), 400], [get("GET / HTTP/1.1", H + H), 400], [get("GET / HTTP/1.1", "Host:\r\n"), 400],
    [get("GET / HTTP/1.1", "Host: a b\r\n"), 400], [get("GET / HTTP/1.1", "Host: a/b\r\n"), 400],
    [get("GET / HTTP/1.1", "Host: u@a\r\n"), 400], [get("GET / HTTP/1.1", "Host: a, b\r\n"), 400],
    [get("GET / HTTP/1.1", "Host: a:x\r\n"), 400], [get("GET / HTTP/1.1", "Host: a:65536\r\n"), 400],
    [get("GET / HTTP/1.1", "Host: [::1\r\n"), 400], [get("GET / HTTP/1.1", "Host: a\r\nhOST: b\r\n"), 400],
    [get("GET / HTTP/1.1", "Host : a\r\n"), 400], [get("GET / HTTP/1.1", "Host\t: a\r\n"), 400],
    [get("GET / HTTP/1.1", " Host: a\r\n"), 400],
    [with_("X: a\r\n b\r\n"), 400], [with_("X: a\r\n\tb\r\n"), 400], [with_("X\r\n"), 400], [with_(": a\r\n"), 400],
    [with_("X : a\r\n"), 400], [with_("X\t: a\r\n"), 400], [with_("X Y: a\r\n"), 400], [with_("(X): a\r\n"), 400],
    [with_("X@: a\r\n"), 400], [with_("\"X\": a\r\n"), 400], [with_("X: a\n"), 400], [with_("X: a\rb\r\n"), 400],
    [with_("X: a\r\r\n"), 400], [with_("X: a\n\r\n"), 400], [with_("\rX: a\r\n"), 400],
    [`GET / HTTP/1.1\r\n${H}\n`, 400], [`GET / HTTP/1.1\r\n${H}\rx`, 400],
    [with_("Expect: magic\r\n"), 417],
    [with_("X: y\r\n".repeat(10000)), 431], [with_(`X: ${"y".repeat(70000)}\r\n`), 431], [with_(`${"X".repeat(70000)}: y\r\n`), 431],
  ];
  for (const c of controls) {
    cases.push([with_(`X: a${byte(c)}b\r\n`), 400]);
    cases.push([with_(`X${byte(c)}Y: a\r\n`), 400]);
  }
  for (const c of "()<>@,;\\\"/[]?={} ") cases.push([with_(`X${c}Y: a\r\n`), 400]);
  for (let c = 0x80; c < 0x100; c += 9) cases.push([with_(`X${byte(c)}: a\r\n`), 400]);
  await allRefused(port, cases);
});

test("what could smuggle a request never reaches a route", once, async (t) => {
  const port = await startEcho(t);
  const cases = [
    [post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", `0\r\n\r\n${HIDDEN}`), 400],
    [post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", `0\r\n\r\n${HIDDEN}`), 400],
    [post("Content-Length: 3\r\nContent-Length: 3\r\n", `abc${HIDDEN}`), 400],
    [post("Content-Length: 3\r\nContent-Length: 0\r\n", `abc${HIDDEN}`), 400],
    [`POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${HIDDEN}`, 400],
    [post("Transfer-Encoding: gzip, chunked\r\n", `0\r\n\r\n${HIDDEN}`), 501],
    [post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", `0\r\n\r\n${HIDDEN}`), 400],
  ];
  const lengths = ["", "+3", "-3", "3 3", "3,3", "3, 3", "0x3", "3.0", "1e1", "3;", "\x0b3", "3\t", "99999999999999999999", "9223372036854775808", "٣", "\"3\""];
  for (const length of lengths) cases.push([post(`Content-Length: ${Buffer.from(length).toString("latin1")}\r\n`, `abc${HIDDEN}`), 400]);
  const codings = ["chunked, chunked", "chunked,", ",chunked,", "xchunked", "identity", "", "chunked, identity", "\"chunked\"", "chunked;q=1", "chunke", "\x0bchunked", "gzip", "chunked\t", "cow, pig"];
  for (const coding of codings) cases.push([post(`Transfer-Encoding: ${coding}\r\n`, `0\r\n\r\n${HIDDEN}`), 400]);
  for (const name of ["Transfer-Encoding ", "Content-Length ", "Content Length", "Transfer\u000bEncoding", "\u0000Content-Length"]) {
    cases.push([post(`${name}: 3\r\n`, `abc${HIDDEN}`), 400]);
  }
  const chunks = ["\r\n", "g\r\n", "0x1\r\na\r\n", " 1\r\na\r\n", "1 \r\na\r\n", "+1\r\na\r\n", "-1\r\n", "1\na\n0\n\n", "1\ra\r\n", "1;\r\na\r\n", "1;a\n\r\n",
    "1;=b\r\na\r\n", "1; a=b\r\na\r\n", "1;a=\"\r\na\r\n", "1\r\nab\r\n", "1\r\na\n0\r\n\r\n", "1\r\naX0\r\n\r\n", "0\r\n X: y\r\n\r\n", "0\r\nX : y\r\n\r\n",
    "0\r\nX: y\n\r\n", "0\r\n\n", "0\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\nContent-Length: 5\r\n\r\n", "0\r\nHost: b\r\n\r\n", "0000000000000001\r\na\r\n", "1,1\r\na\r\n"];
  for (const chunk of chunks) cases.push([chunked(chunk + HIDDEN), 400]);
  cases.push([chunked(`fffffffffffffff\r\n${HIDDEN}`), 413], [chunked(`0\r\n${"X: y\r\n".repeat(2000)}\r\n`), 431]);
  cases.push([chunked(`1;${"a".repeat(8000)}\r\na\r\n`), 400], [post("Content-Length: 999999999999\r\n", HIDDEN), 413]);
  await allRefused(port, cases);
});

test("well-formed requests reach the route, whatever their form", once, async (t) => {
  const port = await startEcho(t);
  const close = "Connection: close\r\n";
  const good = [
    ["GET / HTTP/1.0\r\n\r\n", ""],
    [get("GET /a/b?c=d&e HTTP/1.1", H + close), ""],
    [get("BREW /pot HTTP/1.1", H + close), ""],
    [get("GET http://a:80/x?y HTTP/1.1", H + close), ""],
    [get("OPTIONS /x HTTP/1.1", H + close), ""],
    [get("GET /?a={b}|c^`d HTTP/1.1", H + close), ""],
    [`\r\n${get("GET / HTTP/1.1", H + close)}`, ""],
    [get("GET / HTTP/1.1", `hOsT:\ta:8080 \t\r\nX:\r\nY: \xe9\xfe\t!\r\n${close}`), ""],
    [post(`Content-Length: 3\r\n${close}`, "abc"), "abc"],
    [post(`content-length:003\r\n${close}`, "abc"), "abc"],
    [post(`Transfer-Encoding: Chunked\r\n${close}`, "3\r\nabc\r\nA;x=y;z=\"a \\\" b\";w\r\n0123456789\r\n00\r\nT: v\r\n\r\n"), "abc0123456789"],
    [post(`Expect: 100-continue\r\nContent-Length: 3\r\n${close}`, "abc"), "abc"],
  ];
  for (const [request, body] of good) {
    const { text, closed } = await talk(port, request);
    assert.deepEqual(statuses(text).filter((s) => s !== 100), [200], `${show(request)}: ${text}`);
    assert.ok(closed, `left open: ${show(request)}`);
    assert.equal(text.slice(text.lastIndexOf("\r\n\r\n") + 4), body, show(request));
    // and a byte at a time
    const slow = await talk(port, [...request], { pause: 0 });
    assert.deepEqual(statuses(slow.text).filter((s) => s !== 100), [200], `byte by byte: ${show(request)}`);
  }
});

test("HEAD and 100 Continue", once, async (t) => {
  const port = await startEcho(t);
  const head = await talk(port, get("HEAD / HTTP/1.1", `${H}Content-Length: 4\r\nConnection: close\r\n`) + "abcd");
  assert.match(head.text, /^HTTP\/1\.1 200 /);
  assert.match(head.text, /\r\nContent-Length: 4\r\n/);
  assert.ok(head.text.endsWith("\r\n\r\n"));
  const asked = await talk(port, [post("Expect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n"), "abc"], { pause: 200 });
  assert.deepEqual(statuses(asked.text), [100, 200]);
});

test("pipelined requests are answered in order", once, async (t) => {
  const port = await startEcho(t);
  const count = 500;
  let all = "";
  for (let i = 0; i < count; i++) all += `POST /${i} HTTP/1.1\r\n${H}Content-Length: ${String(i).length}\r\n\r\n${i}`;
  all += get("GET / HTTP/1.1", `${H}Connection: close\r\n`);
  const { text, closed } = await talk(port, all);
  assert.ok(closed);
  assert.equal(statuses(text).length, count + 1);
  const bodies = text.split(/HTTP\/1\.1 200 OK\r\n/).slice(1).map((answer) => answer.slice(answer.indexOf("\r\n\r\n") + 4));
  assert.deepEqual(bodies.slice(0, count), Array.from({ length: count }, (_, i) => String(i)));
  // A malformed one in the middle: what came before it is answered, nothing behind it.
  const cut = await talk(port, get("GET / HTTP/1.1") + "GET / HTTP/1.1\r\n\r\n" + HIDDEN);
  assert.deepEqual(statuses(cut.text), [200, 400]);
});

test("a client that half-closes still gets its answers", once, async (t) => {
  const port = await startEcho(t);
  const { text, closed } = await talk(port, post("Content-Length: 2\r\n", "hi") + get("GET / HTTP/1.1"), { end: true });
  assert.deepEqual(statuses(text), [200, 200]);
  assert.ok(closed);
});

test("slow heads and slow bodies run out of time; others are served meanwhile", { once: true, timeout: 60 }, async (t) => {
  const server = await t.server({ args: ["--http-head-timeout-s", "2", "--http-body-timeout-s", "2", "--http-idle-timeout-s", "2"] });
  const began = Date.now();
  const trickle = async (first, each) => talk(server.port, [first, ...Array(80).fill(each)], { pause: 200, seconds: 20 });
  const slow = [];
  for (let i = 0; i < 50; i++) {
    slow.push(trickle("GET /healthz HTTP/1.1\r\n", "X: y\r\n"));
    slow.push(trickle(`POST /publish HTTP/1.1\r\n${H}Content-Length: 1000\r\n\r\n`, "x"));
  }
  const silent = talk(server.port, get("GET /healthz HTTP/1.1"), { seconds: 20 });
  assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
  for (const { text, closed } of await Promise.all(slow)) {
    assert.deepEqual(statuses(text), [408]);
    assert.ok(closed);
  }
  const idle = await silent;
  assert.deepEqual(statuses(idle.text), [200]);
  assert.ok(idle.closed);
  assert.ok(Date.now() - began < 19_000);
});

test("known paths say which methods they take, unknown ones are 404", once, async (t) => {
  const server = await t.server();
  const options = await fetch(`${server.url}/healthz`, { method: "OPTIONS" });
  assert.equal(options.status, 204);
  assert.equal(options.headers.get("allow"), "GET, HEAD, OPTIONS");
  const wrong = await fetch(`${server.url}/healthz`, { method: "DELETE" });
  assert.equal(wrong.status, 405);
  assert.equal(wrong.headers.get("allow"), "GET, HEAD, OPTIONS");
  assert.equal((await fetch(`${server.url}/publish`)).status, 405);
  assert.equal((await fetch(`${server.url}/no/such/path`)).status, 404);
  for (const [path, type] of [["/sse", "text/event-stream"], ["/stream", "application/x-ndjson"], ["/poll", "application/json"], ["/healthz", "text/plain"]]) {
    const head = await talk(server.port, get(`HEAD ${path}?room=a HTTP/1.1`) + get("GET /healthz HTTP/1.1", `${H}Connection: close\r\n`));
    assert.deepEqual(statuses(head.text), [200, 200], path);
    assert.ok(head.text.startsWith("HTTP/1.1 200 OK") && head.text.split("\r\n\r\n")[0].includes(`Content-Type: ${type}`), head.text);
  }
  const star = await talk(server.port, get("OPTIONS * HTTP/1.1", `${H}Connection: close\r\n`));
  assert.deepEqual(statuses(star.text), [204]);
});

test("a page of another origin may read only where it is listed", once, async (t) => {
  const listed = "https://listed.example";
  const server = await t.server({ args: ["--allowed-origins", listed] });
  const ask = (origin, init = {}) => fetch(`${server.url}/poll?room=o`, { ...init, headers: { Origin: origin, ...init.headers } });
  assert.equal((await ask("https://evil.example")).status, 403);
  assert.equal((await ask("null")).status, 403);
  const good = await ask(listed);
  assert.equal(good.status, 200);
  assert.equal(good.headers.get("access-control-allow-origin"), listed);
  assert.match(good.headers.get("vary"), /Origin/);
  const preflight = await fetch(`${server.url}/publish`, { method: "OPTIONS", headers: { Origin: listed,
    "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type" } });
  assert.equal(preflight.status, 204);
  assert.match(preflight.headers.get("access-control-allow-methods"), /POST/);
  assert.equal(preflight.headers.get("access-control-allow-headers"), "content-type");
});
