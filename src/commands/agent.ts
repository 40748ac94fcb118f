import { resolve } from "node:path";
import { type AgentConfig, checkConfig } from "../agent/config.ts";
import type { Feature } from "../agent/feature.ts";
import { parseEndpoint } from "../dns/forward.ts";
import { InvalidInput } from "../lib/errors.ts";
import { Ip } from "../lib/ip.ts";
import { createLog } from "../lib/log.ts";
import { didYouMean } from "../lib/suggest.ts";
import { cidrSpecs, customaryDns } from "./cidrs.ts";
import { type Command, exitStatus } from "./command.ts";
import {
  choiceOption,
  integerOption,
  listOption,
  type OptionValues,
  optionsHelp,
  parseOptions,
  prefixesOption,
} from "./options.ts";
import { UsageError } from "./usage.ts";

const specs = {
  node: { type: "string", value: "NAME", help: "the name of this machine's Node object (required to run)" },
  kubeconfig: {
    type: "string",
    value: "FILE",
    help: "how to reach the API server; without it $KUBECONFIG, then the pod's service account",
  },
  ...cidrSpecs,
  "non-masquerade-cidr": {
    type: "string",
    value: "PREFIX",
    help: "pods reach it with their own address",
    multiple: true,
  },
  "cluster-domain": {
    type: "string",
    value: "NAME",
    help: "the domain of cluster names",
    default: "cluster.local",
  },
  "cluster-dns": {
    type: "string",
    value: "IP[,IP]",
    help: "where DNS answers; by default the tenth address of each service prefix, such as 10.96.0.10",
  },
  "upstream-dns": {
    type: "string",
    value: "IP",
    help: "asked for all other names; from --resolv-conf where not given",
    multiple: true,
  },
  "resolv-conf": {
    type: "string",
    value: "FILE",
    help: "the node's resolv.conf",
    default: "/etc/resolv.conf",
  },
  features: { type: "string", value: "LIST", help: "only these, separated by commas", default: "all" },
  "cni-conf-dir": {
    type: "string",
    value: "DIR",
    help: "where the CNI configuration goes",
    default: "/etc/cni/net.d",
  },
  "cni-bin-dir": {
    type: "string",
    value: "DIR",
    help: "where the plugin executables go",
    default: "/opt/cni/bin",
  },
  "cni-install": {
    type: "string",
    value: "copy|link",
    help: "how the executables get there",
    default: "copy",
  },
  "ipam-dir": {
    type: "string",
    value: "DIR",
    help: "where leases are kept",
    default: "/var/lib/cni/networks",
  },
  "state-dir": {
    type: "string",
    value: "DIR",
    help: "where names are kept, to answer after a restart while the API server is away",
    default: "/run/weft",
  },
  bridge: { type: "string", value: "NAME", help: "the bridge of this node's pods", default: "weft0" },
  mtu: { type: "string", value: "BYTES", help: "of pod links; the node link's where not given" },
  "health-address": {
    type: "string",
    value: "IP:PORT",
    help: "for /healthz, /readyz and /metrics",
    default: "127.0.0.1:9119",
  },
  "log-format": { type: "string", value: "text|json", help: "of the log on standard error", default: "text" },
  verbose: { type: "boolean", short: "v", help: "log more" },
} as const;

const help = `Usage: weft agent --node NAME [options]
       weft agent cleanup [options]

Gives the pods of this node their network: writes the CNI configuration, routes to the other nodes' pods, balances
Services, masquerades what leaves the cluster, and answers DNS. What it needs it reads from the Kubernetes API.
A restart takes over what it finds; SIGTERM leaves the network standing. "cleanup" removes all that Weft owns on this
machine, and nothing else; it needs no API server; stop the agent first, and give it the same options. Kernel parameters
that the agent set (forwarding, bridged packets) stay, as others may count on them by then.

/readyz lists the features: ready, starting (what it waits for), degraded (it works, but for what is named) or failing.

${optionsHelp(specs)}
`;

async function run(args: string[]): Promise<number> {
  const { options, positionals } = parseOptions("agent", args, specs, { max: 1 });
  const [verb] = positionals;
  if (verb !== undefined && verb !== "cleanup") {
    throw new UsageError(
      `weft agent: "${verb}" is not known${didYouMean(verb, ["cleanup"])}`,
      "See weft agent --help",
    );
  }
  const config = configOf(options);
  const format = choiceOption("log-format", options["log-format"] ?? "text", ["text", "json"] as const);
  const log = createLog({ format, level: options.verbose === true ? "debug" : "info" });
  const features = await featuresOf(options.features);
  if (verb === "cleanup") {
    const { cleanupAgent } = await import("../agent/agent.ts");
    return (await cleanupAgent(features, config, log)) ? exitStatus.ok : exitStatus.failure;
  }
  if (options.node === undefined)
    throw new UsageError("weft agent: missing --node NAME", "See weft agent --help");
  const nodeName = dnsName("node", options.node);
  const abort = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => abort.abort());
  // Whoever reads the log may go away; the network is not to go with them.
  process.stderr.on("error", () => {});
  const { runAgent } = await import("../agent/agent.ts");
  const { loadClientConfig } = await import("../kube/config.ts");
  const client = await loadClientConfig(
    options.kubeconfig === undefined ? {} : { kubeconfig: options.kubeconfig },
  );
  await runAgent({ nodeName, config, client, features, log, signal: abort.signal });
  return exitStatus.ok;
}

