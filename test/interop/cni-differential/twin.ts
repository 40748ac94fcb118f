/**
 * One side of the comparison: a host with what is around it, on which one side's plugins run. Both sides are the same, with the
 * same names, hardware addresses and container ids, each in namespaces of its own.
 *
 *     outside 192.0.2.2 -- eth0 host 192.0.2.1 -- what the plugins make -- c1, c2 ...
 *             2001:db8::2          2001:db8::1
 *
 * The host has /run and /var/lib to itself (all but the named namespaces in it), so plugins keep their state where they always do.
 */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join as path } from "node:path";
import type { JsonObject } from "../../../src/cni/fields.ts";
import { deleteNetns } from "../../../src/linux/netns.ts";
import { join, Namespace } from "../../kernel/services-fixture.ts";
import type { Call, Case, ContainerName, Place } from "./case.ts";
import { containersOf } from "./case.ts";

/** Whose plugins. */
export interface Side {
  name: "reference" | "weft";
  /** Their folder. */
  plugins: string;
}

/** How a call of one plugin ended. */
export interface Answer {
  type: string;
  status: number;
  stdout: string;
  stderr: string;
}

/** Every place answers at this port, by TCP and UDP. */
export const echoPort = 8080;

const hostMac = "02:00:00:00:00:01";
const outsideMac = "02:00:00:00:00:02";

/** Where the folders of the host are its own. */
const makePrivate = `
mount -t tmpfs tmpfs /var/lib
mount --rbind /run/netns "$DIR/run/netns"
mount --rbind "$DIR/run" /run
echo ready
exec cat
`;

/** Ends with the `using` block. */
export class Twin implements AsyncDisposable {
  readonly side: Side;
  readonly node = new Namespace("host");
  readonly outside = new Namespace("out");
  readonly containers = new Map<ContainerName, Namespace>();
  readonly dir = mkdtempSync(path(tmpdir(), "weft-t-twin-"));
  /** The results of ADD by container and interface, one for each plugin of the chain. */
  readonly results = new Map<string, JsonObject[]>();
  /** All containers, those that have ended too. */
  readonly names: ContainerName[];
  readonly #netnsNames = new Map<ContainerName, string>();
  readonly #case: Case;
  readonly #keeper: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #env: Record<string, string>;

