import type { Condition, ContainerStatus, Pod } from "../../kube/types.ts";
import type { Column } from "../resources/definition.ts";
import { ageColumn, column, humanDuration, nameColumn, wide } from "./columns.ts";

export const podColumns: readonly Column<Pod>[] = [
  nameColumn,
  column("Ready", (pod) => {
    const ready = (pod.status?.containerStatuses ?? []).filter((status) => status.ready && isRunning(status));
    return `${ready.length}/${pod.spec.containers.length}`;
  }),
  column("Status", podStatus),
  column("Restarts", restarts),
  ageColumn,
  wide("IP", (pod) => pod.status?.podIPs?.[0]?.ip ?? pod.status?.podIP ?? "<none>"),
  wide("Node", (pod) => pod.spec.nodeName || "<none>"),
  wide("Nominated Node", (pod) => pod.status?.nominatedNodeName || "<none>"),
  wide("Readiness Gates", readinessGates),
];

const isRunning = (status: ContainerStatus) => status.state?.running !== undefined;
const condition = (pod: Pod, type: string): Condition | undefined =>
  pod.status?.conditions?.find((candidate) => candidate.type === type);

/** The word that kubectl shows for a pod: its phase, or what holds its containers up. */
export function podStatus(pod: Pod): string {
  if (pod.metadata.deletionTimestamp !== undefined) {
    return pod.status?.reason === "NodeLost" ? "Unknown" : "Terminating";
  }
  const initializing = initStatus(pod);
  if (initializing !== undefined) return initializing;
  const gated = condition(pod, "PodScheduled")?.reason === "SchedulingGated";
  let reason: string = pod.status?.reason || (gated ? "SchedulingGated" : pod.status?.phase) || "Unknown";
  let running = false;
  for (const status of (pod.status?.containerStatuses ?? []).toReversed()) {
    if (isRunning(status)) running ||= status.ready;
    else reason = stateReason(status) ?? reason;
  }
  // A pod with a running container beside a completed one runs.
  if (reason === "Completed" && running) {
    return condition(pod, "Ready")?.status === "True" ? "Running" : "NotReady";
  }
  return reason;
}

function initStatus(pod: Pod): string | undefined {
  const total = pod.spec.initContainers?.length ?? 0;
  for (const [i, status] of (pod.status?.initContainerStatuses ?? []).entries()) {
    const { terminated, waiting } = status.state ?? {};
    if (terminated?.exitCode === 0 || (isRunning(status) && status.started === true)) continue;
    if (terminated !== undefined) return `Init:${stateReason(status)}`;
    if (waiting?.reason !== undefined && waiting.reason !== "" && waiting.reason !== "PodInitializing") {
      return `Init:${waiting.reason}`;
    }
    return `Init:${i}/${total}`;
  }
  return undefined;
}

function stateReason({ state }: ContainerStatus): string | undefined {
  if (state?.waiting?.reason) return state.waiting.reason;
  const terminated = state?.terminated;
  if (terminated === undefined) return undefined;
  if (terminated.reason) return terminated.reason;
  return terminated.signal ? `Signal:${terminated.signal}` : `ExitCode:${terminated.exitCode}`;
}

function restarts(pod: Pod, now: number): string {
  const statuses = pod.status?.containerStatuses ?? [];
  const count = statuses.reduce((sum, status) => sum + status.restartCount, 0);
  const last = statuses.map((status) => Date.parse(status.lastState?.terminated?.finishedAt ?? ""));
  const latest = Math.max(...last.filter((time) => !Number.isNaN(time)));
  return count === 0 || !Number.isFinite(latest)
    ? `${count}`
    : `${count} (${humanDuration(now - latest)} ago)`;
}

function readinessGates(pod: Pod): string {
  const gates = pod.spec.readinessGates ?? [];
  if (gates.length === 0) return "<none>";
  const met = gates.filter(({ conditionType }) => condition(pod, conditionType)?.status === "True");
  return `${met.length}/${gates.length}`;
}
