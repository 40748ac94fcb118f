/**
 * Debian's podman with its CNI network backend, through Weft's plugins, on the host of the plugins' tests:
 *
 *     outside 192.0.2.2 -- eth0 host 192.0.2.1 -- cni-blue, cni-green -- containers
 *             2001:db8::2          2001:db8::1
 *
 * It has mounts of its own: /run and /var/lib are the test's. Containers run busybox out of a folder.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { CniHost, ownPlugins } from "../kernel/cni-fixture.ts";
import type { Namespace } from "../kernel/services-fixture.ts";
import { needs } from "../lib/needs.ts";

export const podmanNeeds = [
  needs.root,
  needs.command("podman", "podman"),
  needs.command("crun", "crun"),
  needs.file("/bin/busybox", "busybox-static"),
  needs.command("curl", "curl"),
];

const weft = join(ownPlugins, "../weft");
const applets = ["cat", "httpd", "ip", "sh", "sleep", "udpsvd", "wget"];

/** containers.conf(5) for machines without systemd and with little of control groups. */
const settings = (networks: string, plugins: string) => `[network]
network_backend = "cni"
cni_plugin_dirs = ["${ownPlugins}", "${plugins}"]
network_config_dir = "${networks}"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
`;

export interface Ended {
  status: number;
  stdout: string;
  stderr: string;
}

/** The scene; ends with the `using` block, and every container with it. */
export class PodmanHost implements Disposable {
  readonly host = new CniHost();
  readonly networks = this.#folder("networks");
  /** A folder for plugins beside Weft's. */
  readonly plugins = this.#folder("plugins");
  readonly #lib = this.#folder("lib");
  readonly #rootfs = this.#folder("rootfs");
  readonly #holder: Bun.Subprocess<"ignore", "pipe", "inherit">;
  #server: Bun.Subprocess<"pipe", "pipe", "inherit"> | undefined;

