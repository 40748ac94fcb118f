/** Everything that a plugin can have changed on one side, as flat lines that two sides can be compared by. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Namespace } from "../../kernel/services-fixture.ts";
import type { Place } from "./case.ts";
import { Labels, type RawLink } from "./labels.ts";
import type { Twin } from "./twin.ts";

/** A path such as "host link/br0/mtu", and what is there. */
export type State = Map<string, string>;

export interface Snapshot {
  state: State;
  labels: Labels;
}

/** Per interface, under net/ipv4/conf and net/ipv6/conf. */
const parameters = {
  ipv4: [
    ..."accept_local accept_redirects arp_accept arp_announce arp_filter arp_ignore arp_notify forwarding".split(
      " ",
    ),
    ..."log_martians promote_secondaries proxy_arp route_localnet rp_filter send_redirects src_valid_mark".split(
      " ",
    ),
  ],
  ipv6: [
    ..."accept_dad accept_ra accept_redirects addr_gen_mode autoconf dad_transmits disable_ipv6 enhanced_dad".split(
      " ",
    ),
    ..."forwarding keep_addr_on_down ndisc_notify optimistic_dad proxy_ndp use_tempaddr".split(" "),
  ],
} as const;

/** Of the whole namespace. */
const global = ["ipv4/ip_forward", "ipv4/ip_nonlocal_bind", "ipv4/ping_group_range", "core/somaxconn"];

/** Where plugins keep state on the host. */
const folders = ["/var/lib/cni", "/run/cni"];

/** Kinds of queueing discipline that a link has of itself. */
const ordinaryQdiscs = new Set(["noqueue", "noop", "pfifo_fast", "mq", undefined]);

const listing = "addr show\nroute show table all\nrule show\n";

interface Listing {
  links: RawLink[];
  routes: JsonObject[];
  rules: JsonObject[];
  more: string;
}

/** Takes a snapshot. `idle`: no container is attached, so no rule of any rule set may speak of one. */
export async function takeSnapshot(twin: Twin, sysctls: readonly string[], idle: boolean): Promise<Snapshot> {
  const places = twin.places().filter(([place]) => place !== "outside");
  const listed = await Promise.all(places.map(([place]) => list(twin, place)));
  const byPlace = new Map(places.map(([place], i) => [place, (listed[i] as Listing).links]));
  const labels = new Labels(byPlace, twin);
  const state: State = new Map();
  for (const [i, [place, namespace]] of places.entries()) {
    const { links, routes, rules, more } = listed[i] as Listing;
    const put = (key: string, value: string) =>
      state.set(`${place} ${labels.apply(key)}`, labels.apply(value));
    for (const link of links) putLink(put, link, labels, place);
    for (const route of routes) put(`route/${stable(route)}`, "there");
    for (const rule of rules) put(`rule/${stable(rule)}`, "there");
    for (const line of more.split("\n")) if (line !== "") put(`more/${line}`, "there");
    for (const [key, value] of readSysctls(namespace, links, sysctls)) put(`sysctl/${key}`, value);
  }
  for (const [file, text] of files(twin)) state.set(`host file${file}`, labels.applyToFile(text));
  if (idle)
    for (const line of await leftoverRules(twin)) state.set(`host rules/${labels.apply(line)}`, "left over");
  return { state, labels };
}

async function list(twin: Twin, place: Place): Promise<Listing> {
  const rules = twin.place(place).kernel.rtnl.rules.list(6);
  const lists = await Promise.all([
    twin.output(place, ["ip", "-j", "-d", "-b", "-"], listing),
    // Every namespace has two of its own, which are not worth a process.
    rules.length > 2 ? twin.output(place, ["ip", "-j", "-6", "rule"]) : "",
  ]);
  const text = lists.join("\n");
  const [links = [], routes = [], ...listed] = text
    .split("\n")
    .filter((line) => line.startsWith("["))
    .map((line) => JSON.parse(line) as JsonObject[]);
  return {
    links: links as RawLink[],
    routes,
    rules: listed.flat(),
    more: await listMore(twin, place, links as RawLink[]),
  };
}

/** What is listed only where a link has it: queueing disciplines, filters, VLANs of bridge ports. */
async function listMore(twin: Twin, place: Place, links: readonly RawLink[]): Promise<string> {
  const script: string[] = [];
  const shaped = links.filter(({ qdisc }) => !ordinaryQdiscs.has(qdisc));
  if (shaped.length > 0) {
    const wanted = ["qdisc", "class", "filter"].flatMap((what) =>
      shaped.map(({ ifname }) => `${what} show dev ${ifname}${what === "qdisc" ? "" : " root"}`),
    );
    const ingress = links.map(({ ifname }) => `filter show dev ${ifname} ingress`);
    script.push(`printf '${[...wanted, ...ingress].join("\\n")}\\n' | tc -d -b -`);
  }
  if (links.some(({ linkinfo }) => linkinfo?.info_data?.vlan_filtering === 1)) {
    script.push("bridge -c=never vlan show");
  }
  if (script.length === 0) return "";
  return vlanLines(await twin.output(place, ["sh", "-c", script.join("\n")]));
}

