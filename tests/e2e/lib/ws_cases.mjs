// What RFC 6455 and RFC 7692 demand of a server, as cases against an endpoint that echoes: text as
// text, binary as binary, with permessage-deflate for those that offer it. Each case has an address
// ("5.12"), a sentence, and a function that gets the target and throws when the server is wrong.

import assert from "node:assert/strict";
import { OP, Wire, closeFrame, frame, request } from "./ws_wire.mjs";

const { text, binary, cont, close, ping, pong } = OP;
const hex = (s) => Buffer.from(s.replaceAll(" ", ""), "hex");
const part = (op, payload) => frame(op, payload, { fin: false });
const fill = (n, byte = 0x2a) => Buffer.alloc(n, byte);
const noise = (n) => {
  const out = Buffer.alloc(n);
  for (let i = 0, x = 1; i < n; i++) out[i] = (x = (x * 1103515245 + 12345) >>> 0) >>> 16;
  return out;
};

export const cases = [];
const counters = {};
function add(group, title, run, options = {}) {
  counters[group] = (counters[group] ?? 0) + 1;
  cases.push({ id: `${group}.${counters[group]}`, title, run, ...options });
}

/** A case on an open connection. */
function on(group, title, body, { change, ...options } = {}) {
  add(group, title, async (target) => {
    const w = await Wire.open(target, change);
    try {
      await body(w, target);
    } finally {
      w.destroy();
    }
  }, options);
}

async function closesWell(w) {
  await w.send(closeFrame(1000));
  await w.expectClose(1000);
}

/** bytes are sent (in pieces of `n`, if given); then these messages come back; then a clean close. */
const echoes = (bytes, want, n) => async (w) => {
  if (n) await w.sendIn(bytes, n);
  else await w.send(bytes);
  for (const [op, payload] of want) await w.expect(op, payload);
  await closesWell(w);
};
const fails = (bytes, codes, want = []) => async (w) => {
  await w.send(bytes);
  for (const [op, payload] of want) await w.expect(op, payload);
  await w.expectClose(...[codes].flat());
};
const all = (...parts) => Buffer.concat(parts);

// 1: lengths

for (const op of [text, binary]) {
  const name = op === text ? "text" : "binary";
  for (const n of [0, 1, 2, 124, 125, 126, 127, 128, 255, 256, 257, 1023, 4096, 65534, 65535, 65536, 65537, 131072]) {
    on("1", `${name} of ${n} bytes`, echoes(frame(op, fill(n)), [[op, fill(n)]]));
  }
  for (const n of [1, 3, 125, 126, 200, 300]) {
    on("1", `${name} of ${n} bytes, a byte at a time`, echoes(frame(op, fill(n)), [[op, fill(n)]], 1));
  }
  for (const n of [65535, 65536, 200000]) {
    on("1", `${name} of ${n} bytes in pieces of 997`, echoes(frame(op, fill(n)), [[op, fill(n)]], 997));
  }
  on("1", `a hundred ${name} messages in one packet`, echoes(
    all(...Array.from({ length: 100 }, (_, i) => frame(op, `message ${i}`))),
    Array.from({ length: 100 }, (_, i) => [op, `message ${i}`])));
}
for (const key of ["00000000", "ffffffff", "01020304", "80808080"]) {
  on("1", `mask ${key}`, echoes(frame(text, "masked or not", { key: hex(key) }), [[text, "masked or not"]]));
}
for (const cut of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]) {
  on("1", `a frame of 70000 bytes cut behind byte ${cut}`, async (w) => {
    const bytes = frame(binary, fill(70000));
    await w.send(bytes.subarray(0, cut));
    await w.expectSilence(15);
    await w.send(bytes.subarray(cut));
    await w.expect(binary, fill(70000));
    await closesWell(w);
  });
}

// 2: pings and pongs

for (const n of [0, 1, 2, 124, 125]) {
  on("2", `ping of ${n} bytes`, echoes(frame(ping, fill(n, 0xfe)), [[pong, fill(n, 0xfe)]]));
  on("2", `ping of ${n} bytes, a byte at a time`, echoes(frame(ping, fill(n, 0x61)), [[pong, fill(n, 0x61)]], 1));
}
for (const n of [126, 127, 1000, 65536]) {
  on("2", `ping of ${n} bytes`, fails(frame(ping, fill(n)), 1002));
  on("2", `pong of ${n} bytes`, fails(frame(pong, fill(n)), 1002));
}
on("2", "pong that nobody asked for", echoes(frame(pong, "hi"), []));
on("2", "empty pong that nobody asked for", echoes(frame(pong), []));
on("2", "pong, then ping", echoes(all(frame(pong, "x"), frame(ping, "y")), [[pong, "y"]]));
on("2", "ten pings are answered in order", echoes(
  all(...Array.from({ length: 10 }, (_, i) => frame(ping, `${i}`))), Array.from({ length: 10 }, (_, i) => [pong, `${i}`])));
