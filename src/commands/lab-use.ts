import type { LabRecord } from "../lab/daemon.ts";
import type { LabEvent, LabStatus } from "../lab/model.ts";
import { WeftError } from "../lib/errors.ts";
import { exitStatus } from "./command.ts";
import { askLab, type LabVerb } from "./lab-verb.ts";
import { parseOptions } from "./options.ts";
import { UsageError } from "./usage.ts";

const json = { json: { type: "boolean", help: "for programs" } } as const;

export const status: LabVerb = {
  usage: "status [--json]",
  summary: "what there is: nodes, pods, addresses, routes",
  about: `Shows the lab as it is now: each node with its bridge, its pods and the routes to the other nodes' pods, the host
outside, and the Services. Addresses and routes are read from each node's kernel, the rest from the API.`,
  specs: json,
  examples: ["lab status", "lab status --json | jq '.nodes[].podCIDRs'"],

  async run(args) {
    const { options } = parseOptions("lab status", args, json);
    const { socket } = await runningLab();
    const said = (await (await askLab(socket, "GET", "/status")).json()) as LabStatus;
    if (options.json === true) console.log(JSON.stringify(said, null, 2));
    else {
      const { LabView } = await import("../lab/view.ts");
      new LabView(process.stdout).picture(said);
    }
    return exitStatus.ok;
  },
};

export const check: LabVerb = {
  usage: "check [--json]",
  summary: "run the checks; the exit status is the verdict",
  about: `Runs the checks again: every pod reaches every other, nodes and pods reach each other, all without NAT; the Service
answers from all replicas; names resolve; pods reach the host outside. The exit status is 0 where all pass, else 1.`,
  specs: json,
  examples: ["lab check", "lab check --json | jq .verdict"],

  async run(args) {
    const { options } = parseOptions("lab check", args, json);
    const { socket } = await runningLab();
    const answer = await askLab(socket, "POST", "/check");
    if (options.json !== true) {
      const { LabView } = await import("../lab/view.ts");
      return (await new LabView(process.stdout).show(answer)) ? exitStatus.ok : exitStatus.failure;
    }
    const { readEvents } = await import("../lab/streams.ts");
    const events: LabEvent[] = [];
    for await (const event of readEvents<LabEvent>(answer)) events.push(event);
    const verdict = events.find((event) => event.kind === "verdict");
    const checks = events.filter((event) => event.kind === "check");
    console.log(JSON.stringify({ verdict, checks }, null, 2));
    return verdict?.ok === true ? exitStatus.ok : exitStatus.failure;
  },
};

const execSpecs = {
  namespace: { type: "string", short: "n", value: "NAME", help: "the pod's namespace", default: "default" },
} as const;

export const exec: LabVerb = {
  usage: "exec [-n NAMESPACE] POD -- CMD [ARGS]",
  summary: "run a command in the network of a pod, a node or the host outside",
  about: `Runs a command of this machine with the network, host name, resolv.conf and hosts file of a pod; files, user and
terminal are yours. POD is the name of one, "deploy/NAME" for any of a Deployment, a node ("node-1"), or the host beyond
the cluster ("outside"). The exit status is the command's.`,
  specs: execSpecs,
  examples: [
    "lab exec deploy/blue -- ip address",
    "lab exec deploy/blue -- bash",
    "lab exec -n default POD -- getent ahosts blue",
    "lab exec node-1 -- nft list table inet weft",
    "lab exec outside -- ping -c1 172.30.0.11",
  ],

  async run(args) {
    const [first, ...more] = args;
    if (first !== undefined && !args.includes("--")) {
      const remedy = `Write weft lab exec ${[first, "--", ...(more.length > 0 ? more : ["CMD"])].join(" ")}`;
      const target = first.startsWith("-") ? "See weft lab exec --help" : remedy;
      throw new UsageError('weft lab exec: the command goes behind "--"', target);
    }
    const { options, positionals, rest } = parseOptions("lab exec", args, execSpecs, {
      min: 1,
      max: 1,
      names: "POD -- CMD [ARGS]",
    });
    if (rest.length === 0)
      throw new UsageError('weft lab exec: there is no command behind "--"', "See weft lab exec --help");
    const { record, socket } = await runningLab();
    const { execInPod } = await import("../lab/exec.ts");
    const target = targetOf(positionals[0] ?? "", options.namespace ?? "default");
    return await execInPod(record, socket, target, rest);
  },
};

/** Where to go in, also as kubectl writes it: POD, pod/POD, deploy/NAME, NAMESPACE/POD. */
function targetOf(text: string, namespace: string) {
  const [head = "", tail] = text.split("/");
  if (tail === undefined) return { namespace, pod: head };
  if (["deploy", "deployment", "deployments"].includes(head)) return { namespace, deployment: tail };
  return { namespace: ["pod", "pods", "po"].includes(head) ? namespace : head, pod: tail };
}

export const kubeconfig: LabVerb = {
  usage: "kubeconfig",
  summary: "print the path of the kubeconfig for kubectl",
  about: `Prints the path of a kubeconfig with which any kubectl from 1.20 to 1.36 speaks to the lab's API server:

  export KUBECONFIG=$(weft lab kubeconfig)
  kubectl get pods -o wide`,
  specs: {},
  examples: ["lab kubeconfig"],

  async run(args) {
    parseOptions("lab kubeconfig", args, {});
    const { socket } = await runningLab();
    const said = (await (await askLab(socket, "GET", "/status")).json()) as LabStatus;
    console.log(said.kubeconfig);
    return exitStatus.ok;
  },
};

export const down: LabVerb = {
  usage: "down",
  summary: "end the lab; nothing of it stays",
  about: `Ends the lab: its processes, namespaces, links and files. Nothing of it stays on this machine. May be repeated: where
no lab runs, there is nothing to do.`,
  specs: {},
  examples: ["lab down"],

  async run(args) {
    parseOptions("lab down", args, {});
    const { endLab, findLab } = await import("../lab/daemon.ts");
    const record = findLab();
    if (record !== undefined) await endLab(record);
    console.log(record === undefined ? "No lab is running." : "The lab is down.");
    return exitStatus.ok;
  },
};

async function runningLab(): Promise<{ record: LabRecord; socket: string }> {
  const { findLab } = await import("../lab/daemon.ts");
  const { files, labDir } = await import("../lab/paths.ts");
  const record = findLab();
  if (record === undefined)
    throw new WeftError("lab-down", "no lab is running", { remedy: "Start one: weft lab up" });
  return { record, socket: `${labDir()}/${files.control}` };
}