async function featuresOf(list: string | undefined): Promise<readonly Feature[]> {
  const { features } = await import("../agent/features.ts");
  if (list === undefined || list === "all") return features;
  const names = features.map(({ name }) => name);
  const wanted = list.split(",");
  for (const name of wanted) {
    if (names.includes(name)) continue;
    throw new InvalidInput("--features", name, `is not a feature${didYouMean(name, names)}`, {
      remedy: `There are ${names.join(", ")}`,
    });
  }
  return features.filter(({ name }) => wanted.includes(name));
}

/** The settings from a command line. Throws InvalidInput that names the option. */
export function configOf(options: OptionValues<typeof specs>): AgentConfig {
  const text = <K extends keyof typeof specs>(name: K & string) =>
    (options[name as keyof typeof options] as string | undefined) ??
    ((specs[name] as { default?: string }).default as string);
  const serviceCidrs = prefixesOption("service-cidr", [text("service-cidr")]);
  const clusterDns = options["cluster-dns"];
  return checkConfig({
    clusterCidrs: prefixesOption("cluster-cidr", [text("cluster-cidr")]),
    serviceCidrs,
    nonMasqueradeCidrs: prefixesOption("non-masquerade-cidr", options["non-masquerade-cidr"] ?? []),
    clusterDomain: dnsName("cluster-domain", text("cluster-domain").replace(/\.$/, "")),
    clusterDns:
      clusterDns === undefined
        ? customaryDns(serviceCidrs)
        : listOption([clusterDns]).map((each) => Ip.parse(each, "--cluster-dns")),
    upstreamDns: listOption(options["upstream-dns"] ?? []).map((each) => upstream("upstream-dns", each)),
    resolvConf: folder("resolv-conf", text("resolv-conf")),
    cniConfDir: folder("cni-conf-dir", text("cni-conf-dir")),
    cniBinDir: folder("cni-bin-dir", text("cni-bin-dir")),
    cniInstall: choiceOption("cni-install", text("cni-install"), ["copy", "link"] as const),
    ipamDir: folder("ipam-dir", text("ipam-dir")),
    stateDir: folder("state-dir", text("state-dir")),
    bridge: linkName(text("bridge")),
    mtu: options.mtu === undefined ? undefined : integerOption("mtu", options.mtu, 1280, 65_535),
    health: addressAndPort("health-address", text("health-address")),
  });
}

/** A name as the API and the DNS take it (RFC 1123). */
function dnsName(option: string, text: string): string {
  const label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
  if (text.length <= 253 && new RegExp(`^${label}([.]${label})*$`).test(text)) return text;
  throw new InvalidInput(`--${option}`, text, "is not a DNS name", {
    remedy: "Use lower-case letters, digits and dashes, in labels separated by dots",
  });
}

/** A path that means the same to plugins, which are started elsewhere. */
function folder(option: string, text: string): string {
  if (text !== "") return resolve(text);
  throw new InvalidInput(`--${option}`, text, "is not a path");
}

function upstream(option: string, text: string): string {
  parseEndpoint(text, `--${option}`);
  return text;
}

/** IFNAMSIZ is 16 with the final zero; the kernel refuses "/", white space, "." and "..". */
function linkName(text: string): string {
  if (/^[^\s/:]{1,15}$/.test(text) && text !== "." && text !== "..") return text;
  throw new InvalidInput("--bridge", text, "is not a link name", {
    remedy: "Use 1 to 15 letters, digits or dashes",
  });
}

/** "127.0.0.1:9119" or "[::1]:9119". */
function addressAndPort(option: string, text: string): { address: string; port: number } {
  const [, six, four, port = ""] = /^(?:\[([^\]]*)\]|([^:]*)):([0-9]{1,5})$/.exec(text) ?? [];
  const ip = Ip.tryParse(six ?? four ?? "");
  const number = Number(port);
  if (ip !== undefined && (ip.family === 6) === (six !== undefined) && number >= 1 && number <= 65_535) {
    return { address: ip.toString(), port: number };
  }
  throw new InvalidInput(`--${option}`, text, "is not an IP address and a port", {
    remedy: "Write it like 127.0.0.1:9119 or [::1]:9119",
  });
}

const command: Command = { name: "agent", summary: "the node agent", help, run };
export default command;
