// The published client, sockjs-client, in Node and in Chromium, each of its transports in turn.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import SockJS from "sockjs-client";
import { createRequire } from "node:module";
import { test, until } from "./lib/harness.mjs";
import { visitor } from "./lib/browser.mjs";
import { startTarget } from "./lib/sockjs.mjs";

const CLIENT = readFileSync(createRequire(import.meta.url).resolve("sockjs-client/dist/sockjs.js"));
const TRICKY = ["", "plain", "100% \r\n\t", "\u2028\u200c\ufff0\uffff", "</script><!--", "마당 \u{1f600}", '"\\\u0000\u001f'];
const slow = { once: true, timeout: 90 };

/** What each test does with a connection, in Node and in the browser alike. */
function converse(SockJS_, url, transports, messages) {
  return new Promise((done, fail) => {
    const got = [];
    const socket = new SockJS_(url, null, transports ? { transports } : {});
    const late = setTimeout(() => fail(new Error(`nothing after 20 s; got ${JSON.stringify(got)}`)), 20_000);
    let transport = null;
    socket.onopen = () => {
      transport = socket.transport;
      for (const m of messages) socket.send(m);
    };
    socket.onmessage = (event) => {
      got.push(event.data);
      if (got.length === messages.length) socket.close(3000, "enough");
    };
    socket.onclose = (event) => {
      clearTimeout(late);
      done({ got, code: event.code, reason: event.reason, transport });
    };
  });
}

const many = Array.from({ length: 200 }, (_, i) => `${i} ${"x".repeat(i)}`);

for (const transport of ["websocket", "xhr-streaming", "eventsource", "xhr-polling"]) {
  test(`Node: ${transport}`, slow, async (t) => {
    const { url } = await startTarget(t);
    const messages = [...TRICKY, ...many];
    const r = await converse(SockJS, `${url}/echo`, transport, messages);
    assert.equal(r.transport, transport);
    assert.deepEqual(r.got, messages);
    assert.deepEqual([r.code, r.reason], [3000, "enough"]);
    const closed = await converse(SockJS, `${url}/close`, transport, []);
    assert.deepEqual([closed.code, closed.reason], [3000, "Go away!"]);
  });
}

test("Node: ticker, amplify and broadcast", slow, async (t) => {
  const { url } = await startTarget(t);
  const open = (path) => new Promise((done) => {
    const socket = new SockJS(url + path, null, { transports: "xhr-streaming" });
    t.after(() => socket.close());
    socket.got = [];
    socket.onmessage = (e) => socket.got.push(e.data);
    socket.onopen = () => done(socket);
  });
  const [ticker, amplify, one, two] = await Promise.all(["/ticker", "/amplify", "/broadcast", "/broadcast"].map(open));
  amplify.send("10");
  amplify.send("18");
  amplify.send("nonsense");
  one.send("to all");
  await until("a broadcast", () => one.got.length === 1 && two.got.length === 1);
  await until("three answers", () => amplify.got.length === 3);
  assert.deepEqual(amplify.got.map((s) => s.length), [1024, 262144, 2]);
  await until("two ticks", () => ticker.got.length === 2);
  assert.deepEqual(ticker.got, ["tick!", "tick!"]);
  assert.deepEqual(two.got, ["to all"]);
});

/** A web server with a page and the client library. With a target it passes everything else on, so
 * that page and services have one origin. */
