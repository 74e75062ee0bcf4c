// Behind nginx and haproxy, with the configuration files of doc/deploy, and out through a proxy with
// CONNECT: WebSockets, event streams, long polls and lines work, and addresses are the clients' own.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import https from "node:https";
import net from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test, until, sleep, Skip } from "./lib/harness.mjs";
import { openTcp, openV1 } from "./lib/clients.mjs";
import { BINARY, Program, stateFolder } from "./lib/server.mjs";

const DEPLOY = fileURLToPath(new URL("../../doc/deploy/", import.meta.url));
const TRUST = ["--trusted-proxies", "127.0.0.1/32"];
const long = { timeout: 60 };

function need(path) {
  if (!existsSync(path)) throw new Skip(`${path} is not installed`);
  return path;
}

async function freePort() {
  const server = net.createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

function certificate(folder) {
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
    "-keyout", join(folder, "key.pem"), "-out", join(folder, "cert.pem")], { stdio: "ignore" });
  const both = readFileSync(join(folder, "cert.pem"), "utf8") + readFileSync(join(folder, "key.pem"), "utf8");
  writeFileSync(join(folder, "cert-and-key.pem"), both);
}

async function listening(program, port) {
  await until(`something listens on ${port}: ${program.output}`, () => new Promise((done) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.on("connect", () => { socket.destroy(); done(true); });
    socket.on("error", () => done(false));
  }));
}

async function startNginx(t, server) {
  const binary = need("/usr/sbin/nginx");
  const folder = stateFolder(t);
  const port = await freePort();
  certificate(folder);
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((n) => `${n}_temp_path ${folder}/${n};`).join(" ");
  const text = readFileSync(join(DEPLOY, "nginx.conf"), "utf8")
    .replace("127.0.0.1:8080;", `127.0.0.1:${server.port};`).replace("listen 8443 ssl", `listen 127.0.0.1:${port} ssl`)
    .replace(/^http \{/m, `http { access_log off; ${temp}`).replace("20000;", "1000;");
  writeFileSync(join(folder, "nginx.conf"), text);
  const program = new Program(binary, ["-p", folder, "-c", "nginx.conf", "-e", "stderr", "-g", `daemon off; pid ${folder}/pid;`]);
  t.after(() => program.end("SIGTERM"));
  await listening(program, port);
  return { port };
}

async function startHaproxy(t, server) {
  const binary = need("/usr/sbin/haproxy");
  const folder = stateFolder(t);
  const [port, tcpPort] = [await freePort(), await freePort()];
  certificate(folder);
  const text = readFileSync(join(DEPLOY, "haproxy.cfg"), "utf8")
    .replaceAll("127.0.0.1:8080", `127.0.0.1:${server.port}`).replace("bind :8443 ssl crt cert-and-key.pem", `bind 127.0.0.1:${port} ssl crt ${folder}/cert-and-key.pem`)
    .replace("bind :9000", `bind 127.0.0.1:${tcpPort}`).replace("maxconn 20000", "maxconn 500");
  writeFileSync(join(folder, "haproxy.cfg"), text);
  const program = new Program(binary, ["-db", "-f", join(folder, "haproxy.cfg")]);
  t.after(() => program.end("SIGTERM"));
  await listening(program, port);
  return { port, tcpPort };
}

function request(port, path, options = {}) {
  return new Promise((resolve, reject) => {
    const sent = https.request({ host: "127.0.0.1", port, path, rejectUnauthorized: false, ...options }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (data) => { body += data; });
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, body }));
    });
    sent.on("error", reject);
    sent.end(options.body);
  });
}

/** An endless response: what came so far. */
function follow(t, port, path, headers = {}) {
  const state = { text: "" };
  const sent = https.get({ host: "127.0.0.1", port, path, rejectUnauthorized: false, headers }, (response) => {
    response.setEncoding("utf8");
    response.on("data", (data) => { state.text += data; });
    response.on("error", () => {});
  });
  sent.on("error", () => {});
  t.after(() => sent.destroy());
  return state;
}

/** What has to work behind any reverse proxy. */
async function everythingWorks(t, port) {
  const origin = `https://127.0.0.1:${port}`;
  const ws = await openV1(t, `wss://127.0.0.1:${port}/ws/chat`, { rejectUnauthorized: false, origin });
  await ws.join("r");
  const sse = follow(t, port, "/sse?room=r&history=0");
  const lines = follow(t, port, "/stream?room=r&history=0");
  await until("the streams are open and not buffered", () => sse.text.includes("joined") && lines.text.includes("joined"));
  const { cursor } = JSON.parse((await request(port, "/poll?room=r")).body);
  const parked = request(port, `/poll?room=r&after=${cursor}&wait=20`);
  await sleep(200);
  await ws.publish("r", "m0");
  assert.deepEqual(JSON.parse((await parked).body).messages.map((m) => m.text), ["m0"]);
  await until("m0 everywhere", () => sse.text.includes('"m0"') && lines.text.includes('"m0"'));
  const body = JSON.stringify({ room: "r", text: "m1" });
  const headers = { "Content-Type": "application/json", "Content-Length": body.length, Origin: origin };
  assert.equal((await request(port, "/publish", { method: "POST", headers, body })).status, 200);
  assert.equal((await ws.want("message", { text: "m1" })).text, "m1");
  const id = /id: (\S+)\ndata: [^\n]*"m0"/.exec(sse.text)[1];
  const resumed = follow(t, port, "/sse?room=r", { "Last-Event-ID": id });
  await until("only what was missed", () => resumed.text.includes('"m1"'));
  assert.ok(!resumed.text.includes('"m0"'));
  assert.match(resumed.text, /"recovered":true/);
}