  private constructor(side: Side, given: Case) {
    this.side = side;
    this.#case = given;
    this.#env = environment(this.dir);
    mkdirSync(path(this.dir, "run/netns"), { recursive: true });
    join(this.node, "eth0", this.outside, "eth0");
    this.node.kernel.rtnl.links.set("eth0", { mac: hostMac });
    this.outside.kernel.rtnl.links.set("eth0", { mac: outsideMac });
    this.node.address("eth0", "192.0.2.1/24", "2001:db8::1/64");
    this.outside.address("eth0", "192.0.2.2/24", "2001:db8::2/64");
    this.outside.route("0.0.0.0/0", "192.0.2.1");
    this.outside.route("::/0", "2001:db8::1");
    this.names = containersOf(given);
    for (const name of this.names) {
      const made = new Namespace(name);
      this.containers.set(name, made);
      this.#netnsNames.set(name, made.name);
    }
    this.#keeper = this.node.in(() =>
      Bun.spawn(["unshare", "--mount", "--propagation", "slave", "sh", "-ec", makePrivate], {
        stdin: "pipe",
        stdout: "pipe",
        env: this.#env,
      }),
    );
  }

  static async make(side: Side, given: Case): Promise<Twin> {
    const twin = new Twin(side, given);
    try {
      const { value } = await twin.#keeper.stdout.getReader().read();
      if (value === undefined) throw new Error("the host could not be given folders of its own");
      for (const [name, place] of twin.places()) await place.serve(echoPort, name);
      if (given.setup !== undefined) await twin.change("host", given.setup);
      return twin;
    } catch (error) {
      await twin[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** All namespaces, containers that have ended excepted. */
  places(): [Place, Namespace][] {
    return [["host", this.node], ["outside", this.outside], ...this.containers];
  }

  place(name: Place): Namespace {
    const found = this.places().find(([each]) => each === name)?.[1];
    if (found === undefined) throw new Error(`there is no ${name}`);
    return found;
  }

  /** A path as it is on this host, from here. */
  rooted(file: string): string {
    return path(`/proc/${this.#keeper.pid}/root`, file);
  }

  /** Runs a script; throws where it fails. */
  async change(at: Place, script: string): Promise<void> {
    const { status, stdout, stderr } = await this.#run(this.place(at), ["sh", "-ec", script], "");
    if (status !== 0) throw new Error(`${this.side.name}: ${script}: ${stdout}${stderr}`);
  }

  /** Starts a program in a place and takes what it prints, whatever its exit status. */
  async output(at: Place, command: string[], stdin = ""): Promise<string> {
    return (await start(this.place(at), command, stdin, this.#env)).stdout;
  }

  /** The container ends. */
  end(name: ContainerName): void {
    this.place(name).close();
    this.containers.delete(name);
  }

  netnsPath(name: ContainerName): string {
    return `/run/netns/${this.#netnsNames.get(name)}`;
  }

  /** Does what a runtime does for one call: one plugin after the other, the last first in DEL. */
  async call(call: Call): Promise<Answer[]> {
    const { verb, container = "c1" } = call;
    const ifname = call.ifname ?? this.#case.ifname ?? "eth0";
    const key = `${container}/${ifname}`;
    const configs = this.#configs(call.more);
    const known = call.forgotten === true ? [] : (this.results.get(key) ?? []);
    const answers: Answer[] = [];
    const results: JsonObject[] = [];
    for (const config of verb === "DEL" ? configs.reverse() : configs) {
      const prevResult = verb === "ADD" ? results.at(-1) : known.at(-1);
      const input = prevResult === undefined ? config : { ...config, prevResult };
      const answer = await this.#plugin(verb, container, ifname, call, input);
      answers.push(answer);
      if (answer.status !== 0) return answers;
      if (verb === "ADD") results.push(JSON.parse(answer.stdout) as JsonObject);
    }
    if (verb === "ADD") this.results.set(key, results);
    return answers;
  }

  /** What the last plugin of the chain said in ADD. */
  lastResult(container: ContainerName): JsonObject | undefined {
    for (const [key, results] of this.results) if (key.startsWith(`${container}/`)) return results.at(-1);
    return undefined;
  }

  #configs(more: JsonObject = {}): JsonObject[] {
    const { config, cniVersion = "1.0.0" } = this.#case;
    const chain = Array.isArray(config) ? (config as readonly JsonObject[]) : [config as JsonObject];
    const text = JSON.stringify(chain.map((each) => ({ cniVersion, name: "net", ...each, ...more })));
    return JSON.parse(text.replaceAll("$DIR", this.dir)) as JsonObject[];
  }

  async #plugin(
    verb: Call["verb"],
    container: ContainerName,
    ifname: string,
    call: Call,
    config: JsonObject,
  ): Promise<Answer> {
    const type = String(config.type);
    const env = {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: container,
      CNI_NETNS: call.netns ?? this.netnsPath(container),
      CNI_IFNAME: ifname,
      CNI_PATH: this.side.plugins,
      CNI_ARGS: call.args ?? this.#case.args ?? "",
    };
    const command = [path(this.side.plugins, type)];
    return { type, ...(await this.#run(this.node, command, JSON.stringify(config), env)) };
  }

  async #run(
    place: Namespace,
    command: readonly string[],
    stdin: string,
    env: Record<string, string> = {},
  ): Promise<Omit<Answer, "type">> {
    const mounts = `--mount=/proc/${this.#keeper.pid}/ns/mnt`;
    return await start(place, ["nsenter", mounts, "--", ...command], stdin, { ...this.#env, ...env });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#keeper.stdin.end();
    await this.#keeper.exited;
    for (const [, place] of this.places()) place.close();
    // The reference's sbr opens the container's namespace as a lock and makes a file where there is none any more.
    for (const name of this.#netnsNames.values()) deleteNetns(name);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

async function start(
  place: Namespace,
  command: string[],
  stdin: string,
  env: Record<string, string>,
): Promise<Omit<Answer, "type">> {
  const child = place.in(() =>
    Bun.spawn(command, { stdin: new TextEncoder().encode(stdin), stdout: "pipe", stderr: "pipe", env }),
  );
  const [stdout, stderr, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { status, stdout, stderr };
}

/** Of all that is started on a host. Where the kernel has no nf_tables, iptables is the old one. */
function environment(dir: string): Record<string, string> {
  const ordinary = process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin";
  if (hasNftables()) return { PATH: ordinary, DIR: dir };
  const folder = path(dir, "bin");
  mkdirSync(folder);
  for (const name of ["iptables", "ip6tables"]) {
    for (const suffix of ["", "-save", "-restore"]) {
      symlinkSync(`/usr/sbin/${name}-legacy${suffix}`, path(folder, `${name}${suffix}`));
    }
  }
  return { PATH: `${folder}:${ordinary}`, DIR: dir };
}

let nftables: boolean | undefined;

function hasNftables(): boolean {
  nftables ??= Bun.spawnSync(["unshare", "--net", "nft", "add", "table", "inet", "weft-probe"], {
    stderr: "ignore",
  }).success;
  return nftables;
}
