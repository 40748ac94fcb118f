/**
 * Cluster DNS against clients and servers that are not ours, all on the loopback of this machine:
 *
 *     dig, dnsperf ──► Weft (zone of a small cluster) ──► dnsmasq (names of .test)
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createZone, type DnsServer, startDnsServer } from "../../src/dns/index.ts";
import { askUdp, queryBytes } from "../lib/dns.ts";
import { describeWith, needs, testWith } from "../lib/needs.ts";

const folder = mkdtempSync(join(tmpdir(), "weft-interop-dns-"));
const zone = createZone({
  serial: 1,
  reversePrefixes: ["10.96.0.0/16", "10.244.0.0/16", "fd00:10:96::/112", "fd00:10:244::/56"],
  nameservers: ["10.96.0.10"],
});
const running: { kill(): void }[] = [];
let server: DnsServer | undefined;
let port = 0;
let upstreamPort = 0;

function fillZone(): void {
  const http = { name: "http", protocol: "TCP", port: 8888 };
  const service = { namespace: "default", ports: [http] };
  const slice = { namespace: "default", service: "web", ports: [{ ...http, port: 8080 }] };
  zone.setService({ ...service, name: "blue", clusterIPs: ["10.96.0.1", "fd00:10:96::1"] });
  zone.setService({ ...service, name: "web", clusterIPs: [], headless: true });
  const pods = [1, 2, 3].map((i) => ({ addresses: [`10.244.1.${i}`], hostname: `web-${i - 1}` }));
  zone.setEndpointSlice({ ...slice, name: "web-4", endpoints: pods });
  const pod6 = { addresses: ["fd00:10:244:1::1"], hostname: "web-0" };
  zone.setEndpointSlice({ ...slice, name: "web-6", endpoints: [pod6] });
  zone.setService({ namespace: "default", name: "many", clusterIPs: [], headless: true, ports: [] });
  const many = Array.from({ length: 300 }, (_, i) => ({ addresses: [`10.244.${2 + (i >> 8)}.${i & 255}`] }));
  zone.setEndpointSlice({ ...slice, name: "many", service: "many", endpoints: many });
  const external = { namespace: "default", clusterIPs: [], ports: [] };
  zone.setService({ ...external, name: "outside", externalName: "a.test" });
  zone.setService({ ...external, name: "nowhere", externalName: "nope.test" });
}

/** A free port of the loopback, for UDP and TCP. */
async function freePort(): Promise<number> {
  const probe = await startDnsServer({ listen: [{ address: "127.0.0.1", port: 0 }], zone });
  const found = probe.listening[0]?.port ?? 0;
  probe.close();
  return found;
}

