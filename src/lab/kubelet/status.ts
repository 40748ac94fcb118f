import type { Condition, Container, ContainerStatus, Pod, PodPhase, PodStatus } from "../../kube/types.ts";

/** What the node knows of one container. */
export interface ContainerState {
  restarts: number;
  /** Passed its readiness probe, or has none and runs. */
  ready: boolean;
  state:
    | { kind: "waiting"; reason: string; message?: string }
    | { kind: "running"; startedAt: string }
    | { kind: "terminated"; exitCode: number; startedAt: string; finishedAt: string };
  last?: { exitCode: number; startedAt: string; finishedAt: string };
}

/** What the node knows of one pod. */
export interface PodState {
  podIPs: readonly string[];
  sandboxReady: boolean;
  startTime: string;
  init: ReadonlyMap<string, ContainerState>;
  containers: ReadonlyMap<string, ContainerState>;
  /** Why the pod cannot go on, for `kubectl describe`. */
  trouble?: { reason: string; message: string };
}

/** A container that was not started: an image that is not there is its own trouble, all else the pod's. */
function waitingFor(trouble: PodState["trouble"]): ContainerState {
  const state = trouble?.reason === "ErrImagePull" ? trouble : { reason: "ContainerCreating" };
  return { restarts: 0, ready: false, state: { kind: "waiting", ...state } };
}

/**
 * The status that a kubelet reports: phase, conditions and container statuses from what it knows. Conditions keep
 * their `lastTransitionTime` from the old status as long as they do not change.
 */
export function podStatus(pod: Pod, known: PodState, hostIPs: readonly string[], now: string): PodStatus {
  const notBegun = waitingFor(known.trouble);
  const init = (pod.spec.initContainers ?? []).map((each) => containerStatus(each, known.init, notBegun));
  const containers = pod.spec.containers.map((each) => containerStatus(each, known.containers, notBegun));
  const phase = podPhase(pod, containers, init);
  const initialized = init.every((status) => status.state?.terminated?.exitCode === 0);
  const ready = phase === "Running" && containers.every((status) => status.ready);
  const done = phase === "Succeeded" || phase === "Failed";
  const reason = done ? "PodCompleted" : "ContainersNotReady";
  const condition = (type: string, value: boolean, why?: string): Condition => {
    const status = value ? "True" : "False";
    const old = pod.status?.conditions?.find((other) => other.type === type);
    const lastTransitionTime = old?.status === status ? (old.lastTransitionTime ?? now) : now;
    return { type, status, lastTransitionTime, ...(value || why === undefined ? {} : { reason: why }) };
  };
  return {
    phase,
    conditions: [
      condition("PodReadyToStartContainers", known.sandboxReady),
      condition("Initialized", initialized, "ContainersNotInitialized"),
      condition("Ready", ready, reason),
      condition("ContainersReady", ready, reason),
      condition("PodScheduled", true),
    ],
    ...(known.trouble === undefined ? {} : { message: known.trouble.message, reason: known.trouble.reason }),
    ...(hostIPs[0] === undefined ? {} : { hostIP: hostIPs[0], hostIPs: hostIPs.map((ip) => ({ ip })) }),
    ...(known.podIPs[0] === undefined
      ? {}
      : { podIP: known.podIPs[0], podIPs: known.podIPs.map((ip) => ({ ip })) }),
    startTime: known.startTime,
    ...(init.length === 0 ? {} : { initContainerStatuses: init }),
    containerStatuses: containers,
    qosClass: "BestEffort",
  };
}

function podPhase(pod: Pod, containers: ContainerStatus[], init: ContainerStatus[]): PodPhase {
  const policy = pod.spec.restartPolicy ?? "Always";
  const codes = containers.map((status) => status.state?.terminated?.exitCode);
  if (policy === "Never" && init.some((status) => (status.state?.terminated?.exitCode ?? 0) !== 0))
    return "Failed";
  if (policy !== "Always" && codes.every((code) => code !== undefined)) {
    if (codes.every((code) => code === 0)) return "Succeeded";
    if (policy === "Never") return "Failed";
  }
  const begun = containers.some(
    (status) =>
      status.state?.running !== undefined ||
      status.state?.terminated !== undefined ||
      status.restartCount > 0,
  );
  return begun ? "Running" : "Pending";
}

function containerStatus(
  container: Container,
  known: ReadonlyMap<string, ContainerState>,
  notBegun: ContainerState,
): ContainerStatus {
  const { restarts, ready, state, last } = known.get(container.name) ?? notBegun;
  const reasonOf = (exitCode: number) => (exitCode === 0 ? "Completed" : "Error");
  return {
    name: container.name,
    image: container.image ?? "",
    imageID: container.image ?? "",
    ready,
    started: state.kind === "running",
    restartCount: restarts,
    state:
      state.kind === "waiting"
        ? {
            waiting: {
              reason: state.reason,
              ...(state.message === undefined ? {} : { message: state.message }),
            },
          }
        : state.kind === "running"
          ? { running: { startedAt: state.startedAt } }
          : {
              terminated: {
                exitCode: state.exitCode,
                reason: reasonOf(state.exitCode),
                startedAt: state.startedAt,
                finishedAt: state.finishedAt,
              },
            },
    lastState: last === undefined ? {} : { terminated: { ...last, reason: reasonOf(last.exitCode) } },
  };
}
