import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import type { Clock } from "../lib/clock.ts";
import { InvalidInput } from "../lib/errors.ts";
import { didYouMean, suggest } from "../lib/suggest.ts";
import type { ClientConfig } from "./clientconfig.ts";
import {
  basic,
  bearer,
  type Credentials,
  fixedCredentials,
  RenewedFile,
  tokenFile,
  withCertificate,
} from "./credentials.ts";
import { type ExecCluster, type ExecConfig, execApiVersions, execCredentials } from "./execplugin.ts";

/** The fields of a kubeconfig as they stand in the file (v1 Config); paths in them are relative to `file`. */
export interface Cluster {
  server?: string;
  "tls-server-name"?: string;
  "insecure-skip-tls-verify"?: boolean;
  "certificate-authority"?: string;
  "certificate-authority-data"?: string;
  "proxy-url"?: string;
  extensions?: { name: string; extension: unknown }[];
}

export interface User {
  "client-certificate"?: string;
  "client-certificate-data"?: string;
  "client-key"?: string;
  "client-key-data"?: string;
  token?: string;
  tokenFile?: string;
  username?: string;
  password?: string;
  as?: string;
  "as-uid"?: string;
  "as-groups"?: string[];
  exec?: ExecConfig;
  "auth-provider"?: unknown;
}

export interface Context {
  cluster?: string;
  user?: string;
  namespace?: string;
}

/** The keys of each part. Others are ignored, as by kubectl, unless they look like one of these misspelt. */
const keys = {
  config: [
    "apiVersion",
    "kind",
    "preferences",
    "clusters",
    "users",
    "contexts",
    "current-context",
    "extensions",
  ],
  cluster: [
    ...["server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority"],
    ...["certificate-authority-data", "proxy-url", "disable-compression", "extensions"],
  ],
  user: [
    ...[
      "client-certificate",
      "client-certificate-data",
      "client-key",
      "client-key-data",
      "token",
      "tokenFile",
    ],
    ...["username", "password", "as", "as-uid", "as-groups", "as-user-extra", "exec", "auth-provider"],
    "extensions",
  ],
  context: ["cluster", "user", "namespace", "extensions"],
} as const;

/** An entry and the file that it stands in. */
interface Named<E> {
  entry: E;
  file: string;
}

export interface Kubeconfig {
  files: string[];
  currentContext: string | undefined;
  clusters: Map<string, Named<Cluster>>;
  users: Map<string, Named<User>>;
  contexts: Map<string, Named<Context>>;
}

/** Reads one kubeconfig's text, YAML or JSON. Throws `InvalidInput` naming the file and the field. */
export function parseKubeconfig(text: string, file: string): Kubeconfig {
  let root: unknown;
  try {
    root = Bun.YAML.parse(text);
  } catch (cause) {
    throw new InvalidInput("kubeconfig", file, `is not YAML: ${(cause as Error).message}`, {
      cause,
      remedy: "Let kubectl config view --kubeconfig FILE show where",
    });
  }
  const config: Kubeconfig = {
    files: [file],
    currentContext: undefined,
    clusters: new Map(),
    users: new Map(),
    contexts: new Map(),
  };
  if (root === null || root === undefined) return config;
  if (!isRecord(root)) throw new InvalidInput("kubeconfig", file, "is not a Config object");
  if (root.kind !== undefined && root.kind !== "Config") {
    throw new InvalidInput(`kind in ${file}`, root.kind, 'is not "Config"');
  }
  refuseMisspelt(root, "config", file);
  const current = root["current-context"];
  if (typeof current === "string" && current !== "") config.currentContext = current;
  entries(root, "clusters", "cluster", file, config.clusters);
  entries(root, "users", "user", file, config.users);
  entries(root, "contexts", "context", file, config.contexts);
  return config;
}

function entries<E>(
  root: Record<string, unknown>,
  plural: string,
  singular: "cluster" | "user" | "context",
  file: string,
  into: Map<string, Named<E>>,
): void {
  const list = root[plural] ?? [];
  if (!Array.isArray(list)) throw new InvalidInput(`${plural} in ${file}`, list, "is not a list");
  for (const [i, item] of list.entries()) {
    const field = `${plural}[${i}] in ${file}`;
    if (!isRecord(item) || typeof item.name !== "string") {
      throw new InvalidInput(field, item, "has no name");
    }
    const entry = item[singular] ?? {};
    if (!isRecord(entry)) throw new InvalidInput(field, entry, `has no ${singular} object`);
    refuseMisspelt(entry, singular, field);
    // The first entry of a name wins, as in client-go.
    if (!into.has(item.name)) into.set(item.name, { entry: entry as E, file });
  }
}

function refuseMisspelt(record: Record<string, unknown>, part: keyof typeof keys, where: string): void {
  const known: readonly string[] = keys[part];
  for (const key of Object.keys(record)) {
    if (known.includes(key)) continue;
    const meant = suggest(key, known);
    if (meant === undefined) continue;
    throw new InvalidInput(where, key, `is not a key of a ${part}`, {
      remedy: `Write "${meant}" in its place`,
    });
  }
}

