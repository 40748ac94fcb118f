/**
 * A host with containers on a network that has a DHCP server, in namespaces of their own:
 *
 *     lan 10.99.0.1 (the server) eth0 -- eth1 host -- br0, or a macvlan of eth1 -- containers
 */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join as path } from "node:path";
import { formatLine, parseAnswer } from "../../src/cni/dhcp-protocol.ts";
import type { JsonObject } from "../../src/cni/fields.ts";
import { type Answer, CniHost, ownPlugins } from "../kernel/cni-fixture.ts";
import { join, Namespace } from "../kernel/services-fixture.ts";

const root = path(import.meta.dir, "../..");

type Child = Bun.Subprocess<"ignore", "ignore", "pipe">;

/** A child whose standard error is kept, to be waited for and shown where a test fails. */
class Process implements Disposable {
  readonly child: Child;
  log = "";
  readonly #reading: Promise<void>;

  constructor(child: Child) {
    this.child = child;
    this.#reading = this.#read();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of this.child.stderr) this.log += decoder.decode(bytes, { stream: true });
  }

  /** Waits until it says something, so many times. Throws where it ends before. */
  async said(text: string | RegExp, count = 1, patience = 20_000): Promise<void> {
    const pattern = typeof text === "string" ? text : new RegExp(text, "g");
    const found = () =>
      typeof pattern === "string"
        ? this.log.split(pattern).length - 1
        : (this.log.match(pattern) ?? []).length;
    await until(
      () => found() >= count || this.child.exitCode !== null,
      () => `${text} ${count} times in: ${this.log}`,
      patience,
    );
    if (found() >= count) return;
    await this.#reading;
    if (found() < count) throw new Error(`it ended: ${this.log}`);
  }

  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    this.child.kill(signal);
    await this.child.exited;
  }

  [Symbol.dispose](): void {
    this.child.kill("SIGKILL");
  }
}

/** Waits until something is true. */
export async function until(
  isTrue: () => boolean | Promise<boolean>,
  what: () => string,
  patience = 20_000,
): Promise<void> {
  const deadline = performance.now() + patience;
  while (!(await isTrue())) {
    if (performance.now() > deadline) throw new Error(`not within ${patience} ms: ${what()}`);
    await Bun.sleep(20);
  }
}

/** The scene; ends with the `using` block. */
export class DhcpScene implements Disposable {
  readonly host = new CniHost();
  readonly lan = new Namespace("lan");
  readonly dir: string = this.host.dir;
  readonly socket: string = path(this.dir, "dhcp.sock");
  readonly #processes: Process[] = [];
  #keas = 0;

  constructor() {
    join(this.host.node, "eth1", this.lan, "eth0");
    this.lan.address("eth0", "10.99.0.1/24");
    this.host.node.kernel.rtnl.links.set("eth1", { up: true });
  }