/** The list of VLANs of ports names a port at the head of its first line alone: here each line has it. */
function vlanLines(text: string): string {
  const [before = "", list] = text.split(/^port.*vlan-id.*$/m);
  if (list === undefined) return text;
  let port = "";
  const lines = list.split("\n").map((line) => {
    port = /^\S+/.exec(line)?.[0] ?? port;
    return `vlan ${port} ${line.replace(/^\S+/, "").trim().replace(/\s+/g, " ")}`;
  });
  return `${before}${lines.filter((line) => !line.endsWith(" ")).join("\n")}`;
}

/** Timers, and what comes of hardware addresses or of the order in which links were made. */
const passing =
  /^(ifindex|link_netnsid|address|addr_info|bridge_id|root_id|root_port|designated_port|id|no|.*_timer|ifname|topology_change.*|permaddr)$/;

function putLink(
  put: (key: string, value: string) => void,
  link: RawLink,
  labels: Labels,
  place: Place,
): void {
  const at = `link/${link.ifname}`;
  put(at, "there");
  put(`${at}/mac`, labels.isLiteral(link.address) ? (link.address ?? "") : "of its own");
  flatten(put, at, labels.linkOf(place, link));
  for (const { local, prefixlen, ...rest } of link.addr_info ?? []) {
    put(`address/${link.ifname}/${local}/${prefixlen}`, stable(rest));
  }
}

function flatten(put: (key: string, value: string) => void, at: string, value: JsonObject): void {
  for (const [key, each] of Object.entries(value)) {
    if (passing.test(key)) continue;
    if (typeof each === "object" && each !== null && !Array.isArray(each)) {
      flatten(put, `${at}/${key}`, each as JsonObject);
    } else put(`${at}/${key}`, Array.isArray(each) ? [...each].sort().join(" ") : String(each));
  }
}

/** JSON with sorted keys. */
function stable(value: JsonObject): string {
  const entries = Object.entries(value).filter(([key]) => key !== "cache");
  return JSON.stringify(Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1))));
}

function readSysctls(
  namespace: Namespace,
  links: readonly RawLink[],
  more: readonly string[],
): [string, string][] {
  const names = [
    ...global,
    ...more,
    ...["all", "default", ...links.map(({ ifname }) => ifname)].flatMap((link) =>
      (["ipv4", "ipv6"] as const).flatMap((family) =>
        parameters[family].map((name) => `${family}/conf/${link}/${name}`),
      ),
    ),
  ];
  return namespace.in(() =>
    [...new Set(names)].flatMap((name): [string, string][] => {
      try {
        return [[name, readFileSync(`/proc/sys/net/${name}`, "utf8").trim().replace(/\s+/g, " ")]];
      } catch {
        return [];
      }
    }),
  );
}

function files(twin: Twin): [string, string][] {
  const found: [string, string][] = [];
  const walk = (folder: string) => {
    for (const name of readdirSync(twin.rooted(folder)).sort()) {
      const file = join(folder, name);
      const stat = statSync(twin.rooted(file));
      if (stat.isDirectory()) walk(file);
      else found.push([file, stat.isFile() ? readFileSync(twin.rooted(file), "utf8") : "no plain file"]);
    }
  };
  for (const folder of folders) if (existsSync(twin.rooted(folder))) walk(folder);
  return found;
}

/** Names of chains that the reference makes for one attachment. */
const hashed = /CNI-[0-9a-f]{20,}|CNI-(DN|SN|HOSTPORT)-[0-9a-f]{4,}/;

/** Lines of any rule set that speak of a container or its addresses. */
async function leftoverRules(twin: Twin): Promise<string[]> {
  const script = "nft list ruleset; iptables-save; ip6tables-save";
  const text = await twin.output("host", ["sh", "-c", `{ ${script}; } 2>/dev/null`]);
  const results = [...twin.results.values()].flat();
  const addresses = results
    .flatMap(({ ips }) => (Array.isArray(ips) ? (ips as JsonObject[]) : []))
    .map(({ address }) => String(address).replace(/\/.*/, ""));
  const { names } = twin;
  const speaks = (line: string) =>
    hashed.test(line) ||
    words(line).some((word) => addresses.includes(word) || names.some((name) => word.includes(`/${name}/`)));
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter(speaks);
}

const words = (line: string) => line.split(/[\s"{},]+|\/32|\/128/);
