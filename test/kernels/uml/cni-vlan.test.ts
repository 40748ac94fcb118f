/** The bridge plugin's VLAN keys, on a kernel that can filter VLANs. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import type { JsonObject } from "../../../src/cni/fields.ts";
import { addressOf, CniHost, referencePlugins } from "../../kernel/cni-fixture.ts";
import type { Namespace } from "../../kernel/services-fixture.ts";
import { needs, testWith } from "../../lib/needs.ts";

/** Starting programs is slow under this kernel. */
setDefaultTimeout(60_000);

/** The VLANs of a container's port: "5 pvid untagged". */
function vlansOf(host: CniHost, container: Namespace): string[] {
  const { rtnl } = host.node.kernel;
  const inside = container.kernel.rtnl.links.get("eth0");
  const port = rtnl.links
    .list({ kind: "veth" })
    .find(({ index, parent }) => index === inside.parent && parent === inside.index);
  return rtnl.bridgeVlans
    .list(port?.index ?? 0)
    .flatMap(({ vid, vidEnd, pvid, untagged }) =>
      Array.from(
        { length: vidEnd - vid + 1 },
        (_, i) => `${vid + i}${pvid ? " pvid" : ""}${untagged ? " untagged" : ""}`,
      ),
    );
}

test("a port in a VLAN reaches its VLAN and the gateway there, and nobody else", async () => {
  using host = new CniHost();
  const [blue, green, red] = [host.container(), host.container(), host.container()];
  await blue.serve(8080, "blue");
  const five = host.config({ vlan: 5, preserveDefaultVlan: false });
  const first = await host.succeed("ADD", blue, five);
  await host.succeed("ADD", green, five);
  // Without a gateway of its own: it would be the same address in another VLAN.
  const six = host.config({ vlan: 6, preserveDefaultVlan: false, isDefaultGateway: false });
  await host.succeed("ADD", red, six);
  expect(first.json.interfaces).toMatchObject([{ name: "br0" }, {}, { name: "eth0" }, { name: "br0.5" }]);
  expect(vlansOf(host, blue)).toEqual(["5 pvid untagged"]);
  expect(vlansOf(host, red)).toEqual(["6 pvid untagged"]);
  expect(await green.ask(addressOf(first, 4), 8080)).toStartWith("blue ");
  expect(await host.node.ask(addressOf(first, 4), 8080)).toStartWith("blue ");
  expect(await red.ask(addressOf(first, 4), 8080, 500)).not.toContain("blue");
  const gateways = host.node.kernel.rtnl.addresses.list({ link: "br0.5", family: 4 });
  expect(gateways.map(({ address }) => String(address))).toEqual(["10.77.0.1/24"]);
  for (const container of [blue, green, red]) await host.succeed("DEL", container, five);
  expect(host.leases()).toEqual({});
});

const vlanTrunk = [{ minID: 7, maxID: 9 }, { id: 20 }];
const ports: [string, JsonObject, string[]][] = [
  ["an access port", { vlan: 5 }, ["5 pvid untagged"]],
  [
    "an access port that stays in the default VLAN",
    { vlan: 5, preserveDefaultVlan: true },
    ["1 untagged", "5 pvid untagged"],
  ],
  ["a trunk", { vlanTrunk }, ["1 pvid untagged", "7", "8", "9", "20"]],
  [
    "a trunk beside the default VLAN",
    { vlanTrunk, preserveDefaultVlan: true },
    ["1 pvid untagged", "7", "8", "9", "20"],
  ],
  ["a trunk without untagged frames", { vlanTrunk, preserveDefaultVlan: false }, ["7", "8", "9", "20"]],
  ["a trunk with a native VLAN", { vlanTrunk, vlan: 8 }, ["7", "8 pvid untagged", "9", "20"]],
  ["no VLAN on a bridge that filters", {}, ["1 pvid untagged"]],
];
test("the VLANs of ports, and CHECK of them", async () => {
  using host = new CniHost();
  const { rtnl } = host.node.kernel;
  rtnl.links.add({ kind: "bridge", name: "br0", bridge: { vlanFiltering: true } });
  for (const [name, keys, expected] of ports) {
    const container = host.container();
    const config = host.config({ isDefaultGateway: false, ...keys });
    const { json: prevResult } = await host.succeed("ADD", container, config);
    expect([name, vlansOf(host, container)]).toEqual([name, expected]);
    if (keys.vlan === undefined) continue;
    const check = async () => (await host.call("CHECK", container, { ...config, prevResult })).json;
    expect(await check()).toEqual({});
    const port = (prevResult.interfaces as { name: string }[])[1]?.name ?? "";
    const [vid, pvid] = (expected.at(-1) ?? "").split(" ");
    rtnl.bridgeVlans.delete({ link: port, vid: Number(vid) });
    const what = pvid === undefined ? "a tagged" : "an untagged";
    expect((await check()).msg).toBe(`Interface ${port} is not ${what} port of VLAN ${vid}`);
  }
});