on("2", "ten pings, a byte at a time", echoes(
  all(...Array.from({ length: 10 }, (_, i) => frame(ping, `${i}`))), Array.from({ length: 10 }, (_, i) => [pong, `${i}`]), 1));
on("2", "five hundred pings", echoes(
  all(...Array.from({ length: 500 }, (_, i) => frame(ping, `${i}`))), Array.from({ length: 500 }, (_, i) => [pong, `${i}`])));

// 3: reserved bits

for (let rsv = 1; rsv < 8; rsv++) {
  for (const [name, op] of Object.entries(OP)) {
    const before = op === cont ? part(text, "a") : Buffer.alloc(0);
    on("3", `reserved bits ${rsv} on ${name}`, fails(all(before, frame(op, op === close ? hex("03e8") : "b", { rsv })), 1002));
  }
  on("3", `reserved bits ${rsv} behind a good message`, fails(
    all(frame(text, "good"), frame(text, "bad", { rsv }), frame(ping)), 1002, [[text, "good"]]));
  on("3", `reserved bits ${rsv}, a byte at a time`, async (w) => {
    await w.sendIn(frame(binary, "bad", { rsv }), 1);
    await w.expectClose(1002);
  });
}
on("3", "a reserved bit is refused at its byte", async (w) => {
  await w.send(Buffer.from([0xc1]));
  await w.expectClose(1002);
});

// 4: opcodes

for (const op of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) {
  on("4", `opcode ${op}, empty`, fails(frame(op), 1002));
  on("4", `opcode ${op} with payload`, fails(frame(op, "abc"), 1002));
  on("4", `opcode ${op} not final`, fails(part(op, "abc"), 1002));
  on("4", `opcode ${op} behind a good message`, fails(all(frame(text, "good"), frame(op, "x"), frame(ping)), 1002, [[text, "good"]]));
  on("4", `opcode ${op} is refused at its byte`, fails(Buffer.from([0x80 | op]), 1002));
}

// 5: fragments

on("5", "a ping in two fragments", fails(all(part(ping, "a"), frame(cont, "b")), 1002));
on("5", "a pong in two fragments", fails(all(part(pong, "a"), frame(cont, "b")), 1002));
on("5", "a close in two fragments", fails(all(part(close, hex("03e8")), frame(cont, "b")), 1002));
for (const op of [text, binary]) {
  const name = op === text ? "text" : "binary";
  const two = all(part(op, "frag"), frame(cont, "ment"));
  const ten = all(part(op, "0"), ...Array.from({ length: 9 }, (_, i) => frame(cont, `${i + 1}`, { fin: i === 8 })));
  const between = all(part(op, "frag"), frame(ping, "p"), frame(cont, "ment"));
  for (const n of [0, 1, 2, 5]) {
    const how = n ? ` in pieces of ${n}` : "";
    on("5", `${name} in two fragments${how}`, echoes(two, [[op, "fragment"]], n));
    on("5", `${name} in ten fragments${how}`, echoes(ten, [[op, "0123456789"]], n));
    on("5", `a ping between two fragments of ${name}${how}`, echoes(between, [[pong, "p"], [op, "fragment"]], n));
  }
  on("5", `empty fragments of ${name}`, echoes(all(part(op, ""), part(cont, ""), frame(cont, "")), [[op, ""]]));
  on("5", `empty fragments around ${name}`, echoes(all(part(op, ""), part(cont, "x"), part(cont, ""), frame(cont, "")), [[op, "x"]]));
  on("5", `${name} with five pings between its fragments`, echoes(
    all(part(op, "a"), ...Array.from({ length: 5 }, (_, i) => all(frame(ping, `${i}`), part(cont, "b"))), frame(cont, "c")),
    [...Array.from({ length: 5 }, (_, i) => [pong, `${i}`]), [op, "abbbbbc"]]));
  on("5", `a second ${name} inside a fragmented one`, fails(all(part(op, "a"), frame(op, "b")), 1002));
  on("5", `a second ${name} begun inside a fragmented one`, fails(all(part(op, "a"), part(op, "b"), frame(cont, "c")), 1002));
  on("5", `the other kind inside a fragmented ${name}`, fails(all(part(op, "a"), frame(3 - op, "b")), 1002));
  on("5", `fragments of ${name} far apart`, async (w) => {
    await w.send(part(op, "slow"));
    await w.expectSilence(50);
    await w.send(frame(ping, "there?"));
    await w.expect(pong, "there?");
    await w.send(frame(cont, "ly"));
    await w.expect(op, "slowly");
    await closesWell(w);
  });
  on("5", `two thousand fragments of ${name}, a byte each`, echoes(
    all(part(op, "x"), ...Array.from({ length: 1999 }, (_, i) => frame(cont, "y", { fin: i === 1998 }))), [[op, `x${"y".repeat(1999)}`]]));
}
for (const fin of [true, false]) {
  const name = fin ? "final" : "first";
  on("5", `a ${name} continuation of nothing`, fails(frame(cont, "x", { fin }), 1002));
  on("5", `an empty ${name} continuation of nothing`, fails(frame(cont, "", { fin }), 1002));
  on("5", `a ${name} continuation behind a whole message`, fails(all(frame(text, "a"), frame(cont, "b", { fin })), 1002, [[text, "a"]]));
  on("5", `a ${name} continuation behind a fragmented message`, fails(
    all(part(text, "a"), frame(cont, "b"), frame(cont, "c", { fin }), frame(text, "d")), 1002, [[text, "ab"]]));
}
on("5", "a close between fragments ends it", async (w) => {
  await w.send(all(part(text, "a"), closeFrame(1000), frame(cont, "b")));
  await w.expectClose(1000);
});

