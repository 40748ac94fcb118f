/** The bridge plugin's VLAN keys, on a kernel that can filter VLANs. */
import { expect, test } from "bun:test";
import { addressOf, CniHost } from "../../kernel/cni-fixture.ts";
import type { Namespace } from "../../kernel/services-fixture.ts";

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

test("a trunk port carries its VLANs tagged, beside the default one unless that is taken off", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  const vlanTrunk = [{ minID: 7, maxID: 9 }, { id: 20 }];
  await host.succeed("ADD", blue, host.config({ vlanTrunk }));
  await host.succeed("ADD", green, host.config({ vlanTrunk, preserveDefaultVlan: false }));
  expect(vlansOf(host, blue)).toEqual(["1 pvid untagged", "7", "8", "9", "20"]);
  expect(vlansOf(host, green)).toEqual(["7", "8", "9", "20"]);
});
