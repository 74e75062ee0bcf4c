// SockJS as a transport of the page (./websocket.js says what that is): for networks where
// WebSocket does not get through.

import SockJS from "sockjs-client";

export function connect(handlers, detail) {
  const url = new URL("sockjs", document.baseURI);
  url.hash = "";
  url.search = "";
  const socket = new SockJS(url.href, null, detail ? { transports: [detail] } : {});
  let live = true;

  socket.onopen = () => live && handlers.open();
  socket.onmessage = (event) => live && handlers.unit(event.data);
  socket.onclose = (event) => {
    if (!live) return;
    live = false;
    handlers.close({ code: event.code, reason: event.reason });
  };
  return {
    send: (text) => socket.send(text),
    close() {
      live = false;
      socket.close();
    },
  };
}
