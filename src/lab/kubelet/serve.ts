import { readdirSync, watch } from "node:fs";
import { readFile } from "node:fs/promises";
import { loadClientConfig } from "../../kube/config.ts";
import { createKubeClient } from "../../kube/index.ts";
import { systemClock } from "../../lib/clock.ts";
import { explain } from "../../lib/errors.ts";
import { createLog } from "../../lib/log.ts";
import { startEcho } from "../echo.ts";
import { makeDir, nodePaths, resolvConf } from "../paths.ts";
import { Kubelet } from "./kubelet.ts";
import { CniNetwork } from "./sandbox.ts";

/** Where a node answers as `weft/echo` does, for pods that call it. */
export const kubeletPort = 10250;
/** Where the agent's /readyz and /metrics are by default. */
const agentHealth = "127.0.0.1:9119";

/** What the lab tells the kubelet role of one node. */
export interface KubeletSpec {
  node: string;
  addresses: string[];
  clusterDns: string[];
  clusterDomain: string;
  logsDir: string;
}

/** The process behind `weft lab kubelet`: the kubelet role of the node in whose namespace it runs. */
export async function serveKubelet(spec: KubeletSpec, signal: AbortSignal): Promise<void> {
  const paths = nodePaths(spec.node);
  for (const dir of [paths.confDir, paths.binDir, paths.podsDir]) makeDir(dir);
  const log = createLog().with({ kubelet: spec.node });
  const network = new CniNetwork(paths, log);
  const confs = watchConfigurations(paths.confDir, signal);
  const client = createKubeClient(await loadClientConfig({ kubeconfig: paths.kubeconfig }));
  const kubelet = new Kubelet({
    nodeName: spec.node,
    nodeIPs: spec.addresses,
    client,
    network,
    dns: {
      clusterDns: spec.clusterDns,
      clusterDomain: spec.clusterDomain,
      nodeResolvConf: await readFile(resolvConf, "utf8").catch(() => ""),
    },
    clock: systemClock,
    log,
    podsDir: paths.podsDir,
    logsDir: spec.logsDir,
    signal,
    networkReady: () => {
      const ready = confs.found();
      const message = ready
        ? "kubelet is posting ready status"
        : `no network configuration in ${paths.confDir}`;
      return { ready, message };
    },
    onNetworkChange: confs.onChange,
  });
  const echo = startEcho({
    pod: spec.node,
    podIPs: spec.addresses,
    node: spec.node,
    port: kubeletPort,
    socket: paths.kubeletSocket,
    more: (request) => nodeAnswer(request, kubelet),
  });
  try {
    await kubelet.run();
  } finally {
    echo.stop();
    client.close();
  }
}

/** `/pod?namespace=N&name=P`: how to reach into a pod of this node. `/agent/PATH`: what the node's agent answers. */
function nodeAnswer(request: Request, kubelet: Kubelet): Response | Promise<Response> | undefined {
  const url = new URL(request.url);
  if (url.pathname.startsWith("/agent/")) {
    return fetch(`http://${agentHealth}${url.pathname.slice("/agent".length)}`).catch(
      (error: unknown) => new Response(`no answer: ${explain(error)}\n`, { status: 503 }),
    );
  }
  if (url.pathname !== "/pod") return undefined;
  const worker = kubelet.worker(url.searchParams.get("namespace") ?? "", url.searchParams.get("name") ?? "");
  const running = worker?.running;
  return running === undefined ? new Response("no such pod here", { status: 404 }) : Response.json(running);
}

/** Knows whether there is a network configuration, and when that changes. */
function watchConfigurations(dir: string, signal: AbortSignal) {
  let present = false;
  const callbacks = new Set<() => void>();
  // Without an await: of two that overlap, the older one could have the last word.
  const found = () => {
    const now = readdirSync(dir).some((name) => /\.(conf|conflist|json)$/.test(name));
    if (now !== present) {
      present = now;
      for (const callback of callbacks) callback();
    }
    return now;
  };
  const watcher = watch(dir, { signal }, found);
  watcher.on("error", () => {});
  return { found, onChange: (callback: () => void) => void callbacks.add(callback) };
}
