import { describe, expect, test } from "bun:test";
import type { Pod } from "../../kube/types.ts";
import { type ContainerState, type PodState, podStatus } from "./status.ts";

const now = "2030-01-01T00:00:00Z";
const running: ContainerState = { restarts: 0, ready: true, state: { kind: "running", startedAt: now } };
const ended = (exitCode: number): ContainerState => ({
  restarts: 0,
  ready: false,
  state: { kind: "terminated", exitCode, startedAt: now, finishedAt: now },
});

function statusOf(
  policy: "Always" | "OnFailure" | "Never",
  containers: Record<string, ContainerState>,
  init?: ContainerState,
) {
  const pod: Pod = {
    metadata: { name: "p" },
    spec: {
      restartPolicy: policy,
      containers: Object.keys(containers).map((name) => ({ name })),
      ...(init === undefined ? {} : { initContainers: [{ name: "init" }] }),
    },
  };
  const state: PodState = {
    podIPs: ["10.244.1.2", "fd00::2"],
    sandboxReady: true,
    startTime: now,
    init: new Map(init === undefined ? [] : [["init", init]]),
    containers: new Map(Object.entries(containers)),
  };
  return podStatus(pod, state, ["172.30.0.11"], now);
}

describe("podStatus", () => {
  const crashed: ContainerState = {
    restarts: 1,
    ready: false,
    state: { kind: "waiting", reason: "CrashLoopBackOff" },
  };
  const unready: ContainerState = { ...running, ready: false };
  const waiting: ContainerState = {
    restarts: 0,
    ready: false,
    state: { kind: "waiting", reason: "ContainerCreating" },
  };
  const cases: [string, ReturnType<typeof statusOf>, string, boolean][] = [
    ["runs", statusOf("Always", { a: running }), "Running", true],
    ["is not ready while a probe fails", statusOf("Always", { a: running, b: unready }), "Running", false],
    ["is pending before anything started", statusOf("Always", { a: waiting }), "Pending", false],
    ["goes on running between restarts", statusOf("Always", { a: crashed }), "Running", false],
    ["succeeds when all ended well", statusOf("OnFailure", { a: ended(0), b: ended(0) }), "Succeeded", false],
    ["fails when one ended badly", statusOf("Never", { a: ended(0), b: ended(3) }), "Failed", false],
    [
      "is restarted rather than failed on OnFailure",
      statusOf("OnFailure", { a: ended(3) }),
      "Running",
      false,
    ],
    ["fails with its init container", statusOf("Never", { a: waiting }, ended(1)), "Failed", false],
    ["waits for its init container", statusOf("Always", { a: waiting }, running), "Pending", false],
  ];
  for (const [what, status, phase, ready] of cases) {
    test(what, () => {
      expect(status.phase).toBe(phase as never);
      expect(status.conditions?.find(({ type }) => type === "Ready")?.status).toBe(ready ? "True" : "False");
    });
  }

  test("shows addresses of both families, the first one alone too", () => {
    const status = statusOf("Always", { a: running });
    expect(status.podIP).toBe("10.244.1.2");
    expect(status.podIPs).toEqual([{ ip: "10.244.1.2" }, { ip: "fd00::2" }]);
    expect(status.hostIP).toBe("172.30.0.11");
  });

  test("says of an image that is not there that it cannot be had", () => {
    const pod: Pod = { metadata: { name: "p" }, spec: { containers: [{ name: "a", image: "nginx" }] } };
    const trouble = { reason: "ErrImagePull", message: "no" };
    const state = {
      podIPs: [],
      sandboxReady: true,
      startTime: now,
      init: new Map(),
      containers: new Map(),
      trouble,
    };
    expect(podStatus(pod, state, [], now).containerStatuses?.[0]?.state).toEqual({ waiting: trouble });
  });

  test("keeps the time of a condition that did not change", () => {
    const pod: Pod = {
      metadata: { name: "p" },
      spec: { containers: [{ name: "a" }] },
      status: { conditions: [{ type: "Ready", status: "True", lastTransitionTime: "2029-01-01T00:00:00Z" }] },
    };
    const state = {
      podIPs: [],
      sandboxReady: true,
      startTime: now,
      init: new Map(),
      containers: new Map([["a", running]]),
    };
    const ready = podStatus(pod, state, [], now).conditions?.find(({ type }) => type === "Ready");
    expect(ready?.lastTransitionTime).toBe("2029-01-01T00:00:00Z");
  });
});
