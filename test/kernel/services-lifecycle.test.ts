/**
 * What an agent's end, restart and cleanup mean for the table `inet weft`, and what happens when others change it. The
 * node and its surroundings are those of services.test.ts, with two pods.
 */
import { afterEach, beforeEach, expect } from "bun:test";
import { Prefix } from "../../src/lib/prefix.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { weftTable } from "../../src/reconcile/table-part.ts";
import { removeServices, type ServicesDriver } from "../../src/services/driver.ts";
import { MasqueradeDriver } from "../../src/services/masquerade.ts";
import type { ServiceTable } from "../../src/services/table.ts";
import { needs, testWith } from "../lib/needs.ts";
import { service, slice } from "../lib/services.ts";
import { Scene } from "./services-fixture.ts";

const kernelTest = testWith(needs.root, needs.kernel("nftables"));
const nftTest = testWith(needs.root, needs.kernel("nftables"), needs.command("nft", "nftables"));
const available = needs.root === undefined && needs.kernel("nftables") === undefined;
let scene: Scene;

beforeEach(() => {
  if (available) scene = new Scene(2);
});

afterEach(() => {
  if (available) scene.close();
});

const blue = service("blue", ["10.96.0.1", "fd00:10:96::1"], ["80:30080"], {
  type: "NodePort",
  externalTrafficPolicy: "Local",
});
const shop = service("shop", ["10.96.0.2"], ["80", "dns/53/UDP"], { sessionAffinity: "ClientIP" });

function fill(table: ServiceTable, endpoints = ["10.244.1.11@a", "10.244.1.12@a", "10.244.2.2@b"]): void {
  table.setService(blue);
  table.setService(shop);
  table.setSlice(slice("blue-4", "blue", endpoints));
  table.setSlice(slice("blue-6", "blue", ["fd00:10:244:1::11@a"]));
  table.setSlice(slice("shop-4", "shop", endpoints, ["8080", "dns/8080/UDP"]));
}

/** A new process takes over from the one that ended. */
function restart(): [ServiceTable, ServicesDriver] {
  [scene.table, scene.driver] = scene.agent();
  scene.driver.adopt();
  return [scene.table, scene.driver];
}

const nft = () => scene.node.kernel.nft;

/** What is in the table, without what only the kernel gives. */
function listed(): string {
  const { chains, rules, sets } = nft().dump(weftTable);
  const bare = (value: object) =>
    JSON.stringify(value, (name, field) =>
      name === "handle" || name === "expires" ? undefined : field instanceof Uint8Array ? [...field] : field,
    );
  return [...chains.map(bare), ...rules.map(bare), ...sets.map(bare)].sort().join("\n");
}

kernelTest("a restart writes nothing, and a stream through a Service goes on", async () => {
  fill(scene.table);
  scene.driver.sync();
  await scene.pod(2).serve(8080, "p2");
  scene.table.setSlice(slice("blue-4", "blue", ["10.244.1.12@a"]));
  scene.driver.sync();
  const stream = await openStream("10.96.0.1", 80);
  expect(await stream.echo("before")).toBe("before");
  const generation = nft().generation();
  const [table, driver] = restart();
  fill(table, ["10.244.1.12@a"]);
  table.setSlice(
    slice("shop-4", "shop", ["10.244.1.11@a", "10.244.1.12@a", "10.244.2.2@b"], ["8080", "dns/8080/UDP"]),
  );
  expect(driver.syncAll()).toBe(0);
  expect(nft().generation()).toBe(generation);
  expect(await stream.echo("after")).toBe("after");
  // Nor is the stream hurt by a table that is built anew.
  removeServices(nft());
  driver.check();
  expect(await stream.echo("again")).toBe("again");
  stream.close();
});

async function openStream(address: string, port: number) {
  let received = (_: string) => {};
  const socket = await scene.client.in(() => ({
    made: Bun.connect({
      hostname: address,
      port,
      socket: { data: (_, data) => received(data.toString().trim().split("\n").at(-1) ?? "") },
    }),
  })).made;
  return {
    echo: (text: string) =>
      new Promise<string>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`no echo of "${text}"`)), 3000);
        received = (answer) => {
          if (answer !== text) return;
          clearTimeout(timer);
          resolve(answer);
        };
        socket.write(`${text}\n`);
      }),
    close: () => socket.terminate(),
  };
}