// 6: UTF-8

const good = [
  ["", "nothing"], ["48656c6c6f", "Hello"], ["cebae1bdb9cf83cebcceb5", "Greek"], ["ec9588eb8595", "Korean"],
  ["00", "U+0000"], ["7f", "U+007F"], ["c280", "U+0080"], ["dfbf", "U+07FF"], ["e0a080", "U+0800"], ["ed9fbf", "U+D7FF"],
  ["ee8080", "U+E000"], ["efbfbd", "U+FFFD"], ["efbfbe", "U+FFFE"], ["efbfbf", "U+FFFF"], ["efb790", "U+FDD0"],
  ["f0908080", "U+10000"], ["f09f9880", "U+1F600"], ["f3b08080", "U+F0000"], ["f48fbfbf", "U+10FFFF"], ["efbbbf", "a byte order mark"],
  ["f09fbfbe", "U+1FFFE"], ["f48fbfbe", "U+10FFFE"],
];
const bad = [
  ["80", "a lone continuation"], ["bf", "another"], ["8080808080", "five continuations"], ["c0", "a lone C0"], ["c1", "a lone C1"],
  ["c020", "C0 and a space"], ["df20", "a lead of two and a space"], ["e020", "a lead of three and a space"], ["f020", "a lead of four and a space"],
  ["f5", "F5"], ["f8888080", "a lead of five"], ["fc84808080", "a lead of six"], ["fe", "FE"], ["ff", "FF"], ["fefeffff", "FE and FF"],
  ["c0af", "overlong in two"], ["e080af", "overlong in three"], ["f08080af", "overlong in four"], ["f8808080af", "overlong in five"],
  ["c1bf", "overlong U+007F"], ["e09fbf", "overlong U+07FF"], ["f08fbfbf", "overlong U+FFFF"], ["c080", "overlong U+0000"],
  ["eda080", "U+D800"], ["edadbf", "U+DB7F"], ["edaebf", "U+DBBF"], ["edb080", "U+DC00"], ["edbfbf", "U+DFFF"], ["eda081edb080", "a pair of surrogates"],
  ["f4908080", "U+110000"], ["f7bfbfbf", "U+1FFFFF"], ["cebae1bdb9cf83cebcceb5eda080656469746564", "Greek with a surrogate inside"],
];
const cutOff = [["c3", "two"], ["e1bd", "three, one missing"], ["e1", "three, two missing"], ["f09f98", "four, one missing"], ["f09f", "four, two missing"], ["f0", "four, three missing"]];

