// The WebSocket transport. Every transport of the page has this shape:
//
//   connect(handlers, detail) -> { send(text), close() }
//
// handlers.open() once when units may be sent, handlers.unit(text) for each unit received, and
// handlers.close({ code, reason }) exactly once, last, also when it never opened. After close() is
// called by the page, no handler is called any more.

const PROTOCOL = "madang.v1";

export function connect(handlers) {
  const url = new URL("ws/chat", document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  url.search = "";
  const socket = new WebSocket(url, PROTOCOL);
  let live = true;

  socket.onopen = () => live && handlers.open();
  socket.onmessage = (event) => live && typeof event.data === "string" && handlers.unit(event.data);
  socket.onclose = (event) => {
    if (!live) return;
    live = false;
    handlers.close({ code: event.code, reason: event.reason });
  };
  return {
    send: (text) => socket.send(text),
    close() {
      live = false;
      socket.close(1000);
    },
  };
}
