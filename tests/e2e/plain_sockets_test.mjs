// What a person with nothing but nc, telnet, curl or ten lines of Python sees, on the shared port and on listeners of
// one kind each.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test, until, sleep, Skip } from "./lib/harness.mjs";
import { openTcp, openV1 } from "./lib/clients.mjs";
import { visitor } from "./lib/browser.mjs";
import { stateFolder } from "./lib/server.mjs";

/** A tool with its input open and its output kept. */
function tool(t, command, args) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] });
  const state = { child, text: "" };
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (data) => { state.text += data; });
  child.stdin.on("error", () => {});
  state.type = (line) => child.stdin.write(`${line}\n`);
  state.exited = new Promise((done) => { child.on("close", done); });
  t.after(async () => { child.kill("SIGKILL"); await state.exited; });
  return state;
}

const run = (command, args, input = "") => new Promise((done) => {
  const child = execFile(command, args, { timeout: 10_000 }, (error, stdout, stderr) => done({ code: error?.code ?? 0, stdout, stderr }));
  child.stdin.end(input);
});

async function line(t, port) {
  const tcp = await openTcp(t, port);
  tcp.text = () => tcp.received.toString();
  tcp.has = (what) => until(`${what} in ${tcp.text()}`, () => (what instanceof RegExp ? what.test(tcp.text()) : tcp.text().includes(what)));
  return tcp;
}

/** Of the last listener of a kind, as the log has it. */
async function portOf(server, kind) {
  await until("the server has started", () => server.output.includes("msg=started"));
  return Number([...server.output.matchAll(new RegExp(`address=${kind}://127\\.0\\.0\\.1:(\\d+)`, "g"))].at(-1)[1]);
}

test("nc, nc -u, curl, telnet's bytes and a socket of Python's talk to a browser's WebSocket", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const port = String(server.port);
  const [ws, reader] = [await openV1(t, server.ws), await openV1(t, server.ws)];
  for (const one of [ws, reader]) await one.join("lobby");
  const nc = tool(t, "nc", ["127.0.0.1", port]);
  nc.type("/nick ncat");
  await until("nc is in", () => nc.text.includes("* you are ncat"));
  const datagrams = tool(t, "nc", ["-u", "127.0.0.1", port]);
  datagrams.type("let me in");
  await until("a code", () => datagrams.text.includes("/hi "));
  datagrams.type(/\/hi [0-9a-f]{12}/.exec(datagrams.text)[0]);
  await until("nc -u is in", () => datagrams.text.includes("you are in"));
  const curl = tool(t, "curl", ["-sN", `${server.url}/stream?room=lobby&history=0`]);
  await until("curl is in", () => curl.text.includes("joined"));
  const python = tool(t, "python3", ["-uc", `import socket, sys
s = socket.create_connection(("127.0.0.1", ${port}))
s.sendall(b"/nick snake\\n")
f = s.makefile()
for text in f:
    print(text, end="")
    if "you are snake" in text: s.sendall("파이썬\\n".encode())`]);
  await until("python has spoken", () => nc.text.includes("[lobby] ~snake: 파이썬\n"));
  nc.type("from nc");
  await until("curl has it", () => curl.text.includes('"text":"from nc"'));
  datagrams.type("by datagram");
  await until("nc has it", () => /\[lobby\] ~guest-\w+: by datagram\n/.test(nc.text));
  const telnet = await line(t, server.port); // WILL and DO something, a subnegotiation, and an escaped 0xff in between
  telnet.socket.write(Buffer.from("\xff\xfb\x01\xff\xfd\x03\xff\xfa\x18\x00xterm\xff\xf0from tel\xff\xf1net\r\n", "latin1"));
  await until("so has everyone", () => curl.text.includes('"text":"from telnet"'));
  const posted = await run("curl", ["-s", "-d", "text=from+curl", `${server.url}/publish?room=lobby`]);
  assert.match(posted.stdout, /"type":"ack"/);
  await ws.publish("lobby", "from the browser");
  const all = ["파이썬", "from nc", "by datagram", "from telnet", "from curl", "from the browser"];
  const heard = (text) => [...text.matchAll(/^\[lobby\] [^:]*: (.*)$/gm)].map((m) => m[1]);
  for (const one of [nc, datagrams, python]) {
    await until("the last words", () => heard(one.text).includes("from the browser"));
    assert.deepEqual(heard(one.text), all);
  }
  await until("curl too", () => curl.text.includes("from the browser"));
  assert.deepEqual(curl.text.split("\n").filter((l) => l.includes('"message"')).map((l) => JSON.parse(l).text), all);
  for (const text of all) assert.equal((await reader.want("message")).text, text);
});

