import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { type Clock, systemClock } from "../lib/clock.ts";
import { InvalidInput, WeftError } from "../lib/errors.ts";
import type { ClientConfig } from "./clientconfig.ts";
import { tokenFile } from "./credentials.ts";
import { clientConfigOf, loadKubeconfigFiles } from "./kubeconfig.ts";

export type { ClientConfig } from "./clientconfig.ts";

export interface LoadOptions {
  /** A file; before the variable KUBECONFIG. */
  kubeconfig?: string;
  /** In place of the kubeconfig's current-context. */
  context?: string;
  env?: Record<string, string | undefined>;
  /** Where a pod finds its service account; its usual place where not given. */
  serviceAccountDirectory?: string;
  clock?: Clock;
}

/**
 * Finds the configuration as kubectl does: the file that is named, else the files of the variable KUBECONFIG, else
 * ~/.kube/config, else the service account of the pod that this runs in. Throws `InvalidInput` naming file and field.
 */
export async function loadClientConfig(options: LoadOptions = {}): Promise<ClientConfig> {
  const env = options.env ?? process.env;
  const clock = options.clock ?? systemClock;
  const paths = kubeconfigPaths(options.kubeconfig, env);
  const kubeconfig = await loadKubeconfigFiles(paths.files, { missing: paths.explicit ? "refuse" : "skip" });
  if (kubeconfig !== undefined) {
    return clientConfigOf(kubeconfig, {
      clock,
      env,
      ...(options.context === undefined ? {} : { context: options.context }),
    });
  }
  if (env.KUBERNETES_SERVICE_HOST !== undefined && options.context === undefined) {
    return inClusterConfig({ ...options, env, clock });
  }
  throw new WeftError("no-kubeconfig", `No kubeconfig is found: ${paths.files.join(", ")} does not exist`, {
    remedy: "Give --kubeconfig FILE, or set the variable KUBECONFIG",
  });
}

function kubeconfigPaths(
  explicit: string | undefined,
  env: Record<string, string | undefined>,
): { files: string[]; explicit: boolean } {
  if (explicit !== undefined) return { files: [explicit], explicit: true };
  const listed = (env.KUBECONFIG ?? "").split(delimiter).filter((path) => path !== "");
  if (listed.length > 0) return { files: listed, explicit: false };
  return { files: [join(env.HOME ?? homedir(), ".kube", "config")], explicit: false };
}

const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount";

/** The configuration of a pod: its service account's token, which the kubelet renews, and the cluster's CA. */
export async function inClusterConfig(options: LoadOptions = {}): Promise<ClientConfig> {
  const env = options.env ?? process.env;
  const host = env.KUBERNETES_SERVICE_HOST;
  const port = env.KUBERNETES_SERVICE_PORT ?? "443";
  if (host === undefined || host === "") {
    throw new InvalidInput("KUBERNETES_SERVICE_HOST", host, "does not name the API server", {
      remedy: "Run this in a pod with a service account, or give --kubeconfig FILE",
    });
  }
  const directory = options.serviceAccountDirectory ?? serviceAccount;
  const ca = await readServiceAccountFile(join(directory, "ca.crt"));
  const namespace = await readFile(join(directory, "namespace"), "utf8").catch(() => "default");
  const token = join(directory, "token");
  await readServiceAccountFile(token);
  return {
    server: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    namespace: namespace.trim(),
    ca,
    credentials: tokenFile(token, { clock: options.clock ?? systemClock }),
  };
}

async function readServiceAccountFile(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new InvalidInput("service account", path, "cannot be read", {
      cause,
      remedy: "Let the pod mount its service account's token (automountServiceAccountToken)",
    });
  }
}
