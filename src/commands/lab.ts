import { didYouMean } from "../lib/suggest.ts";
import { type Command, exitStatus } from "./command.ts";
import { run, up } from "./lab-start.ts";
import { check, down, exec, kubeconfig, status } from "./lab-use.ts";
import { type LabVerb, verbHelp } from "./lab-verb.ts";
import { UsageError } from "./usage.ts";

/** In the order of the help. */
const verbs: Readonly<Record<string, LabVerb>> = { run, up, status, check, exec, kubeconfig, down };

const help = `Usage: weft lab COMMAND [options]

A cluster's network on this machine: a fabric, nodes and pods as network namespaces with the real kernel, an embedded
Kubernetes API server, a real agent on each node. The host's own network is not touched.

${Object.entries(verbs)
  .map(([name, { summary }]) => `  ${name.padEnd(10)}  ${summary}`)
  .join("\n")}

weft lab COMMAND --help tells what it does, its options, and examples.

The lab's folder is /run/weft-lab for root, else in $XDG_RUNTIME_DIR, $TMPDIR or /tmp; $WEFT_LAB_DIR names another
one, so that several labs can run side by side.`;

/** The lab's own processes, started by the verbs above; not for people. */
const roles: Readonly<Record<string, (json: string) => Promise<number>>> = {
  daemon: async (text) => await (await import("../lab/daemon.ts")).runDaemon(JSON.parse(text)),
  inside: async (text) => {
    await (await import("../lab/inside.ts")).runInside(JSON.parse(text));
    return exitStatus.ok;
  },
  kubelet: async (text) => {
    const abort = new AbortController();
    process.on("SIGTERM", () => abort.abort());
    await (await import("../lab/kubelet/serve.ts")).serveKubelet(JSON.parse(text), abort.signal);
    return exitStatus.ok;
  },
  container: async (text) => (await import("../lab/container.ts")).runContainer(text),
  echo: async (text) => {
    (await import("../lab/echo.ts")).serveEcho(JSON.parse(text));
    return await new Promise<never>(() => {});
  },
  outside: async (text) => {
    await (await import("../lab/outside.ts")).serveOutside(JSON.parse(text));
    return await new Promise<never>(() => {});
  },
};

const verbOf = (name: string | undefined): LabVerb | undefined =>
  name !== undefined && Object.hasOwn(verbs, name) ? verbs[name] : undefined;

function helpOf([name]: readonly string[]): string | undefined {
  const verb = verbOf(name);
  return verb === undefined ? undefined : verbHelp(verb);
}

async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  const role = name !== undefined && Object.hasOwn(roles, name) ? roles[name] : undefined;
  if (role !== undefined && rest[0] !== undefined) return await role(rest[0]);
  if (name === undefined || name === "help") {
    if (rest[0] !== undefined && verbOf(rest[0]) === undefined) throw unknownVerb(rest[0]);
    console.log(helpOf(rest) ?? help);
    return name === undefined ? exitStatus.usage : exitStatus.ok;
  }
  const verb = verbOf(name);
  if (verb === undefined) throw unknownVerb(name);
  return await verb.run(rest);
}

function unknownVerb(name: string): UsageError {
  const near = didYouMean(name, Object.keys(verbs));
  return new UsageError(`weft lab: there is no "${name}"${near}`, "See weft lab --help");
}

const command: Command = {
  name: "lab",
  summary: "a whole cluster network on this machine",
  help,
  helpOf,
  run: main,
};
export default command;