for (const [bytes, name] of good) {
  const data = hex(bytes);
  on("6", `${name} is text`, echoes(frame(text, data), [[text, data]]));
  on("6", `${name} a fragment a byte`, echoes(
    all(part(text, ""), ...[...data].map((b) => part(cont, Buffer.from([b]))), frame(cont)), [[text, data]]));
  on("6", `${name} a packet a byte`, echoes(frame(text, data), [[text, data]], 1));
}
for (const [bytes, name] of bad) {
  const data = hex(bytes);
  on("6", `${name} is not text`, fails(frame(text, data), 1007));
  on("6", `${name} behind text`, fails(frame(text, all(Buffer.from("prefix "), data)), 1007));
  on("6", `${name} behind 200 bytes of text, in front of as much`, fails(frame(text, all(fill(200, 0x61), data, fill(200, 0x61))), 1007));
  on("6", `${name} a fragment a byte`, fails(
    all(part(text, ""), ...[...data].map((b) => part(cont, Buffer.from([b]))), frame(cont)), 1007));
  on("6", `${name} is binary`, echoes(frame(binary, data), [[binary, data]]));
}
for (const [bytes, name] of cutOff) {
  const data = hex(bytes);
  on("6", `text ends inside a character of ${name}`, fails(frame(text, all(Buffer.from("x"), data)), 1007));
  on("6", `fragmented text ends inside a character of ${name}`, fails(all(part(text, data), frame(cont)), 1007));
  on("6", `a character of ${name} is not over with the fragment`, fails(all(part(text, data), frame(cont, "x")), 1007));
  on("6", `text may pause inside a character of ${name}`, async (w) => {
    const whole = { c3: "c3a9", e1bd: "e1bdb9", e1: "e1bdb9", f09f98: "f09f9880", f09f: "f09f9880", f0: "f09f9880" }[bytes];
    await w.send(part(text, data));
    await w.expectSilence(25);
    await w.send(frame(cont, hex(whole.slice(bytes.length))));
    await w.expect(text, hex(whole));
    await closesWell(w);
  });
}
// Fail at the first impossible byte: the rest of the message is never sent.
for (const [bytes, name] of bad) {
  const data = hex(bytes);
  on("6", `${name} is refused before its frame is complete`, async (w) => {
    await w.send(frame(text, all(Buffer.from("ok "), data), { length: 1000 }));
    await w.expectClose(1007);
  });
}
on("6", "bad text in the first of two fragments, the second never comes", fails(part(text, hex("cebaff")), 1007));
on("6", "bad text in the second of three fragments", fails(all(part(text, "good"), part(cont, hex("f4908080"))), 1007));
on("6", "bad text inside a large frame that never ends", async (w) => {
  const data = fill(300000, 0x61);
  data[250000] = 0xff;
  await w.send(frame(text, data, { length: 4000000 }));
  await w.expectClose(1007);
});
for (const at of [0, 31, 32, 63, 64, 127, 1000, 4095, 16383]) {
  on("6", `a bad byte at ${at} of 16384`, async (w) => {
    const data = fill(16384, 0x78);
    data[at] = 0x80;
    await w.send(frame(text, data));
    await w.expectClose(1007);
  });
}
for (let shift = 0; shift < 8; shift++) {
  const data = all(fill(shift, 0x61), Buffer.from("한é😀".repeat(3000)));
  on("6", `30 KB of 2-, 3- and 4-byte characters, moved by ${shift}`, echoes(frame(text, data), [[text, data]]));
}

// 7: closing

on("7", "close behind a message", async (w) => {
  await w.send(all(frame(text, "hello"), closeFrame(1000)));
  await w.expect(text, "hello");
  await w.expectClose(1000);
});
on("7", "close alone", fails(closeFrame(1000), 1000));
on("7", "close twice", fails(all(closeFrame(1000), closeFrame(1000)), 1000));
on("7", "ping behind the close is not answered", fails(all(closeFrame(1000), frame(ping, "x")), 1000));
on("7", "text behind the close is not echoed", fails(all(closeFrame(1000), frame(text, "x")), 1000));
on("7", "rubbish behind the close is ignored", fails(all(closeFrame(1000), fill(300, 0xff)), 1000));
on("7", "a large message and a close", async (w) => {
  await w.send(all(frame(text, fill(262144)), closeFrame(1000)));
  await w.expect(text, fill(262144));
  await w.expectClose(1000);
});
on("7", "close without a code", fails(frame(close), null));
on("7", "close with half a code", fails(frame(close, hex("03")), 1002));
on("7", "close with a reason", fails(closeFrame(1000, "done here"), 1000));
on("7", "close with a reason of 123 bytes", fails(closeFrame(1000, "x".repeat(123)), 1000));
on("7", "close with a reason of 124 bytes", fails(closeFrame(1000, "x".repeat(124)), 1002));
on("7", "close with a Korean reason", fails(closeFrame(1000, "안녕히"), 1000));
for (const [bytes, name] of bad.slice(0, 12)) on("7", `close with a reason that is ${name}`, fails(frame(close, all(hex("03e8"), hex(bytes))), 1007));
for (const [bytes, name] of cutOff) on("7", `close with a reason cut inside ${name}`, fails(frame(close, all(hex("03e8"), hex(bytes))), 1007));
for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]) {
  on("7", `close with ${code}`, fails(closeFrame(code), code));
  on("7", `close with ${code} and a reason`, fails(closeFrame(code, "because"), code));
}
for (const code of [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]) on("7", `close with ${code}`, fails(closeFrame(code), 1002));
on("7", "close, a byte at a time", async (w) => {
  await w.sendIn(closeFrame(1000, "slow"), 1);
  await w.expectClose(1000);
});
on("7", "messages before the close all come back", async (w) => {
  const many = Array.from({ length: 50 }, (_, i) => `m${i}`);
  await w.send(all(...many.map((m) => frame(text, m)), closeFrame(1001)));
  for (const m of many) await w.expect(text, m);
  await w.expectClose(1001);
});
on("7", "half-closed by the client without a close frame", async (w) => {
  await w.send(frame(text, "last"));
  w.halfClose();
  await w.expect(text, "last");
  const rest = await w.next();
  assert.ok(rest === null || rest.op === close);
});
on("7", "half-closed behind the close frame", async (w) => {
  await w.send(closeFrame(1000));
  w.halfClose();
  await w.expectClose(1000);
});
add("7", "a connection that vanishes hurts nobody", async (target) => {
  for (const bytes of [part(text, "half"), frame(binary, "x", { length: 1 << 20 }), Buffer.from([0x81]), frame(text, "whole")]) {
    const w = await Wire.open(target);
    await w.send(bytes);
    w.reset();
  }
  const w = await Wire.open(target);
  await echoes(frame(text, "still here"), [[text, "still here"]])(w);
  w.destroy();
});

