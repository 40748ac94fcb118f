import { resolve } from "node:path";
import { CniRuntime, formatResult, loadNetworkList, type NetworkList } from "../cni/index.ts";
import { parseJsonObject } from "../cni/netconf.ts";
import type { Attachment } from "../cni/runtime.ts";
import type { CniVersion } from "../cni/versions.ts";
import { didYouMean } from "../lib/suggest.ts";
import { cnitoolId, ownPlugin, untilStopped } from "./cni-options.ts";
import { type Command, exitStatus } from "./command.ts";

/** Which network and attachment a command line and the environment mean. */
interface Subject {
  list: NetworkList;
  attachment: Attachment;
}

/** The result for standard output, where there is one. */
type Verb = (runtime: CniRuntime, subject: Subject) => Promise<string | undefined>;

const verbs: Readonly<Record<string, Verb>> = {
  async add(runtime, { list, attachment }) {
    const result = await runtime.add(list, attachment);
    return JSON.stringify(formatResult(result, list.cniVersion as CniVersion), null, 4);
  },
  async check(runtime, { list, attachment }) {
    await runtime.check(list, attachment);
    return undefined;
  },
  async del(runtime, { list, attachment }) {
    await runtime.del(list, attachment);
    return undefined;
  },
  async gc(runtime, { list }) {
    await runtime.gc(list, []);
    return undefined;
  },
  async status(runtime, { list }) {
    await runtime.status(list);
    return undefined;
  },
};

const command: Command = {
  name: "cnitool",
  summary: "the same with the command line, the variables and the output of cnitool",
  help: `cnitool: add, check, remove, gc or status network interfaces from a network namespace

Usage:
  cnitool add    <net> <netns>   prints the result as JSON
  cnitool check  <net> <netns>
  cnitool del    <net> <netns>
  cnitool gc     <net> <netns>   removes every attachment of the network
  cnitool status <net> <netns>

<net> is the name in a configuration, <netns> the path of a network namespace.

Options:
  -i, --ifname NAME   the container's interface

Variables:
  NETCONFPATH   where the configurations are (default: /etc/cni/net.d)
  CNI_PATH      where the plugins are; Weft's own need not be there
  CNI_IFNAME    the container's interface (default: eth0)
  CNI_ARGS      K=V;K=V for the plugins
  CAP_ARGS      capability arguments as JSON

Errors are on standard error, with exit status 1. This is \`weft cnitool\`, or the link cnitool to weft.`,

  async run(args: string[]): Promise<number> {
    const { ifname, positionals } = readLine(args);
    const [name, network, netns] = positionals;
    if (name === undefined || network === undefined || netns === undefined) {
      console.error(this.help);
      return exitStatus.failure;
    }
    const verb = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
    if (verb === undefined) {
      console.error(
        `unknown command "${name}" for "cnitool"${didYouMean(name, Object.keys(verbs))}\n\n${this.help}`,
      );
      return exitStatus.failure;
    }
    const printed = await verb(newRuntime(), subjectOf(network, netns, ifname));
    if (printed !== undefined) process.stdout.write(printed);
    return exitStatus.ok;
  },
};

export default command;

/** What looks like an option and is none is an error: as an argument too many it would be passed over. */
function readLine(args: readonly string[]): { ifname: string; positionals: string[] } {
  const positionals: string[] = [];
  let ifname = "";
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string;
    const inline = /^(?:--ifname=(.*)|-i=?(.+))$/.exec(arg);
    if (inline !== null) ifname = inline[1] ?? inline[2] ?? "";
    else if (arg === "-i" || arg === "--ifname") {
      const value = args[++i];
      if (value === undefined) throw new Error(`flag needs an argument: ${arg}`);
      ifname = value;
    } else if (arg === "--") {
      positionals.push(...args.slice(i + 1));
      break;
    } else if (arg.startsWith("-")) throw new Error(`unknown flag: ${arg}${didYouMean(arg, ["--ifname"])}`);
    else positionals.push(arg);
  }
  return { ifname: ifname || process.env.CNI_IFNAME || "eth0", positionals };
}

function newRuntime(): CniRuntime {
  return new CniRuntime({
    path: (process.env.CNI_PATH ?? "").split(":").filter((folder) => folder !== ""),
    builtin: ownPlugin,
    signal: untilStopped(),
    onWarning: (message) => console.error(message),
  });
}

function subjectOf(network: string, netns: string, ifname: string): Subject {
  const { NETCONFPATH, CAP_ARGS = "", CNI_ARGS = "" } = process.env;
  const path = resolve(netns);
  return {
    list: loadNetworkList(NETCONFPATH || "/etc/cni/net.d", network),
    attachment: {
      containerId: cnitoolId(path),
      ifname,
      netns: path,
      ...(CNI_ARGS === "" ? {} : { args: CNI_ARGS.split(";").map(pairOf) }),
      ...(CAP_ARGS === "" ? {} : { capabilityArgs: parseJsonObject(CAP_ARGS, "CAP_ARGS") }),
    },
  };
}

function pairOf(pair: string): [string, string] {
  const [key = "", value = "", ...more] = pair.split("=");
  if (key !== "" && value !== "" && more.length === 0) return [key, value];
  throw new Error(`invalid CNI_ARGS pair "${pair}"`);
}
