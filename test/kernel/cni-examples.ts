/**
 * The examples of a page docs/cni/NAME.md, run by `weft cni` on a host as the pages suppose it. /var/lib and /run are folders
 * of the test's own.
 *
 *     outside 192.0.2.2 -- eth0 host 192.0.2.1 -- what the example makes -- container
 *             2001:db8::2          2001:db8::1
 */
import { expect } from "bun:test";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import type { PluginName } from "../../src/plugins/names.ts";
import { type Block, blocks } from "../lib/blocks.ts";
import { type Need, needs } from "../lib/needs.ts";
import { CniHost, ownPlugins } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

const weft = join(ownPlugins, "../weft");
export const ifname = "eth0";
/** Where servers listen. */
const port = 8080;

/** What `weft cni add --json` prints, as far as it is looked at. */
export interface Added {
  interfaces?: { name: string; sandbox?: string }[];
  ips?: { address: string; gateway?: string }[];
  routes?: { dst: string }[];
}

interface Ended {
  status: number;
  stdout: string;
  stderr: string;
}

/** The example of a page: its JSON block with that mark, or without any. */
export function exampleOf(plugin: string, mark?: string): JsonObject {
  const found = examplesOf(plugin).filter(({ marks }) => marks[0] === mark);
  expect(found.length, `blocks of JSON in docs/cni/${plugin}.md with the mark ${mark}`).toBe(1);
  return JSON.parse(found[0]?.text ?? "");
}

/** All JSON blocks of a plugin's page. */
export const examplesOf = (plugin: string): Block[] =>
  blocks("json").filter(({ page }) => page === `docs/cni/${plugin}.md`);

/** A host with the example's configuration. */
export class ExampleHost implements Disposable {
  readonly host = new CniHost();
  readonly container: Namespace = this.host.container();
  readonly network: string;
  readonly file: string;
  readonly #state = join(this.host.dir, "state");
  readonly #children: Bun.Subprocess[] = [];

  constructor(plugin: string, mark?: string) {
    const list = exampleOf(plugin, mark);
    this.network = String(list.name);
    this.file = join(this.host.dir, "net.d", `${this.network}.conflist`);
    for (const path of ["net.d", "state/lib", "state/run/netns"]) {
      mkdirSync(join(this.host.dir, path), { recursive: true });
    }
    writeFileSync(this.file, JSON.stringify(list));
  }

  #command(args: readonly string[]): string[] {
    const script =
      'mount --rbind /run/netns "$0/run/netns" && mount --rbind "$0/run" /run && mount --bind "$0/lib" /var/lib && exec "$@"';
    return ["unshare", "-m", "sh", "-c", script, this.#state, weft, ...args];
  }

