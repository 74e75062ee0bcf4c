// The SockJS protocol on the wire, section by section of its text (main branch).

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import WebSocket from "ws";
import { sleep, test, until } from "./lib/harness.mjs";
import { Connection, request, startTarget } from "./lib/sockjs.mjs";

const NO_CACHE = "no-store, no-cache, no-transform, must-revalidate, max-age=0";
const JS = "application/javascript; charset=UTF-8";
const FORM = { "Content-Type": "application/x-www-form-urlencoded" };

const session = (service = "/echo") => `${service}/000/${randomUUID()}`;

async function target(t) {
  const { port } = await startTarget(t);
  return {
    port,
    get: (path, headers) => request(port, "GET", path, { headers }),
    post: (path, body, headers) => request(port, "POST", path, { body, headers }),
    options: (path, headers) => request(port, "OPTIONS", path, { headers }),
    open(method, path, options) {
      const c = new Connection(port);
      t.after(() => c.close());
      c.send(method, path, options);
      return c;
    },
    socket(path) {
      const ws = new WebSocket(`ws://127.0.0.1:${port}${path}`);
      t.after(() => ws.terminate());
      const queue = [];
      let wake = () => {};
      ws.on("message", (data) => (queue.push(data.toString()), wake()));
      ws.on("close", (code, reason) => (queue.push({ code, reason: reason.toString() }), wake()));
      ws.on("error", () => {});
      ws.next = async () => {
        while (queue.length === 0) await new Promise((done) => (wake = done));
        return queue.shift();
      };
      return ws;
    },
  };
}

function verifyNotCached(r) {
  assert.equal(r.headers["cache-control"], NO_CACHE);
  assert.equal(r.headers.expires, undefined);
  assert.equal(r.headers["last-modified"], undefined);
}

function verifyCors(r, origin) {
  assert.equal(r.headers["access-control-allow-origin"], origin ?? "*");
  assert.equal(r.headers["access-control-allow-credentials"], origin ? "true" : undefined);
}

test("greeting, and nothing around it", async (t) => {
  const s = await target(t);
  for (const path of ["/echo", "/echo/"]) {
    const r = await s.get(path);
    assert.deepEqual([r.status, r.headers["content-type"], r.body], [200, "text/plain; charset=UTF-8", "Welcome to SockJS!\n"]);
    assert.equal(r.headers["set-cookie"], undefined);
  }
  for (const end of ["/a", "/a.html", "//", "///", "/a/a", "/a/a/", "/a/"]) assert.equal((await s.get(`/echo${end}`)).status, 404, end);
});

test("iframe page: versions, cache, ETag", async (t) => {
  const s = await target(t);
  for (const page of ["/iframe.html", "/iframe-a.html", "/iframe-.html", "/iframe-0.1.2abc-dirty.2144.html", "/iframe-a.html?t=1234"]) {
    const r = await s.get(`/echo${page}`);
    assert.equal(r.status, 200);
    assert.equal(r.headers["content-type"], "text/html; charset=UTF-8");
    assert.match(r.headers["cache-control"], /^public, max-age=[1-9]\d{6}/);
    assert.ok(r.headers.expires && r.headers.etag && !r.headers["last-modified"] && !r.headers["set-cookie"]);
    assert.match(r.body, /^<!DOCTYPE html>\n<html>\n<head>\n  <meta http-equiv="X-UA-Compatible" content="IE=edge" \/>\n/);
    assert.match(r.body, /<script src="(\/|http)[^"]*"><\/script>\n  <script>\n    document.domain = document.domain;\n    SockJS.bootstrap_iframe\(\);/);
  }
  for (const page of ["/iframe.htm", "/iframe", "/IFRAME.HTML", "/iframe.HTML", "/iframe.xml", "/iframe-/.html"]) {
    assert.equal((await s.get(`/echo${page}`)).status, 404, page);
  }
  const { etag } = (await s.get("/echo/iframe.html")).headers;
  assert.equal((await s.get("/echo/iframe.html")).headers.etag, etag);
  const r = await s.get("/echo/iframe.html", { "If-None-Match": etag });
  assert.deepEqual([r.status, r.headers["content-type"], r.body], [304, undefined, ""]);
});

