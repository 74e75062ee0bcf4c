// Socket.IO as a transport of the page (./websocket.js says what that is). Units of madang.v1 become
// events of the same name, and answers come back as acknowledgements (doc/protocols.md). Reconnecting
// is the page's own business, as with every transport.

import { io } from "socket.io-client";

const ANSWERS = {
  join: "joined", leave: "left", publish: "ack", history: "history", presence: "presence", rooms: "rooms",
};

export function connect(handlers, detail) {
  const path = new URL("socket.io/", document.baseURI).pathname;
  const socket = io(location.origin, {
    path,
    forceNew: true,
    reconnection: false,
    ...(detail ? { transports: [detail] } : {}),
  });
  let live = true;
  const unit = (object) => live && handlers.unit(JSON.stringify(object));
  const down = (reason) => {
    if (!live) return;
    live = false;
    socket.disconnect();
    handlers.close({ code: 0, reason });
  };

  socket.on("connect", () => live && handlers.open());
  socket.on("connect_error", (error) => down(error.message));
  socket.on("disconnect", (reason) => down(reason));
  socket.onAny((event, first) => {
    if (first && typeof first === "object") unit({ type: event, ...first });
  });

  // Any answer shows that the server is there; there is no event for it alone.
  const ping = (id) => socket.emit("rooms", {}, () => unit({ type: "pong", id }));
  return {
    send(text) {
      const { type, id, ...argument } = JSON.parse(text);
      if (type === "ping") {
        ping(id);
        return;
      }
      socket.emit(type, argument, (answer) => {
        const { error, ...rest } = answer;
        const common = { id, room: argument.room };
        unit(error ? { type: "error", ...common, ...error } : { type: ANSWERS[type], ...common, ...rest });
      });
    },
    close() {
      live = false;
      socket.disconnect();
    },
  };
}