// 8: masks, lengths in the wrong form, limits

for (const [name, op] of Object.entries(OP)) {
  const before = op === cont ? part(text, "a") : Buffer.alloc(0);
  on("8", `${name} without a mask`, fails(all(before, frame(op, op === close ? hex("03e8") : "x", { mask: false })), 1002));
}
on("8", "an empty frame without a mask", fails(Buffer.from([0x81, 0x00]), 1002));
on("8", "a second frame without a mask", fails(all(frame(text, "ok"), frame(text, "bad", { mask: false })), 1002, [[text, "ok"]]));
for (const n of [0, 1, 125]) {
  for (const form of [16, 64]) on("8", `${n} bytes with a length of ${form} bits`, fails(frame(binary, fill(n), { form }), 1002));
}
for (const n of [126, 65535]) on("8", `${n} bytes with a length of 64 bits`, fails(frame(binary, fill(n), { form: 64 }), 1002));
on("8", "a ping with a length of 16 bits", fails(frame(ping, "x", { form: 16 }), 1002));
on("8", "a length with its top bit set", fails(frame(binary, "", { length: 1n << 63n }), 1002));
on("8", "all bits of the length set", fails(frame(binary, "", { length: (1n << 64n) - 1n }), 1002));
on("8", "a frame that announces 2^62 bytes", fails(frame(binary, "x", { length: 1n << 62n }), 1009));
on("8", "a frame that announces 2^40 bytes", fails(frame(text, "x", { length: 1n << 40n }), 1009));
on("8", "fragments that announce too much together", fails(all(part(binary, "x"), frame(cont, "x", { length: 1n << 45n })), 1009));
on("8", "a frame that announces 16 MiB and never comes", async (w) => {
  await w.send(frame(binary, "x", { length: 16 << 20 }));
  await w.expectSilence(50);
});

// 9: large messages, many fragments, many messages

const MiB = 1 << 20;
for (const op of [text, binary]) {
  const name = op === text ? "text" : "binary";
  for (const n of [64 << 10, 256 << 10, MiB, 4 * MiB, 8 * MiB, 16 * MiB]) {
    on("9", `${name} of ${n >> 10} KiB`, echoes(frame(op, fill(n)), [[op, fill(n)]]), { slow: n >= 4 * MiB });
  }
  for (const size of [64, 256, 1024, 4096, 16384, 65536, 262144, MiB, 4 * MiB]) {
    on("9", `4 MiB of ${name} in fragments of ${size}`, async (w) => {
      const frames = [];
      for (let at = 0; at < 4 * MiB; at += size) frames.push(frame(at ? cont : op, fill(size), { fin: at + size === 4 * MiB }));
      await w.send(all(...frames));
      await w.expect(op, fill(4 * MiB), 20000);
      await closesWell(w);
    }, { slow: true });
  }
  for (const size of [64, 128, 256, 512, 1024, 2048]) {
    on("9", `256 KiB of ${name} in packets of ${size}`, echoes(frame(op, fill(262144)), [[op, fill(262144)]], size), { slow: true });
  }
  for (const size of [0, 16, 64, 256, 1024, 4096, 16384]) {
    on("9", `1000 messages of ${name} of ${size} bytes, one after another`, async (w) => {
      for (let i = 0; i < 1000; i++) {
        await w.send(frame(op, fill(size)));
        await w.expect(op, fill(size));
      }
      await closesWell(w);
    }, { slow: true });
    on("9", `500 messages of ${name} of ${size} bytes without waiting`, async (w) => {
      const bytes = frame(op, fill(size));
      const sending = (async () => { for (let i = 0; i < 500; i++) await w.send(bytes); })();
      for (let i = 0; i < 500; i++) await w.expect(op, fill(size));
      await sending;
      await closesWell(w);
    }, { slow: true });
  }
}
on("9", "100 messages of 1 MiB without waiting", async (w) => {
  const bytes = frame(binary, fill(MiB));
  const sending = (async () => { for (let i = 0; i < 100; i++) await w.send(bytes); })();
  for (let i = 0; i < 100; i++) await w.expect(binary, fill(MiB), 20000);
  await sending;
  await closesWell(w);
}, { slow: true });
on("9", "20000 fragments of a byte", echoes(
  all(part(binary, "x"), ...Array.from({ length: 19999 }, (_, i) => frame(cont, "x", { fin: i === 19998 }))), [[binary, "x".repeat(20000)]]), { slow: true });
