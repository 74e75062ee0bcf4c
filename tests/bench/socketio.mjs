// Socket.IO beside npm's socket.io in the same run: CPU time of the server's process per unit of
// work, and memory per idle client. Raw protocol as load, so that the load is the same for both.
//
//     node tests/bench/socketio.mjs [--build DIR] [--rounds N] [--clients N]
//
// Prints the table of doc/internals/socketio.md. Server on core 0, load on core 1.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import http from "node:http";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";

const TOP = fileURLToPath(new URL("../..", import.meta.url));
const argument = (name, value) => { const i = process.argv.indexOf(name); return i > 0 ? process.argv[i + 1] : value; };
const BUILD = argument("--build", `${TOP}build`);
const ROUNDS = Number(argument("--rounds", 3));
const CLIENTS = Number(argument("--clients", 1000));
const TEXT = "x".repeat(40);

const SERVERS = {
  madang: [`${BUILD}/tests/bench/sio_server`],
  npm: ["node", `${TOP}tests/bench/socketio_peer.mjs`],
};

async function start(name) {
  const child = spawn("taskset", ["-c", "0", ...SERVERS[name]], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  const port = await new Promise((done, fail) => {
    child.stdout.on("data", (data) => { text += data; const m = /port (\d+)\n/.exec(text); if (m) done(Number(m[1])); });
    child.once("exit", fail);
  });
  return { child, port, pid: child.pid };
}

// All threads: time on the CPU in ns (proc(5), schedstat).
function cpuNs(pid) {
  const status = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  const ticks = Number(status[11]) + Number(status[12]);
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]) && threadsNs(pid);
  } catch {
    return ticks * 1e7;
  }
}

import { readdirSync } from "node:fs";
function threadsNs(pid) {
  let sum = 0;
  for (const tid of readdirSync(`/proc/${pid}/task`)) sum += Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, "utf8").split(" ")[0]);
  return sum;
}

const rssKb = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]);

function connect(port) {
  return new Promise((done, fail) => {
    const ws = new WebSocket(`ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`, { perMessageDeflate: false });
    ws.on("error", fail);
    ws.on("message", function first(data) {
      const text = String(data);
      if (text[0] === "0") ws.send("40");
      else if (text.startsWith("40")) { ws.off("message", first); ws.onText = () => {}; ws.on("message", (d) => { const t = String(d); if (t === "2") ws.send("3"); else ws.onText(t); }); done(ws); }
    });
  });
}

async function connectMany(port, n) {
  const all = [];
  while (all.length < n) all.push(...(await Promise.all(Array.from({ length: Math.min(50, n - all.length) }, () => connect(port)))));
  return all;
}

async function broadcast(server, clients, inFlight, events) {
  let got = 0, sent = 0;
  const total = events * clients.length;
  const before = cpuNs(server.pid);
  await new Promise((done) => {
    const go = (n) => { for (let i = 0; i < n && sent < events; i++, sent++) clients[0].send(`42["go","${TEXT}"]`); };
    for (const c of clients) c.onText = () => {
      got++;
      if (got === total) done();
      else if (got % (clients.length * inFlight) === 0) go(inFlight);
    };
    go(inFlight);
  });
  return (cpuNs(server.pid) - before) / total;
}

async function acks(server, clients, each) {
  const before = cpuNs(server.pid);
  await Promise.all(clients.map((c) => new Promise((done) => {
    let n = 0;
    c.onText = () => { if (++n === each) done(); else c.send(`42${n}["echo","${TEXT}"]`); };
    c.send(`420["echo","${TEXT}"]`);
  })));
  return (cpuNs(server.pid) - before) / (clients.length * each);
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
const request = (port, query, method = "GET", body) => new Promise((done, fail) => {
  const r = http.request({ port, host: "127.0.0.1", path: `/socket.io/?EIO=4&transport=polling${query}`, method, agent, headers: body ? { "content-type": "text/plain", "content-length": body.length } : {} }, (response) => {
    let text = "";
    response.on("data", (d) => { text += d; });
    response.on("end", () => done(text));
  });
  r.on("error", fail);
  r.end(body);
});

async function polling(server, trips) {
  const sid = JSON.parse((await request(server.port, "")).slice(1)).sid;
  const q = `&sid=${sid}`;
  await request(server.port, q, "POST", "40");
  await request(server.port, q);
  const before = cpuNs(server.pid);
  for (let i = 0; i < trips; i++) {
    const poll = request(server.port, q);
    await request(server.port, q, "POST", `42${i}["echo","${TEXT}"]`);
    let text = await poll;
    while (!text.includes("43")) {
      if (text.includes("2")) await request(server.port, q, "POST", "3");
      text = await request(server.port, q);
    }
  }
  return (cpuNs(server.pid) - before) / trips;
}

async function measure(name) {
  const server = await start(name);
  const out = {};
  try {
    await connectMany(server.port, 20);
    const base = rssKb(server.pid), cpu = cpuNs(server.pid);
    const clients = await connectMany(server.port, CLIENTS);
    out["WebSocket connect with CONNECT"] = (cpuNs(server.pid) - cpu) / CLIENTS;
    out["memory per idle client (bytes)"] = ((rssKb(server.pid) - base) * 1024) / CLIENTS;
    await broadcast(server, clients, 1, 20);
    out[`broadcast to ${CLIENTS}, one in flight`] = await broadcast(server, clients, 1, 60);
    out[`broadcast to ${CLIENTS}, 16 in flight`] = await broadcast(server, clients, 16, 160);
    for (const c of clients.splice(100)) c.terminate();
    out["emit with ack, 100 clients"] = await acks(server, clients, 100);
    for (const c of clients) c.terminate();
    out["long-polling round trip"] = await polling(server, 1000);
  } finally {
    server.child.kill("SIGTERM");
    await new Promise((done) => server.child.once("exit", done));
  }
  return out;
}

spawn("taskset", ["-pc", "1", String(process.pid)], { stdio: "ignore" });
const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
const all = { madang: [], npm: [] };
for (let i = 0; i < ROUNDS; i++) for (const name of Object.keys(SERVERS)) all[name].push(await measure(name));
console.log("| case | madang | npm socket.io | ratio |\n|---|---|---|---|");
for (const key of Object.keys(all.madang[0])) {
  const a = median(all.madang.map((r) => r[key])), b = median(all.npm.map((r) => r[key]));
  const show = (v) => (key.includes("bytes") ? Math.round(v) : `${(v / 1000).toFixed(2)} us`);
  console.log(`| ${key} | ${show(a)} | ${show(b)} | ${(a / b).toFixed(3)} |`);
}
process.exit(0);