kernelTest("a restart after changes writes only these", () => {
  fill(scene.table);
  scene.driver.sync();
  const [table, driver] = restart();
  fill(table, ["10.244.1.12@a", "10.244.2.2@b", "10.244.2.3@b"]);
  const written = driver.syncAll();
  // One slot in each of two lists of two entrances of blue, and in two ports of shop.
  expect(written).toBeGreaterThan(0);
  expect(written).toBeLessThan(30);
  const before = listed();
  const [again, last] = restart();
  fill(again, ["10.244.1.12@a", "10.244.2.2@b", "10.244.2.3@b"]);
  expect(last.syncAll()).toBe(0);
  expect(listed()).toBe(before);
});

kernelTest("changes one by one leave what one sync would", () => {
  const random = seededRandom(7);
  const below = (limit: number) => Math.floor(random() * limit);
  for (let step = 0; step < 60; step++) {
    const i = below(4);
    const key = `default/s${i}`;
    const policy = below(2) === 0 ? ("Local" as const) : ("Cluster" as const);
    if (below(5) === 0) scene.table.deleteService(key);
    else {
      scene.table.setService(
        service(`s${i}`, [`10.96.1.${i}`, `fd00:10:96::1:${i}`], [`80:3010${below(4)}`], {
          type: "NodePort",
          externalTrafficPolicy: policy,
          sessionAffinity: below(3) === 0 ? "ClientIP" : "None",
        }),
      );
    }
    const endpoints = [1, 2, 3, 4]
      .filter(() => below(2) === 0)
      .map((n) => `10.244.${n}.1@${n === 1 ? "a" : "b"}`);
    scene.table.setSlice({ ...slice(`x${i}`, `s${i}`, endpoints), addressType: "IPv4" });
    scene.driver.sync();
  }
  const { repairs } = scene.driver.counts;
  expect(repairs).toBe(0);
  const before = listed();
  expect(scene.driver.check()).toBe(0);
  // Somebody else's change, elsewhere, makes it look again.
  scene.node.nft("table inet other {}");
  expect(scene.driver.check()).toBe(0);
  expect(listed()).toBe(before);
});

const damages = [
  ["an element deleted", "delete element inet weft services-cluster-ips4 { 10.96.0.1 }"],
  ["an element added", "add element inet weft services-cluster-ips4 { 8.8.8.8 }"],
  [
    "an endpoint replaced",
    `delete element inet weft services-endpoints4 { 10.96.0.1 . tcp . 80 . 1 }
     add element inet weft services-endpoints4 { 10.96.0.1 . tcp . 80 . 1 : 6.6.6.6 . 66 }`,
  ],
  ["all elements gone", "flush map inet weft services-frontends4"],
  ["a rule added", "insert rule inet weft services-entry4 accept"],
  ["all rules of a chain gone", "flush chain inet weft services-postrouting"],
  ["all rules gone", "flush table inet weft"],
  [
    "a stranger's chain",
    "add chain inet weft stranger { type filter hook forward priority 0; policy drop; }",
  ],
  ["a chain of our name", "add chain inet weft services-stranger; add rule inet weft services-stranger drop"],
  ["a stranger's set", "add set inet weft strangers { type ipv4_addr; elements = { 1.1.1.1 } }"],
  ["another policy", "add chain inet weft services-prerouting { policy drop; }"],
  ["the table asleep", "add table inet weft { flags dormant; }"],
  [
    "a set of another type",
    `flush chain inet weft services-entry4
     delete set inet weft services-cluster-ips4
     add set inet weft services-cluster-ips4 { type ether_addr; }`,
  ],
  ["the whole table gone", "delete table inet weft"],
] as const;

