/**
 * Two network namespaces, a veth pair between them, and a greeting that crosses it.
 *
 *     +-- left ---------+          +-- right --------+
 *     | a 192.0.2.1/30  |----------| b 192.0.2.2/30  |
 *     +-----------------+          +-----------------+
 *
 * Run as root: node_modules/.bin/bun examples/linux/pair.ts
 */
import { createNetns, deleteNetns, inNetns, type Link, openKernel, type Rtnl } from "weft/linux";

const left = { name: `weft-example-left-${process.pid}` };
const right = { name: `weft-example-right-${process.pid}` };

/** Waits until the link carries packets; both ends being up is a moment earlier. */
async function ready(rtnl: Rtnl, name: string): Promise<Link> {
  await using monitor = rtnl.monitor("links");
  const link = rtnl.links.get(name);
  if (link.operState === "up") return link;
  for await (const event of monitor) {
    if (event.object === "link" && event.link.name === name && event.link.operState === "up")
      return event.link;
  }
  throw new Error("the monitor was closed");
}

createNetns(left.name);
createNetns(right.name);
try {
  const a = openKernel(left).rtnl;
  const b = openKernel(right).rtnl;

  // The other end is born in the other namespace.
  a.links.add({
    kind: "veth",
    name: "a",
    up: true,
    peer: { name: "b", netns: right, mac: "0a:00:c0:00:02:02" },
  });
  b.links.set("b", { up: true });
  a.addresses.add({ link: "a", address: "192.0.2.1/30" });
  b.addresses.add({ link: "b", address: "192.0.2.2/30" });
  const link = await ready(a, "a");
  console.log(`${link.name} is ${link.operState}, mtu ${link.mtu}, a ${link.kind} link`);
  console.log(`to 192.0.2.2 from ${a.routes.lookup("192.0.2.2").src}`);

  // A socket belongs to the namespace in which it was opened.
  const server = inNetns(right, () =>
    Bun.listen({
      hostname: "192.0.2.2",
      port: 7,
      socket: { data: (socket, data) => void socket.write(data) },
    }),
  );
  const answer = Promise.withResolvers<string>();
  inNetns(left, () => {
    const data = (socket: { end(): void }, bytes: Uint8Array) => {
      socket.end();
      answer.resolve(new TextDecoder().decode(bytes));
    };
    const open = (socket: { write(text: string): number }) => void socket.write("good day");
    const connectError = (_: unknown, error: Error) => answer.reject(error);
    void Bun.connect({ hostname: "192.0.2.2", port: 7, socket: { open, data, connectError } });
  });
  console.log(`b answers: ${await answer.promise}`);
  server.stop(true);

  const [neighbour] = a.neighbours.list({ link: "a", family: 4 });
  console.log(`a knows ${neighbour?.ip} at ${neighbour?.mac}`);
} finally {
  deleteNetns(left.name);
  deleteNetns(right.name);
}
