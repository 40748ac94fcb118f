/**
 * The kinds of links that many a machine's kernel lacks, made and read by Weft, with iproute2 as the second opinion:
 *
 *     in a namespace of the guest:  up0 (dummy), weft0 of each kind, on or beside it
 */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { type Kernel, openKernel } from "../../../src/linux/kernel.ts";
import { createNetns, deleteNetns } from "../../../src/linux/netns.ts";
import type { NewLink } from "../../../src/linux/route/link.ts";

let name: string;
let kernel: Kernel;
let count = 0;

beforeEach(() => {
  name = `weft-t-links-${process.pid}-${count++}`;
  createNetns(name);
  kernel = openKernel({ name });
  kernel.rtnl.links.add({ kind: "dummy", name: "up0", up: true });
  kernel.rtnl.addresses.add({ link: "up0", address: "192.0.2.1/24" });
});

afterEach(() => {
  kernel.close();
  deleteNetns(name);
});

/** What `ip` says of a link's kind. */
function byIp(link: string): { info_kind: string; info_data?: Record<string, unknown> } {
  const { stdout } = Bun.spawnSync(["ip", "-netns", name, "-json", "-details", "link", "show", link]);
  return JSON.parse(stdout.toString())[0].linkinfo;
}

const remote = "192.0.2.2";
const tunnel = { local: "192.0.2.1", remote, ttl: 64 };
const tunnelInfo = { local: "192.0.2.1", remote: "192.0.2.2", ttl: 64 };

test.each<[NewLink, Record<string, unknown>]>([
  [
    { kind: "vlan", parent: "up0", vlan: { id: 105 } },
    { id: 105, protocol: "802.1Q" },
  ],
  [
    { kind: "vlan", parent: "up0", vlan: { id: 7, protocol: "802.1ad" } },
    { id: 7, protocol: "802.1ad" },
  ],
  [{ kind: "ipvlan", parent: "up0", ipvlan: { mode: "l2" } }, { mode: "l2" }],
  [{ kind: "ipvlan", parent: "up0", ipvlan: { mode: "l3" } }, { mode: "l3" }],
  [{ kind: "macvlan", parent: "up0", macvlan: { mode: "bridge" } }, { mode: "bridge" }],
  [{ kind: "vrf", vrf: { table: 1010 } }, { table: 1010 }],
  [
    { kind: "vxlan", vxlan: { id: 42, port: 4789 } },
    { id: 42, port: 4789 },
  ],
  [
    { kind: "geneve", geneve: { id: 43, remote } },
    { id: 43, remote: "192.0.2.2" },
  ],
  [{ kind: "ipip", ipip: tunnel }, tunnelInfo],
  [{ kind: "gretap", gretap: tunnel }, tunnelInfo],
])("$kind", (link, info) => {
  kernel.rtnl.links.add({ ...link, name: "weft0", up: true });
  expect(byIp("weft0")).toMatchObject({ info_kind: link.kind, info_data: info });
  const { index, up, kind } = kernel.rtnl.links.get("weft0");
  expect({ up, kind }).toEqual({ up: true, kind: link.kind });
  expect(kernel.rtnl.links.list({ kind: link.kind }).map((one) => one.index)).toContain(index);
  kernel.rtnl.links.delete("weft0");
  expect(kernel.rtnl.links.find("weft0")).toBeUndefined();
});
