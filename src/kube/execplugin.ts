import { spawn } from "node:child_process";
import { isAbsolute, join } from "node:path";
import { abortable } from "../lib/abort.ts";
import type { Clock } from "../lib/clock.ts";
import { quote, WeftError } from "../lib/errors.ts";
import { bearer, type Credential, type Credentials } from "./credentials.ts";

/** The `exec` of a kubeconfig's user: a program that prints credentials (client.authentication.k8s.io). */
export interface ExecConfig {
  apiVersion: string;
  command: string;
  args?: string[];
  env?: { name: string; value: string }[];
  installHint?: string;
  provideClusterInfo?: boolean;
  interactiveMode?: "Never" | "IfAvailable" | "Always";
}

/** The cluster as an exec plugin is told of it. */
export interface ExecCluster {
  server: string;
  "tls-server-name"?: string;
  "insecure-skip-tls-verify"?: boolean;
  "certificate-authority-data"?: string;
  "proxy-url"?: string;
  config?: unknown;
}

export interface ExecOptions {
  clock: Clock;
  env: Record<string, string | undefined>;
  /** Where a command with a slash is sought: the folder of the kubeconfig. */
  directory: string;
  cluster?: ExecCluster;
  /** A program that has not answered after so long is killed; a minute where not given. */
  timeoutMs?: number;
}

export const execApiVersions = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

interface ExecCredential {
  apiVersion?: string;
  kind?: string;
  status?: {
    expirationTimestamp?: string;
    token?: string;
    clientCertificateData?: string;
    clientKeyData?: string;
  };
}

/** Runs the program when there is no credential, when it expired, and after a 401; one run at a time serves all. */
export function execCredentials(config: ExecConfig, options: ExecOptions): Credentials {
  let known: { credential: Credential; expires: number } | undefined;
  let running: Promise<Credential> | undefined;
  const renew = async (): Promise<Credential> => {
    try {
      const status = parseExecCredential(config, await runPlugin(config, options));
      known = { credential: credentialOf(status), expires: expiryOf(config, status) };
      return known.credential;
    } finally {
      running = undefined;
    }
  };
  return {
    current: async (signal) => {
      if (known !== undefined && options.clock.now() < known.expires) return known.credential;
      running ??= renew();
      return signal === undefined ? running : abortable(running, signal);
    },
    refresh: () => {
      known = undefined;
    },
  };
}

function credentialOf(status: NonNullable<ExecCredential["status"]>): Credential {
  return {
    ...(status.token === undefined ? {} : bearer(status.token)),
    ...(status.clientCertificateData === undefined ? {} : { cert: status.clientCertificateData }),
    ...(status.clientKeyData === undefined ? {} : { key: status.clientKeyData }),
  };
}

function expiryOf(config: ExecConfig, status: NonNullable<ExecCredential["status"]>): number {
  if (status.expirationTimestamp === undefined) return Number.POSITIVE_INFINITY;
  const expires = Date.parse(status.expirationTimestamp);
  if (Number.isNaN(expires)) {
    throw failure(config, `gave status.expirationTimestamp ${quote(status.expirationTimestamp)}, no time`);
  }
  return expires;
}

function parseExecCredential(config: ExecConfig, output: string): NonNullable<ExecCredential["status"]> {
  let answer: ExecCredential;
  try {
    answer = JSON.parse(output);
  } catch (cause) {
    throw failure(config, `printed no JSON: ${quote(output)}`, cause);
  }
  if (answer?.kind !== "ExecCredential" || answer.apiVersion !== config.apiVersion) {
    const got = `${quote(answer?.kind)} of ${quote(answer?.apiVersion)}`;
    throw failure(config, `printed ${got}, not "ExecCredential" of "${config.apiVersion}"`);
  }
  const status = answer.status;
  const half = (status?.clientCertificateData === undefined) !== (status?.clientKeyData === undefined);
  if (status === undefined || half || (status.token === undefined && status.clientKeyData === undefined)) {
    throw failure(config, "printed neither status.token nor a certificate with its key");
  }
  return status;
}

async function runPlugin(config: ExecConfig, options: ExecOptions): Promise<string> {
  const relative = config.command.includes("/") && !isAbsolute(config.command);
  const command = relative ? join(options.directory, config.command) : config.command;
  const info = {
    apiVersion: config.apiVersion,
    kind: "ExecCredential",
    spec: {
      interactive: false,
      ...(config.provideClusterInfo === true && options.cluster !== undefined
        ? { cluster: options.cluster }
        : {}),
    },
  };
  const env: Record<string, string | undefined> = { ...options.env };
  for (const { name, value } of config.env ?? []) env[name] = value;
  env.KUBERNETES_EXEC_INFO = JSON.stringify(info);
  const timeoutMs = options.timeoutMs ?? 60_000;
  const child = spawn(command, config.args ?? [], { env, stdio: ["ignore", "pipe", "pipe"] });
  return new Promise((resolve, reject) => {
    let [output, errors] = ["", ""];
    let timedOut = false;
    const cancel = options.clock.after(timeoutMs, () => {
      timedOut = true;
      child.kill("SIGKILL");
      // A grandchild may hold the pipes open, so that "close" would not come.
      child.stdout.destroy();
      child.stderr.destroy();
    });
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errors = `${errors}${text}`.slice(-2000);
    });
    child.on("error", (cause) => {
      cancel();
      reject(failure(config, `cannot be started: ${cause.message}`, cause));
    });
    child.on("close", (code, signal) => {
      cancel();
      if (timedOut) reject(failure(config, `did not end within ${timeoutMs} ms and was killed`));
      else if (code === 0) resolve(output);
      else
        reject(
          failure(config, `ended with ${signal ?? `code ${code}`}: ${errors.trim() || "it printed nothing"}`),
        );
    });
  });
}

function failure(config: ExecConfig, problem: string, cause?: unknown): WeftError {
  return new WeftError("exec-plugin-failed", `The credential plugin "${config.command}" ${problem}`, {
    remedy: config.installHint?.trim() || "Run the command by hand to see what it says",
    ...(cause === undefined ? {} : { cause }),
  });
}