  /** `weft cni VERB`. */
  cni(...args: readonly string[]): Ended {
    const options = ["--conf-dir", join(this.host.dir, "net.d"), "--path", ownPlugins];
    const { exitCode, stdout, stderr } = this.host.node.in(() =>
      Bun.spawnSync(this.#command(["cni", ...args, ...options]), { env: { PATH: searchPath } }),
    );
    return { status: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
  }

  /** The same for the example's container. */
  attachment(verb: "add" | "check" | "del", ...more: readonly string[]): Ended {
    return this.attachmentOf(this.container, verb, ...more);
  }

  /** The same for another one. */
  attachmentOf({ name }: Namespace, verb: "add" | "check" | "del", ...more: readonly string[]): Ended {
    return this.cni(verb, this.network, name, "--container-id", name, "--ifname", ifname, ...more);
  }

  /** Starts something that goes on in the background; resolves when it has said `word` on standard error. */
  async background(where: Namespace, command: readonly string[], word: string): Promise<void> {
    const child = where.in(() =>
      Bun.spawn([...command], {
        stdin: "ignore",
        stdout: "ignore",
        stderr: "pipe",
        env: { PATH: searchPath },
      }),
    );
    this.#children.push(child);
    const said = Promise.withResolvers<void>();
    // It is read to the end: who logs into a pipe that nobody reads is stuck.
    void (async () => {
      let log = "";
      for await (const bytes of child.stderr) {
        log += new TextDecoder().decode(bytes);
        if (log.includes(word)) said.resolve();
      }
      said.reject(new Error(`${command.join(" ")} ended: ${log}`));
    })();
    await said.promise;
  }

  /** `weft dhcp daemon`, which sees the same /run. */
  async dhcpDaemon(): Promise<void> {
    await this.background(this.host.node, this.#command(["dhcp", "daemon"]), "answering");
  }

  /** Files under /var/lib and /run that say something of an attachment. */
  remembered(): string[] {
    const isBare = /(^|\/)(lock|last_reserved_ip\.\d+|[\w-]+\.lock|dhcp\.sock)$/;
    return readdirSync(this.#state, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map(({ parentPath, name }) => join(parentPath, name).slice(this.#state.length + 1))
      .filter((path) => !isBare.test(path))
      .sort();
  }

  /** Links of a namespace. */
  linksOf(where: Namespace): string[] {
    const all = where.kernel.rtnl.links.list();
    return all.map(({ name }) => name).sort();
  }

  /** The container reaches a server outside, which sees this caller. */
  async expectOutside(caller: string, server = "192.0.2.2"): Promise<void> {
    await this.host.outside.serve(port, "outside");
    expect(await this.container.ask(server, port)).toStartWith(`outside ${caller} `);
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child.kill("SIGKILL");
    this.host[Symbol.dispose]();
  }
}

const searchPath = "/usr/sbin:/usr/bin:/sbin:/bin";

/** What the example of one plugin needs, and what is to be seen when the container is attached. */
export interface Example {
  needs: readonly Need[];
  /** A kernel under which it runs where the machine's own cannot. */
  guest?: "uml";
  /** Before the first call. */
  prepare?: (scene: ExampleHost) => void | Promise<void>;
  /** For `weft cni add`. */
  options?: readonly string[];
  /** How many addresses the result has. */
  addresses: number;
  attached: (scene: ExampleHost, added: Added) => void | Promise<void>;
  /** After DEL, before the host is compared with what it was. */
  detached?: (scene: ExampleHost) => void;
}

const bridged = [needs.kernel("bridge")];
const masqueraded = [...bridged, needs.kernel("nftables")];

const containerLink = ({ container }: ExampleHost) => container.kernel.rtnl.links.get(ifname);

/** On the example's own wire: its second end for containers is seen by its own address. */
async function expectWire(scene: ExampleHost, { ips = [] }: Added): Promise<void> {
  await scene.expectOutside(String(ips[0]?.address).replace(/\/.*/, ""));
}

const masqueradedAs = (address: string) => async (scene: ExampleHost) => await scene.expectOutside(address);

/** A line for each page. */
export const examples: Readonly<Record<PluginName, Example>> = {
  bandwidth: {
    needs: [...masqueraded, needs.kernel("ifb")],
    addresses: 2,
    async attached(scene) {
      const { rtnl } = scene.host.node.kernel;
      expect(rtnl.links.list({ kind: "ifb" })).toHaveLength(1);
      await scene.expectOutside("192.0.2.1");
    },
  },
  bridge: { needs: masqueraded, addresses: 2, attached: masqueradedAs("192.0.2.1") },
  dhcp: {
    needs: [needs.kernel("macvlan"), needs.command("dnsmasq", "dnsmasq-base")],
    addresses: 1,
    options: ["--args", "K8S_POD_NAME=blue"],
    async prepare(scene) {
      const { dir, outside } = scene.host;
      const leases = join(dir, "dnsmasq.leases");
      const options = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--no-ping",
        "--log-facility=-",
        `--pid-file=${join(dir, "dnsmasq.pid")}`,
        `--dhcp-leasefile=${leases}`,
        "--dhcp-range=192.0.2.150,192.0.2.199,255.255.255.0,2m",
      ];
      await scene.background(outside, ["dnsmasq", ...options], "DHCP, IP range");
      await scene.dhcpDaemon();
    },
    async attached(scene, added) {
      expect(added.ips?.[0]?.address).toMatch(/^192\.0\.2\.1[5-9]\d\/24$/);
      const metrics = scene.container.kernel.rtnl.routes
        .list({ dst: "0.0.0.0/0" })
        .map(({ priority }) => priority);
      expect(metrics).toEqual([200]);
      expect(await Bun.file(join(scene.host.dir, "dnsmasq.leases")).text()).toContain(" blue ");
      await expectWire(scene, added);
    },
  },
  dummy: {
    needs: [needs.kernel("dummy")],
    guest: "uml",
    addresses: 2,
    attached: (scene) => expect(containerLink(scene).kind).toBe("dummy"),
  },
  firewall: {
    needs: masqueraded,
    addresses: 2,
    async attached(scene) {
      const maps = scene.host.node.kernel.nft.dump({ family: "inet", name: "weft-cni" }).sets;
      const policies = maps.filter(({ name }) => name.startsWith("firewall4"));
      expect(policies.flatMap(({ elements = [] }) => elements)).toHaveLength(1);
      await scene.expectOutside("192.0.2.1");
    },
  },
  "host-device": {
    needs: [],
    addresses: 2,
    async attached(scene, added) {
      expect(scene.linksOf(scene.host.node)).toEqual(["lo"]);
      await expectWire(scene, added);
    },
    // The device comes back, but not the addresses that it had.
    detached: ({ host }) => host.node.address("eth0", "192.0.2.1/24", "2001:db8::1/64"),
  },
  "host-local": {
    needs: bridged,
    addresses: 2,
    async attached(scene, { ips }) {
      expect(ips?.map(({ address }) => address)).toEqual(["10.88.30.10/24", "fd88:30::2/64"]);
      expect(scene.remembered()).toContain(`lib/cni/networks/${scene.network}/10.88.30.10`);
      await scene.host.node.serve(port, "host");
      expect(await scene.container.ask("192.0.2.1", port)).toStartWith("host 10.88.30.10 ");
    },
  },
  ipvlan: { needs: [needs.kernel("ipvlan")], guest: "uml", addresses: 2, attached: expectWire },
  loopback: {
    needs: [],
    addresses: 2,
    attached: ({ container }) => expect(container.kernel.rtnl.links.get("lo").up).toBe(true),
  },
  macvlan: { needs: [needs.kernel("macvlan")], addresses: 2, attached: expectWire },
  portmap: {
    needs: masqueraded,
    addresses: 2,
    options: ["--capabilities", '{"portMappings":[{"hostPort":8000,"containerPort":80,"protocol":"tcp"}]}'],
    async attached({ host, container }) {
      await container.serve(80, "container");
      expect(await host.outside.ask("192.0.2.1", 8000)).toStartWith("container 192.0.2.2 ");
      expect(await host.outside.ask("2001:db8::1", 8000)).toStartWith("container 2001:db8::2 ");
    },
  },
  ptp: { needs: [needs.kernel("nftables")], addresses: 2, attached: masqueradedAs("192.0.2.1") },
  sbr: {
    needs: masqueraded,
    addresses: 2,
    async attached(scene) {
      const { rules } = scene.container.kernel.rtnl;
      const tables = rules.list().flatMap(({ src, table }) => (src === undefined ? [] : [`${src} ${table}`]));
      expect(tables).toEqual(["10.88.33.2/32 100", expect.stringContaining("fd88:33::2/128")]);
      // Alone it has no default route but for what is sent from its address, such as an answer.
      scene.host.outside.route("10.88.33.0/24", "192.0.2.1");
      await scene.container.serve(port, "container");
      expect(await scene.host.outside.ask("10.88.33.2", port)).toStartWith("container 192.0.2.2 ");
    },
  },
  static: {
    needs: masqueraded,
    addresses: 2,
    async attached(scene, { ips }) {
      expect(ips?.map(({ address }) => address)).toEqual(["10.88.32.7/24", "fd88:32::7/64"]);
      await scene.expectOutside("192.0.2.1");
    },
  },
  tap: {
    needs: [needs.kernel("tun")],
    addresses: 2,
    attached: (scene) => expect(containerLink(scene)).toMatchObject({ mtu: 1400, tun: { owner: 107 } }),
  },
  tuning: {
    needs: masqueraded,
    addresses: 2,
    async attached(scene) {
      const { sysctl } = scene.container.kernel;
      expect(sysctl.read("net.ipv4.tcp_keepalive_time")).toBe("120");
      expect(containerLink(scene).mtu).toBe(1450);
      await scene.expectOutside("192.0.2.1");
    },
  },
  vlan: {
    needs: [needs.kernel("vlan")],
    guest: "uml",
    addresses: 2,
    prepare({ host: { outside } }) {
      outside.kernel.rtnl.links.add({ kind: "vlan", name: "eth0.105", parent: "eth0", vlan: { id: 105 } });
      outside.address("eth0.105", "10.105.0.1/24", "fd00:105::1/64");
    },
    attached: async (scene) => await scene.expectOutside("10.105.0.10", "10.105.0.1"),
  },
  vrf: {
    needs: [...bridged, needs.kernel("vrf")],
    guest: "uml",
    addresses: 2,
    attached(scene) {
      const { links } = scene.container.kernel.rtnl;
      expect(containerLink(scene).master).toBe(links.get("blue").index);
    },
  },
};

/** Of pages with several: by the plugin and the mark of the block. */
export const furtherExamples: readonly (Example & { plugin: PluginName; mark: string })[] = [
  {
    plugin: "bridge",
    mark: "separate",
    needs: masqueraded,
    addresses: 2,
    async attached(scene) {
      const { host, container } = scene;
      await scene.expectOutside("192.0.2.1");
      const other = host.container();
      const { stdout } = scene.attachmentOf(other, "add", "--json");
      const { ips = [] }: Added = JSON.parse(stdout);
      await other.serve(port, "other");
      await host.node.serve(port, "host");
      for (const { address, gateway = "" } of ips) {
        expect(await container.ask(gateway, port)).toStartWith("host ");
        expect(await container.ask(address.replace(/\/.*/, ""), port, 500)).toBe("silence");
      }
      const { mac = "" } = containerLink(scene);
      container.kernel.rtnl.links.set(ifname, { mac: "02:00:00:00:00:66" });
      expect(await container.ask("10.88.22.1", port, 500)).toBe("silence");
      container.kernel.rtnl.links.set(ifname, { mac });
      expect(await other.ask("10.88.22.1", port)).toStartWith("host ");
      expect(scene.attachmentOf(other, "del").status).toBe(0);
    },
  },
  {
    plugin: "bridge",
    mark: "vlan",
    needs: [needs.kernel("bridgeVlanFiltering")],
    guest: "uml",
    addresses: 2,
    async attached(scene) {
      const { host, container } = scene;
      await host.node.serve(port, "host");
      expect(scene.linksOf(host.node)).toContain("example2.5");
      for (const gateway of ["10.88.23.1", "fd88:23::1"])
        expect(await container.ask(gateway, port)).toStartWith("host ");
      const other = host.container();
      expect(scene.attachmentOf(other, "add")).toMatchObject({ status: 0, stderr: "" });
      await other.serve(port, "other");
      for (const id of [7, 8, 29]) {
        for (const [end, where] of [container, other].entries()) {
          const name = `${ifname}.${id}`;
          where.kernel.rtnl.links.add({ kind: "vlan", name, parent: ifname, vlan: { id } });
          where.address(name, `198.51.${id}.${end + 1}/24`);
        }
        const answer = await container.ask(`198.51.${id}.2`, port, id === 8 ? 500 : undefined);
        expect(answer).toStartWith(id === 8 ? "silence" : "other ");
      }
      expect(scene.attachmentOf(other, "del").status).toBe(0);
    },
    // It stays, as the bridge does.
    detached: ({ host }) => host.node.kernel.rtnl.links.delete("example2.5"),
  },
];

/** Validates, attaches, looks, and detaches; nothing may be left but bridges, which stay on purpose. */
export async function runExample(plugin: PluginName, mark?: string): Promise<void> {
  const further = furtherExamples.find((each) => each.plugin === plugin && each.mark === mark);
  const { prepare, options = [], addresses, attached, detached } = further ?? examples[plugin];
  using scene = new ExampleHost(plugin, mark);
  const { host, container } = scene;
  const done = (ended: Ended) => {
    expect(ended).toMatchObject({ status: 0, stderr: "" });
    return ended.stdout;
  };
  const explained = JSON.parse(done(scene.cni("validate", scene.file, "--json")));
  expect(explained).toMatchObject({
    ok: true,
    networks: [{ name: ["example", plugin, mark].filter(Boolean).join("-") }],
  });
  expect(explained.networks[0].findings).toEqual([]);
  await prepare?.(scene);
  const [before, inside] = [host.state(), scene.linksOf(container)];

  done(scene.cni("status", scene.network));
  const added: Added = JSON.parse(done(scene.attachment("add", "--json", ...options)));
  expect(added.ips).toHaveLength(addresses);
  expectInside(scene, added);
  await attached(scene, added);
  done(scene.attachment("check"));
  done(scene.cni("gc", scene.network, "--keep", `${container.name}/${ifname}`));
  done(scene.attachment("check"));
  done(scene.attachment("del"));
  done(scene.attachment("del"));

  expect(scene.linksOf(container)).toEqual(inside);
  expect(scene.remembered()).toEqual([]);
  detached?.(scene);
  const { links } = host.node.kernel.rtnl;
  for (const { index } of links.list({ kind: "bridge" })) links.delete(index);
  expect(host.state()).toBe(before);
}

/** What the result says of the container is so. */
function expectInside({ container }: ExampleHost, { interfaces = [], ips = [] }: Added): void {
  const own = interfaces.find(({ sandbox }) => sandbox === `/run/netns/${container.name}`);
  expect(own).toBeDefined();
  const { links, addresses } = container.kernel.rtnl;
  const name = own?.name ?? "";
  expect(links.get(name).up).toBe(true);
  const there = addresses.list({ link: name }).map(({ address }) => String(address));
  expect(there).toEqual(expect.arrayContaining(ips.map(({ address }) => address)));
}
