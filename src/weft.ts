#!/usr/bin/env bun
/** The executable `weft`: finds the command and loads it alone. */
import { type Command, exitStatus } from "./commands/command.ts";
import { isUsageError, UsageError } from "./commands/usage.ts";
import { explain } from "./lib/errors.ts";
import { didYouMean } from "./lib/suggest.ts";
import { version } from "./lib/version.ts";

interface Entry {
  summary: string;
  load: () => Promise<{ default: Command }>;
}

/** In the order of the help. */
const commands: Readonly<Record<string, Entry>> = {
  lab: {
    summary: "run a whole cluster network on this machine, in namespaces",
    load: () => import("./commands/lab.ts"),
  },
  agent: {
    summary: "the node agent: CNI configuration, routes, services, masquerade, DNS",
    load: () => import("./commands/agent.ts"),
  },
  cni: {
    summary: "run a CNI network configuration list as a runtime would",
    load: () => import("./commands/cni.ts"),
  },
  dhcp: {
    summary: "keep DHCP leases for containers (the daemon of the IPAM plugin dhcp)",
    load: () => import("./commands/dhcp.ts"),
  },
  cnitool: {
    summary: "the same as cnitool does it; also by a link of that name",
    load: () => import("./commands/cnitool.ts"),
  },
};

function overview(): string {
  const width = Math.max(...Object.keys(commands).map((name) => name.length));
  const lines = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`);
  return `weft ${version}: the pod network that can explain itself

Usage: weft COMMAND [ARGS]

${lines.join("\n")}

weft COMMAND --help tells all about one of them; weft --version prints the version.`;
}

async function main(argv: readonly string[]): Promise<number> {
  const [name, ...args] = argv;
  if (name === "help" && args[0] !== undefined) return await main([...args, "--help"]);
  if (name === undefined || name === "help" || name === "--help" || name === "-h") {
    console.log(overview());
    return name === undefined ? exitStatus.usage : exitStatus.ok;
  }
  if (name === "version" || name === "--version") {
    console.log(version);
    return exitStatus.ok;
  }
  const entry = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (entry === undefined) {
    throw new UsageError(
      `weft: there is no command "${name}"${didYouMean(name, Object.keys(commands))}`,
      "See weft --help",
    );
  }
  const { default: command } = await entry.load();
  const own = args.includes("--") ? args.slice(0, args.indexOf("--")) : args;
  if (own.includes("--help") || own.includes("-h")) {
    console.log(command.helpOf?.(own) ?? command.help);
    return exitStatus.ok;
  }
  return await command.run(args);
}

/** The arguments; started by the name of cnitool, it is that. */
function commandLine(): string[] {
  const name = process.argv0.slice(process.argv0.lastIndexOf("/") + 1);
  return [...(name === "cnitool" ? [name] : []), ...process.argv.slice(2)];
}

main(commandLine()).then(
  (status) => process.exit(status),
  (error: unknown) => {
    console.error(explain(error));
    if (process.env.WEFT_DEBUG !== undefined && error instanceof Error) console.error(error.stack);
    process.exit(isUsageError(error) ? exitStatus.usage : exitStatus.failure);
  },
);
