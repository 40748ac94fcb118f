/**
 * A node, its pods and its surroundings in namespaces of their own; see the test for the picture. Servers and clients are
 * sockets of the test's own process, opened inside the namespaces.
 */
import { Ip } from "../../src/lib/ip.ts";
import { Prefix } from "../../src/lib/prefix.ts";
import { type Kernel, openKernel } from "../../src/linux/kernel.ts";
import { createNetns, deleteNetns, inNetns } from "../../src/linux/netns.ts";
import { ServicesDriver } from "../../src/services/driver.ts";
import { ServiceTable } from "../../src/services/table.ts";

let count = 0;

/** A network namespace with its kernel. */
export class Namespace {
  readonly name: string;
  readonly kernel: Kernel;
  readonly #servers: { stop(): void }[] = [];

  constructor(word: string) {
    this.name = `weft-t-svc-${process.pid}-${count++}-${word}`;
    createNetns(this.name);
    this.kernel = openKernel({ name: this.name });
    // Before there are links: they begin with it.
    this.kernel.sysctl.write("net.ipv6.conf.default.accept_dad", 0);
    this.kernel.rtnl.links.set("lo", { up: true });
  }

  in<T>(action: () => T): T {
    return inNetns({ name: this.name }, action);
  }

  address(link: string, ...addresses: string[]): void {
    for (const address of addresses) this.kernel.rtnl.addresses.add({ link, address, flags: ["nodad"] });
    this.kernel.rtnl.links.set(link, { up: true });
  }

  route(dst: string, gateway: string): void {
    this.kernel.rtnl.routes.add({ dst, gateway });
  }

  nft(command: string): string {
    const { success, stdout, stderr } = Bun.spawnSync(["ip", "netns", "exec", this.name, "nft", "-f", "-"], {
      stdin: Buffer.from(command),
    });
    if (!success) throw new Error(`nft: ${stderr}`);
    return stdout.toString();
  }

  /** Answers every TCP connection and UDP datagram with a line: its name, the caller's address and port. */
  async serve(port: number, name: string): Promise<void> {
    const tcp = this.in(() =>
      Bun.listen({
        hostname: "::",
        port,
        socket: {
          open: (socket) =>
            void socket.write(`${name} ${plain(socket.remoteAddress)} ${socket.remotePort}\n`),
          data: (socket, data) => void socket.write(data),
        },
      }),
    );
    this.#servers.push({ stop: () => tcp.stop(true) });
    const udp = await this.in(() => ({
      made: Bun.udpSocket({
        hostname: "::",
        port,
        socket: {
          data: (socket, _, remotePort, address) => {
            try {
              socket.send(`${name} ${plain(address)} ${remotePort}\n`, remotePort, address);
            } catch {
              // An earlier client had gone when its answer came, which the socket's next send is told.
            }
          },
          // So is who listens.
          error: () => undefined,
        },
      }),
    })).made;
    this.#servers.push({ stop: () => udp.close() });
  }

  /** Connects and returns the server's line, "refused", or "silence" after a while. */
  ask(address: string, port: number, patience = 2000): Promise<string> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => done("silence"), patience);
      let open: { terminate(): void } | undefined;
      const done = (answer: string) => {
        clearTimeout(timer);
        open?.terminate();
        resolve(answer);
      };
      this.in(() => {
        const connecting = Bun.connect({
          hostname: address,
          port,
          socket: {
            open: (socket) => {
              open = socket;
            },
            data: (_, data) => done(data.toString().trim()),
            connectError: (_, error) => done(errorText(error)),
          },
        });
        connecting.catch((error) => done(errorText(error)));
      });
    });
  }

  /** A UDP client that keeps its port. */
  async udp(address: string, port: number): Promise<UdpClient> {
    let answered = (_: string) => {};
    const socket = await this.in(() => ({
      made: Bun.udpSocket({
        hostname: address.includes(":") ? "::" : "0.0.0.0",
        connect: { hostname: address, port },
        socket: {
          data: (_, data) => answered(data.toString().trim()),
          // Bun 1.4 hands over the error alone, where its types tell of a socket before it.
          error: (...given) => answered(errorText(given.findLast((each) => each !== undefined))),
        },
      }),
    })).made;
    return {
      ask: (patience = 1000) =>
        new Promise((resolve) => {
          const timer = setTimeout(() => resolve("silence"), patience);
          answered = (text) => {
            clearTimeout(timer);
            resolve(text);
          };
          socket.send("?");
        }),
      close: () => socket.close(),
    };
  }

  close(): void {
    for (const server of this.#servers) server.stop();
    this.kernel.close();
    deleteNetns(this.name);
  }
}