test("info: capabilities, entropy, CORS", async (t) => {
  const s = await target(t);
  const r = await s.get("/echo/info", { Origin: "test" });
  assert.equal(r.headers["content-type"], "application/json; charset=UTF-8");
  verifyNotCached(r);
  verifyCors(r, "test");
  const info = JSON.parse(r.body);
  assert.deepEqual({ ...info, entropy: typeof info.entropy }, { websocket: true, origins: ["*:*"], cookie_needed: false, entropy: "number" });
  assert.notEqual(JSON.parse((await s.get("/echo/info")).body).entropy, info.entropy);
  assert.equal(JSON.parse((await s.get("/disabled_websocket_echo/info")).body).websocket, false);
  assert.equal((await s.options("/echo/info", { Origin: "null", "Access-Control-Request-Method": "POST" })).headers["access-control-allow-origin"], "null");
});

test("preflights may be kept for a year", async (t) => {
  const s = await target(t);
  const paths = { "/echo/info": "OPTIONS, GET", "/echo/a/a/xhr": "OPTIONS, POST", "/echo/a/a/xhr_send": "OPTIONS, POST", "/echo/a/a/xhr_streaming": "OPTIONS, POST" };
  for (const [path, methods] of Object.entries(paths)) {
    for (const origin of ["test", "null"]) {
      const r = await s.options(path, { Origin: origin, "Access-Control-Request-Method": methods });
      assert.equal(r.status, 204);
      assert.match(r.headers["cache-control"], /public.*max-age=[1-9]\d{6}/);
      assert.ok(r.headers.expires && Number(r.headers["access-control-max-age"]) > 1000000);
      assert.equal(r.headers["access-control-allow-methods"], methods);
      verifyCors(r, origin);
    }
  }
  const asked = await s.options("/echo/a/a/xhr", { Origin: "test", "Access-Control-Request-Headers": "a, b, c" });
  assert.equal(asked.headers["access-control-allow-headers"], "a, b, c");
  for (const headers of [{ "Access-Control-Request-Headers": "" }, {}]) {
    const r = await s.options("/echo/a/a/xhr", { Origin: "test", ...headers });
    assert.equal(r.headers["access-control-allow-headers"], undefined);
  }
});

test("session URLs: any value, no dots, server id ignored", async (t) => {
  const s = await target(t);
  const r = Date.now();
  for (const path of [`/a/a${r}`, `/_/_${r}`, `/1/${r}`, `/abcdefgh_i-j%20/abcdefg_i-j%20${r}`]) {
    assert.equal((await s.post(`/echo${path}/xhr`)).body, "o\n");
  }
  for (const path of ["//", "/a./a", "/a/a.", "/./.", "/", "///"]) {
    assert.equal((await s.get(`/echo${path}/xhr`)).status, 404, path);
    assert.equal((await s.post(`/echo${path}/xhr`)).status, 404, path);
  }
  const id = randomUUID();
  assert.equal((await s.post(`/echo/000/${id}/xhr`)).body, "o\n");
  assert.equal((await s.post(`/echo/000/${id}/xhr_send`, '["a"]')).status, 204);
  assert.equal((await s.post(`/echo/999/${id}/xhr`)).body, 'a["a"]\n');
});

test("xhr polling: headers, errors, content types", async (t) => {
  const s = await target(t);
  const url = session();
  let r = await s.post(`${url}/xhr`, "", { Origin: "test" });
  assert.deepEqual([r.status, r.body, r.headers["content-type"]], [200, "o\n", JS]);
  verifyCors(r, "test");
  verifyNotCached(r);
  r = await s.post(`${url}/xhr_send`, '["x"]', { Origin: "test" });
  assert.deepEqual([r.status, r.headers["content-type"]], [204, "text/plain; charset=UTF-8"]);
  verifyCors(r, "test");
  verifyNotCached(r);
  assert.equal((await s.post(`${url}/xhr`)).body, 'a["x"]\n');
  assert.equal((await s.post(`${session()}/xhr_send`, '["x"]')).status, 404);
  r = await s.post(`${url}/xhr_send`, '["x');
  assert.deepEqual([r.status, r.body], [500, "Broken JSON encoding."]);
  r = await s.post(`${url}/xhr_send`, "");
  assert.deepEqual([r.status, r.body], [500, "Payload expected."]);
  const types = ["text/plain", "T", "application/json", "application/xml", "", "application/json; charset=utf-8", "text/xml; charset=utf-8", "text/xml"];
  for (const type of types) assert.equal((await s.post(`${url}/xhr_send`, '["a"]', { "Content-Type": type })).status, 204);
  assert.equal((await s.post(`${url}/xhr_send`, "[]")).status, 204);
  assert.equal((await s.post(`${url}/xhr`)).body, `a[${types.map(() => '"a"')}]\n`);
  r = await s.get(`${url}/xhr`);
  assert.deepEqual([r.status, r.headers["content-type"], r.headers.allow, r.body], [405, undefined, "OPTIONS, POST", ""]);
});

