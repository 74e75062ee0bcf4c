// https and wss: versions, plain text on the same port, resumption, several names, new certificates
// without dropping a client.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync } from "node:fs";
import https from "node:https";
import { join } from "node:path";
import tls from "node:tls";
import { openTcp, openV1, openWs } from "./lib/clients.mjs";
import { test, until } from "./lib/harness.mjs";
import { stateFolder } from "./lib/server.mjs";

function certificate(folder, name) {
  const cert = join(folder, `${name}.pem`);
  const key = join(folder, `${name}.key`);
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
    "-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`, "-keyout", key, "-out", cert], { stdio: "ignore" });
  return { cert, key };
}

function connect(t, port, options = {}) {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false, servername: "localhost", ...options });
    t.after(() => socket.destroy());
    socket.once("secureConnect", () => resolve(socket));
    socket.once("error", reject);
  });
}

function getHealth(port) {
  return new Promise((resolve, reject) => {
    https.get({ port, host: "127.0.0.1", path: "/healthz", rejectUnauthorized: false, agent: false }, (response) => {
      response.resume();
      resolve(response);
    }).on("error", reject);
  });
}

test("https and wss, TLS 1.2 and 1.3, beside plain http on the same port", async (t) => {
  const server = await t.server({ args: ["--tls-dev", "--echo"] });
  assert.equal((await getHealth(server.port)).statusCode, 200);
  assert.equal((await fetch(`http://127.0.0.1:${server.port}/healthz`)).status, 200);
  for (const version of ["TLSv1.2", "TLSv1.3"]) {
    const socket = await connect(t, server.port, { minVersion: version, maxVersion: version, ALPNProtocols: ["h2", "http/1.1"] });
    assert.equal(socket.getProtocol(), version);
    assert.equal(socket.alpnProtocol, "http/1.1");
  }
  await assert.rejects(connect(t, server.port, { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" }));
  for (const ciphers of ["ECDHE+AES+SHA256", "ECDHE+AES+SHA1", "kRSA"]) {
    await assert.rejects(connect(t, server.port, { maxVersion: "TLSv1.2", ciphers }), /alert|handshake/i, ciphers);
  }
  const echo = await openWs(t, `wss://127.0.0.1:${server.port}/echo`, [], { rejectUnauthorized: false });
  const large = "마당".repeat(100_000);
  echo.send(large);
  assert.equal((await echo.next()).text, large);
  const secure = await openV1(t, `wss://127.0.0.1:${server.port}/ws/chat`, { rejectUnauthorized: false });
  const plain = await openV1(t, `ws://127.0.0.1:${server.port}/ws/chat`);
  await secure.join("lobby");
  await plain.join("lobby");
  await plain.publish("lobby", "from outside");
  await secure.want("message", { text: "from outside" });
});

test("a session is resumed", async (t) => {
  const server = await t.server({ args: ["--tls-dev"] });
  for (const version of ["TLSv1.2", "TLSv1.3"]) {
    const options = { minVersion: version, maxVersion: version };
    const first = await connect(t, server.port, options);
    const answered = new Promise((done) => first.once("data", done));
    first.write("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    await answered; // tickets of TLS 1.3 come behind the handshake, before or with this
    const session = first.getSession();
    first.end();
    const second = await connect(t, server.port, { ...options, session });
    assert.equal(second.isSessionReused(), true, version);
  }
});

test("each name has its certificate, and new ones are taken without dropping anyone", async (t) => {
  const folder = stateFolder(t);
  const one = certificate(folder, "one.example");
  const two = certificate(folder, "two.example");
  const server = await t.server({ args: ["--tls-cert", one.cert, "--tls-key", one.key, "--tls-cert", two.cert, "--tls-key", two.key] });
  const nameFor = async (servername) => (await connect(t, server.port, { servername })).getPeerCertificate().subject.CN;
  assert.equal(await nameFor("two.example"), "two.example");
  assert.equal(await nameFor("one.example"), "one.example");
  assert.equal(await nameFor("other.example"), "one.example");

  const client = await openV1(t, `wss://127.0.0.1:${server.port}/ws/chat`, { rejectUnauthorized: false });
  await client.join("lobby");
  const three = certificate(folder, "three.example");
  copyFileSync(three.cert, one.cert);
  copyFileSync(three.key, one.key);
  process.kill(server.program.pid, "SIGHUP");
  await until("the new certificate is shown", async () => (await nameFor("other.example")) === "three.example");
  await client.publish("lobby", "still here"); // resolves with the acknowledgement

  copyFileSync(two.cert, one.cert); // no longer fits its key
  process.kill(server.program.pid, "SIGHUP");
  await until("the mistake is said", async () => server.output.includes("not reloaded"));
  assert.equal(await nameFor("other.example"), "three.example");
});

test("bytes that are not TLS behind its first byte end the connection and nothing else", async (t) => {
  const server = await t.server({ args: ["--tls-dev"] });
  const net = await import("node:net");
  for (const bytes of ["\x16\x03\x01\x00\x05hello", "\x16\x03\x03\xff\xff", "\x16"]) {
    const socket = net.connect(server.port, "127.0.0.1");
    t.after(() => socket.destroy());
    const ended = new Promise((done) => socket.once("close", done));
    socket.on("error", () => {});
    socket.resume();
    socket.end(Buffer.from(bytes, "latin1"));
    await ended;
  }
  assert.equal((await getHealth(server.port)).statusCode, 200);
});

test("http:// at a port for TLS alone is told so, and other text is not answered", async (t) => {
  const server = await t.server({ args: ["--tls-dev"], listen: ["https://127.0.0.1:0"] });
  const response = await fetch(`http://127.0.0.1:${server.port}/chat`, { method: "POST", body: "secret" });
  assert.equal(response.status, 400);
  assert.equal(response.headers.get("connection"), "close");
  assert.equal(await response.text(), "This port speaks TLS: use an https:// address.\r\n");
  const typist = await openTcp(t, server.port);
  typist.socket.write("hello\n");
  await typist.closed;
  assert.equal(typist.received.length, 0);
  assert.equal((await getHealth(server.port)).statusCode, 200);
});
