import type { DaemonOptions, LabRecord } from "../lab/daemon.ts";
import type { LabStatus } from "../lab/model.ts";
import { WeftError } from "../lib/errors.ts";
import { cidrSpecs, customaryDns } from "./cidrs.ts";
import { exitStatus } from "./command.ts";
import { askLab, type LabVerb } from "./lab-verb.ts";
import { integerOption, parseOptions, prefixesOption } from "./options.ts";

const nodesMax = 20;

/** What ends a lab that comes up, or that somebody looks at. */
const deadly = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

const upSpecs = {
  nodes: { type: "string", value: "N", help: `how many nodes, 1 to ${nodesMax}`, default: "3" },
  "api-port": {
    type: "string",
    value: "PORT",
    help: "port of 127.0.0.1 for the API server, 0 for any free one",
    default: "0",
  },
  ...cidrSpecs,
  "node-cidr-mask-size-ipv4": {
    type: "string",
    value: "BITS",
    help: "length of each node's IPv4 podCIDR",
    default: "24",
  },
  "node-cidr-mask-size-ipv6": {
    type: "string",
    value: "BITS",
    help: "length of each node's IPv6 podCIDR",
    default: "64",
  },
} as const;

const runSpecs = {
  ...upSpecs,
  once: { type: "boolean", help: "end after the picture; the exit status is the verdict" },
  "with-parent": {
    type: "string",
    value: "PID",
    help: "end when the process that started this one does; for npm start",
  },
} as const;

type UpOptions = { [K in keyof typeof upSpecs]?: string };

/** The options of `run` and `up`, checked before anything is made; `joining` is the number of nodes that come later. */
async function labSettings(options: UpOptions, joining: number): Promise<Omit<DaemonOptions, "bound">> {
  const { settleNetworks } = await import("../lab/settings.ts");
  const text = (name: keyof typeof upSpecs) => options[name] ?? upSpecs[name].default;
  const nodes = integerOption("nodes", text("nodes"), 1, nodesMax, { remedy: "Write it like --nodes 3" });
  const apiPort = integerOption("api-port", text("api-port"), 0, 65_535, {
    remedy: "Give a free port of this machine, or 0 for any",
  });
  // From the shortest that leaves other networks room to the longest with an address for a pod besides the node's.
  const maskOf = (name: "node-cidr-mask-size-ipv4" | "node-cidr-mask-size-ipv6", min: number, max: number) =>
    integerOption(name, text(name), min, max, { remedy: `Write it like --${name} ${upSpecs[name].default}` });
  const nodeMasks = {
    4: maskOf("node-cidr-mask-size-ipv4", 8, 30),
    6: maskOf("node-cidr-mask-size-ipv6", 16, 126),
  };
  const clusterCidr = options["cluster-cidr"];
  const serviceCidr = options["service-cidr"];
  const { clusterCidrs, serviceCidrs } = settleNetworks({
    typed: {
      ...(clusterCidr === undefined ? {} : { clusterCidrs: prefixesOption("cluster-cidr", [clusterCidr]) }),
      ...(serviceCidr === undefined ? {} : { serviceCidrs: prefixesOption("service-cidr", [serviceCidr]) }),
    },
    usual: {
      clusterCidrs: prefixesOption("cluster-cidr", [cidrSpecs["cluster-cidr"].default]),
      serviceCidrs: prefixesOption("service-cidr", [cidrSpecs["service-cidr"].default]),
    },
    nodeMasks,
    nodes,
    joining,
  });
  return {
    nodes,
    apiPort,
    clusterCidrs: clusterCidrs.map(String),
    nodeMasks,
    serviceCidrs: serviceCidrs.map(String),
    clusterDns: customaryDns(serviceCidrs).map(String),
    clusterDomain: "cluster.local",
  };
}

export const run: LabVerb = {
  usage: "run [options]",
  summary: "bring the lab up, check it, tell the story of changes, draw it; Ctrl-C takes it down",
  about: `Brings the lab up, checks that everything reaches everything, tells the story of changes (a pod is killed,
replicas are added, a node comes and goes, an agent restarts) with the time that traffic took to follow, and draws the
result. Then it stays until Ctrl-C, or ends with the verdict where --once is given. This is what npm start calls.`,
  specs: runSpecs,
  examples: ["lab run", "lab run --once", "lab run --nodes 5 --cluster-cidr 10.128.0.0/14"],
  run: runLab,
};