test("the close frame is served until the session is forgotten", async (t) => {
  const s = await target(t);
  const url = session("/close");
  assert.equal((await s.post(`${url}/xhr`)).body, "o\n");
  for (let i = 0; i < 3; i++) assert.equal((await s.post(`${url}/xhr`)).body, 'c[3000,"Go away!"]\n');
  assert.equal((await s.post(`${url}/xhr_send`, '["a"]')).status, 404);
});

test("a session lives five seconds without a receiver", async (t) => {
  const s = await target(t);
  const url = session();
  assert.equal((await s.post(`${url}/xhr`)).body, "o\n");
  await sleep(4000);
  assert.equal((await s.post(`${url}/xhr_send`, '["a"]')).status, 204);
  await sleep(2000);
  assert.equal((await s.post(`${url}/xhr_send`, '["a"]')).status, 404);
});

test("xhr_streaming: prelude, chunks, limit", async (t) => {
  const s = await target(t);
  const url = session();
  const c = s.open("POST", `${url}/xhr_streaming`, { headers: { Origin: "test" } });
  const r = await c.head();
  assert.deepEqual([r.status, r.headers["content-type"], r.headers["x-accel-buffering"]], [200, JS, "no"]);
  verifyCors(r, "test");
  verifyNotCached(r);
  assert.equal(await c.chunk(), `${"h".repeat(2048)}\n`);
  assert.equal(await c.chunk(), "o\n");
  const message = JSON.stringify("x".repeat(128));
  for (let i = 0; i < 31; i++) {
    assert.equal((await s.post(`${url}/xhr_send`, `[${message}]`)).status, 204);
    assert.equal(await c.chunk(), `a[${message}]\n`);
  }
  assert.equal(await c.chunk(), "");
});

test("eventsource: prelude, escapes, limit", async (t) => {
  const s = await target(t);
  const url = session();
  const c = s.open("GET", `${url}/eventsource`);
  const r = await c.head();
  assert.deepEqual([r.status, r.headers["content-type"]], [200, "text/event-stream"]);
  verifyNotCached(r);
  assert.equal(await c.chunk(), "\r\n");
  assert.equal(await c.chunk(), "data: o\r\n\r\n");
  const echo = async (sent, expected) => {
    assert.equal((await s.post(`${url}/xhr_send`, sent)).status, 204);
    assert.equal(await c.chunk(), `data: ${expected}\r\n\r\n`);
  };
  await echo('["x"]', 'a["x"]');
  await echo('["  \\u0000\\n\\r "]', 'a["  \\u0000\\n\\r "]');
  await echo('["100%"]', 'a["100%25"]'); // the client runs decodeURI over it
  const long = JSON.stringify(["x".repeat(4096)]);
  await echo(long, `a${long}`);
  assert.equal(await c.chunk(), "");
});

test("htmlfile: page, scripts, callbacks, limit", async (t) => {
  const s = await target(t);
  const url = session();
  const c = s.open("GET", `${url}/htmlfile?c=%63allback`);
  const r = await c.head();
  assert.deepEqual([r.status, r.headers["content-type"]], [200, "text/html; charset=UTF-8"]);
  verifyNotCached(r);
  const page = await c.chunk();
  assert.ok(page.length > 1024);
  assert.match(page, /^<!doctype html>\n<html><head>\n  <meta http-equiv="X-UA-Compatible" content="IE=edge" \/>\n[^]*    var c = parent.callback;\n    c.start\(\);\n    function p\(d\) {c.message\(d\);};\n    window.onload = function\(\) {c.stop\(\);};\n  <\/script>\s*$/);
  assert.equal(await c.chunk(), '<script>\np("o");\n</script>\r\n');
  const echo = async (sent, expected) => {
    assert.equal((await s.post(`${url}/xhr_send`, sent)).status, 204);
    assert.equal(await c.chunk(), `<script>\np("${expected}");\n</script>\r\n`);
  };
  await echo('["x"]', 'a[\\"x\\"]');
  await echo('["</script>"]', 'a[\\"\\u003c/script>\\"]');
  await echo(`["${"x".repeat(4096)}"]`, `a[\\"${"x".repeat(4096)}\\"]`);
  assert.equal(await c.chunk(), "");
  for (const kind of ["htmlfile", "jsonp"]) {
    const none = await s.get(`/echo/a/a/${kind}`);
    assert.deepEqual([none.status, none.body], [500, '"callback" parameter required']);
    for (const callback of ["%20", "*", "abc(", "abc%28"]) {
      const bad = await s.get(`/echo/a/a/${kind}?c=${callback}`);
      assert.deepEqual([bad.status, bad.body], [500, 'invalid "callback" parameter']);
    }
  }
});

