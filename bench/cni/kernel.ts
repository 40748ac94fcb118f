/** What the kernel alone takes for an attachment, by netlink and in this process: what no plugin can be faster than. */
import { writeFileSync } from "node:fs";
import { Prefix } from "../../src/lib/prefix.ts";
import { inNetns } from "../../src/linux/netns.ts";
import { Rtnl } from "../../src/linux/route/rtnl.ts";
import type { Side } from "./side.ts";

const name = "alone";
const address = Prefix.parse("10.77.255.254/16");

/** Milliseconds. */
export interface KernelTimes {
  add: number[];
  del: number[];
}

/** Attaches one container to a bridge and detaches it, again and again, beside what the plugins do there. */
export class KernelAlone implements Disposable {
  readonly #host: Rtnl;
  readonly #inside: Rtnl;
  readonly #netns: { name: string };
  readonly #bridge: string;

  /** `pod`: a container of the side with which nothing else is done. */
  constructor(side: Side, bridge: string, pod: number) {
    this.#netns = { name: side.pods[pod] as string };
    this.#bridge = bridge;
    // As the plugins have it: what the kernel tells of a new interface it tells at once.
    inNetns(this.#netns, () => {
      writeFileSync("/proc/sys/net/ipv4/conf/default/arp_notify", "1");
      writeFileSync("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
    });
    this.#host = new Rtnl({ netns: { name: side.name } });
    this.#inside = new Rtnl({ netns: this.#netns });
  }

  /**
   * A pair at the bridge with an alias, both ends up, an address of which the neighbours are told, a default route, and a
   * process that does nothing; and the pair's deletion.
   */
  once(times: KernelTimes): void {
    const [host, inside] = [this.#host, this.#inside];
    const master = host.links.get(this.#bridge).index;
    const start = Bun.nanoseconds();
    host.links.add({ kind: "veth", name, master, up: true, peer: { name, netns: this.#netns } });
    host.links.set(name, { alias: "whose it is" });
    inside.addresses.add({ link: name, address });
    inside.links.set(name, { up: true });
    inside.routes.add({ dst: "0.0.0.0/0", gateway: "10.77.0.1" });
    // As the plugins: the port forwards, then the neighbours are told.
    while (host.links.get(name).operState !== "up");
    const { mac } = inside.links.get(name);
    if (mac !== undefined) inside.links.set(name, { mac });
    // Every call of a plugin is a process, whose start and end wait for what the kernel still has to do.
    Bun.spawnSync(["/bin/true"]);
    const middle = Bun.nanoseconds();
    host.links.delete(name);
    times.add.push((middle - start) / 1e6);
    times.del.push((Bun.nanoseconds() - middle) / 1e6);
  }

  [Symbol.dispose](): void {
    this.#host.close();
    this.#inside.close();
  }
}
