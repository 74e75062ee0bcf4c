// The ways to reach the server. Each is loaded when it is chosen (./websocket.js says what a
// transport is), so that a page on WebSocket does not carry the others.
//
// The choice is kept in this browser; "?via=sockjs" in the address wins, and "?via=sockjs:xhr-polling"
// names one of SockJS's own transports.

import * as websocket from "./websocket.js";

const LOADERS = {
  websocket: () => Promise.resolve(websocket),
  socketio: () => import("./socketio.js"),
  sockjs: () => import("./sockjs.js"),
};
const KEY = "madang.transport";
const FIRST = "websocket";

export const transportNames = Object.keys(LOADERS);

export function chosenTransport() {
  const asked = new URLSearchParams(location.search).get("via");
  const name = asked ?? stored() ?? FIRST;
  return Object.hasOwn(LOADERS, name.split(":")[0]) ? name : FIRST;
}

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export function keepTransport(name) {
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // lasts as long as the page then
  }
}

/** A connect function for a name such as "websocket" or "sockjs:xhr-polling". */
export function connectBy(name) {
  const [kind, detail] = name.split(":");
  return (handlers) => {
    let link = null;
    let live = true;
    LOADERS[kind]().then(
      (transport) => { if (live) link = transport.connect(handlers, detail); },
      (error) => live && handlers.close({ code: 0, reason: String(error) }),
    );
    return {
      send: (text) => link.send(text),
      close() {
        live = false;
        link?.close();
      },
    };
  };
}
