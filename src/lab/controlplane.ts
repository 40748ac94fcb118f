import { writeFileSync } from "node:fs";
import { runControllers } from "../controlplane/controllers/index.ts";
import { startApiServer } from "../controlplane/server.ts";
import { createKubeClient, type KubeClient } from "../kube/index.ts";
import type { Log } from "../lib/log.ts";
import { Prefix } from "../lib/prefix.ts";
import { apiAddress, fabric } from "./fabric.ts";
import type { LabOptions } from "./model.ts";
import { files, sharedDir } from "./paths.ts";

/** The lab's control plane: the embedded API server and its controllers. */
export interface LabControlPlane {
  /** A client that needs no connection. */
  readonly client: KubeClient;
  /** A kubeconfig for those on the fabric. */
  kubeconfig(user: string): string;
  stop(): void;
}

/** Starts the control plane on the fabric and on the socket that leads to the host; writes the host's kubeconfig. */
export async function startLabControlPlane(
  options: LabOptions,
  log: Log,
  signal: AbortSignal,
): Promise<LabControlPlane> {
  const { clusterCidrs, serviceCidrs, nodeMasks, hostApiPort } = options;
  const prefixes = (texts: string[]) => texts.map((text) => Prefix.parse(text));
  const server = await startApiServer({
    listen: [{ host: String(apiAddress), port: fabric.apiPort }, { unix: `${sharedDir}/${files.apiSocket}` }],
    serviceCidrs,
    clusterName: "weft-lab",
    log,
  });
  const client = createKubeClient(
    { server: server.url, namespace: "default" },
    { fetch: (url, init) => server.handle(new Request(url, init)) },
  );
  const controllers = runControllers(
    client,
    {
      clusterCIDRs: prefixes(clusterCidrs),
      serviceCIDRs: prefixes(serviceCidrs),
      nodeMaskIPv4: nodeMasks[4],
      nodeMaskIPv6: nodeMasks[6],
      log,
    },
    signal,
  );
  await controllers.ready;
  const host = server.kubeconfig("admin", { server: `https://127.0.0.1:${hostApiPort}` });
  writeFileSync(`${sharedDir}/${files.kubeconfig}`, host, { mode: 0o600 });
  return {
    client,
    kubeconfig: (user) => server.kubeconfig(user, { server: `https://${apiAddress}:${fabric.apiPort}` }),
    stop: () => {
      client.close();
      server.close();
    },
  };
}
