// Starts the page.

import { render } from "preact";
import { Chat } from "./chat/chat.js";
import { language, t } from "./i18n.js";
import { App } from "./views/App.jsx";

document.documentElement.lang = language;
document.title = t.appName;

const chat = new Chat();
render(<App chat={chat} />, document.getElementById("app"));

// The page came from the server's cache or a proxy, and the server itself cannot be reached yet.
const RETRY_MS = 2000;
const start = () => chat.start().catch(() => setTimeout(start, RETRY_MS));
start();

addEventListener("online", () => chat.connection.check());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") chat.connection.check();
});
addEventListener("hashchange", () => {
  const room = decodeURIComponent(location.hash.slice(1));
  if (room && chat.phase === "in") chat.open(room);
});