test("jsonp: forms and text, errors, close", async (t) => {
  const s = await target(t);
  const url = session();
  let r = await s.get(`${url}/jsonp?c=%63allback`);
  assert.deepEqual([r.status, r.headers["content-type"], r.body], [200, JS, '/**/callback("o");\r\n']);
  assert.equal(r.headers["x-content-type-options"], "nosniff");
  verifyNotCached(r);
  r = await s.post(`${url}/jsonp_send`, "d=%5B%22x%22%5D", FORM);
  assert.deepEqual([r.status, r.headers["content-type"], r.body], [200, "text/plain; charset=UTF-8", "ok"]);
  verifyNotCached(r);
  assert.equal((await s.get(`${url}/jsonp?c=%63allback`)).body, '/**/callback("a[\\"x\\"]");\r\n');
  r = await s.post(`${url}/jsonp_send`, "d=%5B%22x", FORM);
  assert.deepEqual([r.status, r.body], [500, "Broken JSON encoding."]);
  for (const body of ["", "d=", "p=p"]) {
    r = await s.post(`${url}/jsonp_send`, body, FORM);
    assert.deepEqual([r.status, r.body], [500, "Payload expected."]);
  }
  assert.equal((await s.post(`${url}/jsonp_send`, "d=%5B%5D", FORM)).body, "ok");
  assert.equal((await s.post(`${url}/jsonp_send`, "d=%5B%22abc%22%5D", FORM)).body, "ok");
  assert.equal((await s.post(`${url}/jsonp_send`, '["%61bc"]', { "Content-Type": "text/plain" })).body, "ok");
  assert.equal((await s.get(`${url}/jsonp?c=x`)).body, '/**/x("a[\\"abc\\",\\"%61bc\\"]");\r\n');
  const closing = session("/close");
  assert.equal((await s.get(`${closing}/jsonp?c=x`)).body, '/**/x("o");\r\n');
  for (let i = 0; i < 2; i++) assert.equal((await s.get(`${closing}/jsonp?c=x`)).body, '/**/x("c[3000,\\"Go away!\\"]");\r\n');
});

test("JSESSIONID is set and echoed, by every transport but websocket", async (t) => {
  const s = await target(t);
  const service = "/cookie_needed_echo";
  const info = await s.get(`${service}/info`);
  assert.equal(JSON.parse(info.body).cookie_needed, true);
  assert.equal(info.headers["set-cookie"], undefined);
  for (const [method, end] of [["POST", "/xhr"], ["POST", "/xhr_streaming"], ["GET", "/eventsource"], ["GET", "/htmlfile?c=x"], ["GET", "/jsonp?c=x"]]) {
    for (const [headers, id] of [[{}, "dummy"], [{ Cookie: "a=b; JSESSIONID=abcdef" }, "abcdef"]]) {
      const c = s.open(method, session(service) + end, { headers });
      assert.equal((await c.head()).headers["set-cookie"], `JSESSIONID=${id}; path=/`, end);
    }
  }
  const url = session(service);
  await s.get(`${url}/jsonp?c=x`);
  assert.equal((await s.post(`${url}/jsonp_send`, "d=%5B%5D", FORM)).headers["set-cookie"], "JSESSIONID=dummy; path=/");
});

