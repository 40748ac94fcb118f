/** macspoofchk of bridge: what a container may send, seen by another one on the same bridge; see cni-fixture.ts. */
import { expect, test } from "bun:test";
import { addMacSpoofCheck } from "../../src/plugins/bridge/mac-spoof.ts";
import { commentOf } from "../../src/plugins/shared/attachment.ts";
import { needs, testWith } from "../lib/needs.ts";
import { addressOf, CniHost, referencePlugins } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

const table = { family: "bridge", name: "weft-cni" } as const;

function sets(host: CniHost): Record<string, string[]> {
  const { nft } = host.node.kernel;
  if (!nft.tables().some(({ family, name }) => family === table.family && name === table.name)) return {};
  return Object.fromEntries(
    nft
      .dump(table)
      .sets.map(({ name, elements = [] }) => [
        name,
        elements.map(({ key, comment }) => `${key} ${comment}`).sort(),
      ]),
  );
}

const config = (host: CniHost, more = {}) => host.config({ macspoofchk: true, cniVersion: "1.1.0", ...more });

function macOf(container: Namespace): string {
  return container.kernel.rtnl.links.get("eth0").mac ?? "";
}

test("only frames with the container's hardware address leave its port", async () => {
  const families = [4, 6] as const;
  using host = new CniHost();
  const [blue, green, free] = [host.container(), host.container(), host.container()];
  await host.succeed("ADD", blue, config(host));
  const there = await host.succeed("ADD", green, config(host));
  await host.succeed("ADD", free, host.config());
  await green.serve(80, "green");
  for (const family of families) {
    expect(await blue.ask(addressOf(there, family), 80)).toStartWith("green ");
    expect(await free.ask(addressOf(there, family), 80)).toStartWith("green ");
  }
  const real = macOf(blue);
  blue.kernel.rtnl.links.set("eth0", { mac: "02:00:00:00:00:66" });
  for (const family of families) expect(await blue.ask(addressOf(there, family), 80, 300)).toBe("silence");
  expect(await blue.ask("10.77.0.1", 9, 300)).toBe("silence");
  // Nor with that of a neighbour, which would draw the neighbour's frames to this port.
  blue.kernel.rtnl.links.set("eth0", { mac: macOf(green) });
  expect(await blue.ask("10.77.0.1", 9, 300)).toBe("silence");
  expect(await free.ask(addressOf(there, 4), 80)).toStartWith("green ");
  blue.kernel.rtnl.links.set("eth0", { mac: real });
  for (const family of families) expect(await blue.ask(addressOf(there, family), 80)).toStartWith("green ");
  // Those that do not ask for it are not looked at.
  free.kernel.rtnl.links.set("eth0", { mac: "02:00:00:00:00:67" });
  expect(await free.ask(addressOf(there, 4), 80)).toStartWith("green ");
});

test("each container has two elements, which DEL removes with or without the namespace; the last one leaves nothing", async () => {
  using host = new CniHost();
  const before = host.node.kernel.nft.tables();
  const [blue, green] = [host.container(), host.container()];
  const added = await host.succeed("ADD", blue, config(host));
  const alone = sets(host);
  const owner = commentOf({ network: "net", containerId: blue.name, ifname: "eth0" });
  const port = (added.json.interfaces as { name: string }[])[1]?.name ?? "";
  expect(alone).toEqual({
    "macspoofchk-ports": [`${port} ${owner}`],
    macspoofchk: [`${port},${macOf(blue)} ${owner}`],
  });
  await host.succeed("ADD", green, config(host, { name: "other" }));
  expect(Object.values(sets(host)).map((each) => each.length)).toEqual([2, 2]);
  await host.succeed("DEL", green, config(host, { name: "other" }), { netns: "" });
  await host.succeed("DEL", green, config(host, { name: "other" }));
  expect(sets(host)).toEqual(alone);
  await host.succeed("DEL", blue, config(host));
  await host.succeed("DEL", blue, config(host));
  expect(host.node.kernel.nft.tables()).toEqual(before);
});

