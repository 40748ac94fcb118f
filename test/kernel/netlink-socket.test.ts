/** The netlink socket itself: answers that belong together, lists that change meanwhile, the kernel's own words. */
import { expect, test } from "bun:test";
import { KernelError } from "../../src/linux/errors.ts";
import { NetlinkSocket } from "../../src/linux/netlink/socket.ts";
import { needs, testWith } from "../lib/needs.ts";
import { RtnlNamespace } from "./rtnl-fixture.ts";

const kernelTest = testWith(needs.root, needs.command("ip", "iproute2"), needs.kernel("bridge"));

test("a netlink family that the kernel lacks is named, with what to do", () => {
  const open = () => new NetlinkSocket(31);
  expect(open).toThrow("cannot open a socket of netlink family 31 (EPROTONOSUPPORT)");
  expect(open).toThrow(KernelError);
});

kernelTest("a list that changed while it was read is read again", async () => {
  using namespace = new RtnlNamespace();
  const { links } = namespace.rtnl;
  const stable = Array.from({ length: 60 }, (_, i) => `s${i}`);
  for (const name of stable) links.add({ kind: "bridge", name });
  // Links come and go among them, so that parts of a list are of different times.
  const loop = "while :; do ip link add t type bridge; ip link set s30 down; ip link del t; done";
  const child = Bun.spawn(["ip", "netns", "exec", namespace.name, "sh", "-c", loop], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  try {
    for (let i = 0; i < 100; i++) {
      const names = links.list({ kind: "bridge" }).map((link) => link.name);
      expect(names.filter((name) => name !== "t").toSorted()).toEqual(stable.toSorted());
      await Bun.sleep(0);
    }
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
});

kernelTest("an error says what was asked, of what, and what the kernel says", () => {
  using namespace = new RtnlNamespace();
  const { rtnl } = namespace;
  rtnl.links.set("lo", { up: true });
  const cases: [action: () => unknown, message: string][] = [
    [
      () => rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "192.0.2.1", table: 7 }),
      "cannot add route 10.9.0.0/16 via 192.0.2.1 table 7 (ENETUNREACH: Nexthop has invalid gateway)",
    ],
    [
      () => rtnl.links.add({ kind: "nonesuch", name: "x" }),
      "cannot add link x of kind nonesuch (EOPNOTSUPP: Unknown device type)",
    ],
    [() => rtnl.links.set("x", { up: true }), "cannot set link x (ENODEV)"],
    [() => rtnl.links.delete(4711), "cannot delete link 4711 (ENODEV)"],
    [
      () => rtnl.addresses.delete({ link: "lo", address: "10.0.0.1/8" }),
      "cannot delete address 10.0.0.1/8 on lo (EADDRNOTAVAIL",
    ],
    [
      () => rtnl.rules.delete({ src: "10.0.0.0/8", priority: 7 }),
      "cannot delete rule 7: from 10.0.0.0/8 (ENOENT)",
    ],
  ];
  for (const [action, message] of cases) {
    expect(action).toThrow(message);
    expect(action).toThrow(KernelError);
  }
});

kernelTest("a batch of large requests goes in as many parts as it needs", () => {
  using namespace = new RtnlNamespace();
  const { rtnl } = namespace;
  rtnl.links.add({ kind: "veth", name: "a", up: true, peer: { name: "b" } });
  rtnl.links.set("b", { up: true });
  rtnl.addresses.add({ link: "a", address: "10.0.0.1/16" });
  // 200 next hops are 3 KB a route; 128 of them do not fit into one send.
  const nextHops = Array.from({ length: 200 }, (_, i) => ({ gateway: `10.0.1.${i + 1}` }));
  const changes = Array.from({ length: 150 }, (_, i) => ({ addRoute: { dst: `10.9.${i}.0/24`, nextHops } }));
  expect([...rtnl.batch(changes).values()].map(String)).toEqual([]);
  const routes = rtnl.routes.list({ protocol: "boot" });
  expect(routes).toHaveLength(150);
  expect(routes[149]?.nextHops).toHaveLength(200);
});
