import { Prefix } from "../src/lib/prefix.ts";
import { type Kernel, openKernel } from "../src/linux/kernel.ts";
import { createNetns, deleteNetns, inNetns } from "../src/linux/netns.ts";
import { Transaction } from "../src/linux/nftables/index.ts";
import { weftTable } from "../src/reconcile/table-part.ts";
import { ServicesDriver } from "../src/services/driver.ts";
import { ServiceTable } from "../src/services/table.ts";
import { service, slice } from "../test/lib/services.ts";
import { type Bench, type Row, timePairs } from "./lib.ts";
import {
  endpointsChange,
  fullSync,
  type ProxiedService,
  serviceAdded,
  serviceRemoved,
} from "./programs/kube-proxy-rules.ts";

const MANY = 10_000;
const FEW = 1_000;
/** Sockets that each send one packet to every Service in a round. */
const SENDERS = 10;

let count = 0;

/** A node's namespace with a link on which packets go away: `gate` there throws away what comes. */
class Ground {
  readonly name: string;
  readonly kernel: Kernel;
  readonly #gate: string;

  constructor() {
    this.name = `weft-bench-svc-${process.pid}-${count++}`;
    this.#gate = `${this.name}-gate`;
    createNetns(this.name);
    createNetns(this.#gate);
    this.kernel = openKernel({ name: this.name });
    const { links, addresses, neighbours, routes } = this.kernel.rtnl;
    links.add({ kind: "veth", name: "e0", up: true, peer: { name: "e0", netns: { name: this.#gate } } });
    const gate = openKernel({ name: this.#gate });
    gate.rtnl.links.set("e0", { up: true });
    const { mac } = gate.rtnl.links.get("e0");
    gate.close();
    addresses.add({ link: "e0", address: "172.30.0.1/24" });
    neighbours.add({ link: "e0", ip: "172.30.0.2", mac: mac as string });
    routes.add({ dst: "0.0.0.0/0", gateway: "172.30.0.2" });
  }

  /** Loads rules with nft, as kube-proxy does, and returns the time in milliseconds. */
  nft(rules: string): number {
    return inNetns({ name: this.name }, () => {
      const start = Bun.nanoseconds();
      const { exitCode, stderr } = Bun.spawnSync(["nft", "-f", "-"], { stdin: Buffer.from(rules) });
      if (exitCode !== 0) throw new Error(`nft -f failed: ${stderr}`);
      return (Bun.nanoseconds() - start) / 1e6;
    });
  }

  close(): void {
    this.kernel.close();
    deleteNetns(this.name);
    deleteNetns(this.#gate);
  }
}

const ipOf = (i: number) => `10.96.${i >> 8}.${i & 255}`;
const endpointOf = (i: number, k: number) => `10.244.${(3 * i + k) % 250}.${1 + ((i + k) % 250)}`;
const endpoints = (i: number, of = 3, shift = 0) =>
  Array.from({ length: of }, (_, k) => endpointOf(i, k + shift));

/** The same Service for kube-proxy's rules. */
function proxied(i: number, protocol: "tcp" | "udp", addresses = endpoints(i)): ProxiedService {
  return { name: `s${i}`, ip: ipOf(i), protocol, port: 80, endpoints: addresses.map((ip) => `${ip}:8080`) };
}

/** An agent's table and driver on a ground. */
class Agent {
  readonly table = new ServiceTable({ name: "node" }, { reserved: [], nodeAddresses: [] });
  readonly driver: ServicesDriver;
  readonly #protocol: "TCP" | "UDP";

  constructor({ kernel }: Ground, protocol: "TCP" | "UDP") {
    this.#protocol = protocol;
    const addresses = () => kernel.rtnl.addresses.list().map(({ address }) => address.ip);
    this.driver = new ServicesDriver({ nft: kernel.nft, conntrack: kernel.conntrack, addresses }, this.table);
    this.driver.setPrefixes([Prefix.parse("10.244.1.0/24")], [Prefix.parse("10.96.0.0/16")]);
  }

  set(i: number, addresses = endpoints(i)): void {
    this.table.setService(service(`s${i}`, [ipOf(i)], [`80/${this.#protocol}`]));
    this.setEndpoints(i, addresses);
  }

  setEndpoints(i: number, addresses: string[]): void {
    this.table.setSlice(slice(`s${i}`, `s${i}`, addresses, [`8080/${this.#protocol}`]));
  }

  delete(i: number): void {
    this.table.deleteService(`default/s${i}`);
    this.table.deleteSlice(`default/s${i}`);
  }
}

function elapsed(work: () => void): number {
  const start = Bun.nanoseconds();
  work();
  return (Bun.nanoseconds() - start) / 1e6;
}

/** From nothing to all of them, computation included. */
async function full(weft: Ground, peer: Ground, number: number, pairs: number, warmUp: number): Promise<Row> {
  const rules = fullSync(Array.from({ length: number }, (_, i) => proxied(i, "tcp")));
  const own = () => {
    weft.kernel.nft.apply(new Transaction(weftTable).destroy({ kind: "table", ...weftTable }));
    const agent = new Agent(weft, "TCP");
    for (let i = 0; i < number; i++) agent.set(i);
    return elapsed(() => void agent.driver.sync());
  };
  const theirs = () => {
    const table = { family: "ip", name: "kube-proxy" } as const;
    peer.kernel.nft.apply(new Transaction(table).destroy({ kind: "table", ...table }));
    return peer.nft(rules);
  };
  const times = await timePairs(own, theirs, { pairs, warmUp });
  return { name: `full sync of ${number.toLocaleString("en")} Services`, unit: "ms", goal: 0.5, ...times };
}

/** Changes of one Service among many. Both grounds hold them already. */
async function deltas(weft: Ground, peer: Ground, number: number, pairs: number): Promise<Row[]> {
  const agent = new Agent(weft, "TCP");
  for (let i = 0; i < number; i++) agent.set(i);
  agent.driver.adopt();
  agent.driver.sync();
  const among = `among ${number.toLocaleString("en")}`;
  const row = async (name: string, own: () => void, theirs: () => string): Promise<Row> => {
    const times = await timePairs(
      () => elapsed(own),
      () => peer.nft(theirs()),
      { pairs },
    );
    return { name: `${name} ${among}`, unit: "ms", goal: 0.1, ...times };
  };
  const lists = [endpoints(5), endpoints(5, 3, 1), endpoints(5, 4)] as const;
  /** Goes between two lists of endpoints, whoever's turn it is. */
  const swap = (other: readonly string[]) => {
    const state = { own: false, peer: false };
    return {
      own: () => {
        state.own = !state.own;
        agent.setEndpoints(5, [...(state.own ? other : lists[0])]);
        agent.driver.sync();
      },
      theirs: () => {
        state.peer = !state.peer;
        const [from, to] = state.peer ? [lists[0], other] : [other, lists[0]];
        return endpointsChange(proxied(5, "tcp", [...from]), proxied(5, "tcp", [...to]));
      },
      back: () => {
        if (state.own) {
          agent.setEndpoints(5, [...lists[0]]);
          agent.driver.sync();
        }
        if (state.peer) peer.nft(endpointsChange(proxied(5, "tcp", [...other]), proxied(5, "tcp")));
      },
    };
  };
  const replaced = swap(lists[1]);
  const rows = [await row("one endpoint replaced", replaced.own, replaced.theirs)];
  replaced.back();
  const grown = swap(lists[2]);
  rows.push(await row("one endpoint more or fewer", grown.own, grown.theirs));
  const there = { own: false, peer: false };
  rows.push(
    await row(
      "one Service comes or goes",
      () => {
        there.own = !there.own;
        if (there.own) agent.set(number);
        else agent.delete(number);
        agent.driver.sync();
      },
      () => {
        there.peer = !there.peer;
        return (there.peer ? serviceAdded : serviceRemoved)(proxied(number, "tcp"));
      },
    ),
  );
  return rows;
}

/** A restart that finds everything as it should be; kube-proxy writes all of it again. */
async function restart(weft: Ground, peer: Ground, number: number, pairs: number): Promise<Row> {
  const rules = fullSync(Array.from({ length: number }, (_, i) => proxied(i, "tcp")));
  const begin = () => {
    const agent = new Agent(weft, "TCP");
    for (let i = 0; i < number; i++) agent.set(i);
    return elapsed(() => {
      agent.driver.adopt();
      agent.driver.sync();
    });
  };
  begin();
  const generation = weft.kernel.nft.generation();
  const times = await timePairs(begin, () => peer.nft(`delete table ip kube-proxy\n${rules}`), {
    pairs,
    warmUp: 1,
  });
  if (weft.kernel.nft.generation() !== generation) throw new Error("A restart has written to the kernel");
  return {
    name: `restart with ${number.toLocaleString("en")} Services, nothing changed`,
    unit: "ms",
    ...times,
  };
}

/** Sends packets that are each the first of a flow, and returns microseconds for one. */
class Sender {
  readonly #ground: Ground;
  readonly #sockets: Bun.udp.Socket<"uint8array">[] = [];

  constructor(ground: Ground) {
    this.#ground = ground;
  }

  async open(): Promise<this> {
    for (let i = 0; i < SENDERS; i++) {
      const opening = inNetns({ name: this.#ground.name }, () => ({
        made: Bun.udpSocket({ hostname: "172.30.0.1", binaryType: "uint8array", socket: {} }),
      }));
      this.#sockets.push(await opening.made);
    }
    return this;
  }

  async round(destinations: readonly string[], port: number): Promise<number> {
    this.#ground.kernel.conntrack.delete({ protocol: 17 });
    const packets = destinations.flatMap((address) => ["x", port, address]);
    let taken = 0;
    for (const socket of this.#sockets) {
      const start = Bun.nanoseconds();
      let sent = socket.sendMany(packets);
      while (sent < destinations.length) sent += socket.sendMany(packets.slice(3 * sent));
      taken += Bun.nanoseconds() - start;
    }
    return taken / 1000 / (destinations.length * SENDERS);
  }

  /** How many flows there are whose destination was translated. */
  translated(): number {
    return this.#ground.kernel.conntrack.list({ protocol: 17, status: 1 << 5 }).length;
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
  }
}

async function packets(pairs: number): Promise<Row[]> {
  const [weft, peer] = [new Ground(), new Ground()];
  const senders = [await new Sender(weft).open(), await new Sender(peer).open()] as const;
  try {
    const agent = new Agent(weft, "UDP");
    for (let i = 0; i < FEW; i++) agent.set(i);
    agent.driver.sync();
    peer.nft(fullSync(Array.from({ length: FEW }, (_, i) => proxied(i, "udp"))));
    const row = async (name: string, destinations: string[], port: number): Promise<Row> => {
      const times = await timePairs(
        () => senders[0].round(destinations, port),
        () => senders[1].round(destinations, port),
        { pairs },
      );
      return { name, unit: "µs", ...times };
    };
    const ips = Array.from({ length: FEW }, (_, i) => ipOf(i));
    const rows = [await row("first packet of a flow to a Service", ips, 80)];
    for (const sender of senders) {
      const translated = sender.translated();
      if (translated !== FEW * SENDERS) throw new Error(`${translated} flows were translated, not all`);
    }
    const elsewhere = Array.from({ length: FEW }, (_, i) => `198.18.${i >> 8}.${i & 255}`);
    rows.push(await row("first packet of a flow to no Service", elsewhere, 80));
    return rows;
  } finally {
    for (const sender of senders) sender.close();
    weft.close();
    peer.close();
  }
}

const bench: Bench = {
  name: "services",
  describe:
    "Services in nftables: full syncs, single changes among many, and the cost of a flow's first packet; against the " +
    "rules that kube-proxy writes in its nftables mode, given to `nft -f` as it does.",
  async run({ pairs }) {
    const [weft, peer] = [new Ground(), new Ground()];
    try {
      const rows = [...(await packets(pairs)), await full(weft, peer, FEW, pairs, 3)];
      rows.push(...(await deltas(weft, peer, FEW, pairs)), await restart(weft, peer, FEW, pairs));
      rows.push(await full(weft, peer, MANY, 1, 0), ...(await deltas(weft, peer, MANY, Math.min(pairs, 30))));
      return {
        rows: rows.map((row) => ({ ...row, peerName: "kube-proxy's rules" })),
        conditions: [
          "3 endpoints a Service; kube-proxy itself is not there: its rules (1.33) by `nft -f`, without its own computation",
          "Weft's numbers have the computation from Service and EndpointSlice in them, in a process that goes on",
          `the full sync of ${MANY.toLocaleString("en")} Services once, as kube-proxy's takes minutes`,
          "packets: UDP from the node, the time of sending one through all hooks to a link that throws it away",
        ],
      };
    } finally {
      weft.close();
      peer.close();
    }
  },
};

export default bench;