async function runLab(args: string[]): Promise<number> {
  const { options } = parseOptions("lab run", args, runSpecs);
  const settings = await labSettings(options, 1);
  const parent = options["with-parent"];
  if (parent !== undefined) {
    const { endWithParent } = await import("../lab/parent.ts");
    endWithParent(integerOption("with-parent", parent, 1, 2 ** 22));
  }
  const lab = await import("../lab/daemon.ts");
  refuseSecond(lab.findLab());
  const { LabView } = await import("../lab/view.ts");
  const view = new LabView(process.stdout);
  const daemon = lab.spawnDaemon({ ...settings, bound: true });
  let interrupted = false;
  const interrupt = Promise.withResolvers<void>();
  const stop = () => {
    interrupted = true;
    interrupt.resolve();
    daemon.kill("SIGTERM");
  };
  for (const signal of deadly) process.on(signal, stop);
  // What it shows is seen by nobody any more.
  process.stdout.on("error", stop);
  try {
    const socket = await lab.waitForControl(daemon);
    const ok =
      (await view.show(await askLab(socket, "GET", "/events"))) &&
      [
        await view.show(await askLab(socket, "POST", "/check")),
        await view.show(await askLab(socket, "POST", "/story")),
      ].every(Boolean);
    if (interrupted) return 130;
    view.picture((await (await askLab(socket, "GET", "/status")).json()) as LabStatus);
    if (!ok) view.logsAt(lab.keepLogs());
    if (options.once === true || !ok) return ok ? exitStatus.ok : exitStatus.failure;
    view.goOn({ bound: true });
    const ended = await Promise.race([interrupt.promise, daemon.exited]);
    if (typeof ended !== "number" || ended === exitStatus.ok) return exitStatus.ok;
    throw new WeftError("lab-gone", `the lab ended by itself, with ${ended}`);
  } catch (error) {
    if (interrupted) return 130;
    view.logsAt(lab.keepLogs());
    throw error;
  } finally {
    view.taking();
    daemon.kill("SIGTERM");
    await daemon.exited;
    lab.sweepLab();
  }
}

export const up: LabVerb = {
  usage: "up [options]",
  summary: "bring it up and leave it running",
  about: `Brings the lab up: the fabric, the API server, the nodes with their agents, and the pods of examples/blue.yaml.
Returns when all of it is ready, and leaves it running until weft lab down.`,
  specs: upSpecs,
  examples: [
    "lab up",
    "lab up --nodes 5",
    "lab up --cluster-cidr 10.1.0.0/16 --service-cidr 10.2.0.0/16",
    "lab up --cluster-cidr 10.1.0.0/24 --node-cidr-mask-size-ipv4 26",
    "lab up --cluster-cidr fd00:1::/56 --service-cidr fd00:2::/112",
  ],
  run: upLab,
};

async function upLab(args: string[]): Promise<number> {
  const { options } = parseOptions("lab up", args, upSpecs);
  const settings = await labSettings(options, 0);
  const lab = await import("../lab/daemon.ts");
  refuseSecond(lab.findLab());
  const { LabView } = await import("../lab/view.ts");
  const view = new LabView(process.stdout);
  const daemon = lab.spawnDaemon({ ...settings, bound: false });
  let interrupted = false;
  for (const signal of deadly) {
    process.on(signal, () => {
      interrupted = true;
      daemon.kill("SIGTERM");
    });
  }
  let ok: boolean;
  try {
    ok = await view.show(await askLab(await lab.waitForControl(daemon), "GET", "/events"));
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

function refuseSecond(record: LabRecord | undefined): void {
  if (record === undefined) return;
  throw new WeftError("lab-up", `a lab runs already, by process ${record.pid}`, {
    remedy: "Use it (weft lab status), end it (weft lab down), or give another folder in $WEFT_LAB_DIR",
  });
}
