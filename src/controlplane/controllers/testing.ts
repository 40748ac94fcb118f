import { createKubeClient, type KubeClient } from "../../kube/client.ts";
import { isNotFound } from "../../kube/errors.ts";
import { FakeKube } from "../../kube/fake/index.ts";
import { follow } from "../../kube/follow.ts";
import { type KubeObject, type Node, type Pod, type Resource, resources } from "../../kube/types.ts";
import { startApiServer } from "../server.ts";
import { type ControllersOptions, runControllers } from "./index.ts";

/** Helpers for tests of controllers: nodes, and a kubelet that only pretends. */

export function makeNode(name: string, node: Partial<Node> = {}): Node {
  const conditions = [{ type: "Ready", status: "True" as const }];
  return { ...node, metadata: { name, ...node.metadata }, status: { conditions, ...node.status } };
}

export interface PodParts {
  labels?: Record<string, string>;
  node?: string;
  ready?: boolean;
  /** When it became ready. */
  since?: string;
  phase?: NonNullable<Pod["status"]>["phase"];
  ips?: string[];
  deleting?: boolean;
  owner?: KubeObject;
  created?: string;
  spec?: Partial<Pod["spec"]>;
}

/** A pod in namespace "default", from the few things that a test is about. */
export function makePod(name: string, parts: PodParts = {}): Pod {
  const { labels, node, ready = false, since, phase, ips = [], deleting, owner, created, spec } = parts;
  const { uid = "", name: ownerName } = owner?.metadata ?? { name: "" };
  const reference = {
    apiVersion: "apps/v1",
    kind: owner?.kind ?? "",
    name: ownerName,
    uid,
    controller: true,
  };
  const transition = since === undefined ? {} : { lastTransitionTime: since };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: "default",
      uid: `uid-of-${name}`,
      ...(labels === undefined ? {} : { labels }),
      ...(deleting === true ? { deletionTimestamp: "2030-01-01T00:00:00Z" } : {}),
      ...(owner === undefined ? {} : { ownerReferences: [reference] }),
      ...(created === undefined ? {} : { creationTimestamp: created }),
    },
    spec: {
      containers: [{ name: "c", image: "weft/echo" }],
      ...(node === undefined ? {} : { nodeName: node }),
      ...spec,
    },
    status: {
      phase: phase ?? (ready ? "Running" : "Pending"),
      conditions: [{ type: "Ready", status: ready ? "True" : "False", ...transition }],
      ...(ips.length === 0 ? {} : { podIP: ips[0] as string, podIPs: ips.map((ip) => ({ ip })) }),
    },
  };
}

/** Makes pods run and get ready as soon as they are on a node, and lets them go as soon as they are deleted. */
export async function runKubelets(
  client: KubeClient,
  signal: AbortSignal,
  options: { ready?: (pod: Pod) => boolean } = {},
): Promise<void> {
  let serial = 0;
  const settle = async (pod: Pod): Promise<void> => {
    if (!pod.spec.nodeName) return;
    if (pod.metadata.deletionTimestamp !== undefined) {
      await client.delete(resources.pods, pod.metadata, { gracePeriodSeconds: 0 });
    } else if (pod.status?.phase === "Pending" && (options.ready?.(pod) ?? true)) {
      const ip = `10.244.0.${++serial}`;
      const now = new Date().toISOString();
      const ready = { type: "Ready", status: "True" as const, lastTransitionTime: now };
      const others = (pod.status.conditions ?? []).filter(({ type }) => type !== "Ready");
      const status = {
        phase: "Running" as const,
        podIP: ip,
        podIPs: [{ ip }],
        conditions: [...others, ready],
      };
      await client.patch(
        resources.pods,
        pod.metadata,
        { type: "merge", body: { status: status as never } },
        { subresource: "status" },
      );
    }
  };
  for await (const event of follow(client, resources.pods, { signal })) {
    const pods = event.type === "LISTED" ? event.items : event.type === "DELETED" ? [] : [event.object];
    for (const pod of pods) {
      settle(pod).catch((error) => {
        if (!isNotFound(error) && !signal.aborted) throw error;
      });
    }
  }
}

/** Waits until what is asked for is so, and answers with it; fails with the last answer after four seconds. */
export async function eventually<R>(ask: () => R | Promise<R>, right: (answer: R) => boolean): Promise<R> {
  const deadline = Date.now() + 4000;
  for (;;) {
    const answer = await ask();
    if (right(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`not so within 4 s: ${JSON.stringify(answer)}`);
    await Bun.sleep(2);
  }
}

/** The objects of a resource in namespace "default", or all where they have none. */
export async function all<T extends KubeObject>(client: KubeClient, resource: Resource<T>): Promise<T[]> {
  const { items } = await client.list(resource, resource.namespaced ? { namespace: "default" } : {});
  return items;
}

export type ClusterKind = "fake" | "embedded";

export interface TestCluster {
  client: KubeClient;
  signal: AbortSignal;
  stop(): void;
}

/** All controllers and pretended kubelets, on the fake or on the embedded server; without nodes. */
export async function startCluster(
  kind: ClusterKind,
  options: Partial<ControllersOptions> & { ready?: (pod: Pod) => boolean; kubelets?: boolean } = {},
): Promise<TestCluster> {
  const controller = new AbortController();
  const { signal } = controller;
  const server = kind === "fake" ? undefined : await startApiServer();
  const client =
    server === undefined
      ? new FakeKube()
      : createKubeClient(
          { server: server.url, namespace: "default" },
          { fetch: (url, init) => server.handle(new Request(url, init)) },
        );
  const { ready = () => true, kubelets = true, ...rest } = options;
  await runControllers(client, { clusterCIDRs: [], serviceCIDRs: [], ...rest }, signal).ready;
  if (kubelets) void runKubelets(client, signal, { ready });
  return {
    client,
    signal,
    stop: () => {
      controller.abort();
      client.close();
      server?.close();
    },
  };
}
