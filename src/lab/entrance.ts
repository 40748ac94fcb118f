import type { Pod } from "../kube/types.ts";
import { WeftError } from "../lib/errors.ts";
import { netnsPath } from "../linux/netns.ts";
import type { PodEntrance } from "./ask.ts";

/** True for a pod to which Services may send. */
export const isReady = ({ metadata, status }: Pod): boolean =>
  metadata.deletionTimestamp === undefined &&
  status?.conditions?.some(({ type, status: value }) => type === "Ready" && value === "True") === true;

/** A pod of a Deployment among those of its namespace, a ready one where there is one. */
export function podOfDeployment(pods: readonly Pod[], namespace: string, deployment: string): Pod {
  // A Deployment's ReplicaSets are named by it and a hash of their template.
  const owned = ({ metadata: { ownerReferences = [] } }: Pod) =>
    ownerReferences.some(
      ({ kind, name }) => kind === "ReplicaSet" && name.replace(/-[^-]+$/, "") === deployment,
    );
  const own = pods.filter(owned);
  const pod = own.find(isReady) ?? own[0];
  if (pod !== undefined) return pod;
  throw new WeftError(
    "lab-no-pod",
    `there is no pod of a Deployment "${deployment}" in namespace "${namespace}"`,
    { remedy: "See weft lab status" },
  );
}

/** A node or the host outside, as one enters it: all of the machine's files, and its network. */
export function hostEntrance(name: string): PodEntrance {
  return {
    netns: netnsPath({ name }),
    spec: {
      image: "weft/host",
      command: [],
      env: {},
      workingDir: undefined,
      hostname: name,
      files: {},
      pod: { name, namespace: "", ips: [], node: name },
      echo: { port: 0, socket: "" },
    },
    socket: "",
  };
}
