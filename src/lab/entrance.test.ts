import { expect, test } from "bun:test";
import type { Pod } from "../kube/types.ts";
import { hostEntrance, podOfDeployment } from "./entrance.ts";

const pod = (name: string, owner: string, ready: boolean, ending = false): Pod => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: {
    name,
    ...(ending ? { deletionTimestamp: "2026-01-01T00:00:00Z" } : {}),
    ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: owner, uid: "1" }],
  },
  spec: { containers: [] },
  status: { conditions: [{ type: "Ready", status: ready ? "True" : "False" }] },
});

const pods = [
  pod("blue-5f-a", "blue-5f", true, true),
  pod("blue-5f-b", "blue-5f", false),
  pod("blue-5f-c", "blue-5f", true),
  pod("blue-green-7c-d", "blue-green-7c", true),
  pod("red-9a-e", "red-9a", false),
];

test.each([
  ["blue", "blue-5f-c"],
  ["blue-green", "blue-green-7c-d"],
  ["red", "red-9a-e"],
])("deploy/%s is a pod of its own, a ready one first", (deployment, name) => {
  expect(podOfDeployment(pods, "default", deployment).metadata.name).toBe(name);
});

test("a Deployment without pods is named", () => {
  expect(() => podOfDeployment(pods, "shop", "green")).toThrow(
    'there is no pod of a Deployment "green" in namespace "shop"',
  );
});

test("a host is entered with all of the machine's files", () => {
  expect(hostEntrance("node-1")).toMatchObject({
    netns: "/run/netns/node-1",
    spec: { hostname: "node-1", files: {} },
  });
});
