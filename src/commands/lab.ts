import { checkCidrs } from "../agent/config.ts";
import type { DaemonOptions, LabRecord } from "../lab/daemon.ts";
import type { LabEvent, LabStatus } from "../lab/model.ts";
import { WeftError } from "../lib/errors.ts";
import type { Prefix } from "../lib/prefix.ts";
import { didYouMean } from "../lib/suggest.ts";
import { cidrSpecs, customaryDns } from "./cidrs.ts";
import { type Command, exitStatus } from "./command.ts";
import { integerOption, optionsHelp, parseOptions, prefixesOption } from "./options.ts";
import { UsageError } from "./usage.ts";

const upSpecs = {
  nodes: { type: "string", value: "N", help: "how many nodes, 1 to 20", default: "3" },
  "api-port": {
    type: "string",
    value: "PORT",
    help: "port of 127.0.0.1 for the API server, 0 for any free one",
    default: "0",
  },
  ...cidrSpecs,
} as const;
const runSpecs = {
  ...upSpecs,
  once: { type: "boolean", help: "run only: end after the checks; the exit status is the verdict" },
} as const;
const json = { json: { type: "boolean", help: "for programs" } } as const;
const execSpecs = {
  namespace: { type: "string", short: "n", value: "NAME", help: "the pod's namespace", default: "default" },
} as const;

const help = `Usage: weft lab COMMAND [options]

A cluster's network on this machine: a fabric, nodes and pods as network namespaces with the real kernel, an embedded
Kubernetes API server, a real agent on each node. The host's own network is not touched.

  run         bring the lab up, check it, tell the story of changes, draw it; Ctrl-C takes it down
  up          bring it up and leave it running
  status      what there is: nodes, pods, addresses, routes  [--json]
  check       run the checks  [--json]
  exec POD -- CMD [ARGS]   run a command of this machine in the network of a pod, a node or "outside"
  kubeconfig  print the path of the kubeconfig for kubectl
  down        end it

Options of run and up:
${optionsHelp(runSpecs)}

Options of exec:
${optionsHelp(execSpecs)}

The lab's folder is /run/weft-lab for root, else in $XDG_RUNTIME_DIR or /tmp; $WEFT_LAB_DIR names another one, so that
several labs can run side by side.
`;

const verbs: Readonly<Record<string, (args: string[]) => Promise<number>>> = {
  run,
  up,
  status,
  check,
  exec,
  kubeconfig,
  down,
};

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
  container: async (text) => {
    (await import("../lab/container.ts")).runContainer(text);
    return await new Promise<never>(() => {});
  },
  echo: async (text) => {
    (await import("../lab/echo.ts")).startEcho(JSON.parse(text));
    return await new Promise<never>(() => {});
  },
};

async function main(args: string[]): Promise<number> {
  const [verb, ...rest] = args;
  const role = verb !== undefined && Object.hasOwn(roles, verb) ? roles[verb] : undefined;
  if (role !== undefined && rest[0] !== undefined) return await role(rest[0]);
  const found = verb !== undefined && Object.hasOwn(verbs, verb) ? verbs[verb] : undefined;
  if (found !== undefined) return await found(rest);
  const problem =
    verb === undefined ? "missing a command" : `there is no "${verb}"${didYouMean(verb, Object.keys(verbs))}`;
  throw new UsageError(`weft lab: ${problem}`, "See weft lab --help");
}

type UpOptions = { [K in keyof typeof upSpecs]?: string };