on("9", "2 MiB of noise as binary, in fragments of 65536 with pings between", async (w) => {
  const data = noise(2 * MiB);
  const frames = [];
  for (let at = 0; at < data.length; at += 65536) {
    frames.push(frame(at ? cont : binary, data.subarray(at, at + 65536), { fin: at + 65536 === data.length }), frame(ping, `${at}`));
  }
  await w.send(all(...frames));
  for (let at = 0; at < data.length - 65536; at += 65536) await w.expect(pong, `${at}`);
  await w.expect(binary, data);
  await w.expect(pong, `${data.length - 65536}`);
  await closesWell(w);
});

// 10: the opening handshake

function answered(title, change, statuses, options = {}) {
  add("10", title, async (target) => {
    const w = await Wire.connect(target);
    try {
      await w.send(request(target, change, options).bytes);
      const { status, headers } = await w.answer();
      assert.ok([statuses].flat().includes(status), `${status}, not ${statuses}`);
      await options.also?.(headers, w);
    } finally {
      w.destroy();
    }
  });
}
const version13 = (headers) => assert.equal(headers["sec-websocket-version"], "13");
answered("a good request", {}, 101);
answered("names and values in other cases", { upgrade: "WebSocket", connection: "keep-alive, UPGRADE" }, 101);
answered("Upgrade as a list", { upgrade: "h2c, websocket" }, 101);
answered("two Connection headers", { connection: ["keep-alive", "Upgrade"] }, 101);
answered("no Upgrade", { upgrade: null }, [400, 426]);
answered("Upgrade to something else", { upgrade: "h2c" }, [400, 426]);
answered("Upgrade to something that begins alike", { upgrade: "websockets" }, [400, 426]);
answered("no Connection", { connection: null }, [400, 426]);
answered("Connection without upgrade", { connection: "keep-alive" }, [400, 426]);
answered("no key", { "sec-websocket-key": null }, 400);
answered("an empty key", { "sec-websocket-key": "" }, 400);
answered("a key of 15 bytes", { "sec-websocket-key": Buffer.alloc(15).toString("base64") }, 400);
answered("a key of 17 bytes", { "sec-websocket-key": Buffer.alloc(17).toString("base64") }, 400);
answered("a key that is not base64", { "sec-websocket-key": "!!!!!!!!!!!!!!!!!!!!!!==" }, 400);
answered("two keys", { "sec-websocket-key": ["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="] }, 400);
answered("no version", { "sec-websocket-version": null }, [400, 426], { also: version13 });
for (const v of ["0", "7", "8", "12", "14", "99", "13a", "-13", "013"]) answered(`version ${v}`, { "sec-websocket-version": v }, v.startsWith("1") || /^\d+$/.test(v) ? 426 : [400, 426], { also: version13 });
answered("POST", {}, 405, { method: "POST", also: (headers) => assert.match(headers.allow, /GET/) });
for (const method of ["PUT", "DELETE", "HEAD"]) answered(method, {}, [405, 404, 400], { method });
answered("HTTP/1.0", {}, [400, 426, 505], { version: "HTTP/1.0" });
answered("a body of three bytes", { "content-length": "3" }, 400, { behind: Buffer.from("abc") });
answered("a body in chunks", { "transfer-encoding": "chunked" }, 400, { behind: Buffer.from("3\r\nabc\r\n0\r\n\r\n") });
answered("no Host", { host: null }, 400);
answered("an unknown path", {}, 404, { path: "/there/is/no/such/path" });
answered("a foreign origin", { origin: "http://elsewhere.example" }, 403);
answered("an unknown sub-protocol is not confirmed", { "sec-websocket-protocol": "x-unknown" }, [101, 400], {
  also: (headers) => assert.equal(headers["sec-websocket-protocol"], undefined) });
answered("a sub-protocol with a blank inside", { "sec-websocket-protocol": "a b" }, [400]);
answered("an unknown extension is not confirmed", { "sec-websocket-extensions": "x-unknown; a=1" }, 101, {
  also: (headers) => assert.equal(headers["sec-websocket-extensions"], undefined) });
