// The same server with npm's socket.io, for tests/bench/socketio.

import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { perMessageDeflate: false });
io.on("connection", (socket) => {
  socket.on("go", (text) => io.emit("b", text));
  socket.on("echo", (text, answer) => answer(text));
});
http.listen(0, "127.0.0.1", () => console.log(`listening on port ${http.address().port}`));
process.on("SIGTERM", () => process.exit(0));