test("the characters that browsers mangle are escaped, exactly those", async (t) => {
  const s = await target(t);
  const unsafe = (c) => (c >= 0x200c && c <= 0x200f) || (c >= 0x2028 && c <= 0x202f) || (c >= 0x2060 && c <= 0x206f) || (c >= 0xfff0 && c <= 0xffff);
  const all = Array.from({ length: 65536 }, (_, c) => c);
  const killers = all.filter((c) => c > 255 && unsafe(c));
  const url = session();
  await s.post(`${url}/xhr`);
  await s.post(`${url}/xhr_send`, `["${String.fromCharCode(...killers)}"]`);
  const escaped = killers.map((c) => `\\u${c.toString(16).padStart(4, "0")}`).join("");
  assert.equal((await s.post(`${url}/xhr`)).body, `a["${escaped}"]\n`);
  const sent = all.filter((c) => c < 0xd800 || c > 0xdfff).map((c) => String.fromCharCode(c)).join("") + "\u{1f600}\u{10ffff}";
  await s.post(`${url}/xhr_send`, JSON.stringify([sent]));
  assert.equal(JSON.parse((await s.post(`${url}/xhr`)).body.slice(1))[0], sent);
});

test("a second receiver is refused, an aborted one ends the session", async (t) => {
  const s = await target(t);
  const url = session();
  const one = s.open("POST", `${url}/xhr_streaming`);
  await one.head();
  await one.chunk();
  assert.equal(await one.chunk(), "o\n");
  const two = s.open("POST", `${url}/xhr_streaming`);
  await two.head();
  await two.chunk();
  assert.equal(await two.chunk(), 'c[2010,"Another connection still open"]\n');
  assert.equal(await two.chunk(), "");
  one.close();
  await sleep(50);
  const three = s.open("POST", `${url}/xhr_streaming`);
  await three.head();
  await three.chunk();
  assert.ok(["o\n", 'c[1002,"Connection interrupted"]\n'].includes(await three.chunk()));
  const poll = session();
  assert.equal((await s.post(`${poll}/xhr`)).body, "o\n");
  const parked = s.open("POST", `${poll}/xhr`);
  await sleep(100);
  assert.equal((await s.post(`${poll}/xhr`)).body, 'c[2010,"Another connection still open"]\n');
  parked.socket.end(); // FIN, not a reset: the client has gone all the same
  await sleep(50);
  assert.equal((await s.post(`${poll}/xhr`)).body, "o\n");
});

// Which of the two connections the server's workers look at first is chance: many at once, to meet it.
test("who hangs up and comes again at once is no second receiver", { timeout: 60 }, async (t) => {
  const s = await target(t);
  const answers = await Promise.all(Array.from({ length: 40 }, async () => {
    const bodies = [];
    for (let i = 0; i < 20; i++) {
      const url = session();
      const again = new Connection(s.port);
      const first = s.open("POST", `${url}/xhr_streaming`);
      await first.head();
      first.close();
      again.send("POST", `${url}/xhr`);
      bodies.push((await again.response()).body);
      again.close();
    }
    return bodies;
  }));
  assert.deepEqual([...new Set(answers.flat())], ["o\n"]);
});

test("a closing session lets go of its request first", async (t) => {
  const s = await target(t);
  const url = session("/close");
  const one = s.open("POST", `${url}/xhr_streaming`);
  await one.head();
  await one.chunk();
  assert.equal(await one.chunk(), "o\n");
  assert.equal(await one.chunk(), 'c[3000,"Go away!"]\n');
  assert.equal(await one.chunk(), "");
  const two = s.open("POST", `${url}/xhr_streaming`);
  await two.head();
  await two.chunk();
  assert.equal(await two.chunk(), 'c[3000,"Go away!"]\n');
  assert.equal(await two.chunk(), "");
});