/** Puts several files together: of each name, and of current-context, the first one counts. */
export function mergeKubeconfigs(configs: readonly Kubeconfig[]): Kubeconfig {
  const first = <E>(maps: Map<string, E>[]) => new Map(maps.reverse().flatMap((map) => [...map]));
  return {
    files: configs.flatMap((config) => config.files),
    currentContext: configs.find((config) => config.currentContext !== undefined)?.currentContext,
    clusters: first(configs.map((config) => config.clusters)),
    users: first(configs.map((config) => config.users)),
    contexts: first(configs.map((config) => config.contexts)),
  };
}

/** Reads and merges files; undefined where "skip" leaves none. */
export async function loadKubeconfigFiles(
  files: readonly string[],
  options: { missing: "refuse" | "skip" },
): Promise<Kubeconfig | undefined> {
  const configs: Kubeconfig[] = [];
  for (const file of files) {
    let text: string;
    try {
      text = await readFile(file, "utf8");
    } catch (cause) {
      if (options.missing === "skip" && (cause as { code?: string }).code === "ENOENT") continue;
      throw new InvalidInput("kubeconfig", file, `cannot be read: ${(cause as Error).message}`, {
        cause,
        remedy: "Check that the file exists and may be read",
      });
    }
    configs.push(parseKubeconfig(text, file));
  }
  return configs.length === 0 ? undefined : mergeKubeconfigs(configs);
}

export interface ContextOptions {
  /** In place of current-context. */
  context?: string;
  clock: Clock;
  env: Record<string, string | undefined>;
}

/** What a context of a kubeconfig means for a client. Throws `InvalidInput` naming the file and the field. */
export function clientConfigOf(kubeconfig: Kubeconfig, options: ContextOptions): ClientConfig {
  const context = chooseContext(kubeconfig, options.context);
  const cluster = lookUp(kubeconfig.clusters, context.entry.cluster, "cluster", context.file);
  const user =
    context.entry.user === undefined || context.entry.user === ""
      ? undefined
      : lookUp(kubeconfig.users, context.entry.user, "user", context.file);
  const { entry, file } = cluster;
  const ca = inlineOrFile(entry, "certificate-authority", file);
  const credentials = user === undefined ? undefined : credentialsOf(user, cluster, options);
  const headers = user === undefined ? {} : impersonation(user.entry, user.file);
  return {
    server: serverOf(entry, file),
    namespace: context.entry.namespace || "default",
    ...(entry["insecure-skip-tls-verify"] === true ? { insecure: true } : ca === undefined ? {} : { ca }),
    ...(entry["tls-server-name"] ? { serverName: entry["tls-server-name"] } : {}),
    ...(entry["proxy-url"] ? { proxy: entry["proxy-url"] } : {}),
    ...(credentials === undefined ? {} : { credentials }),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
  };
}

function chooseContext(kubeconfig: Kubeconfig, wanted: string | undefined): Named<Context> {
  const where = kubeconfig.files.join(", ");
  if (wanted === undefined && kubeconfig.currentContext === undefined) {
    const only = kubeconfig.contexts.size === 1 ? [...kubeconfig.contexts.values()][0] : undefined;
    if (only !== undefined) return only;
    throw new InvalidInput(`current-context in ${where}`, undefined, "names no context", {
      remedy: "Set current-context, or give --context",
    });
  }
  return lookUp(kubeconfig.contexts, wanted ?? kubeconfig.currentContext, "context", where);
}

function lookUp<E>(map: Map<string, Named<E>>, name: string | undefined, kind: string, file: string) {
  const found = name === undefined ? undefined : map.get(name);
  if (found !== undefined) return found;
  const hint = name === undefined ? "" : didYouMean(name, map.keys());
  throw new InvalidInput(`${kind} in ${file}`, name, `is not among the ${kind}s of the kubeconfig${hint}`, {
    remedy: `Choose one of: ${[...map.keys()].join(", ") || "(there are none)"}`,
  });
}

function serverOf(cluster: Cluster, file: string): string {
  const server = cluster.server ?? "";
  const url = URL.canParse(server) ? new URL(server) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new InvalidInput(`server in ${file}`, server, "is not the URL of an API server", {
      remedy: "Write it like https://10.0.0.1:6443",
    });
  }
  return server.replace(/\/+$/, "");
}

function impersonation(user: User, file: string): Record<string, string> {
  // Each group needs a header line of its own, and fetch joins lines of one name.
  const groups = user["as-groups"] ?? [];
  if (groups.length > 1) throw new InvalidInput(`as-groups in ${file}`, groups, "names more than one group");
  return {
    ...(user.as ? { "Impersonate-User": user.as } : {}),
    ...(user["as-uid"] ? { "Impersonate-Uid": user["as-uid"] } : {}),
    ...(groups[0] === undefined ? {} : { "Impersonate-Group": groups[0] }),
  };
}

