import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { ContainerStatus, Pod } from "../../kube/types.ts";
import { startTestServer, type TestServer } from "../testing.ts";
import { humanDuration } from "./columns.ts";
import { podStatus } from "./pods.ts";

describe("durations, as kubectl says them", () => {
  const second = 1000;
  const minute = 60 * second;
  const hour = 60 * minute;
  const day = 24 * hour;
  const table: [milliseconds: number, text: string][] = [
    [-3 * second, "<invalid>"],
    [-second, "0s"],
    [119 * second, "119s"],
    [2 * minute, "2m"],
    [2 * minute + 5 * second, "2m5s"],
    [11 * minute + 5 * second, "11m"],
    [3 * hour + 4 * minute, "3h4m"],
    [9 * hour + 4 * minute, "9h"],
    [49 * hour, "2d1h"],
    [9 * day + hour, "9d"],
    [800 * day, "2y70d"],
    [3000 * day, "8y"],
  ];
  for (const [milliseconds, text] of table) test(text, () => expect(humanDuration(milliseconds)).toBe(text));
});

describe("a pod's status in one word", () => {
  const container = (
    state: ContainerStatus["state"],
    more: Partial<ContainerStatus> = {},
  ): ContainerStatus => ({
    name: "c",
    ready: false,
    restartCount: 0,
    ...(state === undefined ? {} : { state }),
    ...more,
  });
  const pod = (status: Pod["status"], metadata: object = {}): Pod =>
    ({
      metadata: { name: "p", ...metadata },
      spec: { containers: [], initContainers: [{ name: "i" }, { name: "j" }] },
      status,
    }) as unknown as Pod;
  const table: [word: string, pod: Pod][] = [
    ["Pending", pod({ phase: "Pending" })],
    ["Running", pod({ phase: "Running", containerStatuses: [container({ running: {} }, { ready: true })] })],
    ["Terminating", pod({ phase: "Running" }, { deletionTimestamp: "2026-01-01T00:00:00Z" })],
    [
      "CrashLoopBackOff",
      pod({ phase: "Running", containerStatuses: [container({ waiting: { reason: "CrashLoopBackOff" } })] }),
    ],
    [
      "Error",
      pod({
        phase: "Failed",
        containerStatuses: [container({ terminated: { exitCode: 1, reason: "Error" } })],
      }),
    ],
    ["ExitCode:3", pod({ phase: "Failed", containerStatuses: [container({ terminated: { exitCode: 3 } })] })],
    [
      "Signal:9",
      pod({ phase: "Failed", containerStatuses: [container({ terminated: { exitCode: 137, signal: 9 } })] }),
    ],
    [
      "Completed",
      pod({
        phase: "Succeeded",
        containerStatuses: [container({ terminated: { exitCode: 0, reason: "Completed" } })],
      }),
    ],
    ["Init:0/2", pod({ phase: "Pending", initContainerStatuses: [container({ running: {} })] })],
    [
      "Init:Error",
      pod({
        phase: "Pending",
        initContainerStatuses: [container({ terminated: { exitCode: 1, reason: "Error" } })],
      }),
    ],
    ["Evicted", pod({ phase: "Failed", reason: "Evicted" })],
  ];
  for (const [word, value] of table) test(word, () => expect(podStatus(value)).toBe(word));
});

describe("tables", () => {
  let api: TestServer;
  beforeAll(async () => {
    api = await startTestServer();
  });
  afterAll(() => api.close());
  const accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
  const cells = async (path: string) => {
    const { body } = await api.get(path, { accept });
    return Object.fromEntries(
      (body.columnDefinitions ?? []).map((column, i) => [
        column.name as unknown as string,
        body.rows?.[0]?.cells?.[i] as unknown,
      ]),
    );
  };

  test("services, nodes and policies", async () => {
    const service = {
      metadata: { name: "s" },
      spec: {
        type: "NodePort",
        clusterIP: "10.96.0.9",
        selector: { a: "b" },
        ports: [{ port: 80, nodePort: 30100 }],
      },
    };
    await api.send("POST", "/api/v1/namespaces/default/services", service);
    expect(await cells("/api/v1/namespaces/default/services/s")).toEqual({
      Name: "s",
      Type: "NodePort",
      "Cluster-IP": "10.96.0.9",
      "External-IP": "<none>",
      "Port(s)": "80:30100/TCP",
      Age: "0s",
      Selector: "a=b",
    });
    const node = {
      metadata: { name: "n1", labels: { "node-role.kubernetes.io/control-plane": "" } },
      spec: { unschedulable: true },
      status: {
        conditions: [{ type: "Ready", status: "True" }],
        addresses: [{ type: "InternalIP", address: "10.0.0.1" }],
        nodeInfo: { kubeletVersion: "v1.34.0" },
      },
    };
    await api.send("POST", "/api/v1/nodes", node);
    expect(await cells("/api/v1/nodes/n1")).toMatchObject({
      Status: "Ready,SchedulingDisabled",
      Roles: "control-plane",
      Version: "v1.34.0",
      "Internal-IP": "10.0.0.1",
      "OS-Image": "<unknown>",
    });
    await api.send("POST", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", {
      metadata: { name: "np" },
      spec: { podSelector: { matchLabels: { a: "b" } } },
    });
    expect(await cells("/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/np")).toMatchObject({
      "Pod-Selector": "a=b",
    });
  });

  test("rows carry what is asked for", async () => {
    const path = "/api/v1/namespaces/default/services/s";
    const { body } = await api.get(path, { accept });
    expect(body.rows?.[0]?.object?.kind as unknown).toBe("PartialObjectMetadata");
    const whole = await api.get(`${path}?includeObject=Object`, { accept });
    expect(whole.body.rows?.[0]?.object?.kind as unknown).toBe("Service");
    const none = await api.get(`${path}?includeObject=None`, { accept });
    expect(none.body.rows?.[0]?.object).toBeUndefined();
  });
});
