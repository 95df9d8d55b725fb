// socket.io, told what to do as scripts/bench/serving.py says, by websocket alone and without
// compression. Engine.io's own pings are put off: nobody else sends any meanwhile.

import { createInterface } from "node:readline";
import { createServer } from "node:http";
import { Server } from "socket.io";

const NEVER_MS = 3_600_000;

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  perMessageDeflate: false,
  serveClient: false,
  pingInterval: NEVER_MS,
  pingTimeout: NEVER_MS,
});
io.on("connection", (socket) => socket.emit("ready"));

let prepared = { payload: "", times: 0 };

const deeds = {
  listen: () =>
    new Promise((resolve) => {
      http.listen({ host: "127.0.0.1", port: 0, backlog: 1024 }, () => {
        resolve({ port: http.address().port });
      });
    }),
  settle: () => {
    globalThis.gc();
    return { pings: false };
  },
  prepare: (order) => {
    prepared = order;
    return {};
  },
  publish: () => {
    for (let number = 0; number < prepared.times; number += 1) io.emit("post", prepared.payload);
    return {};
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(await deeds[order.do](order))}\n`);
}
process.exit(0);
