/**
 * An ADD that the server does for a caller that is killed, where others have a part in it: the host's iptables, and a
 * DHCP server. At whatever moment it is killed, all is taken back. See cni-fixture.ts and dhcp-fixture.ts for the pictures.
 */
import { describe, expect } from "bun:test";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { DhcpScene } from "../interop/dhcp-fixture.ts";
import { eventually } from "../lib/agent.ts";
import { needs, testWith } from "../lib/needs.ts";
import { type CniHost, PluginServer } from "./cni-fixture.ts";
import { folder, later, linksOf, servedHost } from "./cni-server-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

const iptables = "/usr/sbin/xtables-nft-multi";
const iptablesTest = testWith(needs.root, needs.file(iptables, "iptables"));

/** The host's iptables, whose nth start for an ADD waits for a word. */
class SlowIptables {
  readonly #dir = folder();
  readonly env = { PATH: `${this.#dir}:${process.env.PATH}` };

  constructor() {
    // Others of the same ADD come one after the other.
    const script = `#!/bin/sh
cd ${this.#dir}
if [ -e nth ]; then
  echo >>count
  if [ "$(wc -l <count)" = "$(cat nth)" ]; then
    rm nth
    : >waits
    while [ ! -e go ]; do sleep 0.02; done
  fi
fi
exec -a "\${0##*/}" ${iptables} "$@"
`;
    for (const program of ["iptables", "ip6tables"]) {
      for (const suffix of ["", "-save", "-restore"]) {
        writeFileSync(join(this.#dir, `${program}${suffix}`), script.replace("/bin/sh", "/bin/bash"), {
          mode: 0o755,
        });
      }
    }
  }

  /** From now on: which start waits. */
  letWait(nth: number): void {
    for (const name of ["count", "go", "waits"]) rmSync(join(this.#dir, name), { force: true });
    writeFileSync(join(this.#dir, "nth"), String(nth));
  }

  get waits(): boolean {
    return existsSync(join(this.#dir, "waits"));
  }

  goOn(): void {
    writeFileSync(join(this.#dir, "go"), "");
  }
}

/** The rules of iptables on the host. */
function rulesOf(host: CniHost): string[] {
  return ["iptables-nft", "ip6tables-nft"].flatMap((program) => {
    const { stdout } = host.node.in(() => Bun.spawnSync([program, "-t", "nat", "-S"]));
    return stdout
      .toString()
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("-P "));
  });
}

describe("ipMasq by iptables", () => {
  async function scene() {
    const { host } = await servedHost();
    const slow = new SlowIptables();
    const config = host.config({ ipMasq: true, ipMasqBackend: "iptables" });
    const container = host.container();
    const start = () => host.start("ADD", container, config, { env: slow.env });
    const nothingIsLeft = async () =>
      await eventually(
        () => JSON.stringify([linksOf(container), linksOf(host.node), host.leases(), rulesOf(host)]),
        () =>
          linksOf(container).length === 1 &&
          linksOf(host.node).every((name) => !name.startsWith("veth")) &&
          Object.keys(host.leases()).length === 0 &&
          rulesOf(host).length === 0,
      );
    return { host, slow, config, container, start, nothingIsLeft };
  }

  iptablesTest(
    "is taken back where the caller is killed while iptables is at work",
    { timeout: 60_000 },
    async () => {
      const { host, slow, config, container, start, nothingIsLeft } = await scene();
      let starts = 0;
      for (let isEnded = false; !isEnded; starts++) {
        slow.letWait(starts + 1);
        const caller = start();
        await eventually(
          () => `start ${starts + 1}`,
          () => slow.waits || caller.exitCode !== null,
        );
        isEnded = !slow.waits;
        if (isEnded) break;
        caller.kill("SIGKILL");
        await nothingIsLeft();
      }
      // At least one for each family.
      expect(starts).toBeGreaterThan(1);
      const rules = rulesOf(host);
      expect(rules.join("\n")).toContain("MASQUERADE");
      await host.succeed("DEL", container, config, { env: slow.env });
      expect(rulesOf(host)).toEqual([]);
    },
  );

  iptablesTest(
    "is taken back where the caller is killed before it has the answer",
    { timeout: 60_000 },
    async () => {
      const { host, slow, start, nothingIsLeft } = await scene();
      slow.letWait(1);
      const caller = start();
      await eventually(
        () => "iptables is not started",
        () => slow.waits,
      );
      caller.kill("SIGSTOP");
      slow.goOn();
      await eventually(
        () => rulesOf(host).join("\n"),
        () => rulesOf(host).filter((line) => line.includes("MASQUERADE")).length === 2,
      );
      expect(Object.keys(host.leases())).toHaveLength(2);
      caller.kill("SIGKILL");
      await nothingIsLeft();
    },
  );
});

describe("an address by DHCP", () => {
  const dhcpTest = testWith(needs.root, needs.command("dnsmasq", "dnsmasq-base"), needs.kernel("bridge"));

  async function scene(type: string) {
    const made = new DhcpScene();
    later(() => made[Symbol.dispose]());
    const server = new PluginServer(made.host.node);
    later(() => server[Symbol.dispose]());
    await Promise.all([server.ready, made.daemon()]);
    if (type === "bridge") made.bridge();
    const container = made.host.container();
    const nothingIsLeft = async () =>
      await eventually(
        () => JSON.stringify([linksOf(container), readdirSync(made.stateDir), made.dnsmasqLeases()]),
        () =>
          linksOf(container).length === 1 &&
          readdirSync(made.stateDir).join() === "lock" &&
          made.dnsmasqLeases().length === 0,
      );
    return { made, container, nothingIsLeft };
  }

  const configs: [string, (made: DhcpScene) => JsonObject][] = [
    ["bridge", (made) => made.bridged()],
    ["macvlan", (made) => made.macvlan()],
  ];
  for (const [type, configOf] of configs) {
    dhcpTest(
      `of ${type} is taken back where the caller is killed while it is asked for`,
      { timeout: 60_000 },
      async () => {
        const { made, container, nothingIsLeft } = await scene(type);
        const caller = made.host.start("ADD", container, configOf(made));
        // There is no server yet.
        await isAsking(made, container);
        caller.kill("SIGKILL");
        await nothingIsLeft();
        await made.dnsmasq();
        await made.host.succeed("ADD", container, configOf(made));
        await made.host.succeed("DEL", container, configOf(made));
        await nothingIsLeft();
      },
    );

    dhcpTest(
      `of ${type} is given back where the caller is killed before it has the answer`,
      { timeout: 60_000 },
      async () => {
        const { made, container, nothingIsLeft } = await scene(type);
        const caller = made.host.start("ADD", container, configOf(made));
        await isAsking(made, container);
        caller.kill("SIGSTOP");
        await made.dnsmasq();
        await eventually(
          () => JSON.stringify(made.dnsmasqLeases()),
          () => addressesOf(container).some((address) => address.startsWith("10.99.0.")),
        );
        expect(made.dnsmasqLeases()).toHaveLength(1);
        caller.kill("SIGKILL");
        await nothingIsLeft();
      },
    );
  }
});

/** Resolves when the container has its link, which it needs to ask by. */
async function isAsking(made: DhcpScene, container: Namespace): Promise<void> {
  await eventually(
    () => `links ${linksOf(container)}, states ${readdirSync(made.stateDir)}`,
    () => linksOf(container).includes("eth0"),
  );
}

function addressesOf({ kernel }: Namespace): string[] {
  return kernel.rtnl.addresses.list().map(({ address }) => String(address));
}