async function startSite(t, target) {
  const piped = new Set();
  const site = http.createServer((request, response) => {
    const script = request.url.startsWith("/sockjs.js");
    if (script || !target || request.url === "/page.html") {
      response.setHeader("Content-Type", script ? "application/javascript" : "text/html");
      response.end(script ? CLIENT : `<!doctype html><script src="/sockjs.js"></script>`);
      return;
    }
    const { method, headers, url: path } = request;
    const onward = http.request({ port: target.port, host: "127.0.0.1", method, headers, path }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  site.on("upgrade", (request, socket, head) => {
    const onward = net.connect(target.port, "127.0.0.1", () => {
      const lines = [`GET ${request.url} HTTP/1.1`];
      for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
      onward.write(`${lines.join("\r\n")}\r\n\r\n`);
      onward.write(head);
      socket.pipe(onward).pipe(socket);
    });
    for (const one of [socket, onward]) {
      piped.add(one);
      one.on("close", () => (socket.destroy(), onward.destroy()));
      one.on("error", () => {});
    }
  });
  await new Promise((done) => site.listen(0, "127.0.0.1", done));
  t.after(() => new Promise((done) => {
    for (const one of piped) one.destroy();
    site.closeAllConnections();
    site.close(done);
  }));
  return `http://127.0.0.1:${site.address().port}`;
}

async function pageOf(t, url, before) {
  const page = await visitor(t);
  if (before) await page.addInitScript(before);
  await page.goto(`${url}/page.html`);
  await page.waitForFunction(() => typeof SockJS === "function");
  await page.addScriptTag({ content: `window.converse = ${converse}` });
  return page;
}

const inPage = (page, url, transports, messages) =>
  page.evaluate(([u, tr, m]) => converse(SockJS, u, tr, m), [url, transports, messages]);

test("Chromium: every transport from the same origin", slow, async (t) => {
  const target = await startTarget(t);
  const site = await startSite(t, target);
  const page = await pageOf(t, site);
  for (const transport of ["websocket", "xhr-streaming", "eventsource", "htmlfile", "xhr-polling", "jsonp-polling"]) {
    const messages = [...TRICKY, ...many.slice(0, 40)];
    const r = await inPage(page, `${site}/echo`, transport, messages);
    assert.equal(r.transport, transport, JSON.stringify(r));
    assert.deepEqual(r.got, messages, transport);
    assert.deepEqual([r.code, r.reason], [3000, "enough"]);
    const closed = await inPage(page, `${site}/close`, transport, []);
    assert.deepEqual([closed.code, closed.reason], [3000, "Go away!"], transport);
  }
});

test("Chromium: every transport across two origins, iframes too", slow, async (t) => {
  const site = await startSite(t);
  const target = await startTarget(t, ["--sockjs-url", `${site}/sockjs.js`]);
  const page = await pageOf(t, site);
  for (const transport of ["websocket", "xhr-streaming", "iframe-eventsource", "iframe-htmlfile", "xhr-polling", "iframe-xhr-polling", "jsonp-polling"]) {
    const messages = [...TRICKY, ...many.slice(0, 20)];
    const r = await inPage(page, `${target.url}/echo`, transport, messages);
    assert.equal(r.transport, transport);
    assert.deepEqual(r.got, messages, transport);
  }
});

test("Chromium without WebSocket and fetch falls back by itself", slow, async (t) => {
  const target = await startTarget(t);
  const removals = {
    "xhr-streaming": () => { delete window.WebSocket; delete window.fetch; },
    eventsource: () => {
      delete window.WebSocket;
      delete window.fetch;
      const open = XMLHttpRequest.prototype.open;
      XMLHttpRequest.prototype.open = function (method, url, ...rest) {
        if (url.includes("xhr_streaming")) throw new Error("refused by the test");
        return open.call(this, method, url, ...rest);
      };
    },
    "xhr-polling": () => { delete window.WebSocket; delete window.fetch; delete window.EventSource; },
  };
  for (const [expected, removal] of Object.entries(removals)) {
    const site = await startSite(t, target);
    const page = await pageOf(t, site, removal);
    const list = expected === "xhr-polling" ? ["websocket", "eventsource", "xhr-polling", "jsonp-polling"] : undefined;
    const r = await inPage(page, `${site}/echo`, list, TRICKY);
    assert.equal(r.transport, expected);
    assert.deepEqual(r.got, TRICKY);
  }
});
