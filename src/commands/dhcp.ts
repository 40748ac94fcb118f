import { defaultSocketPath } from "../cni/dhcp-protocol.ts";
import { parseDuration } from "../lib/duration.ts";
import { InvalidInput } from "../lib/errors.ts";
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
    default: defaultSocketPath,
  },
  hostprefix: {
    type: "string",
    value: "DIR",
    help: "where the host's root is seen: stands before the paths of the socket and of namespaces",
    default: "",
  },
  pidfile: { type: "string", value: "PATH", help: "gets the process id" },
  broadcast: { type: "boolean", help: "ask servers to answer by broadcast" },
  timeout: {
    type: "string",
    value: "TIME",
    help: "how long one server is asked for what it offered",
    default: "10s",
  },
  resendmax: {
    type: "string",
    value: "TIME",
    help: "the longest pause between two tries",
    default: "1m2s",
  },
  resendtimeout: {
    type: "string",
    value: "TIME",
    help: "how long a lease is asked for in all, until ADD fails",
    default: "3m28s",
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
  const time = (name: "timeout" | "resendmax" | "resendtimeout") => {
    const text = options[name] ?? specs[name].default;
    const milliseconds = parseDuration(text, `--${name}`);
    if (milliseconds > 0) return milliseconds;
    throw new InvalidInput(`--${name}`, text, "is no time at all");
  };
  const abort = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => abort.abort());
  // Whoever reads the log may go away; the leases are not to go with them.
  process.stderr.on("error", () => {});
  const { runDaemon } = await import("../dhcp/main.ts");
  await runDaemon({
    socketPath: absolute("socketpath", options.socketpath ?? defaultSocketPath),
    hostPrefix: options.hostprefix ?? "",
    pidFile: options.pidfile ?? "",
    broadcast: options.broadcast === true,
    timeout: time("timeout"),
    resendMax: time("resendmax"),
    resendTimeout: time("resendtimeout"),
    log,
    signal: abort.signal,
    env: process.env,
  });
  return exitStatus.ok;
}

function absolute(option: string, path: string): string {
  if (path.startsWith("/")) return path;
  throw new InvalidInput(`--${option}`, path, "is not an absolute path", { remedy: "Begin it with /" });
}

const command: Command = { name: "dhcp", summary: "keep DHCP leases for containers", help, run };
export default command;
