/**
 * An API server, or what stands before it, that answers with what the agent cannot use: it goes on with what it last
 * knew, says so once, and catches up.
 *
 *     agent ── http://172.30.0.1:6480 ── this test's front ── the API server
 */
import { afterEach, beforeEach, expect } from "bun:test";
import { resources } from "../../src/kube/types.ts";
import { inNetns } from "../../src/linux/netns.ts";
import { type Agent, eventually, type Host, TestCluster } from "../lib/agent.ts";
import { needs, testWith } from "../lib/needs.ts";
import { service, slice } from "../lib/services.ts";

const kernelTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));
const available = needs.root === undefined && needs.kernel("bridge") === undefined;

type Fault = (request: Request, answer: () => Promise<Response>) => Response | Promise<Response>;

let cluster: TestCluster;
let node: Host;
let agent: Agent;
let front: Front;

/** Passes everything on, but for what a fault makes of it. */
class Front {
  fault: Fault | undefined;
  readonly #server: Bun.Server<undefined>;
  readonly #open = new Set<AbortController>();

  constructor() {
    const fetch = async (request: Request) => {
      const pass = () => this.#pass(request);
      return this.fault === undefined ? await pass() : await this.fault(request, pass);
    };
    this.#server = inNetns({ name: cluster.wire.name }, () =>
      Bun.serve({ hostname: "172.30.0.1", port: 6480, idleTimeout: 0, fetch }),
    );
  }

  async #pass(request: Request): Promise<Response> {
    const open = new AbortController();
    this.#open.add(open);
    const { pathname, search } = new URL(request.url);
    const headers = new Headers(request.headers);
    return await cluster.api.handle(
      new Request(`${cluster.api.url}${pathname}${search}`, { headers, signal: open.signal }),
    );
  }

  /** Ends what streams there are. */
  cut(): void {
    for (const each of this.#open) each.abort();
    this.#open.clear();
  }

  close(): void {
    this.cut();
    this.#server.stop(true);
  }
}

beforeEach(async () => {
  if (!available) return;
  cluster = await TestCluster.start();
  front = new Front();
  const kubeconfig = Bun.YAML.parse(cluster.api.kubeconfig("agent")) as { clusters: [{ cluster: object }] };
  kubeconfig.clusters[0].cluster = { server: "http://172.30.0.1:6480" };
  cluster.kubeconfig("kubeconfig", JSON.stringify(kubeconfig));
  node = cluster.host("node", 11);
  await cluster.node("node-1", ["10.244.1.0/24"], node.addresses);
  await cluster.node("node-2", ["10.244.2.0/24"], ["172.30.0.12"]);
  await cluster.client.create(resources.services, service("blue", ["10.96.0.50"], ["80"]));
  await cluster.client.create(resources.endpointSlices, slice("blue", "blue", ["10.244.2.2@node-2"]));
  agent = cluster.agent(node, "node-1");
});

afterEach(async () => {
  if (!available) return;
  front.close();
  await cluster.close();
});

/** What there is of Weft's in the node's kernel. */
const state = () =>
  ["ip address", "ip route", "nft list ruleset"].map((command) => node.output(...command.split(" ")));

const isWatch = (request: Request) => new URL(request.url).searchParams.has("watch");
const status = (code: number, reason: string) => () =>
  Response.json({ kind: "Status", apiVersion: "v1", code, reason, message: "not now" }, { status: code });
const text = (body: string, type = "text/html") => new Response(body, { headers: { "content-type": type } });

