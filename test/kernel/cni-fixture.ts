/**
 * A host on which the plugins' executables run as a container runtime starts them, with containers and an outside:
 *
 *     outside 192.0.2.2 -- eth0 host 192.0.2.1 -- bridge -- containers
 *             2001:db8::2          2001:db8::1
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join as path } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { join, Namespace } from "./services-fixture.ts";

const root = path(import.meta.dir, "../..");
/** The plugins' links, made by the build. */
export const ownPlugins = path(root, "dist/cni");
/** Debian's containernetworking-plugins. */
export const referencePlugins = "/usr/lib/cni";

/** How one start of a plugin ended. */
export interface Answer {
  status: number;
  /** Standard output as JSON; {} where it is none. */
  json: JsonObject;
  stdout: string;
  stderr: string;
}

/** What a call of a plugin says besides the configuration. */
export interface Call {
  containerId?: string;
  ifname?: string;
  /** Path of the namespace; the container's own where not given. */
  netns?: string;
  args?: string;
  /** The folder of the executable, and CNI_PATH. */
  plugins?: string;
  cniPath?: string;
  env?: Record<string, string>;
}

let count = 0;
let served = false;

/** From here on each host has the plugins' server, which does the work of what is started there. */
export function serveAll(): void {
  served = true;
}

/** A process `weft-cni serve` in a namespace. */
export class PluginServer implements Disposable {
  readonly child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  /** Resolves to the path of its socket once it listens. */
  readonly ready: Promise<string>;

  constructor(node: Namespace, executable = path(root, "dist/weft-cni")) {
    const child = node.in(() =>
      Bun.spawn([executable, "serve"], { stdin: "pipe", stdout: "pipe", stderr: "inherit" }),
    );
    this.child = child;
    this.ready = (async () => {
      const { value } = await child.stdout.getReader().read();
      if (value === undefined) throw new Error("the plugins' server did not start");
      return new TextDecoder().decode(value).trim();
    })();
  }

  [Symbol.dispose](): void {
    this.child.stdin.end();
  }
}

/** The scene; ends with the `using` block. */
export class CniHost implements Disposable {
  readonly node = new Namespace("host");
  readonly outside = new Namespace("out");
  readonly dir = mkdtempSync(path(tmpdir(), "weft-t-cni-"));
  readonly dataDir = path(this.dir, "networks");
  readonly #containers: Namespace[] = [];
  readonly #server: PluginServer | undefined;

  constructor() {
    join(this.node, "eth0", this.outside, "eth0");
    this.node.address("eth0", "192.0.2.1/24", "2001:db8::1/64");
    this.outside.address("eth0", "192.0.2.2/24", "2001:db8::2/64");
    this.#server = served ? new PluginServer(this.node) : undefined;
  }

  /** A container's namespace, in which nothing is but lo. */
  container(): Namespace {
    const made = new Namespace(`c${count++}`);
    this.#containers.push(made);
    return made;
  }

  /** A bridge configuration with host-local, dual stack; the leases are the scene's own. */
  config(more: JsonObject = {}, ipam: JsonObject = {}): JsonObject {
    return {
      cniVersion: "1.0.0",
      name: "net",
      type: "bridge",
      bridge: "br0",
      isDefaultGateway: true,
      ipam: {
        type: "host-local",
        dataDir: this.dataDir,
        ranges: [[{ subnet: "10.77.0.0/24" }], [{ subnet: "fd77::/64" }]],
        ...ipam,
      },
      ...more,
    };
  }