answered("a malformed extension header", { "sec-websocket-extensions": "permessage-deflate; =" }, 400);
add("10", "its own origin is welcome", async (target) => {
  const w = await Wire.open(target, { origin: `http://${target.host}:${target.port}` });
  await echoes(frame(text, "hi"), [[text, "hi"]])(w);
  w.destroy();
});
add("10", "a request cut at every byte", async (target) => {
  const { bytes } = request(target);
  for (let at = 1; at < bytes.length; at += 3) {
    const w = await Wire.connect(target);
    await w.send(bytes.subarray(0, at));
    await new Promise(setImmediate);
    await w.send(bytes.subarray(at));
    assert.equal((await w.answer()).status, 101);
    w.destroy();
  }
}, { slow: true });
add("10", "a request a byte at a time", async (target) => {
  const w = await Wire.connect(target);
  await w.sendIn(request(target).bytes, 1);
  assert.equal((await w.answer()).status, 101);
  await echoes(frame(text, "hi"), [[text, "hi"]])(w);
  w.destroy();
});
for (const [title, behind, want] of [
  ["a frame", frame(text, "early"), [[text, "early"]]],
  ["two frames", all(frame(text, "one"), frame(binary, "two")), [[text, "one"], [binary, "two"]]],
  ["a frame of 100000 bytes", frame(binary, fill(100000)), [[binary, fill(100000)]]],
]) {
  add("10", `${title} behind the request in the same packet`, async (target) => {
    const w = await Wire.open(target, {}, { behind });
    for (const [op, payload] of want) await w.expect(op, payload);
    await closesWell(w);
    w.destroy();
  });
}
add("10", "half a frame behind the request", async (target) => {
  const bytes = frame(text, "in two halves");
  const w = await Wire.open(target, {}, { behind: bytes.subarray(0, 5) });
  await w.send(bytes.subarray(5));
  await w.expect(text, "in two halves");
  await closesWell(w);
  w.destroy();
});
add("10", "a bad frame behind the request", async (target) => {
  const w = await Wire.open(target, {}, { behind: frame(3, "x") });
  await w.expectClose(1002);
  w.destroy();
});

// 12: permessage-deflate, messages

const deflate = { "sec-websocket-extensions": "permessage-deflate" };
const offers = [
  "permessage-deflate",
  "permessage-deflate; client_max_window_bits",
  "permessage-deflate; client_max_window_bits=9",
  "permessage-deflate; client_max_window_bits=15",
  "permessage-deflate; server_max_window_bits=8",
  "permessage-deflate; server_max_window_bits=9",
  "permessage-deflate; server_max_window_bits=12",
  "permessage-deflate; server_max_window_bits=15",
  "permessage-deflate; client_no_context_takeover",
  "permessage-deflate; server_no_context_takeover",
  "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
  "permessage-deflate; client_max_window_bits=10; server_max_window_bits=10",
  "permessage-deflate; client_no_context_takeover; server_no_context_takeover; client_max_window_bits=9; server_max_window_bits=9",
  "permessage-deflate; server_max_window_bits=\"10\"",
];
const prose = (n) => {
  const words = ["room", "message", "hello", "안녕", "court", "yard", "the", "a", "of", "and", "socket", "wire"];
  const out = [];
  for (let i = 7, length = 0; length < n; i = (i * 1103515245 + 12345) >>> 0) {
    out.push(words[(i >>> 16) % words.length]);
    length += out.at(-1).length + 1;
  }
  return Buffer.from(out.join(" ").slice(0, n));
};

