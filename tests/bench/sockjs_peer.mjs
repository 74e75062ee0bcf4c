// npm sockjs with a /broadcast service, to be measured beside ours.

import http from "node:http";
import sockjs from "sockjs";

const service = sockjs.createServer({ prefix: "/broadcast", response_limit: 2 ** 31, log: () => {} });
const all = new Set();
service.on("connection", (connection) => {
  all.add(connection);
  connection.on("data", (message) => {
    for (const each of all) each.write(message);
  });
  connection.on("close", () => all.delete(connection));
});
const server = http.createServer();
service.installHandlers(server);
server.listen(0, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
process.on("SIGTERM", () => process.exit(0));