  private constructor() {
    for (const name of ["bin", "dev", "etc", "proc", "sys", "tmp", "www"])
      mkdirSync(join(this.#rootfs, name));
    cpSync("/bin/busybox", join(this.#rootfs, "bin/busybox"));
    for (const name of applets) symlinkSync("busybox", join(this.#rootfs, "bin", name));
    writeFileSync(join(this.#rootfs, "www/index.html"), "hello\n");
    writeFileSync(join(this.host.dir, "containers.conf"), settings(this.networks, this.plugins));
    for (const name of ["cni", "containers"]) mkdirSync(join(this.#lib, name));
    const script = `set -e
      mount --make-rprivate /
      umount /sys/fs/cgroup/unified 2>/dev/null || true
      mount -t tmpfs tmpfs /run
      mount --bind ${this.#lib} /var/lib
      echo ready
      exec sleep infinity`;
    this.#holder = this.host.node.in(() =>
      Bun.spawn(["unshare", "-m", "sh", "-c", script], {
        stdin: "ignore",
        stdout: "pipe",
        stderr: "inherit",
      }),
    );
  }

  /** `served`: the plugins' server does their work. */
  static async start(options: { served?: boolean } = {}): Promise<PodmanHost> {
    const made = new PodmanHost();
    try {
      await firstOutput(made.#holder.stdout);
      if (options.served === true) {
        const command = made.#inside([join(ownPlugins, "../weft-cni"), "serve"]);
        made.#server = made.host.node.in(() =>
          Bun.spawn(command, { stdin: "pipe", stdout: "pipe", stderr: "inherit" }),
        );
        await firstOutput(made.#server.stdout);
      }
      return made;
    } catch (error) {
      made[Symbol.dispose]();
      throw error;
    }
  }

  #folder(name: string): string {
    const path = join(this.host.dir, name);
    mkdirSync(path);
    return path;
  }

  /** A network of one bridge for podman: dual stack, with port mappings. */
  network(name: string, subnets: readonly string[], more: readonly JsonObject[] = []): void {
    const bridge = {
      type: "bridge",
      bridge: `cni-${name}`,
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: {
        type: "host-local",
        ranges: subnets.map((subnet) => [{ subnet }]),
        routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
      },
    };
    const portmap = { type: "portmap", capabilities: { portMappings: true } };
    const list = { cniVersion: "1.0.0", name, plugins: [bridge, portmap, ...more] };
    writeFileSync(join(this.networks, `${name}.conflist`), JSON.stringify(list));
  }

  #inside(command: readonly string[]): string[] {
    return ["nsenter", "-m", "-t", String(this.#holder.pid), "--", ...command];
  }

  /** Runs a program with the scene's mounts and network. */
  run(command: readonly string[]): Ended {
    const { dir } = this.host;
    const { exitCode, stdout, stderr } = this.host.node.in(() =>
      Bun.spawnSync(this.#inside(command), {
        env: {
          PATH: process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin",
          HOME: dir,
          CONTAINERS_CONF: join(dir, "containers.conf"),
        },
        timeout: 60_000,
      }),
    );
    return { status: exitCode, stdout: stdout.toString().trim(), stderr: stderr.toString() };
  }

  /** Runs podman; throws where it fails. */
  podman(...args: string[]): string {
    const { dir } = this.host;
    const places = [
      "--root",
      join(dir, "root"),
      "--runroot",
      join(dir, "runroot"),
      "--tmpdir",
      join(dir, "tmp"),
    ];
    const ended = this.run(["podman", ...places, "--storage-driver", "vfs", ...args]);
    if (ended.status === 0) return ended.stdout;
    throw new Error(`podman ${args.join(" ")}: ${ended.stderr}`);
  }

  /** Starts a container that serves "hello" on port 80. Returns its id. */
  serve(name: string, ...options: string[]): string {
    const httpd = ["/bin/httpd", "-f", "-p", "80", "-h", "/www"];
    return this.podman(
      "run",
      "-d",
      "--rm",
      "--name",
      name,
      ...options,
      "--rootfs",
      `${this.#rootfs}:O`,
      ...httpd,
    );
  }

  /** Runs a command in a container of its own. */
  once(network: string, ...command: string[]): string {
    return this.podman("run", "--rm", "--network", network, "--rootfs", `${this.#rootfs}:O`, ...command);
  }

  /** `weft cni`, over podman's networks and its cache. */
  weftCni(...args: string[]): Ended {
    const path = `${ownPlugins}:${this.plugins}`;
    return this.run([weft, "cni", ...args, "--conf-dir", this.networks, "--path", path]);
  }

  /** The addresses of a container in a network: IPv4, IPv6. */
  addresses(container: string, network: string): [string, string] {
    const [found] = JSON.parse(this.podman("inspect", container));
    const { IPAddress, GlobalIPv6Address } = found.NetworkSettings.Networks[network];
    return [IPAddress, GlobalIPv6Address];
  }

  /** Where the container's namespace is. */
  netns(container: string): string {
    return this.podman("inspect", "--format", "{{.NetworkSettings.SandboxKey}}", container);
  }

  /** The files of a folder of /var/lib/cni. */
  files(folder: string): string[] {
    const path = join(this.#lib, "cni", folder);
    return existsSync(path) ? readdirSync(path).sort() : [];
  }

  /** What is kept of an attachment. */
  entry(name: string): JsonObject {
    return JSON.parse(readFileSync(join(this.#lib, "cni/results", name), "utf8"));
  }

  /** The leases of a network. */
  leases(network: string): string[] {
    return this.files(`networks/${network}`).filter((name) => /^[0-9a-f]+[.:]/.test(name));
  }

  /** Everything that containers leave on a host, as text: links, nftables, leases and results. */
  traces(): string {
    const { rtnl, nft } = this.host.node.kernel;
    const links = rtnl.links.list().map(({ name }) => name);
    const tables = nft.tables().map(({ family, name }) => `${family} ${name}`);
    const leases = this.files("networks").flatMap((network) => this.leases(network));
    return [...links, ...tables, ...leases, ...this.files("results")].sort().join("\n");
  }

  [Symbol.dispose](): void {
    this.#server?.stdin.end();
    try {
      if (this.#holder.exitCode === null) this.podman("rm", "-af", "-t", "0");
    } finally {
      this.#holder.kill("SIGKILL");
      this.host[Symbol.dispose]();
    }
  }
}

async function firstOutput(stream: ReadableStream<Uint8Array>): Promise<void> {
  const { value } = await stream.getReader().read();
  if (value === undefined) throw new Error("it ended without a word");
}

/** What a server says by HTTP to somebody in a namespace. */
export function ask(from: Namespace, address: string, port: number): string {
  const host = address.includes(":") ? `[${address}]` : address;
  const { stdout } = from.in(() =>
    Bun.spawnSync(["curl", "-s", "--max-time", "5", `http://${host}:${port}/`]),
  );
  return stdout.toString().trim();
}
