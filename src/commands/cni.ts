import { toErrorResult } from "../cni/errors.ts";
import { currentVersion } from "../cni/index.ts";
import { didYouMean } from "../lib/suggest.ts";
import { netnsDir } from "../linux/netns.ts";
import { type Options, printJson, specs } from "./cni-options.ts";
import { add, check, del, gc, list, statusOf, versionOf } from "./cni-verbs.ts";
import { type Command, exitStatus } from "./command.ts";
import { optionsHelp, parseOptions } from "./options.ts";
import { UsageError } from "./usage.ts";

interface Verb {
  usage: string;
  summary: string;
  min: number;
  max: number;
  run(args: string[], options: Options): Promise<number>;
}

const verbs: Readonly<Record<string, Verb>> = {
  add: {
    usage: "add NETWORK NETNS",
    summary: "attach a namespace to a network",
    min: 2,
    max: 2,
    run: add,
  },
  del: { usage: "del NETWORK NETNS", summary: "detach it; may be repeated", min: 2, max: 2, run: del },
  check: {
    usage: "check NETWORK NETNS",
    summary: "compare an attachment with its result",
    min: 2,
    max: 2,
    run: check,
  },
  gc: {
    usage: "gc NETWORK [NETNS]",
    summary: "remove every attachment but those of --keep",
    min: 1,
    max: 2,
    run: gc,
  },
  status: {
    usage: "status NETWORK [NETNS]",
    summary: "ask the plugins whether they can take containers",
    min: 1,
    max: 2,
    run: statusOf,
  },
  version: {
    usage: "version [PLUGIN...]",
    summary: "which versions of the specification are spoken",
    min: 0,
    max: Number.POSITIVE_INFINITY,
    run: versionOf,
  },
  validate: {
    usage: "validate [FILE|NETWORK...]",
    summary: "explain configurations: what each plugin will do, and what is wrong",
    min: 0,
    max: Number.POSITIVE_INFINITY,
    run: async (args, options) => await (await import("./cni-validate.ts")).validate(args, options),
  },
  list: {
    usage: "list",
    summary: "the configurations, in order, with what is wrong with them",
    min: 0,
    max: 0,
    run: list,
  },
};

function verbsHelp(): string {
  return Object.values(verbs)
    .map(({ usage, summary }) => `  weft cni ${usage.padEnd(27)}  ${summary}`)
    .join("\n");
}

const command: Command = {
  name: "cni",
  summary: "run a CNI network configuration list as a runtime would",
  help: `weft cni: run a CNI network configuration list as a container runtime would

Usage:
${verbsHelp()}

NETWORK is the name in a configuration, NETNS the path of a network namespace or a name under ${netnsDir}.
gc and status are about the whole network; NETNS is only taken there because cnitool takes it.

Options:
${optionsHelp(specs)}

Example:
  ip netns add blue
  weft cni add mynet blue --conf-dir ./net.d
  weft cni del mynet blue --conf-dir ./net.d`,

  async run(args: string[]): Promise<number> {
    const [name, ...rest] = args;
    if (name === undefined || name === "help") {
      console.log(this.help);
      return name === undefined ? exitStatus.usage : exitStatus.ok;
    }
    const verb = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
    if (verb === undefined) {
      throw new UsageError(
        `weft cni: there is no "${name}"${didYouMean(name, Object.keys(verbs))}`,
        "See weft cni --help",
      );
    }
    const { options, positionals } = parseOptions(`cni ${name}`, rest, specs, {
      min: verb.min,
      max: verb.max,
      names: verb.usage.slice(name.length + 1),
    });
    try {
      return await verb.run(positionals, options);
    } catch (error) {
      if (options.json !== true || error instanceof UsageError) throw error;
      printJson(toErrorResult(error, currentVersion));
      return exitStatus.failure;
    }
  },
};

export default command;