export interface UdpClient {
  ask(patience?: number): Promise<string>;
  close(): void;
}

const errorText = (error: unknown) => {
  const { code } = error as { code?: string };
  return code === "ECONNREFUSED" ? "refused" : (code ?? String(error));
};

const plain = (address: string) => address.replace(/^::ffff:/, "");

/** Joins two namespaces by a veth pair of the given link names. */
export function join(a: Namespace, linkA: string, b: Namespace, linkB: string): void {
  a.kernel.rtnl.links.add({
    kind: "veth",
    name: linkA,
    peer: { name: linkB, netns: { name: b.name } },
  });
}

/** The whole scene. */
export class Scene {
  readonly node = new Namespace("node");
  readonly client = new Namespace("client");
  readonly far = new Namespace("far");
  readonly pods: Namespace[] = [];
  readonly podPrefixes = ["10.244.1.0/24", "fd00:10:244:1::/64"].map((text) => Prefix.parse(text));
  table: ServiceTable;
  driver: ServicesDriver;

  constructor(pods: number) {
    const { node, client, far } = this;
    node.kernel.sysctl.write("net.ipv4.ip_forward", 1);
    node.kernel.sysctl.write("net.ipv6.conf.all.forwarding", 1);
    join(node, "eth0", client, "eth0");
    node.address("eth0", "172.30.0.1/24", "fd00:30::1/64");
    client.address("eth0", "172.30.0.2/24", "fd00:30::2/64");
    join(node, "far0", far, "eth0");
    node.address("far0", "10.244.2.1/24", "fd00:10:244:2::1/64");
    far.address("eth0", "10.244.2.2/24", "fd00:10:244:2::2/64");
    node.kernel.rtnl.links.add({ kind: "bridge", name: "weft0", up: true });
    node.address("weft0", "10.244.1.1/24", "fd00:10:244:1::1/64");
    for (const [dst, gateway] of [
      ["0.0.0.0/0", "172.30.0.2"],
      ["::/0", "fd00:30::2"],
    ] as const) {
      node.route(dst, gateway);
    }
    for (const [peer, four, six] of [
      [client, "172.30.0.1", "fd00:30::1"],
      [far, "10.244.2.1", "fd00:10:244:2::1"],
    ] as const) {
      peer.route("0.0.0.0/0", four);
      peer.route("::/0", six);
    }
    for (let i = 1; i <= pods; i++) this.#addPod(i);
    [this.table, this.driver] = this.agent();
  }

  #addPod(i: number): void {
    const { node } = this;
    const pod = new Namespace(`p${i}`);
    join(node, `veth${i}`, pod, "eth0");
    // As the agent's CNI configuration has it: a pod that reaches itself is sent out where it came in.
    node.kernel.rtnl.links.set(`veth${i}`, { master: "weft0", up: true, bridgePort: { hairpin: true } });
    pod.address("eth0", `10.244.1.1${i}/24`, `fd00:10:244:1::1${i}/64`);
    pod.route("0.0.0.0/0", "10.244.1.1");
    pod.route("::/0", "fd00:10:244:1::1");
    this.pods.push(pod);
  }

  pod(i: number): Namespace {
    return this.pods[i - 1] as Namespace;
  }

  /** What a freshly started agent has: an empty table and a driver. */
  agent(): [ServiceTable, ServicesDriver] {
    const { kernel } = this.node;
    const table = new ServiceTable(
      { name: "a" },
      { reserved: [], nodeAddresses: [Ip.parse("172.30.0.1"), Ip.parse("fd00:30::1")] },
    );
    const addresses = () => kernel.rtnl.addresses.list().map(({ address }) => address.ip);
    const driver = new ServicesDriver({ nft: kernel.nft, conntrack: kernel.conntrack, addresses }, table);
    driver.setPrefixes(
      this.podPrefixes,
      ["10.96.0.0/16", "fd00:10:96::/112"].map((text) => Prefix.parse(text)),
    );
    return [table, driver];
  }

  close(): void {
    for (const each of [...this.pods, this.far, this.client, this.node]) each.close();
  }
}