test("a failed ADD takes it back", async () => {
  using host = new CniHost();
  const blue = host.container();
  const broken = config(host, { ipam: { type: "host-local", dataDir: host.dataDir, ranges: [] } });
  expect((await host.call("ADD", blue, broken)).status).toBe(1);
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("CHECK misses what is gone; GC removes what is not valid, of its own network", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  const { json: prevResult } = await host.succeed("ADD", blue, config(host));
  await host.succeed("ADD", green, config(host, { name: "other" }));
  await host.succeed("CHECK", blue, config(host, { prevResult }));
  host.node.nft("flush set bridge weft-cni macspoofchk");
  const { json } = await host.call("CHECK", blue, config(host, { prevResult }));
  expect(json.msg).toMatch(/Interface veth[0-9a-f]+ lets frames with other hardware addresses pass/);
  const gc = (name: string, ids: string[]) =>
    host.succeed("GC", undefined, {
      ...config(host, { name }),
      "cni.dev/valid-attachments": ids.map((containerID) => ({ containerID, ifname: "eth0" })),
    });
  await gc("net", [blue.name]);
  expect(sets(host)["macspoofchk-ports"]).toHaveLength(2);
  await gc("net", []);
  expect(sets(host)["macspoofchk-ports"]).toHaveLength(1);
  await gc("other", []);
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("DEL and GC remove what was made while macspoofchk was on", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  await host.succeed("ADD", blue, config(host));
  await host.succeed("ADD", green, config(host));
  const off = config(host, { macspoofchk: false });
  await host.succeed("DEL", blue, off);
  expect(sets(host)["macspoofchk-ports"]).toHaveLength(1);
  await host.succeed("GC", undefined, { ...off, "cni.dev/valid-attachments": [] });
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("a port's earlier owner, whose DEL never came, gives way", async () => {
  using host = new CniHost();
  const attachment = { network: "net", ifname: "eth0" };
  for (const [containerId, mac] of [
    ["old", "02:00:00:00:00:01"],
    ["new", "02:00:00:00:00:02"],
  ] as const) {
    // It opens its socket before it waits for anything.
    await host.node.in(() => ({ added: addMacSpoofCheck({ ...attachment, containerId }, "veth1", mac) }))
      .added;
  }
  expect(sets(host)).toEqual({
    "macspoofchk-ports": ["veth1 net/new/eth0"],
    macspoofchk: ["veth1,02:00:00:00:00:02 net/new/eth0"],
  });
});

test("many at the same time, as processes of their own, do not fail each other", async () => {
  using host = new CniHost();
  const containers = Array.from({ length: 6 }, () => host.container());
  await Promise.all(containers.map((each) => host.succeed("ADD", each, config(host))));
  expect(sets(host)["macspoofchk-ports"]).toHaveLength(6);
  await Promise.all(containers.map((each) => host.succeed("DEL", each, config(host))));
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

const reference = needs.file(`${referencePlugins}/bridge`, "containernetworking-plugins");
testWith(needs.root, reference)("DEL removes what the reference made for the container", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  const call = { plugins: referencePlugins };
  const old = host.config({ macspoofchk: true, cniVersion: "1.0.0" });
  for (const container of [blue, green]) await host.succeed("ADD", container, old, call);
  const made = () => {
    const { chains, rules } = host.node.kernel.nft.dump({ family: "bridge", name: "nat" });
    return [...chains.map(({ name }) => name), ...rules.map(({ chain, comment }) => `${chain} ${comment}`)];
  };
  expect(made().filter((line) => line.includes(blue.name)).length).toBe(6);
  const others = made().filter((line) => !line.includes(blue.name));
  await host.succeed("DEL", blue, old);
  await host.succeed("DEL", blue, old);
  expect(made()).toEqual(others);
  expect(others.some((line) => line.includes(green.name))).toBe(true);
});

test("an administrator's own rules in the table stay when the last container goes", async () => {
  using host = new CniHost();
  const blue = host.container();
  await host.succeed("ADD", blue, config(host));
  host.node.nft("add chain bridge weft-cni mine; add rule bridge weft-cni mine counter");
  await host.succeed("DEL", blue, config(host));
  expect(host.node.kernel.nft.dump(table).rules.map(({ chain }) => chain)).toContain("mine");
  expect(sets(host).macspoofchk).toEqual([]);
});
