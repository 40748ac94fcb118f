import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { askUdp, queryBytes } from "../test/lib/dns.ts";
import { type Bench, type Row, timePairs } from "./lib.ts";

const services = 5000;
const outside = 40;
const ports = { weft: 15301, dnsmasq: 15302, upstream: 15303 };
const program = join(import.meta.dir, "programs/dns-server.ts");
const PATH = `${process.env.PATH ?? ""}:/usr/sbin`;

/** The server has one core and the load another, where there are two. */
const pin = (core: number) => (availableParallelism() > 1 ? ["taskset", "-c", String(core)] : []);

function start(command: readonly string[]): Subprocess {
  const env = { ...process.env, PATH };
  return Bun.spawn([...command], { stdin: "ignore", stdout: "ignore", stderr: "inherit", env });
}

async function answering(port: number, name: string): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const answer = await askUdp("127.0.0.1", port, queryBytes(name, "A"), 100).catch(() => undefined);
    if (answer !== undefined && answer.readUInt16BE(6) > 0) return;
    await Bun.sleep(50);
  }
  throw new Error(`Nothing answers for "${name}" at 127.0.0.1:${port}`);
}

const dnsmasq = (config: string, port: number) => [
  "dnsmasq",
  "--keep-in-foreground",
  `--conf-file=${config}`,
  "--pid-file=",
  "--user=root",
  "--no-resolv",
  "--no-hosts",
  "--bind-interfaces",
  "--listen-address=127.0.0.1",
  "--cache-size=10000",
  `--port=${port}`,
];

/** The same names for dnsmasq that the zone has, and those that its upstream knows. */
function writeConfigs(folder: string): { cluster: string; upstream: string } {
  const cluster = join(folder, "cluster.conf");
  const upstream = join(folder, "upstream.conf");
  const hosts = join(folder, "hosts");
  const names = Array.from(
    { length: services },
    (_, i) => `10.96.${i >> 8}.${i & 255} svc${i}.ns${i % 50}.svc.cluster.local`,
  );
  writeFileSync(hosts, `${names.join("\n")}\n`);
  const local = ["local=/cluster.local/", "local-ttl=5", `addn-hosts=${hosts}`];
  writeFileSync(cluster, [...local, `server=127.0.0.1#${ports.upstream}`, ""].join("\n"));
  const records = Array.from({ length: outside }, (_, i) => `host-record=www.example${i}.com,192.0.2.${i}`);
  writeFileSync(upstream, [...records, "local-ttl=3600", ""].join("\n"));
  return { cluster, upstream };
}

/** What pods ask: each line is a name and a type, in dnsperf's form. */
function writeQueries(folder: string): { services: string; search: string } {
  const paths = { services: join(folder, "services"), search: join(folder, "search") };
  // A step that has no divisor in common with the number visits every Service once.
  const order = Array.from({ length: services }, (_, i) => (i * 1999) % services);
  const service = order.map((i) => `svc${i}.ns${i % 50}.svc.cluster.local A`);
  writeFileSync(paths.services, `${service.join("\n")}\n`);
  const search = Array.from({ length: outside }, (_, i) => {
    const name = `www.example${i}.com`;
    const tried = [
      `${name}.ns${i}.svc.cluster.local`,
      `${name}.svc.cluster.local`,
      `${name}.cluster.local`,
      name,
    ];
    return tried.map((each) => `${each} A`).join("\n");
  });
  writeFileSync(paths.search, `${search.join("\n")}\n`);
  return paths;
}

interface Load {
  port: number;
  queries: string;
  mode?: "udp" | "tcp";
  /** Queries that wait for their answer at the same time. */
  outstanding: number;
  clients: number;
}

/** One second of load; the microseconds from one answer to the next. A lost query is an error. */
function load({ port, queries, mode = "udp", outstanding, clients }: Load): number {
  const target = ["-s", "127.0.0.1", "-p", String(port), "-m", mode, "-d", queries];
  const amount = ["-l", "1", "-q", String(outstanding), "-c", String(clients)];
  const { stdout } = Bun.spawnSync([...pin(1), "dnsperf", ...target, ...amount], {
    stderr: "ignore",
    env: { ...process.env, PATH },
  });
  const text = stdout.toString();
  const rate = Number(/Queries per second:\s+([\d.]+)/.exec(text)?.[1]);
  const lost = Number(/Queries lost:\s+(\d+)/.exec(text)?.[1]);
  if (!(rate > 0)) throw new Error(`dnsperf measured nothing:\n${text}`);
  // dnsperf counts what was on its way at the end of the second as lost now and then.
  if (lost > outstanding) throw new Error(`${lost} queries were lost:\n${text}`);
  return 1e6 / rate;
}

const bench: Bench = {
  name: "dns",
  describe:
    `Answers to queries by dnsperf: names of ${services} Services, the search path of outside names (three NXDOMAIN ` +
    "and one cached answer), by UDP and TCP, and one query at a time; against dnsmasq with the same names.",
  async run({ pairs }) {
    const folder = mkdtempSync(join(tmpdir(), "weft-bench-dns-"));
    const running: Subprocess[] = [];
    try {
      const configs = writeConfigs(folder);
      const queries = writeQueries(folder);
      const numbers = [ports.weft, ports.upstream, services].map(String);
      running.push(start([...pin(0), ...dnsmasq(configs.upstream, ports.upstream)]));
      running.push(start([...pin(0), ...dnsmasq(configs.cluster, ports.dnsmasq)]));
      running.push(start([...pin(0), process.execPath, program, ...numbers]));
      for (const port of [ports.weft, ports.dnsmasq]) {
        await answering(port, "svc1.ns1.svc.cluster.local");
        await answering(port, "www.example1.com");
      }
      const row = async (name: string, shape: Omit<Load, "port">): Promise<Row> => {
        const times = await timePairs(
          () => load({ port: ports.weft, ...shape }),
          () => load({ port: ports.dnsmasq, ...shape }),
          { pairs, warmUp: 2 },
        );
        return { name, unit: "µs/query", peerName: "dnsmasq", ...times };
      };
      const many = { outstanding: 200, clients: 4 };
      return {
        rows: [
          { ...(await row("Services by UDP", { queries: queries.services, ...many })), goal: 1 },
          { ...(await row("search path by UDP", { queries: queries.search, ...many })), goal: 1 },
          await row("Services by TCP", { queries: queries.services, mode: "tcp", ...many }),
          await row("one at a time", { queries: queries.services, outstanding: 1, clients: 1 }),
        ],
        conditions: [
          "one second of dnsperf for each number, 200 queries outstanding from 4 clients unless one at a time",
          availableParallelism() > 1
            ? "servers on core 0, dnsperf on core 1"
            : "servers and dnsperf on one core",
          "dnsmasq with a cache of 10,000 names; CoreDNS is not in Debian",
        ],
      };
    } finally {
      for (const each of running) each.kill();
      await Promise.all(running.map((each) => each.exited));
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

export default bench;