/** The options of `run` and `up`, checked before anything is made; `more` is the number of nodes that come later. */
async function labSettings(options: UpOptions, more: number): Promise<Omit<DaemonOptions, "bound">> {
  const text = (name: keyof typeof upSpecs) => options[name] ?? upSpecs[name].default;
  const nodes = integerOption("nodes", text("nodes"), 1, 20);
  const { clusterCidrs, serviceCidrs } = cidrsOf(options);
  checkCidrs(clusterCidrs, serviceCidrs);
  const { checkRoom } = await import("../lab/fabric.ts");
  checkRoom({ "--cluster-cidr": clusterCidrs, "--service-cidr": serviceCidrs }, nodes + more);
  return {
    nodes,
    apiPort: integerOption("api-port", text("api-port"), 0, 65_535),
    clusterCidrs: clusterCidrs.map(String),
    serviceCidrs: serviceCidrs.map(String),
    clusterDns: customaryDns(serviceCidrs).map(String),
    clusterDomain: "cluster.local",
  };
}

/** Where only one of the two is given, the other one's default has its families. */
function cidrsOf(options: UpOptions): { clusterCidrs: Prefix[]; serviceCidrs: Prefix[] } {
  const read = (name: "cluster-cidr" | "service-cidr", like?: readonly Prefix[]) => {
    const given = options[name];
    if (given !== undefined) return prefixesOption(name, [given]);
    const usual = prefixesOption(name, [upSpecs[name].default]);
    if (like === undefined) return usual;
    return usual.filter(({ family }) => like.some((prefix) => prefix.family === family));
  };
  if (options["cluster-cidr"] === undefined && options["service-cidr"] !== undefined) {
    const serviceCidrs = read("service-cidr");
    return { clusterCidrs: read("cluster-cidr", serviceCidrs), serviceCidrs };
  }
  const clusterCidrs = read("cluster-cidr");
  return { clusterCidrs, serviceCidrs: read("service-cidr", clusterCidrs) };
}

async function run(args: string[]): Promise<number> {
  const { options } = parseOptions("lab run", args, runSpecs);
  const settings = await labSettings(options, 1);
  const lab = await import("../lab/daemon.ts");
  refuseSecond(lab.findLab());
  const { LabView } = await import("../lab/view.ts");
  const view = new LabView(process.stdout);
  const daemon = lab.spawnDaemon({ ...settings, bound: true });
  let interrupted = false;
  const interrupt = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      interrupted = true;
      interrupt.resolve();
      daemon.kill("SIGTERM");
    });
  }
  try {
    const socket = await lab.waitForControl(daemon);
    const ok =
      (await view.show(await control(socket, "GET", "/events"))) &&
      [
        await view.show(await control(socket, "POST", "/check")),
        await view.show(await control(socket, "POST", "/story")),
      ].every(Boolean);
    if (interrupted) return 130;
    view.picture((await (await control(socket, "GET", "/status")).json()) as LabStatus);
    if (!ok) view.logsAt(lab.keepLogs());
    if (options.once === true || !ok) return ok ? exitStatus.ok : exitStatus.failure;
    view.goOn({ bound: true });
    await Promise.race([interrupt.promise, daemon.exited]);
    return exitStatus.ok;
  } catch (error) {
    if (interrupted) return 130;
    throw error;
  } finally {
    view.taking();
    daemon.kill("SIGTERM");
    await daemon.exited;
  }
}

async function up(args: string[]): Promise<number> {
  const { options } = parseOptions("lab up", args, upSpecs);
  const settings = await labSettings(options, 0);
  const lab = await import("../lab/daemon.ts");
  refuseSecond(lab.findLab());
  const { LabView } = await import("../lab/view.ts");
  const view = new LabView(process.stdout);
  const daemon = lab.spawnDaemon({ ...settings, bound: false });
  let interrupted = false;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      interrupted = true;
      daemon.kill("SIGTERM");
    });
  }
  let ok: boolean;
  try {
    ok = await view.show(await control(await lab.waitForControl(daemon), "GET", "/events"));
  } catch (error) {
    if (!interrupted) throw error;
    ok = false;
  }
  if (interrupted) {
    view.taking();
    await daemon.exited;
    return 130;
  }
  if (!ok) {
    view.logsAt(lab.keepLogs());
    daemon.kill("SIGTERM");
    await daemon.exited;
    return exitStatus.failure;
  }
  daemon.unref();
  view.goOn({ bound: false });
  return exitStatus.ok;
}

