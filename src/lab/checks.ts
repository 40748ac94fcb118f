import { counted } from "../lib/count.ts";
import { explain } from "../lib/errors.ts";
import { dialFrom, lookupFrom } from "./ask.ts";
import type { DialResult } from "./echo.ts";
import type { Caller, CheckResult } from "./model.ts";

/** A pod that answers, as a caller and as a target. */
export interface PodPeer extends Caller {
  node: string;
  port: number;
}

/** A node, as a caller and as a target. */
export interface NodePeer extends Caller {
  port: number;
}

/** All that takes part in the checks. */
export interface Scene {
  pods: readonly PodPeer[];
  nodes: readonly NodePeer[];
  outside: NodePeer & { dnsName: string };
  /** Where pods ask for names. */
  clusterDns: readonly string[];
  service: {
    /** Names from the shortest to the full one. */
    names: readonly string[];
    clusterIPs: readonly string[];
    port: number;
    nodePort: number;
  };
}

/** One row of the table, not yet done. */
export interface Check {
  group: string;
  name: string;
  run(): Promise<{ failures: string[]; detail: string }>;
}

/** One request with what its answer must be. */
interface Expectation {
  from: Caller;
  to: { name: string; ip: string; port: number };
  /** The addresses of which the server must have seen one; any where undefined. */
  seenAs: readonly string[];
}

const familyOf = (ip: string) => (ip.includes(":") ? 6 : 4);
/** The URL of a server by its address. */
export const urlOf = (ip: string, port: number) => `http://${ip.includes(":") ? `[${ip}]` : ip}:${port}/`;

/** Requests to a Service, so that each of n replicas answers but for a chance of one in 100,000. */
const requestsFor = (replicas: number) => Math.max(20, 14 * replicas);

/** The checks for a scene, in the order in which they are shown: of each family in which its pods have addresses. */
export function planChecks(scene: Scene): Check[] {
  return ([4, 6] as const)
    .filter((family) => scene.pods.some(({ ips }) => ips.some((ip) => familyOf(ip) === family)))
    .flatMap((family) => [
      ...reachability(scene, family),
      ...serviceChecks(scene, family),
      ...leaving(scene, family),
    ])
    .concat(names(scene));
}

function reachability({ pods, nodes }: Scene, family: 4 | 6): Check[] {
  const ipOf = (peer: Caller) => peer.ips.find((ip) => familyOf(ip) === family);
  const pairs = (
    from: readonly Caller[],
    to: readonly (Caller & { port: number })[],
  ): [Caller, Expectation][] =>
    from.flatMap((caller) =>
      to.flatMap((target): [Caller, Expectation][] => {
        const ip = ipOf(target);
        if (ip === undefined) return [];
        return [
          [target, { from: caller, to: { name: target.name, ip, port: target.port }, seenAs: caller.ips }],
        ];
      }),
    );
  const nodeOf = new Map<Caller, string>(pods.map((pod) => [pod, pod.node]));
  const podPairs = pairs(pods, pods);
  const same = podPairs.filter(([target, { from }]) => nodeOf.get(target) === nodeOf.get(from));
  const across = podPairs.filter(([target, { from }]) => nodeOf.get(target) !== nodeOf.get(from));
  const group = `IPv${family} without NAT`;
  return [
    { name: "pods to pods on the same node", paths: same },
    { name: "pods to pods on other nodes", paths: across },
    { name: "nodes to pods", paths: pairs(nodes, pods) },
    { name: "pods to nodes", paths: pairs(pods, nodes) },
  ]
    .filter(({ paths }) => paths.length > 0)
    .map(({ name, paths }) => ({ group, name, run: () => expectAll(paths.map(([, each]) => each)) }));
}

async function expectAll(expectations: Expectation[]): Promise<{ failures: string[]; detail: string }> {
  const times: number[] = [];
  const failures = await inParallel(expectations, async ({ from, to, seenAs }) => {
    const [result] = await dialFrom(from.socket, urlOf(to.ip, to.port));
    if (result === undefined || !result.ok || result.answer === undefined) {
      return `${from.name} cannot reach ${to.name} at ${to.ip}: ${result?.error ?? "no answer"}`;
    }
    times.push(result.milliseconds);
    if (result.answer.pod !== to.name) return `${to.ip} was answered by ${result.answer.pod}, not ${to.name}`;
    if (seenAs.includes(result.answer.caller)) return undefined;
    return `${to.name} saw ${from.name} as ${result.answer.caller}`;
  });
  return { failures, detail: `${counted(expectations.length, "path")}, ${median(times)}` };
}

function serviceChecks({ pods, nodes, outside, service }: Scene, family: 4 | 6): Check[] {
  const clusterIP = service.clusterIPs.find((ip) => familyOf(ip) === family);
  // A Service of the other family alone has no NodePort in this one either.
  if (clusterIP === undefined) return [];
  const group = `IPv${family} Service`;
  const nodePorts = nodes.flatMap((node) =>
    // The first address of a family is the one on the fabric; a bridge's is not reached from there.
    node.ips
      .filter((ip) => familyOf(ip) === family)
      .slice(0, 1)
      .map((ip) => urlOf(ip, service.nodePort)),
  );
  const url = urlOf(clusterIP, service.port);
  return [
    {
      group,
      name: "ClusterIP from pods",
      run: () =>
        balanced(
          pods.map((from) => ({ from, url })),
          pods,
        ),
    },
    {
      group,
      name: "ClusterIP from nodes",
      run: () =>
        balanced(
          nodes.map((from) => ({ from, url })),
          pods,
        ),
    },
    {
      group,
      name: "NodePort from the fabric",
      run: () =>
        balanced(
          nodePorts.map((each) => ({ from: outside, url: each })),
          pods,
        ),
    },
  ];
}

