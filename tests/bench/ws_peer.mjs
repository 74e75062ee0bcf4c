// The same jobs on npm's ws: an echo on every path but two, and a fan-out from /pub to /sub.
//
//     node ws_peer.mjs [--port P]
import { WebSocketServer } from "ws";

const at = process.argv.indexOf("--port");
const port = at > 0 ? Number(process.argv[at + 1]) : 0;
const subscribers = new Set();
const server = new WebSocketServer({
  host: "127.0.0.1",
  port,
  perMessageDeflate: false,
  maxPayload: 128 * 1024 * 1024,
});

server.on("connection", (socket, request) => {
  if (request.url === "/sub") {
    subscribers.add(socket);
    socket.on("close", () => subscribers.delete(socket));
  } else if (request.url === "/pub") {
    socket.on("message", (data, binary) => {
      for (const to of subscribers) to.send(data, { binary });
    });
  } else {
    socket.on("message", (data, binary) => socket.send(data, { binary }));
  }
  socket.on("error", () => {});
});
server.on("listening", () => console.log(server.address().port));
