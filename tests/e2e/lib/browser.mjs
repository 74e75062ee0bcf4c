// Chromium without a screen, and the chat page as a person uses it.

import { chromium } from "playwright-core";

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];

let browser = null;

/** One browser for a test file; every visitor has a profile of their own. */
export async function visitor(t, options = {}) {
  browser ??= await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1200, height: 800 }, ...options });
  t.after(() => context.close());
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => {
    if (/Content Security Policy|Content-Security-Policy/.test(message.text())) problems.push(message.text());
  });
  t.after(() => {
    if (problems.length > 0) throw new Error(`the page had problems:\n${problems.join("\n")}`);
  });
  return page;
}

export async function closeBrowser() {
  await browser?.close();
  browser = null;
}

/** Signs in and waits for the connection; `via` is a transport other than WebSocket. */
export async function enter(page, url, name, via = null) {
  await page.goto(`${url}/chat${via ? `?via=${via}` : ""}`);
  await page.fill("#name", name);
  await page.keyboard.press("Enter");
  await page.waitForSelector('.status[data-state="open"]', { state: "attached" });
}

export async function say(page, text) {
  await page.fill("#composer", text);
  await page.keyboard.press("Enter");
}

/** Everything said, in the order shown: ["own: hi", "ben: hello"]. Pending messages are left out. */
export const said = (page) => page.$$eval(".run", (runs) => runs.flatMap((run) => {
  const author = run.classList.contains("own") ? "own" : run.querySelector(".author bdi").textContent;
  return [...run.querySelectorAll(".line:not(.pending) .bubble")].map((b) => `${author}: ${b.textContent}`);
}));