  /** Starts the plugin of the configuration's type on the host. */
  start(
    command: string,
    container: Namespace | undefined,
    config: unknown,
    call: Call = {},
  ): Bun.Subprocess<Uint8Array<ArrayBuffer>, "pipe", "pipe"> {
    const { plugins = ownPlugins, containerId = container?.name ?? "none", ifname = "eth0" } = call;
    const netns = call.netns ?? (container === undefined ? "" : `/run/netns/${container.name}`);
    const type = (config as JsonObject).type ?? "bridge";
    return this.node.in(() =>
      Bun.spawn([path(plugins, String(type))], {
        stdin: new TextEncoder().encode(typeof config === "string" ? config : JSON.stringify(config)),
        stdout: "pipe",
        stderr: "pipe",
        env: {
          PATH: process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin",
          CNI_COMMAND: command,
          CNI_CONTAINERID: containerId,
          CNI_NETNS: netns,
          CNI_IFNAME: ifname,
          CNI_PATH: call.cniPath ?? plugins,
          CNI_ARGS: call.args ?? "",
          ...call.env,
        },
      }),
    );
  }

  /** As {@link start}; resolves to how it ended. */
  async call(
    command: string,
    container: Namespace | undefined,
    config: unknown,
    call: Call = {},
  ): Promise<Answer> {
    await this.#server?.ready;
    const child = this.start(command, container, config, call);
    const [stdout, stderr, status] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { status, stdout, stderr, json: jsonOf(stdout) };
  }

  /** As {@link call}, but throws what the plugin printed where it fails. */
  async succeed(
    command: string,
    container: Namespace | undefined,
    config: unknown,
    call: Call = {},
  ): Promise<Answer> {
    const answer = await this.call(command, container, config, call);
    if (answer.status !== 0) throw new Error(`${command}: ${answer.stdout}${answer.stderr}`);
    return answer;
  }

  /** The leases by address: "container id/interface". */
  leases(network = "net"): Record<string, string> {
    const folder = path(this.dataDir, network);
    if (!existsSync(folder)) return {};
    const names = readdirSync(folder).filter((name) => /^[0-9a-f.:]+$/.test(name));
    return Object.fromEntries(
      names.sort().map((name) => [name, readFileSync(path(folder, name), "utf8").replace("\r\n", "/")]),
    );
  }

  /** Everything on the host that a plugin could have changed, as text that can be compared. */
  state(): string {
    const { rtnl, nft } = this.node.kernel;
    const links = rtnl.links.list();
    const nameOf = new Map(links.map(({ index, name }) => [index, name]));
    const lines = [
      ...links.map(
        ({ name, kind, master, up, mtu, promiscuous }) =>
          `link ${name} ${kind} in ${nameOf.get(master ?? 0)} ${up} ${mtu} ${promiscuous}`,
      ),
      // The kernel makes link-local addresses by itself, some time after.
      ...rtnl.addresses
        .list()
        .filter(({ scope }) => scope !== "link")
        .map(({ link, address }) => `address ${nameOf.get(link)} ${address}`),
      ...rtnl.routes
        .list()
        .filter(({ dst }) => !dst.ip.isLinkLocal() && !dst.ip.isMulticast())
        .map(({ dst, gateway, oif }) => `route ${dst} ${gateway} ${nameOf.get(oif ?? 0)}`),
      ...nft.tables().flatMap((table) => {
        const { chains, sets, rules } = nft.dump(table);
        return [
          `table ${table.family} ${table.name} ${chains.map(({ name }) => name).sort()} ${rules.length}`,
          ...sets.flatMap(({ name, elements = [] }) =>
            elements.map(({ key, comment }) => `${name} ${key} ${comment}`),
          ),
        ];
      }),
      ...Object.entries(this.leases()).map(([ip, owner]) => `lease ${ip} ${owner}`),
    ];
    return lines.sort().join("\n");
  }

  [Symbol.dispose](): void {
    this.#server?.[Symbol.dispose]();
    for (const { close } of this.#containers.map((each) => ({ close: () => each.close() }))) close();
    this.node.close();
    this.outside.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function jsonOf(text: string): JsonObject {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/** The address of a result of one family, without its length. */
export function addressOf({ json }: Answer, family: 4 | 6): string {
  const ips = json.ips as { address: string }[];
  const found = ips.find(({ address }) => address.includes(":") === (family === 6));
  if (found === undefined) throw new Error(`no IPv${family} address in ${JSON.stringify(ips)}`);
  return found.address.replace(/\/.*/, "");
}