test("a trunk's frames with tags reach the VLAN, and those of other VLANs do not", async () => {
  using host = new CniHost();
  const [access, other, router] = [host.container(), host.container(), host.container()];
  const layer2 = { isDefaultGateway: false };
  const seven = await host.succeed("ADD", access, host.config({ ...layer2, vlan: 7 }));
  await host.succeed("ADD", other, host.config({ ...layer2, vlan: 6 }));
  await host.succeed("ADD", router, host.config({ vlanTrunk, ipam: undefined, ...layer2 }));
  for (const [name, container] of Object.entries({ access, other })) await container.serve(8080, name);
  const { rtnl } = router.kernel;
  for (const id of [6, 7]) {
    rtnl.links.add({ kind: "vlan", name: `eth0.${id}`, parent: "eth0", vlan: { id } });
    router.address(`eth0.${id}`, `10.77.0.${200 + id}/24`, `fd77::${200 + id}/64`);
    for (const family of [4, 6] as const) {
      const answer = await router.ask(addressOf(seven, family), 8080, 500);
      if (id === 7) expect(answer).toStartWith("access ");
      else expect(answer).not.toContain("access");
    }
    rtnl.links.delete(`eth0.${id}`);
  }
});

test("both families in two VLANs with a gateway each, and nobody between them but the host", async () => {
  using host = new CniHost();
  const [blue, green, red] = [host.container(), host.container(), host.container()];
  for (const [name, container] of Object.entries({ blue, green, red })) await container.serve(8080, name);
  const five = host.config({ vlan: 5 });
  const ranges = [[{ subnet: "10.78.0.0/24" }], [{ subnet: "fd78::/64" }]];
  const six = host.config({ name: "net6", vlan: 6 }, { ranges });
  const first = await host.succeed("ADD", blue, five);
  await host.succeed("ADD", green, five);
  const third = await host.succeed("ADD", red, six);
  const { rtnl } = host.node.kernel;
  const gatewaysOf = (link: string) =>
    rtnl.addresses
      .list({ link })
      .filter(({ scope }) => scope !== "link")
      .map(({ address }) => String(address));
  expect(gatewaysOf("br0.5")).toEqual(["10.77.0.1/24", "fd77::1/64"]);
  expect(gatewaysOf("br0.6")).toEqual(["10.78.0.1/24", "fd78::1/64"]);
  expect(gatewaysOf("br0")).toEqual([]);
  for (const family of [4, 6] as const) {
    // A second is less than looking for duplicates would take.
    expect(await green.ask(addressOf(first, family), 8080, 1000)).toStartWith("blue ");
    expect(await host.node.ask(addressOf(third, family), 8080, 1000)).toStartWith("red ");
    // By the host's routing.
    expect(await green.ask(addressOf(third, family), 8080, 1000)).toStartWith("red ");
    rtnl.links.set(`br0.${family === 4 ? 5 : 6}`, { up: false });
    expect(await green.ask(addressOf(third, family), 8080, 300)).not.toContain("red");
    rtnl.links.set(`br0.${family === 4 ? 5 : 6}`, { up: true });
    await host.succeed("ADD", host.container(), family === 4 ? five : six);
  }
});

