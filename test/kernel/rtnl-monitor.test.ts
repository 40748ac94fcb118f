/** Monitors when much happens: what is lost is told, and nothing holds the process. */
import { expect } from "bun:test";
import { NetlinkMonitor } from "../../src/linux/netlink/monitor.ts";
import { type Message, NETLINK_ROUTE } from "../../src/linux/netlink/socket.ts";
import { needs, testWith } from "../lib/needs.ts";
import { RtnlNamespace } from "./rtnl-fixture.ts";

const kernelTest = testWith(needs.root, needs.kernel("bridge"));
const RTNLGRP_LINK = 1;

kernelTest("messages that did not fit are told as lost, and later ones come again", async () => {
  using namespace = new RtnlNamespace();
  const { links } = namespace.rtnl;
  await using monitor = new NetlinkMonitor(NETLINK_ROUTE, {
    netns: namespace.ref,
    groups: 1 << (RTNLGRP_LINK - 1),
    buffer: 8192,
  });
  const batches: (readonly Message[] | undefined)[] = [];
  const iterator = monitor[Symbol.asyncIterator]();
  // A link that is down changes in silence.
  links.set("lo", { up: true });
  for (let group = 1; group <= 100; group++) links.set("lo", { group });
  while (!batches.includes(undefined)) batches.push((await iterator.next()).value);
  links.add({ kind: "bridge", name: "after-that" });
  const name = new TextEncoder().encode("after-that");
  for (;;) {
    const { value } = await iterator.next();
    const found = value?.some((message: Message) => Buffer.from(message.payload).includes(name));
    if (found) break;
  }
});

kernelTest("a program ends when its monitors are closed or left", async () => {
  using namespace = new RtnlNamespace();
  const program = `
    import { openKernel } from "weft/linux";
    const { rtnl } = openKernel({ name: ${JSON.stringify(namespace.name)} });
    const [closed, left, unused] = [rtnl.monitor("links"), rtnl.monitor("links"), rtnl.monitor("routes")];
    const waiting = closed[Symbol.asyncIterator]().next();
    rtnl.links.set("lo", { up: true });
    for await (const event of left) if (event.object === "link") break;
    await waiting;
    const again = closed[Symbol.asyncIterator]().next();
    await closed.close();
    console.log("ended", (await again).done);
  `;
  const child = Bun.spawn([process.execPath, "-e", program], {
    cwd: `${import.meta.dir}/../..`,
    stdout: "pipe",
    stderr: "inherit",
    timeout: 10_000,
    killSignal: "SIGKILL",
  });
  expect(await child.stdout.text()).toBe("ended true\n");
  expect(await child.exited).toBe(0);
});
