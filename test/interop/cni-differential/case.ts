/** What a case of the differential test is made of: data alone, the same for both sides. */
import type { JsonObject } from "../../../src/cni/fields.ts";
import type { KernelFeature } from "../../lib/needs.ts";

/** A namespace of the scene: the host, what is outside of it, and containers. */
export type Place = "host" | "outside" | ContainerName;
export type ContainerName = "c1" | "c2" | "c3";

/** One call of every plugin of the chain, as a runtime makes it. */
export interface Call {
  verb: "ADD" | "CHECK" | "DEL";
  /** The first one where not given. */
  container?: ContainerName;
  ifname?: string;
  /** CNI_ARGS. */
  args?: string;
  /** CNI_NETNS, where it is not the container's own. */
  netns?: string;
  /** Keys that all plugins of the chain get in this call, beside or instead of the case's. */
  more?: JsonObject;
  /** The runtime has lost the result of ADD. */
  forgotten?: boolean;
}

/** A change from elsewhere: a script of sh at a place. */
export interface Change {
  at: Place;
  run: string;
}

/** The container ends, and its namespace with it. */
export interface End {
  end: ContainerName;
}

export type Step = Call["verb"] | Call | Change | End;

/** A question that one place asks another, and who answers whom is compared. */
export interface Probe {
  from: Place;
  /** An address. */
  to: string;
  by: "tcp" | "udp" | "ping";
  /** 8080 where not given: every place answers there. */
  port?: number;
}

/** Both sides' plugins are called with this, and what comes of it is compared. */
export interface Case {
  name: string;
  /** One plugin's configuration or a chain's; name and cniVersion are put in. $DIR is a folder of the side's own. */
  config: JsonObject | readonly JsonObject[];
  cniVersion?: string;
  /** CNI_ARGS of every call. */
  args?: string;
  ifname?: string;
  /** A script of sh on the host before anything else; its folder is $DIR. */
  setup?: string;
  /** ADD, CHECK, DEL and DEL again where not given. */
  steps?: readonly Step[];
  /** What is asked while containers are attached, beside what is always asked. */
  probes?: readonly Probe[];
}

/** The cases of one plugin. */
export interface Family {
  plugin: string;
  /** What the kernel must have. */
  needs: readonly KernelFeature[];
  /** Run under another kernel (test/kernels/uml), since the machine's own may lack what they need. */
  guest?: boolean;
  cases: readonly Case[];
}

export const isCall = (step: Step): step is Call => typeof step === "object" && "verb" in step;
export const isChange = (step: Step): step is Change => typeof step === "object" && "run" in step;

/** The steps, verbs alone spelt out. */
export function stepsOf({ steps = ["ADD", "CHECK", "DEL", "DEL"] }: Case): (Call | Change | End)[] {
  return steps.map((step) => (typeof step === "string" ? { verb: step } : step));
}

/** The containers that a case speaks of. */
export function containersOf(given: Case): ContainerName[] {
  const named = stepsOf(given).flatMap((step): ContainerName[] => {
    if (isCall(step)) return [step.container ?? "c1"];
    return "end" in step ? [step.end] : [];
  });
  return [...new Set<ContainerName>(["c1", ...named])].sort();
}

/** A step in words. */
export function describe(step: Call | Change | End): string {
  if (isCall(step)) return `${step.verb} ${step.container ?? "c1"}`;
  return "end" in step ? `end of ${step.end}` : `${step.run} (${step.at})`;
}
