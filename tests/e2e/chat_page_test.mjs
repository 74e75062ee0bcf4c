// The chat in a real browser, as people use it.

import assert from "node:assert/strict";
import { test, until, sleep } from "./lib/harness.mjs";
import { enter, said, say, visitor } from "./lib/browser.mjs";
import { startProxy } from "./lib/proxy.mjs";

const waitSaid = (page, expected) => until(`said ${expected}`, async () => {
  const lines = await said(page);
  return JSON.stringify(lines) === JSON.stringify(expected);
}).catch(async (error) => {
  throw new Error(`${error.message}\nshown: ${JSON.stringify(await said(page))}`);
});

const textOf = (page, selector) => page.$$eval(selector, (all) => all.map((e) => e.textContent));

test("two people talk, one leaves, the other sees it", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const ann = await visitor(t);
  const ben = await visitor(t);
  await enter(ann, server.url, "ann");
  await enter(ben, server.url, "ben");
  await until("ann sees ben come in", async () => (await textOf(ann, ".notice")).some((n) => n.includes("ben came in")));
  await say(ann, "hello: is anyone here?");
  await waitSaid(ben, ["ann: hello: is anyone here?"]);
  await say(ben, "yes, me");
  await waitSaid(ann, ["own: hello: is anyone here?", "ben: yes, me"]);
  assert.deepEqual((await textOf(ann, ".person-name")).sort(), ["ann", "ben"]);
  await ben.close();
  await until("ann sees ben leave", async () => (await textOf(ann, ".notice")).some((n) => n.includes("ben left")));
  await until("ann is alone", async () => (await textOf(ann, ".person-name")).join() === "ann");
});

test("a newcomer sees what was said before", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const ann = await visitor(t);
  await enter(ann, server.url, "ann");
  for (const text of ["one", "two", "three"]) await say(ann, text);
  await waitSaid(ann, ["own: one", "own: two", "own: three"]);
  const ben = await visitor(t);
  await enter(ben, server.url, "ben");
  await waitSaid(ben, ["ann: one", "ann: two", "ann: three"]);
});

test("what people type is text, never HTML, and links are safe", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const ann = await visitor(t);
  const ben = await visitor(t);
  await enter(ann, server.url, "ann");
  await enter(ben, server.url, "ben");
  const evil = '<img src=x onerror="window.hit=1"><script>window.hit=1</script> javascript:alert(1) https://a.example/?q=<b>';
  await say(ann, evil);
  await waitSaid(ben, [`ann: ${evil}`]);
  assert.equal(await ben.evaluate(() => window.hit), undefined);
  assert.equal(await ben.$$eval(".bubble img, .bubble script, .bubble b", (all) => all.length), 0);
  const links = await ben.$$eval(".bubble a", (all) => all.map((a) => [a.href, a.rel, a.target]));
  assert.deepEqual(links, [["https://a.example/?q=", "noopener noreferrer nofollow", "_blank"]]);
});

test("a connection cut in the middle comes back, nothing missing and nothing twice", { timeout: 90 }, async (t) => {
  const server = await t.server();
  const proxy = await startProxy(t, server.port);
  const ann = await visitor(t);
  const ben = await visitor(t);
  await enter(ann, `http://127.0.0.1:${proxy.port}`, "ann");
  await enter(ben, server.url, "ben");
  await say(ann, "before");
  await waitSaid(ben, ["ann: before"]);
  proxy.refuse = true;
  proxy.cut();
  await ann.waitForSelector('.status[data-state="waiting"]');
  await say(ben, "missed 1");
  await say(ben, "missed 2");
  await say(ann, "written while away");
  await waitSaid(ben, ["ann: before", "own: missed 1", "own: missed 2"]);
  assert.equal(await ann.$$eval(".pending", (all) => all.length), 1);
  proxy.refuse = false;
  await ann.waitForSelector('.status[data-state="open"]', { state: "attached", timeout: 20_000 });
  await waitSaid(ann, ["own: before", "ben: missed 1", "ben: missed 2", "own: written while away"]);
  await waitSaid(ben, ["ann: before", "own: missed 1", "own: missed 2", "ann: written while away"]);
  assert.equal(await ann.$$eval(".pending, .lost", (all) => all.length), 0);
});

test("a message whose acknowledgement was lost is not sent twice", { timeout: 90 }, async (t) => {
  const server = await t.server();
  const proxy = await startProxy(t, server.port);
  const ann = await visitor(t);
  const ben = await visitor(t);
  await enter(ann, `http://127.0.0.1:${proxy.port}`, "ann");
  await enter(ben, server.url, "ben");
  await say(ann, "first");
  await waitSaid(ben, ["ann: first"]);
  proxy.mute = true;
  await say(ann, "did this arrive?");
  await waitSaid(ben, ["ann: first", "ann: did this arrive?"]);
  proxy.cut();
  proxy.mute = false;
  await waitSaid(ann, ["own: first", "own: did this arrive?"]);
  await sleep(1000);
  await waitSaid(ben, ["ann: first", "ann: did this arrive?"]);
  assert.equal(await ann.$$eval(".pending", (all) => all.length), 0);
});

test("the server restarts: both come back and the page says what was lost", { timeout: 90 }, async (t) => {
  const server = await t.server();
  const ann = await visitor(t);
  const ben = await visitor(t);
  await enter(ann, server.url, "ann");
  await enter(ben, server.url, "ben");
  await say(ann, "before the restart");
  await waitSaid(ben, ["ann: before the restart"]);
  await server.stop();
  await ann.waitForSelector('.status[data-state="waiting"]');
  await say(ann, "said into the silence");
  await server.restart(t);
  for (const page of [ann, ben]) {
    await page.waitForSelector('.status[data-state="open"]', { state: "attached", timeout: 40_000 });
    await page.waitForSelector(".lost", { timeout: 10_000 });
  }
  assert.match((await textOf(ben, ".lost"))[0], /restarted/);
  await waitSaid(ben, ["ann: before the restart", "ann: said into the silence"]);
  await say(ben, "still here");
  await waitSaid(ann, ["own: before the restart", "own: said into the silence", "ben: still here"]);
});