  #spawn(where: Namespace, command: string[], env: Record<string, string> = {}): Process {
    const child = where.in(() =>
      Bun.spawn(command, {
        stdin: "ignore",
        stdout: "ignore",
        stderr: "pipe",
        env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...env },
      }),
    );
    const made = new Process(child);
    this.#processes.push(made);
    return made;
  }

  /** Starts Weft's daemon; resolves once it answers. */
  async daemon(...options: string[]): Promise<Process> {
    const made = this.#spawn(this.host.node, [
      path(root, "dist/weft"),
      "dhcp",
      "daemon",
      "--socketpath",
      this.socket,
      "--verbose",
      ...options,
    ]);
    await made.said("answering");
    return made;
  }

  /** Starts the daemon as units of the reference do. */
  async pluginDaemon(...flags: string[]): Promise<Process> {
    const command = [path(ownPlugins, "dhcp"), "daemon", "-socketpath", this.socket, ...flags];
    const made = this.#spawn(this.host.node, command);
    await made.said("answering");
    return made;
  }

  /** Starts Weft's daemon with a listening socket, as systemd does. */
  activated(fd: number): Process {
    const command = `LISTEN_PID=$$ LISTEN_FDS=1 exec ${path(root, "dist/weft")} dhcp daemon --socketpath ${this.socket}`;
    const child = this.host.node.in(() =>
      Bun.spawn(["sh", "-c", command], { stdio: ["ignore", "ignore", "pipe", fd] }),
    );
    const made = new Process(child);
    this.#processes.push(made);
    return made;
  }

  /** Starts Kea; its leases last so many seconds. */
  async kea(seconds: number, more: JsonObject = {}): Promise<Process> {
    const name = path(this.dir, `kea-${this.#keas++}`);
    const config = {
      Dhcp4: {
        "interfaces-config": { interfaces: ["eth0"], "dhcp-socket-type": "raw" },
        "lease-database": {
          type: "memfile",
          persist: true,
          name: path(this.dir, "kea-leases.csv"),
          "lfc-interval": 0,
        },
        "valid-lifetime": seconds,
        subnet4: [
          {
            id: 1,
            subnet: "10.99.0.0/24",
            pools: [{ pool: "10.99.0.100 - 10.99.0.199" }],
            "option-data": [
              { name: "routers", data: "10.99.0.1" },
              { name: "domain-name-servers", data: "10.99.0.1, 10.99.0.2" },
              { name: "domain-name", data: "lan.example" },
              { name: "domain-search", data: "lan.example, corp.example" },
            ],
          },
        ],
        loggers: [{ name: "kea-dhcp4", severity: "INFO", output_options: [{ output: "stderr" }] }],
        ...more,
      },
    };
    writeFileSync(`${name}.json`, JSON.stringify(config));
    const env = { KEA_PIDFILE_DIR: this.dir, KEA_LOCKFILE_DIR: this.dir };
    const made = this.#spawn(this.lan, ["kea-dhcp4", "-c", `${name}.json`], env);
    await made.said("DHCP4_STARTED");
    return made;
  }

  /** The last state of each address in Kea's lease file: 0 leased, 2 reclaimed; gone or released ones have expired. */
  keaLeases(): Map<string, { clientId: string; lifetime: number; hostname: string }> {
    const file = path(this.dir, "kea-leases.csv");
    const leases = new Map<string, { clientId: string; lifetime: number; hostname: string }>();
    if (!existsSync(file)) return leases;
    for (const line of readFileSync(file, "utf8").trim().split("\n").slice(1)) {
      const [address = "", , id = "", lifetime = "", , , , , hostname = ""] = line.split(",");
      const clientId = Buffer.from(id.replaceAll(":", ""), "hex").subarray(1).toString();
      leases.set(address, { clientId, lifetime: Number(lifetime), hostname });
    }
    return leases;
  }

  /** For a Kea that comes back believing that somebody else has all addresses that are in use. */
  giveKeaLeasesAway(): void {
    const file = path(this.dir, "kea-leases.csv");
    const id = [...Buffer.from("\0somebody else")]
      .map((byte) => byte.toString(16).padStart(2, "0"))
      .join(":");
    const text = readFileSync(file, "utf8");
    writeFileSync(file, text.replace(/^([0-9.]+),[^,]*,[^,]*,/gm, `$1,02:00:00:00:00:77,${id},`));
  }

  /** Starts dnsmasq as a DHCP server only. */
  async dnsmasq(...options: string[]): Promise<Process> {
    const made = this.#spawn(this.lan, [
      "dnsmasq",
      "--keep-in-foreground",
      "--conf-file=/dev/null",
      "--port=0",
      "--interface=eth0",
      "--dhcp-authoritative",
      "--no-ping",
      "--log-dhcp",
      "--log-facility=-",
      "--user=root",
      `--pid-file=${path(this.dir, "dnsmasq.pid")}`,
      `--dhcp-leasefile=${path(this.dir, "dnsmasq.leases")}`,
      "--dhcp-range=10.99.0.100,10.99.0.199,255.255.255.0,2m",
      "--dhcp-option=option:router,10.99.0.1",
      ...options,
    ]);
    await made.said("DHCP, IP range");
    return made;
  }

  forgetDnsmasqLeases(): void {
    rmSync(path(this.dir, "dnsmasq.leases"), { force: true });
  }

  /** dnsmasq's leases: addresses by client id. */
  dnsmasqLeases(): string[] {
    const file = path(this.dir, "dnsmasq.leases");
    return existsSync(file)
      ? readFileSync(file, "utf8")
          .trim()
          .split("\n")
          .filter((line) => line !== "")
      : [];
  }

  /** Asks the daemon without a plugin between; resolves to its answer, of which an error is thrown. */
  async ask(command: "ADD" | "DEL", { name }: Namespace, ifname: string): Promise<JsonObject> {
    const call = {
      command,
      network: "net",
      containerId: name,
      ifname,
      netns: `/run/netns/${name}`,
      args: "",
    };
    const socket = connect({ path: this.socket });
    socket.write(formatLine({ ...call, ipam: {}, addresses: [], valid: [] }));
    let text = "";
    for await (const bytes of socket) text += bytes;
    for (const line of text.trim().split("\n")) {
      const answer = parseAnswer(line, this.socket);
      if ("error" in answer) throw new Error(answer.error.msg);
      if ("result" in answer) return answer.result;
    }
    throw new Error(`no answer for ${ifname}: ${text}`);
  }

  /** A bridge configuration with addresses by DHCP; the bridge has the host's link to the network. */
  bridged(ipam: JsonObject = {}, more: JsonObject = {}): JsonObject {
    return {
      cniVersion: "1.1.0",
      name: "net",
      type: "bridge",
      bridge: "br0",
      ipam: this.ipam(ipam),
      ...more,
    };
  }

  macvlan(ipam: JsonObject = {}, more: JsonObject = {}): JsonObject {
    return {
      cniVersion: "1.1.0",
      name: "net",
      type: "macvlan",
      master: "eth1",
      ipam: this.ipam(ipam),
      ...more,
    };
  }

  ipam(more: JsonObject = {}): JsonObject {
    return { type: "dhcp", daemonSocketPath: this.socket, ...more };
  }

  /** Makes the bridge, with the host's link to the network in it. */
  bridge(): void {
    const { links } = this.host.node.kernel.rtnl;
    links.add({ kind: "bridge", name: "br0", up: true });
    links.set("eth1", { master: "br0" });
  }

  /** Makes the daemon, while it is away, believe that it is time to ask for more time. */
  renewSoon(): void {
    for (const name of readdirSync(this.stateDir).filter((each) => each.endsWith(".json"))) {
      const file = path(this.stateDir, name);
      writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), renewal: 0 }));
    }
  }

  /** What the daemon remembers. */
  get stateDir(): string {
    return path(this.dir, "dhcp.leases");
  }

  [Symbol.dispose](): void {
    for (const made of this.#processes) made[Symbol.dispose]();
    this.host[Symbol.dispose]();
    this.lan.close();
  }
}

/** The address of a result, with its length. */
export function addressIn({ json }: Answer): string {
  const ips = json.ips as { address: string }[] | undefined;
  return ips?.[0]?.address ?? `none: ${JSON.stringify(json)}`;
}