async function status(args: string[]): Promise<number> {
  const { options } = parseOptions("lab status", args, json);
  const { socket } = await runningLab();
  const said = (await (await control(socket, "GET", "/status")).json()) as LabStatus;
  if (options.json === true) console.log(JSON.stringify(said, null, 2));
  else {
    const { LabView } = await import("../lab/view.ts");
    new LabView(process.stdout).picture(said);
  }
  return exitStatus.ok;
}

async function check(args: string[]): Promise<number> {
  const { options } = parseOptions("lab check", args, json);
  const { socket } = await runningLab();
  const answer = await control(socket, "POST", "/check");
  if (options.json !== true) {
    const { LabView } = await import("../lab/view.ts");
    return (await new LabView(process.stdout).show(answer)) ? exitStatus.ok : exitStatus.failure;
  }
  const { readEvents } = await import("../lab/streams.ts");
  const events: LabEvent[] = [];
  for await (const event of readEvents<LabEvent>(answer)) events.push(event);
  const verdict = events.find((event) => event.kind === "verdict");
  console.log(JSON.stringify({ verdict, checks: events.filter((event) => event.kind === "check") }, null, 2));
  return verdict?.ok === true ? exitStatus.ok : exitStatus.failure;
}

async function exec(args: string[]): Promise<number> {
  const { options, positionals, rest } = parseOptions("lab exec", args, execSpecs, {
    min: 1,
    max: 1,
    names: "POD",
  });
  if (rest.length === 0)
    throw new UsageError("weft lab exec: missing the command", "weft lab exec POD -- CMD [ARGS]");
  const { record, socket } = await runningLab();
  const { execInPod } = await import("../lab/exec.ts");
  // Also as kubectl writes it: NAMESPACE/POD and pod/POD.
  const [first = "", second] = (positionals[0] ?? "").split("/");
  const namespace = second === undefined || first === "pod" ? (options.namespace ?? "default") : first;
  return await execInPod(record, socket, namespace, second ?? first, rest);
}

async function kubeconfig(args: string[]): Promise<number> {
  parseOptions("lab kubeconfig", args, {});
  const { socket } = await runningLab();
  const said = (await (await control(socket, "GET", "/status")).json()) as LabStatus;
  console.log(said.kubeconfig);
  return exitStatus.ok;
}

async function down(args: string[]): Promise<number> {
  parseOptions("lab down", args, {});
  const { endLab } = await import("../lab/daemon.ts");
  const { record } = await runningLab();
  await endLab(record);
  console.log("The lab is down.");
  return exitStatus.ok;
}

async function runningLab(): Promise<{ record: LabRecord; socket: string }> {
  const { findLab } = await import("../lab/daemon.ts");
  const { files, labDir } = await import("../lab/paths.ts");
  const record = findLab();
  if (record === undefined)
    throw new WeftError("lab-down", "no lab is running", { remedy: "Start one: weft lab up" });
  return { record, socket: `${labDir()}/${files.control}` };
}

function refuseSecond(record: LabRecord | undefined): void {
  if (record === undefined) return;
  throw new WeftError("lab-up", `a lab runs already, by process ${record.pid}`, {
    remedy: "Use it (weft lab status), end it (weft lab down), or give another folder in $WEFT_LAB_DIR",
  });
}

/** Asks the lab; its errors become ours. */
async function control(socket: string, method: string, path: string): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(`http://lab${path}`, { method, unix: socket });
  } catch (error) {
    throw new WeftError("lab-silent", "the lab does not answer", {
      remedy: "End it: weft lab down",
      cause: error,
    });
  }
  if (answer.ok) return answer;
  const { error } = (await answer.json()) as { error: string };
  throw new WeftError("lab", error);
}

const command: Command = { name: "lab", summary: "a whole cluster network on this machine", help, run: main };
export default command;