function credentialsOf(
  { entry, file }: Named<User>,
  cluster: Named<Cluster>,
  options: ContextOptions,
): Credentials | undefined {
  if (entry["auth-provider"] !== undefined) {
    throw new InvalidInput(
      `auth-provider in ${file}`,
      entry["auth-provider"],
      "is no longer a way to log in",
      {
        remedy: "Use an exec plugin (Kubernetes removed auth-provider in 1.26)",
      },
    );
  }
  const other = otherCredentials(entry, file, cluster, options);
  const cert = certificatePart(entry, "client-certificate", file, options.clock);
  const key = certificatePart(entry, "client-key", file, options.clock);
  if (cert === undefined && key === undefined) return other;
  if (cert === undefined || key === undefined) {
    const missing = cert === undefined ? "client-certificate" : "client-key";
    throw new InvalidInput(`${missing} in ${file}`, undefined, "is missing beside its other half");
  }
  return withCertificate(cert, key, other);
}

function otherCredentials(
  user: User,
  file: string,
  cluster: Named<Cluster>,
  options: ContextOptions,
): Credentials | undefined {
  if (user.tokenFile) {
    return tokenFile(beside(file, user.tokenFile), {
      clock: options.clock,
      ...(user.token ? { fallback: user.token } : {}),
    });
  }
  if (user.token) return fixedCredentials(bearer(user.token));
  if (user.username) return fixedCredentials(basic(user.username, user.password ?? ""));
  if (user.exec === undefined) return undefined;
  return execCredentials(checkExec(user.exec, file), {
    clock: options.clock,
    env: options.env,
    directory: dirname(file),
    cluster: execCluster(cluster),
  });
}

function checkExec(exec: ExecConfig, file: string): ExecConfig {
  const field = (name: string) => `user.exec.${name} in ${file}`;
  if (!execApiVersions.includes(exec.apiVersion)) {
    throw new InvalidInput(field("apiVersion"), exec.apiVersion, "is not supported", {
      remedy: `Use one of: ${execApiVersions.join(", ")}`,
    });
  }
  if (typeof exec.command !== "string" || exec.command === "") {
    throw new InvalidInput(field("command"), exec.command, "names no program");
  }
  if (exec.interactiveMode === "Always") {
    throw new InvalidInput(field("interactiveMode"), exec.interactiveMode, "needs a person at the terminal", {
      remedy: "Use a plugin with interactiveMode Never or IfAvailable",
    });
  }
  return exec;
}

function execCluster({ entry, file }: Named<Cluster>): ExecCluster {
  const ca = inlineOrFile(entry, "certificate-authority", file);
  const extension = entry.extensions?.find(({ name }) => name === "client.authentication.k8s.io/exec");
  return {
    server: serverOf(entry, file),
    ...(entry["tls-server-name"] ? { "tls-server-name": entry["tls-server-name"] } : {}),
    ...(entry["insecure-skip-tls-verify"] === true ? { "insecure-skip-tls-verify": true } : {}),
    ...(ca === undefined ? {} : { "certificate-authority-data": Buffer.from(ca).toString("base64") }),
    ...(entry["proxy-url"] ? { "proxy-url": entry["proxy-url"] } : {}),
    ...(extension === undefined ? {} : { config: extension.extension }),
  };
}

function certificatePart(
  user: User,
  field: "client-certificate" | "client-key",
  file: string,
  clock: Clock,
): string | RenewedFile | undefined {
  const data = user[`${field}-data`];
  if (data) return decodePem(data, `${field}-data`, file);
  const path = user[field];
  return path ? new RenewedFile(beside(file, path), clock) : undefined;
}

function inlineOrFile(cluster: Cluster, field: "certificate-authority", file: string): string | undefined {
  const data = cluster[`${field}-data`];
  if (data) return decodePem(data, `${field}-data`, file);
  const path = cluster[field];
  if (!path) return undefined;
  try {
    return readFileSync(beside(file, path), "utf8");
  } catch (cause) {
    throw new InvalidInput(`${field} in ${file}`, path, "cannot be read", {
      cause,
      remedy: `Put the file there, or use ${field}-data`,
    });
  }
}

function decodePem(data: string, field: string, file: string): string {
  const pem = Buffer.from(data, "base64").toString("latin1");
  if (!pem.includes("-----BEGIN ")) {
    throw new InvalidInput(`${field} in ${file}`, data.slice(0, 16), "is not PEM in base64", {
      remedy: `Give what "base64 -w0 FILE.pem" prints, or the file's path as ${field.replace(/-data$/, "")}`,
    });
  }
  return pem;
}

function beside(file: string, path: string): string {
  return isAbsolute(path) ? path : join(dirname(file), path);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