/** Each caller must get answers from every pod, and no failure. */
async function balanced(
  callers: readonly { from: Caller; url: string }[],
  pods: readonly Caller[],
): Promise<{ failures: string[]; detail: string }> {
  const counts = new Map<string, number>(pods.map(({ name }) => [name, 0]));
  const times: number[] = [];
  const failures = await inParallel(callers, async ({ from, url }) => {
    const results = await dialFrom(from.socket, url, requestsFor(pods.length));
    const seen = new Set<string>();
    for (const { answer, milliseconds } of results) {
      times.push(milliseconds);
      if (answer === undefined) continue;
      seen.add(answer.pod);
      counts.set(answer.pod, (counts.get(answer.pod) ?? 0) + 1);
    }
    const failed = results.filter(({ ok }) => !ok);
    if (failed.length > 0)
      return `${from.name} to ${url}: ${failed.length} of ${results.length} failed: ${errorOf(failed)}`;
    const silent = pods.filter(({ name }) => !seen.has(name)).map(({ name }) => name);
    return silent.length === 0 ? undefined : `${from.name} to ${url}: no answer from ${silent.join(", ")}`;
  });
  return { failures, detail: `${[...counts.values()].join("+")} answers, ${median(times)}` };
}

/** What is missing until every node sends requests to the Service to every pod; undefined when nothing is. */
export async function unbalanced({ nodes, pods, service }: Scene): Promise<string | undefined> {
  const callers = nodes.flatMap((from) =>
    service.clusterIPs.map((ip) => ({ from, url: urlOf(ip, service.port) })),
  );
  return (await balanced(callers, pods)).failures[0];
}

const errorOf = (failed: readonly DialResult[]) => failed[0]?.error ?? "no answer";

function leaving({ pods, nodes, outside }: Scene, family: 4 | 6): Check[] {
  const ip = outside.ips.find((each) => familyOf(each) === family);
  if (ip === undefined) return [];
  const expectations = pods.map((pod) => ({
    from: pod,
    to: { name: outside.name, ip, port: outside.port },
    seenAs: nodes.find(({ name }) => name === pod.node)?.ips ?? [],
  }));
  return [
    {
      group: `IPv${family} leaving`,
      name: "pods to a host outside, as their node",
      run: () => expectAll(expectations),
    },
  ];
}

/** A name as one asks for it: of the cluster's name servers in turn, or of one of them. */
interface Lookup {
  name: string;
  server?: string;
}

/** Every pod must get just these addresses for each. */
async function resolved(
  pods: readonly Caller[],
  lookups: readonly Lookup[],
  addresses: readonly string[],
): Promise<{ failures: string[]; detail: string }> {
  const expected = [...addresses].sort().join(" ");
  const failures = await inParallel(pods, async (pod) => {
    for (const { name, server } of lookups) {
      const found = await lookupFrom(pod.socket, name, server);
      const got = found.addresses.join(" ");
      if (got === expected) continue;
      const where = server === undefined ? "" : ` at ${server}`;
      return `${pod.name}: ${name}${where} is ${got || (found.error ?? "nothing")}, not ${expected}`;
    }
    return undefined;
  });
  return { failures, detail: addresses.join(", ") };
}

function names({ pods, service, outside, clusterDns }: Scene): Check[] {
  const own = service.names.map((name) => ({ name }));
  const name = outside.dnsName;
  const forwarded: Lookup[] = [{ name }, ...clusterDns.map((server) => ({ name, server }))];
  const url = `http://${service.names[0]}:${service.port}/`;
  return [
    {
      group: "Names",
      name: service.names.at(-1) ?? "",
      run: () => resolved(pods, own, service.clusterIPs),
    },
    {
      group: "Names",
      name: "the Service by its short name",
      run: () =>
        balanced(
          pods.slice(0, 1).map((from) => ({ from, url })),
          pods,
        ),
    },
    {
      group: "Names",
      name: `${name}, forwarded`,
      run: () => resolved(pods, forwarded, outside.ips),
    },
  ];
}

const width = 8;

/** Runs over all, some at a time; collects what is not undefined. */
async function inParallel<T>(
  items: readonly T[],
  run: (item: T) => Promise<string | undefined>,
): Promise<string[]> {
  const failures: string[] = [];
  const queue = items.values();
  const worker = async () => {
    for (const item of queue) {
      const failure = await run(item).catch(explain);
      if (failure !== undefined) failures.push(failure);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return failures;
}

function median(times: number[]): string {
  const middle = times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
  return middle === undefined ? "no answer" : `${middle.toFixed(1)} ms each`;
}

/** Runs a check; nothing is thrown. */
export async function runCheck(check: Check): Promise<CheckResult> {
  const start = performance.now();
  const { failures, detail } = await check
    .run()
    .catch((error: unknown) => ({ failures: [explain(error)], detail: "" }));
  const [first, ...more] = failures;
  return {
    kind: "check",
    group: check.group,
    name: check.name,
    ok: first === undefined,
    detail: first === undefined ? detail : more.length === 0 ? first : `${first} (and ${more.length} more)`,
    milliseconds: Math.round(performance.now() - start),
  };
}
