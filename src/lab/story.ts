import { counted } from "../lib/count.ts";
import { explain, WeftError } from "../lib/errors.ts";
import { dialFrom } from "./ask.ts";
import type { Caller, CheckResult } from "./model.ts";

/** What the story may do to the lab, and what it sees of it. */
export interface Stage {
  deletePod(name: string): Promise<void>;
  scale(replicas: number): Promise<void>;
  /** Resolves to the node's name. */
  addNode(): Promise<string>;
  removeNode(name: string): Promise<void>;
  /** Ends a node's agent and starts it again. */
  restartAgent(node: string): Promise<void>;
  /** The names of the pods that the API shows as ready and not ending, with their nodes. */
  readyPods(): { name: string; node: string }[];
  /** True while pods are ending. */
  leaving(): boolean;
  /** Resolves when anything changed in what {@link Stage.readyPods} shows, or after a moment. */
  changed(): Promise<void>;
  /** Somebody who asks the Service all the time. */
  caller(): Promise<Caller>;
  serviceUrl(): string;
}

const replicas = 5;
const deadline = 30_000;
/** How long one request may take while traffic is expected to change its ways, in milliseconds. */
const patience = 250;

/** The chapters: each does something to the cluster and measures how long traffic takes to follow. */
export async function tellStory(stage: Stage, emit: (result: CheckResult) => void): Promise<boolean> {
  let good = true;
  const chapter = async (name: string, act: () => Promise<string>) => {
    const start = performance.now();
    let ok = true;
    let detail: string;
    try {
      detail = await act();
    } catch (error) {
      [ok, good, detail] = [false, false, explain(error)];
    }
    emit({
      kind: "check",
      group: "Changes",
      name,
      ok,
      detail,
      milliseconds: Math.round(performance.now() - start),
    });
  };
  await chapter("a pod is killed", async () => {
    const [victim] = stage.readyPods();
    if (victim === undefined) throw new WeftError("lab-story", "there is no ready pod");
    const time = stopwatch();
    await stage.deletePod(victim.name);
    await follow(stage, (pods) => pods.length === replicas && pods.every(({ name }) => name !== victim.name));
    return `${time()} until its replacement answered`;
  });
  await chapter("three replicas are added", async () => {
    const time = stopwatch();
    await stage.scale(replicas + 3);
    await follow(stage, (pods) => pods.length === replicas + 3);
    return `${time()} until all ${replicas + 3} answered`;
  });
  let added: string | undefined;
  await chapter("a node is added", async () => {
    const time = stopwatch();
    added = await stage.addNode();
    await stage.scale(replicas + 5);
    await follow(stage, (pods) => pods.length === replicas + 5 && pods.some(({ node }) => node === added));
    return `${time()} until pods on ${added} answered`;
  });
  await chapter("the node is removed", async () => {
    if (added === undefined) throw new WeftError("lab-story", "the node was never added");
    const time = stopwatch();
    await stage.removeNode(added);
    await follow(stage, (pods) => pods.length === replicas + 5 && pods.every(({ node }) => node !== added));
    return `${time()} until others had taken over`;
  });
  await chapter("an agent restarts", async () => {
    const caller = await stage.caller();
    const node = stage.readyPods()[0]?.node ?? "";
    let over = false;
    const restarted = stage.restartAgent(node).finally(() => {
      over = true;
    });
    // Awaited below; until then a failure is nobody's.
    restarted.catch(() => {});
    let asked = 0;
    while (!over) {
      const results = await dialFrom(caller.socket, stage.serviceUrl(), 5);
      const failed = results.find(({ ok }) => !ok);
      if (failed !== undefined)
        throw new WeftError("lab-story", `a request failed meanwhile: ${failed.error}`);
      asked += results.length;
    }
    await restarted;
    return `${counted(asked, "request")} meanwhile, none failed`;
  });
  await chapter("five replicas are left", async () => {
    const time = stopwatch();
    await stage.scale(replicas);
    await follow(stage, (pods) => pods.length === replicas);
    const took = time();
    while (stage.leaving()) await stage.changed();
    return `${took} until only they answered`;
  });
  return good;
}

function stopwatch(): () => string {
  const start = performance.now();
  return () => `${((performance.now() - start) / 1000).toFixed(2)} s`;
}

/** Waits until the pods are as wanted and the Service is answered by exactly them. */
async function follow(
  stage: Stage,
  wanted: (pods: { name: string; node: string }[]) => boolean,
): Promise<void> {
  const end = performance.now() + deadline;
  let last = "";
  while (performance.now() < end) {
    const pods = stage.readyPods();
    if (!wanted(pods)) {
      last = `${counted(pods.length, "pod is", "pods are")} ready`;
      await stage.changed();
      continue;
    }
    const names = new Set(pods.map(({ name }) => name));
    const caller = await stage.caller();
    const results = await dialFrom(caller.socket, stage.serviceUrl(), 14 * names.size, patience);
    const seen = new Set(results.flatMap(({ answer }) => (answer === undefined ? [] : [answer.pod])));
    const failed = results.filter(({ ok }) => !ok);
    last = failed[0]?.error ?? `${seen.size} of ${counted(names.size, "pod answers", "pods answer")}`;
    if (failed.length === 0 && seen.size === names.size && [...seen].every((name) => names.has(name))) return;
  }
  throw new WeftError("lab-story", `traffic did not follow within ${deadline / 1000} s: ${last}`);
}
