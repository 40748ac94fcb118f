/** DHCP on a kind of link that shares its hardware address with others. The scene is drawn in interop/dhcp-fixture.ts. */
import { expect } from "bun:test";
import { addressIn, DhcpScene, until } from "../../interop/dhcp-fixture.ts";
import { needs, testWith } from "../../lib/needs.ts";

const ipvlanTest = testWith(needs.root, needs.command("dnsmasq", "dnsmasq-base"), needs.kernel("ipvlan"));

ipvlanTest(
  "two ipvlans of one hardware address have a lease each, more time for it, and give it back",
  async () => {
    using scene = new DhcpScene();
    const first = await scene.daemon();
    await scene.dnsmasq();
    const containers = [scene.host.container(), scene.host.container()];
    const config = { ...scene.macvlan(), type: "ipvlan" };
    const answers = await Promise.all(containers.map((each) => scene.host.succeed("ADD", each, config)));
    const macs = answers.map(({ json }) => (json.interfaces as { mac: string }[])[0]?.mac);
    expect(new Set(macs).size).toBe(1);
    expect(new Set(answers.map(addressIn)).size).toBe(2);
    await first.end();
    scene.renewSoon();
    const second = await scene.daemon();
    await second.said("has more time", 2);
    for (const container of containers) await scene.host.succeed("DEL", container, config);
    await until(
      () => scene.dnsmasqLeases().length === 0,
      () => scene.dnsmasqLeases().join(),
    );
  },
  60_000,
);