test("rooms: a new one by keyboard, unread messages counted in the list and the title", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const ann = await visitor(t);
  const ben = await visitor(t);
  await enter(ann, server.url, "ann");
  await enter(ben, server.url, "ben");
  await ann.getByRole("button", { name: "New room" }).focus();
  await ann.keyboard.press("Enter");
  await ann.keyboard.type("garden");
  await ann.keyboard.press("Enter");
  await ann.waitForSelector("h1:has-text('garden')");
  await say(ben, "one");
  await say(ben, "two");
  await ann.waitForSelector(".badge:has-text('2')");
  await until("the title counts", async () => /^\(2\) garden/.test(await ann.title()));
  await ann.getByRole("button", { name: /lobby/ }).click();
  await waitSaid(ann, ["ben: one", "ben: two"]);
  await ann.waitForSelector(".unread-line");
  await until("the count is gone", async () => !(await ann.title()).startsWith("("));
});

test("a name in use is refused in words", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const ann = await visitor(t);
  await enter(ann, server.url, "ann");
  const other = await visitor(t);
  await other.goto(`${server.url}/chat`);
  await other.fill("#name", "ann");
  await other.keyboard.press("Enter");
  const alert = other.getByRole("alert");
  await alert.waitFor();
  assert.match(await alert.textContent(), /using this name/);
  await other.fill("#name", "a:b");
  await other.keyboard.press("Enter");
  await until("the other refusal", async () => /cannot be used/.test(await alert.textContent()));
});

test("the page speaks Korean, fits a phone, and its drawers close with Escape", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const page = await visitor(t, { locale: "ko-KR", viewport: { width: 360, height: 640 }, colorScheme: "dark" });
  await enter(page, server.url, "하늘");
  assert.equal(await page.getAttribute("html", "lang"), "ko");
  await say(page, "안녕하세요 ".repeat(30) + "https://example.org/" + "x".repeat(200));
  await page.waitForSelector(".bubble");
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "no sideways scrolling");
  await page.getByRole("button", { name: "방 목록" }).click();
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  const back = await page.evaluate(() => document.activeElement.getAttribute("aria-label"));
  assert.equal(back, "방 목록");
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(18, 21, 23)");
});

test("a screen reader finds the log, the state, the people and the field", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const page = await visitor(t);
  await enter(page, server.url, "ann");
  await page.getByRole("log", { name: "Messages in lobby" }).waitFor();
  await page.getByRole("navigation", { name: "Rooms" }).waitFor();
  await page.getByRole("complementary", { name: "Here now" }).waitFor();
  await page.getByRole("textbox", { name: "Message to lobby" }).waitFor();
  await page.getByRole("status").first().waitFor({ state: "attached" });
  const nameless = await page.$$eval("button", (all) => all.filter((b) => !(b.ariaLabel || b.textContent.trim())).length);
  assert.equal(nameless, 0);
  assert.equal(await page.evaluate(() => document.querySelector("a, button, input, textarea").textContent), "Skip to writing");
  await page.locator(".skip").focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "composer");
});

test("signing out ends the session, and one user in two tabs is one presence", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const ben = await visitor(t);
  await enter(ben, server.url, "ben");
  const ann = await visitor(t);
  await enter(ann, server.url, "ann");
  const second = await ann.context().newPage();
  await second.goto(`${server.url}/chat`);
  await second.waitForSelector('.status[data-state="open"]', { state: "attached" });
  await until("two people", async () => (await textOf(ben, ".person-name")).join() === "ann,ben");
  await second.close();
  await sleep(1000);
  assert.deepEqual(await textOf(ben, ".person-name"), ["ann", "ben"]);
  await ann.getByRole("button", { name: "Sign out" }).click();
  await ann.waitForSelector("#name");
  await until("one person", async () => (await textOf(ben, ".person-name")).join() === "ben");
  await ann.reload();
  await ann.waitForSelector("#name");
});

for (const via of ["socketio", "socketio:polling", "sockjs:websocket", "sockjs:xhr-streaming", "sockjs:eventsource", "sockjs:xhr-polling"]) {
  test(`over ${via} the page is in the same room`, { timeout: 60 }, async (t) => {
    const server = await t.server();
    const ann = await visitor(t);
    const ben = await visitor(t);
    await enter(ann, server.url, "ann", via);
    await enter(ben, server.url, "ben");
    await say(ann, "by another way");
    await waitSaid(ben, ["ann: by another way"]);
    await say(ben, "heard");
    await waitSaid(ann, ["own: by another way", "ben: heard"]);
  });
}

test("the transport is switched in the middle, nothing missing and nothing twice", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const ann = await visitor(t);
  const ben = await visitor(t);
  await enter(ann, server.url, "ann");
  await enter(ben, server.url, "ben");
  await say(ann, "one");
  await waitSaid(ben, ["ann: one"]);
  const choice = ann.getByLabel("Connect by");
  await choice.selectOption("sockjs");
  await say(ben, "two");
  await say(ann, "three");
  await until("all three", async () => (await said(ann)).length === 3);
  await choice.selectOption("socketio");
  await say(ann, "four");
  for (const page of [ann, ben]) await until("all four", async () => (await said(page)).length === 4);
  assert.deepEqual((await said(ann)).sort(), ["ben: two", "own: four", "own: one", "own: three"]);
  assert.equal(await ann.$$eval(".lost, .pending", (all) => all.length), 0);
});