test("one byte at a time, each protocol is told apart on one port", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const cases = [
    ["GET well soon\n", ": GET well soon\n"], ["CONNECT me, please\n", ": CONNECT me, please\n"], ["PUT it there\n", ": PUT it there\n"],
    ["STOMP on it\n", ": STOMP on it\n"], ["PROXY war\n", ": PROXY war\n"], ["\r\n\r\nhello\n", ": hello\n"], ["CONNECTED\n", ": CONNECTED\n"],
    ["GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK"], ["OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 "],
    ["GET http://a/healthz HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK"], ["CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 "],
    ["GET /nothing here\r\n\r\n", "HTTP/1.1 400"],
    ["CONNECT\naccept-version:1.2\nhost:/\n\n\0", "CONNECTED\n"], ["STOMP\r\naccept-version:1.1\nhost:/\n\n\0", "CONNECTED\n"],
    ['{"type":"ping","id":1}\n', '{"type":"pong","id":1}'],
  ];
  await Promise.all(cases.map(async ([bytes, answer]) => {
    const tcp = await line(t, server.port);
    tcp.socket.setNoDelay(true);
    for (const byte of Buffer.from(bytes, "latin1")) {
      tcp.socket.write(Buffer.from([byte]));
      await sleep(1);
    }
    await tcp.has(answer);
  }));
});

test("a silent client is greeted after a while, a dedicated listener greets at once", { timeout: 60 }, async (t) => {
  const server = await t.server({ listen: ["127.0.0.1:0", "tcp://127.0.0.1:0"], args: ["--greet-delay-s", "2"] });
  const dedicated = await portOf(server, "tcp");
  const start = Date.now();
  const silent = await line(t, server.port);
  const greeted = await line(t, dedicated);
  await greeted.has("* Welcome");
  assert.ok(Date.now() - start < 1500);
  assert.equal(silent.text(), "");
  await silent.has("* Welcome");
  assert.ok(Date.now() - start >= 1900);
});

test("spare connections of Chromium's are not greeted into a broken page", { timeout: 60, once: true }, async (t) => {
  const server = await t.server({ args: ["--greet-delay-s", "1"] });
  const page = await visitor(t);
  await page.goto(`${server.url}/chat`);
  for (let i = 0; i < 4; i++) {
    await sleep(1500); // the browser's idle and pre-opened sockets are older than the delay
    const texts = await page.evaluate(() => Promise.all(Array.from({ length: 12 }, (_, n) => fetch(`/healthz?${n}`).then((r) => r.text()))));
    assert.ok(texts.every((text) => text === "ok\n"));
  }
});

test("PROXY on a dedicated listener: the header is not chat, and the client is greeted behind it", { timeout: 60 }, async (t) => {
  const server = await t.server({ listen: ["127.0.0.1:0", "tcp://127.0.0.1:0"], args: ["--trusted-proxies", "127.0.0.1/32", "--greet-delay-s", "2", "--connections-per-address-max", "1"] });
  const dedicated = await portOf(server, "tcp");
  const header = (ip) => `PROXY TCP4 ${ip} 127.0.0.1 1234 9000\r\n`;
  const first = await line(t, dedicated);
  first.socket.write(header("203.0.113.1"));
  await first.has("you are in");
  first.socket.write("hello\n");
  await first.has(": hello\n");
  assert.doesNotMatch(first.text(), /PROXY/);
  const again = await line(t, dedicated); // counted by the client's address, not by the proxy's
  again.socket.write(header("203.0.113.1"));
  await again.closed;
  assert.equal(again.text(), "");
  const other = await line(t, dedicated);
  other.socket.write(`${header("203.0.113.2")}both at once\n`);
  await other.has(": both at once\n");
});

test("long lines, bad bytes, half-close, and a request that comes later", { timeout: 60 }, async (t) => {
  const server = await t.server({ args: ["--line-bytes-max", "1000"] });
  const one = await line(t, server.port);
  one.socket.write(`${"a".repeat(1001)}\nshort\n`);
  await one.has("! too_big: ");
  await one.has(": short\n");
  one.socket.write(`${"b".repeat(1000)}\n`);
  await one.has(`: ${"b".repeat(1000)}\n`);
  one.socket.write(Buffer.concat([Buffer.from([0xc0, 0xaf, 0x0a]), Buffer.from("good\r\n")]));
  await one.has("! bad_text: ");
  await one.has(": good\n");
  one.socket.write("a piece");
  await sleep(100);
  one.socket.write(" of a line\n");
  await one.has(": a piece of a line\n");
  const half = await line(t, server.port);
  half.socket.end("/join games\nlast words, no end of line");
  await half.closed;
  assert.match(half.text(), /\[games\] ~guest-\w+: last words, no end of line\n/);
  const late = await line(t, server.port);
  late.socket.write("hello\nPOST /publish HTTP/1.1\r\nHost: a\r\n\r\nsmuggled\n");
  await late.closed;
  assert.doesNotMatch(late.text(), /smuggled|HTTP\/1\.1/);
  await sleep(100);
  assert.doesNotMatch(one.text(), /smuggled/);
});

