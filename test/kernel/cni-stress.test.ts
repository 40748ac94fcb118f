/**
 * A runtime under fire: 200 attachments at a time are added and deleted while their launchers and the server are killed.
 * As a runtime has to, it calls DEL until that succeeds after whatever failed, before it adds again.
 */
import { expect } from "bun:test";
import { readdirSync, readlinkSync } from "node:fs";
import { needs, testWith } from "../lib/needs.ts";
import { CniHost, PluginServer } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

const test = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));

const attachments = 200;
const containers = 50;
/** Milliseconds. */
const duration = 1500;
const untilServerEnds = 300;
const untilLauncherEnds = 100;

const oneOf = <T>(list: readonly T[]) => list[Math.floor(Math.random() * list.length)] as T;

/** The host's server, which is killed or ended again and again, or replaced while it works. */
class Servers {
  readonly #host: CniHost;
  #current: PluginServer;
  readonly #ended: Promise<unknown>[] = [];

  constructor(host: CniHost) {
    this.#host = host;
    this.#current = new PluginServer(host.node);
  }

  get current(): PluginServer {
    return this.#current;
  }

  async trouble(until: number): Promise<void> {
    while (performance.now() < until) {
      await Bun.sleep(Math.random() * untilServerEnds);
      const { child } = this.#current;
      const end = oneOf([() => child.kill("SIGKILL"), () => child.kill("SIGTERM"), () => child.stdin.end()]);
      this.#ended.push(child.exited);
      if (Math.random() < 0.5) end();
      this.#current = new PluginServer(this.#host.node);
      await this.#current.ready;
      end();
    }
    await Promise.all(this.#ended);
  }
}

/** One interface of a container, added and deleted in turn. */
class Attachment {
  readonly #host: CniHost;
  readonly container: Namespace;
  readonly ifname: string;
  isAlive = false;
  calls = 0;

  constructor(host: CniHost, container: Namespace, ifname: string) {
    this.#host = host;
    this.container = container;
    this.ifname = ifname;
  }

  get owner(): string {
    return `${this.container.name}/${this.ifname}`;
  }

  async live(until: number): Promise<void> {
    while (performance.now() < until) {
      this.isAlive = await this.#call("ADD", 0.2);
      if (this.isAlive && performance.now() > until) return;
      await this.delete();
    }
  }

  async delete(): Promise<void> {
    for (let kills = 0.2; !(await this.#call("DEL", kills)); kills /= 2);
    this.isAlive = false;
  }

  /** True where it succeeded; false where it was killed, or the server was. Nothing else may go wrong. */
  async #call(command: "ADD" | "DEL", kills: number): Promise<boolean> {
    const { container, ifname } = this;
    const config = this.#host.config({ ipMasq: true }, ranges);
    const child = this.#host.start(command, container, config, { ifname });
    this.calls++;
    if (Math.random() < kills) setTimeout(() => child.kill("SIGKILL"), Math.random() * untilLauncherEnds);
    const [stdout, status] = await Promise.all([new Response(child.stdout).text(), child.exited]);
    if (status !== 0 && child.signalCode === null) expect(stdout).toContain("ended before it was done");
    return status === 0;
  }
}

const ranges = { ranges: [[{ subnet: "10.77.0.0/22" }], [{ subnet: "fd77::/64" }]] };

test("leases and links are those of the attachments that are alive, whatever is killed", {
  timeout: 60_000,
}, async () => {
  using host = new CniHost();
  // The bridge stays when all else is gone.
  const first = host.container();
  for (const command of ["ADD", "DEL"])
    await host.succeed(command, first, host.config({ ipMasq: true }, ranges));
  const before = host.state();
  const servers = new Servers(host);
  const pods = Array.from({ length: containers }, () => host.container());
  const all = Array.from(
    { length: attachments },
    (_, i) => new Attachment(host, pods[i % containers] as Namespace, `eth${Math.floor(i / containers)}`),
  );
  const end = performance.now() + duration;
  await Promise.all([servers.trouble(end), ...all.map((each) => each.live(end))]);
  const alive = all.filter(({ isAlive }) => isAlive);
  expect(alive.length).toBeGreaterThan(0);
  expect(all.reduce((sum, { calls }) => sum + calls, 0)).toBeGreaterThan(attachments);
  const leases = Object.values(host.leases());
  // One of each family.
  expect(leases.sort()).toEqual(alive.flatMap(({ owner }) => [owner, owner]).sort());
  for (const pod of pods) {
    const own = alive.filter(({ container }) => container === pod).map(({ ifname }) => ifname);
    expect(linksOf(pod)).toEqual(["lo", ...own].sort());
  }
  // Nothing in the server is left in a container, which could not go then.
  const tasks = `/proc/${servers.current.child.pid}/task`;
  const places = readdirSync(tasks).map((task) => readlinkSync(`${tasks}/${task}/ns/net`));
  expect(new Set(places).size).toBe(1);
  await Promise.all(alive.map((each) => each.delete()));
  expect(host.state()).toBe(before);
  expect(pods.flatMap(linksOf)).toEqual(pods.map(() => "lo"));
  servers.current[Symbol.dispose]();
  expect(await servers.current.child.exited).toBe(0);
});

function linksOf({ kernel }: Namespace): string[] {
  return kernel.rtnl.links
    .list()
    .map(({ name }) => name)
    .sort();
}