test("a failed ADD takes back the VLAN's interface that it made, and no other", async () => {
  using host = new CniHost();
  const before = host.state();
  const bad = { routes: [{ dst: "10.9.0.0/16", gw: "10.200.0.1" }] };
  const { rtnl } = host.node.kernel;
  rtnl.links.add({ kind: "bridge", name: "br0", up: true });
  rtnl.links.add({ kind: "veth", name: "br0.6", peer: { name: "other" }, up: true });
  rtnl.addresses.add({ link: "br0.6", address: "10.1.1.1/24" });
  const present = host.state();
  expect(present).not.toBe(before);
  expect((await host.call("ADD", host.container(), host.config({ vlan: 6 }))).json.msg).toContain(
    '"br0.6" already has an IP address different from 10.77.0.1/24',
  );
  expect((await host.call("ADD", host.container(), host.config({ vlan: 5 }, bad))).status).toBe(1);
  const broken = host.config({ vlan: 5, ipMasq: true });
  // This kernel has no nftables, so that masquerading fails behind the gateway.
  expect((await host.call("ADD", host.container(), broken)).status).toBe(1);
  expect(host.state()).toBe(present);
});

test("what a killed ADD left of the VLAN's interface is completed", async () => {
  using host = new CniHost();
  const { rtnl } = host.node.kernel;
  rtnl.links.add({ kind: "bridge", name: "br0", up: true, bridge: { vlanFiltering: true } });
  rtnl.links.add({ kind: "veth", name: "left", up: true, master: "br0", peer: { name: "br0.5" } });
  const blue = host.container();
  await blue.serve(8080, "blue");
  const { json, ...answer } = await host.succeed("ADD", blue, host.config({ vlan: 5 }));
  expect(json.interfaces).toMatchObject([{ name: "br0" }, {}, { name: "eth0" }, { name: "br0.5" }]);
  expect(await host.node.ask(addressOf({ ...answer, json }, 4), 8080, 1000)).toStartWith("blue ");
});

test("STATUS tells of what the host has in the way", async () => {
  using host = new CniHost();
  const { rtnl } = host.node.kernel;
  const config = host.config({ cniVersion: "1.1.0", vlan: 5 });
  const status = async () => (await host.call("STATUS", undefined, config)).json;
  expect(await status()).toEqual({});
  await host.succeed("ADD", host.container(), config);
  expect(await status()).toEqual({});
  rtnl.addresses.delete({ link: "br0.5", address: "10.77.0.1/24" });
  rtnl.addresses.add({ link: "br0.5", address: "10.1.1.1/24" });
  expect(await status()).toMatchObject({
    code: 50,
    msg: '"br0.5" already has an IP address different from 10.77.0.1/24: 10.1.1.1/24',
  });
});

const reference = needs.file(join(referencePlugins, "bridge"), "containernetworking-plugins");
testWith(reference)(
  "the reference's gateway of a VLAN serves our containers, and ours serves the reference's",
  async () => {
    using host = new CniHost();
    const [blue, green] = [host.container(), host.container()];
    await blue.serve(8080, "blue");
    const config = host.config({ vlan: 5 });
    const first = await host.succeed("ADD", blue, config, { plugins: referencePlugins });
    await host.succeed("ADD", green, config);
    expect(vlansOf(host, blue)).toEqual(["1 untagged", "5 pvid untagged"]);
    expect(vlansOf(host, green)).toEqual(["5 pvid untagged"]);
    for (const family of [4, 6] as const) {
      expect(await green.ask(addressOf(first, family), 8080)).toStartWith("blue ");
      expect(await host.node.ask(addressOf(first, family), 8080)).toStartWith("blue ");
    }
    // With the default VLAN preserved, both are the same.
    const red = host.container();
    await host.succeed("ADD", red, { ...config, preserveDefaultVlan: true });
    expect(vlansOf(host, red)).toEqual(vlansOf(host, blue));
    await host.succeed("DEL", green, config, { plugins: referencePlugins });
    await host.succeed("DEL", blue, config);
    await host.succeed("DEL", red, config);
    expect(host.leases()).toEqual({});
    const six = host.config({ vlan: 6, bridge: "br1", name: "net6" });
    const [black, white] = [host.container(), host.container()];
    await black.serve(8080, "black");
    const ours = await host.succeed("ADD", black, six);
    const theirs = await host.succeed("ADD", white, six, { plugins: referencePlugins });
    expect(await white.ask(addressOf(ours, 4), 8080)).toStartWith("black ");
    expect((theirs.json.interfaces as JsonObject[]).map(({ name }) => name)).toContain("br1.6");
  },
);