/** What is wrong with an answer, and what the agent says of it. */
const faults: [string, Fault, RegExp][] = [
  ["500", status(500, "InternalError"), /not now \(500\)/],
  ["429", status(429, "TooManyRequests"), /not now \(429\)/],
  ["503 of a gateway", () => new Response("upstream gone", { status: 503 }), /upstream gone \(503\)/],
  ["410 for ever", status(410, "Expired"), /not now \(410\)/],
  ["403", status(403, "Forbidden"), /not now \(403\)/],
  ["a page", () => text("<html>log in</html>"), /the answer is not JSON: \\?"<html>log in/],
  [
    "another object",
    () => Response.json({ kind: "Pod", metadata: { name: "x" }, items: 5 }),
    /not a list|no event/,
  ],
  ["objects without names", () => Response.json({ metadata: {}, items: [{}, null] }), /item 0 has no name/],
];

/** Such as only a list can be: a watch that says nothing may be a quiet one. */
const listFaults: typeof faults = [
  ["nothing", () => text(""), /not JSON/],
  [
    "half of it",
    async (_, answer) => text((await (await answer()).text()).slice(0, 100), "application/json"),
    /not JSON/,
  ],
];

const lists =
  (fault: Fault): Fault =>
  (request, answer) =>
    isWatch(request) ? answer() : fault(request, answer);

kernelTest.each([...faults, ...listFaults])(
  "lists that are %s, from the start: one line says it, and the agent begins when it is over",
  async (_, fault, expected) => {
    front.fault = lists(fault);
    agent.start();
    const { status: code, body } = await agent.says(/not heard since/);
    expect(code).toBe(503);
    expect(body.split("\n")[1]).toMatch(expected);
    const told = agent.log().filter(({ level }) => level === "warn" || level === "error");
    expect(told.map(({ message }) => message)).toEqual([
      "The API server is not heard; what was last known stays in force",
    ]);
    expect(node.kernel.nft.tables()).toEqual([]);
    front.fault = undefined;
    await agent.isReady();
    expect(node.output("ip", "route")).toContain("10.244.2.0/24 via 172.30.0.12");
  },
  40_000,
);

kernelTest.each(faults)(
  "all that it says is %s, in the middle: what was last known stays, and what changed comes when it is over",
  async (_, fault) => {
    agent.start();
    await agent.isReady();
    const before = state();
    front.fault = fault;
    front.cut();
    await agent.says(/not heard since/);
    await cluster.node("node-3", ["10.244.3.0/24"], ["172.30.0.13"]);
    await cluster.client.delete(resources.services, { namespace: "default", name: "blue" });
    // Long enough for some tries.
    const tries = 3;
    let seen = 0;
    front.fault = (request, answer) => {
      seen++;
      return fault(request, answer);
    };
    await eventually(
      () => `it tried ${seen} times`,
      () => seen >= tries,
    );
    expect(state()).toEqual(before);
    expect((await agent.get("/healthz")).status).toBe(200);
    front.fault = undefined;
    await eventually(
      () => "what changed is not there",
      () => {
        const [, routes = "", ruleset = ""] = state();
        return routes.includes("10.244.3.0/24") && !ruleset.includes("10.96.0.50");
      },
    );
    await agent.says(/\[\+\] api-server/);
    const told = agent.log().filter(({ level }) => level === "warn" || level === "error");
    expect(told).toHaveLength(1);
  },
  40_000,
);

kernelTest.each([
  ["at once", ""],
  ["after a bookmark", '{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"1"}}}\n'],
])(
  "watches that all end %s are not asked for in a circle",
  async (_, stream) => {
    agent.start();
    await agent.isReady();
    let asked = 0;
    front.fault = (request, answer) => {
      asked++;
      return isWatch(request) ? text(stream, "application/json") : answer();
    };
    front.cut();
    await Bun.sleep(2_000);
    // Four resources, each with a pause that doubles.
    expect(asked).toBeGreaterThan(4);
    expect(asked).toBeLessThan(40);
    front.fault = undefined;
    await cluster.node("node-3", ["10.244.3.0/24"], ["172.30.0.13"]);
    await eventually(
      () => "the new node has no route",
      () => node.output("ip", "route").includes("10.244.3.0/24"),
    );
  },
  30_000,
);