async function cookieIsSecure(port) {
  const body = '{"name":"ann"}';
  const answer = await request(port, "/chat/login", { method: "POST", body,
    headers: { "Content-Type": "application/json", "Content-Length": body.length, Origin: `https://127.0.0.1:${port}` } });
  assert.equal(answer.status, 200, answer.body);
  assert.match(answer.headers["set-cookie"][0], /; Secure/);
}

test("behind nginx, with doc/deploy/nginx.conf", long, async (t) => {
  const server = await t.server({ args: TRUST });
  const { port } = await startNginx(t, server);
  await everythingWorks(t, port);
  await cookieIsSecure(port);
});

test("behind haproxy, with doc/deploy/haproxy.cfg, lines included", long, async (t) => {
  const server = await t.server({ args: [...TRUST, "--greet-delay-s", "1"] });
  const { port, tcpPort } = await startHaproxy(t, server);
  await everythingWorks(t, port);
  await cookieIsSecure(port);
  const tcp = await openTcp(t, tcpPort);
  await sleep(1500);
  assert.equal(tcp.received.length, 0); // a spare connection of the proxy's would be poisoned
  tcp.socket.write("/join r\nfrom a line\n");
  const ws = await openV1(t, server.ws);
  await ws.join("r", { history: 50 });
  assert.equal((await ws.want("message", { text: "from a line" })).text, "from a line");
});

test("the PROXY header counts only from trusted addresses", async (t) => {
  const limit = ["--connections-per-address-max", "2"];
  const server = await t.server({ args: [...TRUST, ...limit] });
  const ask = async (header) => {
    const tcp = await openTcp(t, server.port);
    tcp.socket.write(`${header}GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n`, "latin1");
    await Promise.race([until("an answer", () => tcp.received.length > 0), tcp.closed]);
    return tcp.received.toString("latin1").slice(0, 12);
  };
  const v1 = (ip) => `PROXY TCP4 ${ip} 127.0.0.1 1234 80\r\n`;
  const v2 = (last) => `\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71${String.fromCharCode(last)}\x7f\0\0\x01\x04\xd2\0\x50`;
  assert.equal(await ask(v1("203.0.113.9")), "HTTP/1.1 200");
  assert.equal(await ask(v2(9)), "HTTP/1.1 200");
  assert.equal(await ask(v1("203.0.113.9")), ""); // the third of that client
  assert.equal(await ask(v2(10)), "HTTP/1.1 200");
  assert.equal(await ask("PROXY UNKNOWN\r\n"), "HTTP/1.1 200");
  const open = await t.server({ args: limit });
  const tcp = await openTcp(t, open.port);
  tcp.socket.write(`${v1("203.0.113.9")}GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n`);
  await Promise.race([sleep(1000), tcp.closed]);
  assert.doesNotMatch(tcp.received.toString(), /HTTP\/1\.1 200/); // from anyone else it is just text
});

async function startTinyproxy(t, server) {
  const binary = need("/usr/bin/tinyproxy");
  const folder = stateFolder(t);
  const port = await freePort();
  const text = readFileSync(join(DEPLOY, "tinyproxy.conf"), "utf8")
    .replace("Port 8888", `Port ${port}`).replace("ConnectPort 8080", `ConnectPort ${server.port}`).replace("MaxClients 1000", "MaxClients 50");
  writeFileSync(join(folder, "tinyproxy.conf"), text);
  const program = new Program(binary, ["-d", "-c", join(folder, "tinyproxy.conf")]);
  t.after(() => program.end("SIGTERM"));
  await listening(program, port);
  return { port };
}

/** What a program printed so far. */
function output(t, command, args, env = {}) {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "ignore"] });
  const state = { text: "" };
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (data) => { state.text += data; });
  state.exited = new Promise((done) => child.on("close", done));
  t.after(async () => { child.kill(); await state.exited; });
  return state;
}

test("out through tinyproxy with CONNECT, with doc/deploy/tinyproxy.conf", long, async (t) => {
  const server = await t.server({ args: ["--tls-dev"] }); // one port for both
  const { port } = await startTinyproxy(t, server);
  const through = `http://127.0.0.1:${port}`;
  const out = [];
  for (const scheme of ["http", "https"]) {
    const base = `${scheme}://127.0.0.1:${server.port}`;
    const tunnel = ["-skN", "--proxytunnel", "-x", through];
    const { cursor } = JSON.parse(execFileSync("curl", [...tunnel, `${base}/poll?room=r`], { encoding: "utf8" }));
    const ws = base.replace("http", "ws");
    out.push(output(t, "curl", [...tunnel, `${base}/sse?room=r`]), output(t, "curl", [...tunnel, `${base}/stream?room=r`]),
      output(t, BINARY, ["sub", "-q", "-k", "-R", "r", `${ws}/ws/chat`], { http_proxy: through, https_proxy: through, no_proxy: "" }));
    out.push(output(t, "curl", [...tunnel, `${base}/poll?room=r&after=${cursor}&wait=30`]));
  }
  const insecure = `http://127.0.0.1:${server.port}`;
  await until("six are in", async () => out.filter((o) => o.text.includes("joined")).length === 4
    && JSON.parse(execFileSync("curl", ["-s", `${insecure}/poll?room=r`], { encoding: "utf8" })).messages.length === 0
    && Number(/^madang_peers(?:\{[^}]*\})? (\d+)/m.exec(execFileSync("curl", ["-s", `${insecure}/metrics`], { encoding: "utf8" }))[1]) >= 6);
  execFileSync("curl", ["-s", "-d", "text=through+the+tunnel", `${insecure}/publish?room=r`]);
  for (const o of out) await until(`the message came through: ${o.text}`, () => o.text.includes("through the tunnel"));
});