async function startDnsmasq(): Promise<number> {
  const free = await freePort();
  const config = join(folder, "dnsmasq.conf");
  const lines = [
    "no-resolv",
    "no-hosts",
    "bind-interfaces",
    `port=${free}`,
    "listen-address=127.0.0.1,::1",
    "local=/test/",
    "local-ttl=60",
    "host-record=a.test,192.0.2.1,2001:db8::1",
    "cname=www.test,a.test",
    "txt-record=text.test,hello world,again",
    "srv-host=_http._tcp.test,a.test,80,1,2",
    "mx-host=test,a.test,10",
    "ptr-record=1.2.0.192.in-addr.arpa,a.test",
    ...Array.from({ length: 200 }, (_, i) => `txt-record=many.test,${"x".repeat(100)}${i}`),
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  const command = ["dnsmasq", "--keep-in-foreground", `--conf-file=${config}`, "--pid-file=", "--user=root"];
  const PATH = `${process.env.PATH}:/usr/sbin`;
  const dnsmasq = Bun.spawn(command, { stdout: "ignore", stderr: "pipe", env: { ...process.env, PATH } });
  running.push(dnsmasq);
  for (let tries = 0; tries < 50; tries++) {
    const answer = await askUdp("127.0.0.1", free, queryBytes("a.test", "A"), 100).catch(() => undefined);
    if (answer !== undefined) return free;
    if (dnsmasq.exitCode !== null) throw new Error(`dnsmasq ended: ${await dnsmasq.stderr.text()}`);
    await Bun.sleep(50);
  }
  throw new Error("dnsmasq does not answer");
}

interface Dug {
  status: string;
  flags: string[];
  /** Of the answer section, blanks made one. */
  lines: string[];
  sections: Record<string, string[]>;
  text: string;
}

async function runDig(...args: string[]): Promise<string> {
  const command = ["dig", "@127.0.0.1", "-p", String(port), "+tries=1", "+time=5", ...args];
  return Bun.spawn(command, { stdout: "pipe", stderr: "pipe", stdin: "ignore" }).stdout.text();
}

/** What dig shows, taken apart. */
async function dig(...args: string[]): Promise<Dug> {
  const text = await runDig(...args);
  expect(text).not.toMatch(/malformed|no servers could be reached|extra bytes/);
  const sections: Record<string, string[]> = {};
  let section = "";
  for (const line of text.split("\n")) {
    section = /^;; (\w+) SECTION/.exec(line)?.[1] ?? section;
    if (line === "" || line.startsWith(";")) continue;
    sections[section] = [...(sections[section] ?? []), line.replace(/\s+/g, " ")];
  }
  return {
    status: /status: (\w+)/.exec(text)?.[1] ?? "",
    flags: /flags: ([\w ]*);/.exec(text)?.[1]?.split(" ") ?? [],
    lines: sections.ANSWER ?? [],
    sections,
    text,
  };
}

const wanted = [needs.command("dig", "bind9-dnsutils"), needs.command("dnsmasq", "dnsmasq-base")];
const describePeers = describeWith(...wanted);
const soa = "cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local.";
const svc = (name: string, rest: string) => `${name}.default.svc.cluster.local. 5 IN ${rest}`;

beforeAll(async () => {
  fillZone();
  if (wanted.some((need) => need !== undefined)) return;
  upstreamPort = await startDnsmasq();
  server = await startDnsServer({
    listen: [{ address: "127.0.0.1", port: 0 }],
    zone,
    forward: { upstreams: [`127.0.0.1:${upstreamPort}`, `[::1]:${upstreamPort}`] },
  });
  port = server.listening[0]?.port ?? 0;
});

afterAll(() => {
  server?.close();
  for (const each of running) each.kill();
  rmSync(folder, { recursive: true, force: true });
});

describePeers("dig asks for names of the cluster", () => {
  const cases: [string, string[]][] = [
    ["blue.default.svc.cluster.local A", [svc("blue", "A 10.96.0.1")]],
    ["blue.default.svc.cluster.local AAAA", [svc("blue", "AAAA fd00:10:96::1")]],
    ["BLUE.Default.svc.cluster.local A", ["BLUE.Default.svc.cluster.local. 5 IN A 10.96.0.1"]],
    [
      "_http._tcp.blue.default.svc.cluster.local SRV",
      [svc("_http._tcp.blue", "SRV 0 100 8888 blue.default.svc.cluster.local.")],
    ],
    ["web.default.svc.cluster.local A", [1, 2, 3].map((i) => svc("web", `A 10.244.1.${i}`))],
    ["web-2.web.default.svc.cluster.local A", [svc("web-2.web", "A 10.244.1.3")]],
    [
      "_http._tcp.web.default.svc.cluster.local SRV",
      [0, 1, 2].map((i) => svc("_http._tcp.web", `SRV 0 33 8080 web-${i}.web.default.svc.cluster.local.`)),
    ],
    ["-x 10.96.0.1", ["1.0.96.10.in-addr.arpa. 5 IN PTR blue.default.svc.cluster.local."]],
    ["-x 10.244.1.1", ["1.1.244.10.in-addr.arpa. 5 IN PTR web-0.web.default.svc.cluster.local."]],
    [
      "-x fd00:10:244:1::1",
      [
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.4.4.2.0.0.1.0.0.0.0.d.f.ip6.arpa. 5 IN PTR web-0.web.default.svc.cluster.local.",
      ],
    ],
    ["dns-version.cluster.local TXT", ['dns-version.cluster.local. 28800 IN TXT "1.1.0"']],
    ["10-244-9-9.default.pod.cluster.local A", ["10-244-9-9.default.pod.cluster.local. 5 IN A 10.244.9.9"]],
    ["cluster.local NS", ["cluster.local. 5 IN NS ns.dns.cluster.local."]],
  ];
  test.each(cases)("%s", async (question, lines) => {
    for (const way of [
      "+notcp +noedns",
      "+notcp +edns=0",
      "+notcp +dnssec",
      "+tcp +noedns",
      "+tcp +edns=0",
    ]) {
      const answer = await dig(...question.split(" "), ...way.split(" "));
      expect([way, answer.status, ...answer.lines.sort()]).toEqual([way, "NOERROR", ...[...lines].sort()]);
      expect(answer.flags).toEqual(expect.arrayContaining(["qr", "aa", "rd", "ra"]));
      expect(answer.text).not.toContain("COOKIE");
    }
  });

  test("NXDOMAIN and NODATA carry the SOA record", async () => {
    const denied = await dig("red.default.svc.cluster.local", "A");
    expect(denied.status).toBe("NXDOMAIN");
    expect(denied.sections.AUTHORITY?.[0]).toStartWith(soa);
    const empty = await dig("default.svc.cluster.local", "A");
    expect(empty.status).toBe("NOERROR");
    expect(empty.sections.AUTHORITY?.[0]).toStartWith(soa);
  });

  test("SRV brings the addresses of its targets along", async () => {
    const { sections } = await dig("_http._tcp.web.default.svc.cluster.local", "SRV");
    expect(sections.ADDITIONAL?.sort()).toEqual([
      svc("web-0.web", "A 10.244.1.1"),
      svc("web-0.web", "AAAA fd00:10:244:1::1"),
      svc("web-1.web", "A 10.244.1.2"),
      svc("web-2.web", "A 10.244.1.3"),
    ]);
  });

  test("what does not fit is cut by UDP and whole by TCP", async () => {
    const cut = await dig("many.default.svc.cluster.local", "A", "+ignore", "+bufsize=1232");
    expect(cut.flags).toContain("tc");
    expect(cut.lines.length).toBeLessThan(300);
    const whole = await dig("many.default.svc.cluster.local", "A");
    expect(whole.flags).not.toContain("tc");
    expect(whole.lines).toHaveLength(300);
    expect(whole.text).toContain("Truncated, retrying in TCP mode");
  });

  test("many queries in one TCP connection", async () => {
    const names = ["blue", "web", "none", "blue"].map((name) => `${name}.default.svc.cluster.local`);
    const text = await runDig("+tcp", "+keepopen", ...names);
    expect([...(text.match(/status: \w+/g) ?? [])]).toEqual(
      ["NOERROR", "NOERROR", "NXDOMAIN", "NOERROR"].map((status) => `status: ${status}`),
    );
  });

  test.each([
    ["cluster.local AXFR", "Transfer failed"],
    ["blue.default.svc.cluster.local A -c CH", "status: REFUSED"],
    ["blue.default.svc.cluster.local A +opcode=NOTIFY", "status: NOTIMP"],
    ["blue.default.svc.cluster.local A +edns=1 +noednsnegotiation", "status: BADVERS"],
    ["+header-only", "status: FORMERR"],
  ])("%s: %s", async (args, expected) => {
    expect(await runDig(...args.split(" "))).toContain(expected);
  });
});

describePeers("dnsmasq is asked for the rest", () => {
  const cases: [string, string[]][] = [
    ["a.test A", ["a.test. 60 IN A 192.0.2.1"]],
    ["a.test AAAA", ["a.test. 60 IN AAAA 2001:db8::1"]],
    ["www.test A", ["www.test. 60 IN CNAME a.test.", "a.test. 60 IN A 192.0.2.1"]],
    ["text.test TXT", ['text.test. 60 IN TXT "hello world" "again"']],
    ["_http._tcp.test SRV", ["_http._tcp.test. 60 IN SRV 1 2 80 a.test."]],
    ["test MX", ["test. 60 IN MX 10 a.test."]],
    ["-x 192.0.2.1", ["1.2.0.192.in-addr.arpa. 60 IN PTR a.test."]],
    ["outside.default.svc.cluster.local A", [svc("outside", "CNAME a.test."), "a.test. 60 IN A 192.0.2.1"]],
    [
      "outside.default.svc.cluster.local AAAA",
      [svc("outside", "CNAME a.test."), "a.test. 60 IN AAAA 2001:db8::1"],
    ],
  ];
  test.each(cases)("%s", async (question, lines) => {
    // The second time, the answer comes from the cache, a little older.
    for (const time of ["first", "second"]) {
      const answer = await dig(...question.split(" "));
      const age = (line: string) => line.replace(/ (4[5-9]|5\d|60) IN/, " 60 IN");
      expect([time, answer.status, ...answer.lines.map(age)]).toEqual([time, "NOERROR", ...lines]);
      expect(answer.flags).toContain("ra");
    }
  });

  test("NXDOMAIN comes through, also behind an ExternalName", async () => {
    expect((await dig("nope.test", "A")).status).toBe("NXDOMAIN");
    const behind = await dig("nowhere.default.svc.cluster.local", "A");
    expect(behind.status).toBe("NXDOMAIN");
    expect(behind.lines).toEqual([svc("nowhere", "CNAME nope.test.")]);
  });

  test("an answer too large for UDP is fetched and given by TCP", async () => {
    const answer = await dig("many.test", "TXT");
    expect(answer.text).toContain("Truncated, retrying in TCP mode");
    expect(answer.lines).toHaveLength(200);
  });

  test("an upstream at an IPv6 address", async () => {
    const own = await startDnsServer({
      listen: [{ address: "127.0.0.1", port: 0 }],
      zone,
      forward: { upstreams: [`[::1]:${upstreamPort}`] },
    });
    try {
      expect(await runDig("-p", String(own.listening[0]?.port), "+short", "a.test")).toBe("192.0.2.1\n");
    } finally {
      own.close();
    }
  });
});

testWith(needs.command("dnsperf"), ...wanted)("dnsperf gets an answer to every query", async () => {
  const queries = join(folder, "queries");
  const names = [
    "blue.default.svc.cluster.local A",
    "blue.default.svc.cluster.local AAAA",
    "web.default.svc.cluster.local A",
    "_http._tcp.web.default.svc.cluster.local SRV",
    "www.example.com.default.svc.cluster.local A",
    "1.0.96.10.in-addr.arpa PTR",
    "a.test A",
  ];
  writeFileSync(queries, `${names.join("\n")}\n`);
  for (const mode of ["udp", "tcp"]) {
    const target = ["-s", "127.0.0.1", "-p", String(port), "-m", mode];
    const command = ["dnsperf", ...target, "-d", queries, "-n", "500", "-c", "4"];
    const text = await Bun.spawn(command, { stdout: "pipe", stderr: "ignore" }).stdout.text();
    expect(text).toContain("Queries sent:         3500");
    expect(text).toContain("Queries completed:    3500 (100.00%)");
    expect(text).toContain("NOERROR 3000 (85.71%), NXDOMAIN 500 (14.29%)");
  }
});
