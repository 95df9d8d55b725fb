// Not run: what the declarations say to who uses TypeScript, and what they refuse.

import { MomentsClient, MomentsClosed, type Moment, type Position, type Status } from "../moments.js";
import { msgpack } from "../msgpack.js";

const client = new MomentsClient({
  url: new URL("wss://gateway.example.com"),
  token: async () => "a.b.c",
  ack: "explicit",
  codec: msgpack,
  position: { epoch: "e1", offset: 12 },
  onPosition: (position: Position) => position.offset.toFixed(),
  handle: async ({ type, offset, post }: Moment) => `${type} ${offset} ${post.id}`,
});

client.addEventListener("state", ({ detail }) => {
  const status: Status = detail;
  const wait: number | null = status.retryInMs;
  return wait;
});
client.addEventListener("gap", ({ detail }) => detail.to - detail.from);
client.addEventListener("event", ({ detail }) => detail.post.author?.length);
client.addEventListener("error", (event) => event.preventDefault());

async function read(): Promise<Moment[]> {
  const seen: Moment[] = [];
  try {
    for await (const event of client) seen.push(event);
  } catch (error) {
    if (error instanceof MomentsClosed) throw new Error(`${error.code}: ${error.reason}`);
  }
  return seen;
}
void read();

const position: Position | null = client.position;
void position;
client.connect();
client.close();

// @ts-expect-error: a token is needed
new MomentsClient({ url: "wss://gateway.example.com" });
// @ts-expect-error: there are two ways to acknowledge
new MomentsClient({ url: "", token: null, ack: "never" });
// @ts-expect-error: a state has no offset
client.addEventListener("state", ({ detail }) => detail.offset);
// @ts-expect-error: nobody sets it from outside
client.position = null;
