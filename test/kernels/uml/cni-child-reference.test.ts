/** macvlan, ipvlan, vlan and vrf beside Debian's, which has no dummy: the same results, links, addresses, routes and reach. */
import { expect, setDefaultTimeout, test } from "bun:test";
import type { JsonObject } from "../../../src/cni/fields.ts";
import { wireIpam, wireReady } from "../../kernel/cni-child.ts";
import { type Answer, addressOf, CniHost, ownPlugins, referencePlugins } from "../../kernel/cni-fixture.ts";
import type { Namespace } from "../../kernel/services-fixture.ts";

setDefaultTimeout(60_000);

type Chain = (host: CniHost) => JsonObject[];

/** One plugin on the host's eth0, with host-local. */
const onMaster =
  (type: string, more: JsonObject = {}): Chain =>
  (host) => [{ cniVersion: "1.0.0", name: "net", type, master: "eth0", ipam: wireIpam(host), ...more }];

const vlan = (more: JsonObject = {}) => onMaster("vlan", { vlanId: 5, ...more });

/** Behind bridge. Without routes: in 1.1.1 they do not come along into the VRF. */
const vrf =
  (more: JsonObject = {}): Chain =>
  (host) => [
    host.config({ isDefaultGateway: false, isGateway: true }),
    { cniVersion: "1.0.0", name: "net", type: "vrf", vrfname: "blue", ...more },
  ];

/** What a plugin answered, with what is by chance replaced by what it is. */
function said({ status, json, stdout }: Answer, container: Namespace): unknown {
  if (status !== 0) return { status, msg: typeof json.msg };
  return JSON.parse(
    stdout
      .replaceAll(container.name, "CONTAINER")
      .replace(/([0-9a-f]{2}:){5}[0-9a-f]{2}/g, "MAC")
      .replace(/veth[0-9a-f]{8}/g, "VETH") || "{}",
  );
}

/** Links, addresses, routes and parameters of the container, but what later versions of the reference have as Weft has it. */
function effect({ kernel: { rtnl, sysctl } }: Namespace): unknown {
  const links = rtnl.links.list();
  const nameOf = new Map(links.map(({ index, name }) => [index, name]));
  return {
    links: links.map(
      ({ name, kind, up, mtu, group, macvlan, ipvlan, vlan: tag, vrf: table, master, parent }) => ({
        name,
        kind,
        up,
        mtu,
        group,
        kindData: { macvlan, ipvlan, tag, table },
        master: nameOf.get(master ?? 0),
        hasParent: parent !== undefined,
      }),
    ),
    addresses: rtnl.addresses
      .list()
      .filter(({ scope }) => scope === "global")
      .map(({ address, broadcast, flags }) => `${address} ${broadcast} ${flags}`)
      .sort(),
    routes: rtnl.routes
      .list({ table: "all" })
      .filter(({ dst }) => !dst.ip.isLinkLocal())
      .map(({ dst, gateway, table, protocol, scope, src, oif, priority }) =>
        [dst, gateway, table, protocol, scope, src, nameOf.get(oif ?? 0), priority].join(" "),
      )
      .sort(),
    rules: rtnl.rules.list().map((rule) => JSON.stringify(rule)),
    parameters: links.map(({ name }) => [
      sysctl.read(`net/ipv4/conf/${name}/arp_notify`),
      sysctl.read(`net/ipv6/conf/${name}/accept_dad`),
      sysctl.read(`net/ipv6/conf/${name}/disable_ipv6`),
    ]),
  };
}

/** ADD, CHECK, reach, DEL and DEL again with either's plugins on a host of their own. */
async function story(plugins: string, chain: Chain, setup?: (host: CniHost) => void): Promise<unknown> {
  using host = new CniHost();
  setup?.(host);
  await host.outside.serve(8080, "outside");
  await wireReady(host);
  const container = host.container();
  const told: unknown[] = [];
  let last: Answer | undefined;
  for (const config of chain(host)) {
    last = await host.call("ADD", container, { ...config, prevResult: last?.json }, { plugins });
    told.push(said(last, container));
  }
  if (last?.status !== 0) return { told, leases: Object.keys(host.leases()) };
  const configs = chain(host).reverse();
  told.push(effect(container));
  // What is outside has no VLAN, and sockets of the test are in no VRF.
  if (configs[0]?.master === "eth0" && configs[0].type !== "vlan")
    told.push(...(await reach(host, container, last)));
  for (const command of ["CHECK", "DEL", "DEL"]) {
    for (const config of configs) {
      // The reference's CHECK does not find routes that have no next hop in the result.
      if (command === "CHECK" && (plugins !== ownPlugins || config.cniVersion === "0.3.1")) continue;
      await host.succeed(command, container, { ...config, prevResult: last.json }, { plugins });
    }
  }
  return { told, after: effect(container), leases: host.leases() };
}

async function reach(host: CniHost, container: Namespace, added: Answer): Promise<string[]> {
  await container.serve(8080, "container");
  const patience = 1500;
  const answers = [
    container.ask("192.0.2.2", 8080, patience),
    container.ask("2001:db8::2", 8080, patience),
    host.outside.ask(addressOf(added, 4), 8080, patience),
    host.outside.ask(addressOf(added, 6), 8080, patience),
  ];
  return (await Promise.all(answers)).map((line) => line.replace(/ \d+$/, ""));
}

const defaultRoute = (host: CniHost) => host.node.route("0.0.0.0/0", "192.0.2.2");

const cases: [string, Chain, ((host: CniHost) => void)?][] = [
  ["macvlan", onMaster("macvlan")],
  ["macvlan, private, MTU", onMaster("macvlan", { mode: "private", mtu: 1400 })],
  ["ipvlan", onMaster("ipvlan")],
  ["ipvlan, l3", onMaster("ipvlan", { mode: "l3" })],
  ["ipvlan, l3s, MTU", onMaster("ipvlan", { mode: "l3s", mtu: 1400 })],
  ["ipvlan, unknown mode", onMaster("ipvlan", { mode: "l4" })],
  ["ipvlan, missing master", onMaster("ipvlan", { master: "eth9" })],
  ["ipvlan, no default route", onMaster("ipvlan", { master: "" })],
  ["ipvlan, master of the default route", onMaster("ipvlan", { master: "" }), defaultRoute],
  ["vlan", vlan()],
  ["vlan 0", vlan({ vlanId: 0 })],
  ["vlan, MTU and DNS", vlan({ mtu: 1400, dns: { nameservers: ["192.0.2.53"] } })],
  ["vlan, version 0.3.1", vlan({ cniVersion: "0.3.1" })],
  ["vlan, too large an MTU", vlan({ mtu: 1501 })],
  ["vlan, no such number", vlan({ vlanId: 4095 })],
  ["vlan, no master", vlan({ master: "" })],
  ["vrf", vrf()],
  ["vrf, table", vrf({ table: 1001 })],
  ["vrf, no name", vrf({ vrfname: "" })],
];

// bun:test hands a short row one argument more, its own.
const rows = cases.map(([name, chain, setup]) => [name, chain, setup] as const);
test.each(rows)("%s", async (_, chain, setup) => {
  const [weft, reference] = [
    await story(ownPlugins, chain, setup),
    await story(referencePlugins, chain, setup),
  ];
  expect(weft).toEqual(reference);
});