nftTest.each(damages)("repairs %s, at the next look", (_, damage) => {
  fill(scene.table);
  scene.driver.sync();
  scene.node.nft("table inet other { chain mine { type nat hook prerouting priority -99; counter; }; }");
  const other = scene.node.nft("list table inet other");
  const before = listed();
  scene.node.nft(damage);
  scene.driver.check();
  expect(listed()).toBe(before);
  expect(nft().dump(weftTable).table.flags).toBeUndefined();
  expect(scene.driver.counts.repairs).toBe(1);
  expect(scene.driver.check()).toBe(0);
  expect(scene.node.nft("list table inet other")).toBe(other);
});

nftTest.each(damages)("repairs %s, when a change comes first or after a restart", (_, damage) => {
  fill(scene.table);
  scene.driver.sync();
  const before = listed();
  scene.node.nft(damage);
  scene.table.setService(service("green", ["10.96.0.9"], ["80"]));
  scene.driver.sync();
  scene.driver.check();
  scene.table.deleteService("default/green");
  scene.driver.sync();
  expect(listed()).toBe(before);
  scene.node.nft(damage);
  const [table, driver] = restart();
  fill(table);
  driver.syncAll();
  expect(listed()).toBe(before);
});

nftTest("each part is removed alone, the table with the last, and other tables stay", () => {
  const masquerade = new MasqueradeDriver(nft());
  const pods = [Prefix.parse("10.244.1.0/24")];
  scene.node.nft("table inet other { set s { type ipv4_addr; elements = { 1.1.1.1 }; }; }");
  const other = scene.node.nft("list ruleset");
  fill(scene.table);
  scene.driver.sync();
  const services = listed();
  expect(masquerade.update(pods, [])).toBeGreaterThan(0);
  expect(masquerade.update(pods, [])).toBe(0);
  expect(scene.driver.check()).toBe(0);
  expect(masquerade.remove()).toBe(true);
  expect(listed()).toBe(services);
  masquerade.update(pods, []);
  expect(removeServices(nft())).toBe(true);
  expect(masquerade.check()).toBe(0);
  expect(removeServices(nft())).toBe(false);
  expect(masquerade.remove()).toBe(true);
  expect(masquerade.remove()).toBe(false);
  expect(nft().tables()).toEqual([{ family: "inet", name: "other" }]);
  expect(scene.node.nft("list ruleset")).toBe(other);
});

nftTest("nft lists the table as it is meant to be read", () => {
  const table = scene.table;
  table.setService({ ...blue, spec: { ...blue.spec, sessionAffinity: "ClientIP" } });
  table.setSlice(slice("blue-4", "blue", ["10.244.1.11@a", "10.244.2.2@b"]));
  scene.driver.sync();
  const text = scene.node.nft("list ruleset");
  const chain = (name: string) => {
    const [, body = ""] = new RegExp(`chain ${name} \\{\n([^]*?)\n\t\\}`).exec(text) ?? [];
    return body.split("\n").map((line) => line.trim());
  };
  const key = "ip daddr . meta l4proto . th dport";
  expect(chain("services-entry4")).toEqual([
    `${key} @services-special4 jump services-special4`,
    `${key} vmap @services-frontends4`,
    "ip daddr @services-cluster-ips4 goto services-refuse",
    "meta l4proto . th dport @services-nodeport-gate4 fib daddr type local ip daddr != 127.0.0.0/8 jump services-nodeport4",
    "ip daddr @services-cidrs4 fib daddr type != local drop",
  ]);
  expect(chain("services-pick4-2-sticky")).toEqual([
    "ip saddr != @services-pods4 meta mark set meta mark | 0x00080000",
    `dnat ip to ip saddr . ${key} map @services-affinity4`,
    `dnat ip to ${key} . numgen random mod 2 map @services-endpoints4`,
    `dnat ip to ${key} . numgen random mod 1 map @services-endpoints4`,
    "drop",
  ]);
  expect(chain("services-nodeport-pick4-1-outside-sticky").at(-2)).toBe(
    "dnat ip to meta l4proto . th dport . numgen random mod 1 offset 2147483648 map @services-nodeport-endpoints4",
  );
  expect(chain("services-remember4-10800")).toEqual([
    "update @services-affinity4 { ip saddr . ct original ip daddr . meta l4proto . ct original proto-dst timeout 3h : ip daddr . th dport }",
  ]);
  expect(text).toContain("10.96.0.1 . tcp . 80 : goto services-pick4-2-sticky");
});