for (const offer of offers) {
  const change = { "sec-websocket-extensions": offer };
  add("12", `${offer}: the answer fits the offer`, async (target) => {
    const w = await Wire.open(target, change);
    const { agreed } = w;
    assert.ok(agreed, "the offer was declined");
    const wish = Object.fromEntries(offer.split(";").slice(1).map((p) => p.trim().replaceAll('"', "").split("=")));
    if ("server_no_context_takeover" in wish) assert.ok(agreed.server_no_context_takeover);
    if ("server_max_window_bits" in wish) assert.ok(agreed.params.has("server_max_window_bits") && agreed.server_max_window_bits <= Number(wish.server_max_window_bits));
    if (!("client_max_window_bits" in wish)) assert.ok(!agreed.params.has("client_max_window_bits"));
    else if (wish.client_max_window_bits) assert.ok(agreed.client_max_window_bits <= 15);
    w.destroy();
  });
  for (const size of [0, 1, 16, 126, 1000, 4096, 20000, 70000, 300000]) {
    on("12", `${offer}: text of ${size}, five times`, async (w) => {
      const data = prose(size);
      for (let i = 0; i < 5; i++) {
        await w.send(frame(text, w.compress(data), { rsv: 4 }));
        await w.expect(text, data);
      }
      await closesWell(w);
    }, { change });
  }
  on("12", `${offer}: noise, in fragments, with pings between`, async (w) => {
    const data = noise(50000);
    const packed = w.compress(data);
    const third = Math.floor(packed.length / 3);
    await w.send(all(
      frame(binary, packed.subarray(0, third), { fin: false, rsv: 4 }), frame(ping, "1"),
      part(cont, packed.subarray(third, 2 * third)), part(cont, ""), frame(ping, "2"), frame(cont, packed.subarray(2 * third))));
    await w.expect(pong, "1");
    await w.expect(pong, "2");
    await w.expect(binary, data);
    await closesWell(w);
  }, { change });
  on("12", `${offer}: compressed and plain messages by turns`, async (w) => {
    for (let i = 0; i < 6; i++) {
      const data = prose(500 + i);
      await w.send(i % 2 ? frame(text, data) : frame(text, w.compress(data), { rsv: 4 }));
      await w.expect(text, data);
    }
    await closesWell(w);
  }, { change });
}
for (const [size, fragment] of [[1 << 16, 512], [1 << 17, 4096], [1 << 20, 65536], [4 << 20, 262144]]) {
  on("12", `${size} bytes in fragments of ${fragment}`, async (w) => {
    const data = prose(size);
    const packed = w.compress(data, 0);
    const frames = [];
    for (let at = 0; at < packed.length; at += fragment) {
      frames.push(frame(at ? cont : text, packed.subarray(at, at + fragment), { fin: at + fragment >= packed.length, rsv: at ? 0 : 4 }));
    }
    await w.send(all(...frames));
    await w.expect(text, data, 20000);
    await closesWell(w);
  }, { change: deflate, slow: true });
}
on("12", "a compressed message a byte at a time", async (w) => {
  const data = prose(700);
  await w.sendIn(frame(text, w.compress(data), { rsv: 4 }), 1);
  await w.expect(text, data);
  await closesWell(w);
}, { change: deflate });
on("12", "the examples of RFC 7692 7.2.3", async (w) => {
  for (const bytes of ["f248cdc9c90700", "000500faff48656c6c6f00", "f348cdc9c9070000", "f24805000000ffffcac9c90700"]) {
    await w.send(frame(text, hex(bytes), { rsv: 4 }));
    await w.expect(text, "Hello");
  }
  await closesWell(w);
}, { change: { "sec-websocket-extensions": "permessage-deflate; client_no_context_takeover" } });
on("12", "an empty message, compressed", async (w) => {
  await w.send(frame(binary, hex("00"), { rsv: 4 }));
  await w.expect(binary, "");
  await closesWell(w);
}, { change: deflate });

// 13: permessage-deflate, refusals

for (const param of ["server_max_window_bits", "server_max_window_bits=7", "server_max_window_bits=16", "server_max_window_bits=08",
  "client_max_window_bits=7", "client_max_window_bits=16", "client_max_window_bits=x", "server_no_context_takeover=1",
  "client_no_context_takeover=x", "unknown", "unknown=1", "server_no_context_takeover; server_no_context_takeover"]) {
  answered(`an offer with ${param} is declined`, { "sec-websocket-extensions": `permessage-deflate; ${param}` }, 101, {
    also: (headers) => assert.equal(headers["sec-websocket-extensions"], undefined) });
  answered(`behind one with ${param} the next offer is taken`, { "sec-websocket-extensions": `permessage-deflate; ${param}, permessage-deflate` }, 101, {
    also: (headers) => assert.match(headers["sec-websocket-extensions"], /^permessage-deflate/) });
}
on("13", "RSV1 without the extension", fails(frame(text, hex("f248cdc9c90700"), { rsv: 4 }), 1002));
for (const [name, op] of [["ping", ping], ["pong", pong], ["close", close]]) {
  on("13", `RSV1 on a ${name}`, fails(frame(op, hex("03e8"), { rsv: 4 }), 1002), { change: deflate });
}
on("13", "RSV1 on a continuation", fails(all(frame(text, hex("f248"), { fin: false, rsv: 4 }), frame(cont, hex("cdc9c90700"), { rsv: 4 })), 1002), { change: deflate });
on("13", "RSV1 on the continuation of a plain message", fails(all(part(text, "a"), frame(cont, "b", { rsv: 4 })), 1002), { change: deflate });
for (const rsv of [1, 2, 3, 5, 6, 7]) on("13", `reserved bits ${rsv} with the extension`, fails(frame(text, "x", { rsv }), 1002), { change: deflate });
on("13", "rubbish for DEFLATE", fails(frame(binary, hex("ffffffff"), { rsv: 4 }), [1002, 1003, 1007]), { change: deflate });
on("13", "a reference to what never was", fails(frame(text, hex("f200110000"), { rsv: 4 }), [1002, 1003, 1007]), { change: deflate });
on("13", "compressed text that is not UTF-8", async (w) => {
  await w.send(frame(text, w.compress(hex("68656c6c6fff")), { rsv: 4 }));
  await w.expectClose(1007);
}, { change: deflate });
on("13", "compressed text that ends inside a character", async (w) => {
  await w.send(frame(text, w.compress(hex("68ea")), { rsv: 4 }));
  await w.expectClose(1007);
}, { change: deflate });
on("13", "a bomb", async (w) => {
  const packed = w.compress(Buffer.alloc(200 << 20));
  await w.send(frame(binary, packed, { rsv: 4 }));
  await w.expectClose(1009);
}, { change: deflate, slow: true });
