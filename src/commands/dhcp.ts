import { defaultFlags, optionsOf } from "../dhcp/flags.ts";
import { createLog } from "../lib/log.ts";
import { didYouMean } from "../lib/suggest.ts";
import { type Command, exitStatus } from "./command.ts";
import { choiceOption, optionsHelp, parseOptions } from "./options.ts";
import { UsageError } from "./usage.ts";

const specs = {
  socketpath: {
    type: "string",
    value: "PATH",
    help: "where plugins ask; their ipam.daemonSocketPath",
    default: defaultFlags.socketpath,
  },
  hostprefix: {
    type: "string",
    value: "DIR",
    help: "where the host's root is seen: stands before the paths of the socket and of namespaces",
  },
  pidfile: { type: "string", value: "PATH", help: "gets the process id" },
  broadcast: { type: "boolean", help: "ask servers to answer by broadcast" },
  timeout: {
    type: "string",
    value: "TIME",
    help: "how long one server is asked for what it offered",
    default: defaultFlags.timeout,
  },
  resendmax: {
    type: "string",
    value: "TIME",
    help: "the longest pause between two tries",
    default: defaultFlags.resendmax,
  },
  resendtimeout: {
    type: "string",
    value: "TIME",
    help: "how long a lease is asked for in all, until ADD fails",
    default: defaultFlags.resendtimeout,
  },
  "log-format": { type: "string", value: "text|json", help: "of the log on standard error", default: "text" },
  verbose: { type: "boolean", short: "v", help: "log more" },
} as const;

const help = `Usage: weft dhcp daemon [options]

Gets addresses for containers from the DHCP servers of their networks, and keeps the leases for as long as the containers
live: what the IPAM plugin dhcp asks for. A restart goes on with the leases that it finds in the folder beside the
socket (/run/cni/dhcp.leases); SIGTERM leaves them. A socket that systemd hands over (LISTEN_FDS) is used in place of
--socketpath.

${optionsHelp(specs)}

A TIME has units: 500ms, 10s, 1m30s.
`;

async function run(args: string[]): Promise<number> {
  const { options, positionals } = parseOptions("dhcp", args, specs, { min: 1, max: 1, names: "daemon" });
  const [verb = ""] = positionals;
  if (verb !== "daemon") {
    throw new UsageError(
      `weft dhcp: "${verb}" is not known${didYouMean(verb, ["daemon"])}`,
      "See weft dhcp --help",
    );
  }
  const format = choiceOption("log-format", options["log-format"] ?? "text", ["text", "json"] as const);
  const log = createLog({ format, level: options.verbose === true ? "debug" : "info" });
  const flags = { ...defaultFlags, ...options };
  const { runUntilTerminated } = await import("../dhcp/main.ts");
  await runUntilTerminated({ ...optionsOf(flags), log });
  return exitStatus.ok;
}

const command: Command = { name: "dhcp", summary: "keep DHCP leases for containers", help, run };
export default command;