test("a typed member comes back with /resume and is told what is missing", { timeout: 60 }, async (t) => {
  const server = await t.server({ args: ["--room-log-count-max", "4"] });
  const ws = await openV1(t, server.ws);
  await ws.join("r");
  const first = await line(t, server.port);
  first.socket.write("/join r\n");
  await first.has("[r] you are in");
  await ws.publish("r", "one");
  await first.has(": one\n");
  first.socket.write("/rooms\n");
  await first.has(/\[r\]; \/resume r [0-9a-f]{16}:1 continues/);
  const resume = /\* \[r\]; (\/resume r [0-9a-f]{16}:1) /.exec(first.text())[1];
  first.socket.destroy();
  for (const text of ["two", "three"]) await ws.publish("r", text);
  const back = await line(t, server.port);
  back.socket.write(`${resume}\n`);
  await back.has(/\[r\] you are in, .*; nothing is missing;/);
  await back.has(/: two\n\[r\] [^:]*: three\n/);
  assert.doesNotMatch(back.text(), /: one\n/);
  for (const text of ["four", "five", "six", "seven"]) await ws.publish("r", text);
  const late = await line(t, server.port);
  late.socket.write(`${resume}\n`);
  await late.has("; not recovered, missing: 2 to 3;");
  await late.has(/: four\n\[r\] [^:]*: five\n\[r\] [^:]*: six\n\[r\] [^:]*: seven\n/);
});

test("listeners by URL take what they say and nothing else, on unix sockets too", { timeout: 60 }, async (t) => {
  const folder = stateFolder(t);
  const path = (name) => join(folder, `${name}.sock`);
  const server = await t.server({
    listen: ["127.0.0.1:0", "tcp://127.0.0.1:0", "http://127.0.0.1:0", "stomp://127.0.0.1:0", "udp://127.0.0.1:0",
      `unix:${path("all")}`, `tcp+unix:${path("tcp")}`, `http+unix:${path("http")}`, `stomp+unix:${path("stomp")}`],
  });
  const ports = {};
  for (const kind of ["tcp", "http", "stomp", "udp"]) ports[kind] = await portOf(server, kind);
  const port = (kind) => ports[kind];
  const http = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  const stomp = "CONNECT\naccept-version:1.2\nhost:/\n\n\0";
  const ask = async (where, bytes, answer) => {
    const tcp = await line(t, where);
    if (bytes) tcp.socket.write(bytes);
    await tcp.has(answer);
  };
  for (const [where, kinds] of [[server.port, "tcp http stomp"], [port("tcp"), "tcp"], [port("http"), "http"], [port("stomp"), "stomp"]]) {
    if (kinds.includes("tcp")) await ask(where, "hello\n", ": hello\n");
    if (kinds.includes("http")) await ask(where, http, "ok\n");
    if (kinds.includes("stomp")) await ask(where, stomp, "CONNECTED");
  }
  await ask(port("http"), "hello\r\n\r\n", "HTTP/1.1 400");
  await ask(port("stomp"), `${http}\0`, "ERROR");
  const onTcp = await line(t, port("tcp"));
  onTcp.socket.write(http);
  await onTcp.closed;
  assert.doesNotMatch(onTcp.text(), /HTTP/);
  const typed = await run("nc", ["-N", "-U", path("tcp")], "by unix socket\n/quit\n");
  assert.match(typed.stdout, /^\* Welcome/);
  assert.match((await run("nc", ["-N", "-U", path("all")], "/who\n")).stdout, /you are in/);
  assert.equal((await run("curl", ["-s", "--unix-socket", path("http"), "http://a/healthz"])).stdout, "ok\n");
  assert.equal((await run("curl", ["-s", "--unix-socket", path("all"), "http://a/healthz"])).stdout, "ok\n");
  assert.match((await run("nc", ["-N", "-U", path("stomp")], stomp)).stdout, /^CONNECTED/);
  const datagram = tool(t, "nc", ["-u", "127.0.0.1", String(port("udp"))]);
  datagram.type("/hi");
  await until("a code by datagram", () => datagram.text.includes("To come in"));
  await server.stop();
  for (const name of ["all", "tcp", "http", "stomp"]) assert.ok(!existsSync(path(name)), `${name}.sock is gone`);
});

test("IPv6 is as good as IPv4, for datagrams too", { timeout: 60 }, async (t) => {
  const server = await t.server({ listen: ["[::]:0"] }).catch((error) => {
    if (/Address family|not supported|cannot assign/i.test(String(error))) throw new Skip("no IPv6 here");
    throw error;
  });
  const port = String(/:(\d+)/.exec(/address=\S+\]:\d+/.exec(server.output)[0].replace("[::]", ""))[1]);
  for (const host of ["::1", "127.0.0.1"]) {
    const typed = tool(t, "nc", [host, port]);
    typed.type(`over ${host}`);
    await until("said", () => typed.text.includes(`: over ${host}\n`));
    const datagrams = tool(t, "nc", ["-u", host, port]);
    datagrams.type("/hi");
    await until("a code", () => datagrams.text.includes("/hi "));
    datagrams.type(/\/hi [0-9a-f]{12}/.exec(datagrams.text)[0]);
    await until("in", () => datagrams.text.includes("you are in"));
    datagrams.type("hello");
    await until("heard", () => /: hello\n/.test(typed.text));
  }
});