test("HTTP/1.0 gets no chunks, HTTP/1.1 keeps the connection", async (t) => {
  const s = await target(t);
  let c = s.open("GET", "/echo", { version: "1.0", headers: { Connection: "Keep-Alive" } });
  let r = await c.response();
  assert.deepEqual([r.status, r.body, r.headers["transfer-encoding"]], [200, "Welcome to SockJS!\n", undefined]);
  if ((r.headers.connection ?? "").toLowerCase() === "keep-alive") {
    c.send("GET", "/echo", { version: "1.0" });
    assert.equal((await c.response()).status, 200);
  } else {
    assert.ok(await c.isClosed());
  }
  c = s.open("POST", `${session("/close")}/xhr_streaming`, { version: "1.0", headers: { Connection: "Keep-Alive" } });
  r = await c.head();
  assert.deepEqual([r.status, r.headers["transfer-encoding"], r.headers["content-length"]], [200, undefined, undefined]);
  assert.equal(await c.bytes(2049), `${"h".repeat(2048)}\n`);
  assert.equal(await c.bytes(2), "o\n");
  assert.equal(await c.bytes(19), 'c[3000,"Go away!"]\n');
  assert.ok(await c.isClosed());
  c = s.open("GET", "/echo", { headers: { Connection: "Keep-Alive" } });
  r = await c.response();
  assert.equal(r.headers["content-length"], "19");
  c.send("GET", "/echo");
  assert.equal((await c.response()).status, 200);
  c.send("POST", `${session("/close")}/xhr_streaming`);
  r = await c.head();
  assert.deepEqual([r.headers["transfer-encoding"], r.headers["content-length"]], ["chunked", undefined]);
});

test("websocket: frames, empty ones, shared ids, broken JSON", async (t) => {
  const s = await target(t);
  const url = session();
  const one = s.socket(`${url}/websocket`);
  assert.equal(await one.next(), "o");
  const two = s.socket(`${url}/websocket`);
  assert.equal(await two.next(), "o");
  for (const empty of ["", "[]"]) one.send(empty);
  one.send('["a","b"]');
  assert.equal(await one.next(), 'a["a"]');
  assert.equal(await one.next(), 'a["b"]');
  one.send('"alone"');
  assert.equal(await one.next(), 'a["alone"]');
  two.send('["b"]');
  assert.equal(await two.next(), 'a["b"]');
  one.close();
  const three = s.socket(`${url}/websocket`);
  assert.equal(await three.next(), "o");
  three.send('["a');
  assert.ok((await three.next()).code);
  const closing = s.socket(`${session("/close")}/websocket`);
  assert.equal(await closing.next(), "o");
  assert.equal(await closing.next(), 'c[3000,"Go away!"]');
  assert.equal((await closing.next()).code, 1000);
});

test("websocket: what is no upgrade is refused", async (t) => {
  const s = await target(t);
  assert.equal((await s.get("/echo/0/0/websocket")).status, 400);
  const r = await s.get("/echo/0/0/websocket", { Upgrade: "WebSocket", Connection: "close" });
  assert.equal(r.status, 400);
  for (const headers of [{ Upgrade: "WebSocket", Connection: "Upgrade" }, {}]) {
    const bad = await s.post("/echo/0/0/websocket", "", headers);
    assert.deepEqual([bad.status, bad.headers["content-type"], bad.body], [405, undefined, ""]);
    assert.ok(bad.headers.allow);
  }
  assert.equal((await s.get("/disabled_websocket_echo/0/0/websocket")).status, 404);
  const up = s.open("GET", "/echo/000/abc/websocket", {
    headers: { Upgrade: "websocket", Connection: "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==", "Sec-WebSocket-Origin": "http://asd" },
  });
  const head = await up.head();
  assert.deepEqual([head.status, head.headers["sec-websocket-accept"], head.headers["content-length"]], [101, "HSmrc0sMlYUkAGmm5OPpG2HaGWk=", undefined]);
});

test("raw websocket has no frames of its own", async (t) => {
  const s = await target(t);
  const one = s.socket("/echo/websocket");
  await new Promise((done) => one.once("open", done));
  one.send("Hello world!\uffff");
  assert.equal(await one.next(), "Hello world!\uffff");
  const closing = s.socket("/close/websocket");
  assert.deepEqual(await closing.next(), { code: 3000, reason: "Go away!" });
});

test("many polls come and go", { timeout: 60 }, async (t) => {
  const s = await target(t);
  const open = [];
  for (let i = 0; i < 300; i++) {
    const url = session();
    open.push((async () => {
      assert.equal((await s.post(`${url}/xhr`)).body, "o\n");
      const parked = s.open("POST", `${url}/xhr`);
      if (i % 3 === 0) return parked.close();
      assert.equal((await s.post(`${url}/xhr_send`, '["a"]')).status, 204);
      assert.equal((await parked.response()).body, 'a["a"]\n');
    })());
  }
  await Promise.all(open);
  await until("the server answers", async () => (await s.get("/echo")).status === 200);
});
