/**
 * Strategic merge against kubectl's own: `kubectl patch --local` merges in the client, with the code of Kubernetes' API
 * server. Random Deployments and patches, seeded.
 */
import { afterAll, expect } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Dict } from "../../src/controlplane/objects.ts";
import { applyStrategicMerge } from "../../src/controlplane/patch/strategic.ts";
import { builtinSchema } from "../../src/controlplane/schema/builtin.ts";
import { seeded } from "../../src/controlplane/testing.ts";
import { findKubectl } from "../lib/kubectl.ts";
import { needs, testWith } from "../lib/needs.ts";

const CASES = 40;
const schema = builtinSchema("io.k8s.api.apps.v1.Deployment");
const kubectl = findKubectl("1.35");
const folder = mkdtempSync(join(tmpdir(), "weft-patch-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const random = seeded(1);
const names = ["a", "b", "c", "d"];
const chance = (of: number) => random(of) === 0;
const some = <T>(list: readonly T[]): T[] => list.filter(() => chance(2));
const maybe = (of: number, part: () => Dict): Dict => (chance(of) ? part() : {});
const labelled = (list: readonly string[], value: () => unknown) =>
  Object.fromEntries(list.map((name) => [name, value()]));

function container(name: string): Dict {
  return {
    name,
    image: `${name}:${random(3)}`,
    ...maybe(2, () => ({ env: some(names).map((key) => ({ name: key, value: String(random(3)) })) })),
    ...maybe(2, () => ({ ports: some([80, 81, 82]).map((containerPort) => ({ containerPort })) })),
    ...maybe(3, () => ({ command: ["x", "y"] })),
  };
}

const owner = (name: string, more: Dict = {}): Dict => ({
  apiVersion: "v1",
  kind: "X",
  name,
  uid: `u${name}`,
  ...more,
});

function deployment(): Dict {
  const spec = {
    containers: some(names).map(container),
    volumes: some(names).map((name) => ({ name, emptyDir: {} })),
    tolerations: [{ key: "x" }],
    nodeSelector: { a: "b" },
  };
  const metadata = {
    name: "d",
    labels: labelled(some(names), () => "1"),
    finalizers: some(names).map((name) => `x/${name}`),
    ownerReferences: some(names).map((name) => owner(name)),
  };
  const strategy = { type: "RollingUpdate", rollingUpdate: { maxSurge: 1 } };
  const selector = { matchLabels: { a: "1" } };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata,
    spec: { replicas: random(3), strategy, selector, template: { spec } },
  };
}

/** Directives inside of items that are new are kept by kubectl as they are: patches here have none. */
function containersPatch(): Dict {
  const items = some(names).map((name): Dict => {
    if (chance(6)) return { name, $patch: "delete" };
    return chance(8) ? { $patch: "replace" } : { ...container(name), ...maybe(4, () => ({ env: null })) };
  });
  const listed = items
    .filter((item) => item.name !== undefined && item.$patch === undefined)
    .map(({ name }) => ({ name }));
  const others = some(names).filter((name) => !items.some((item) => item.name === name));
  const order = { "$setElementOrder/containers": [...listed, ...others.map((name) => ({ name }))] };
  return { containers: items, ...maybe(2, () => order) };
}

function patch(): Dict {
  const retained = (name: string) => ({ name, $retainKeys: ["name", "hostPath"], hostPath: { path: "/x" } });
  const spec = {
    ...maybe(2, containersPatch),
    ...maybe(3, () => ({
      volumes: some(names).map((name) => (chance(2) ? { name, $patch: "delete" } : retained(name))),
    })),
    ...maybe(3, () => ({ tolerations: [{ key: "y" }] })),
    ...maybe(4, () => ({ nodeSelector: chance(2) ? { $patch: "replace", c: "d" } : { a: null, c: "d" } })),
    ...maybe(5, () => ({ securityContext: { runAsUser: 1, fsGroup: null } })),
  };
  const added = some(names);
  const removed = some(names).filter((name) => !added.includes(name));
  const finalizers = (list: readonly string[]) => list.map((name) => `x/${name}`);
  const metadata = {
    ...maybe(3, () => ({ labels: labelled(some(names), () => (chance(2) ? null : "2")) })),
    ...maybe(3, () => ({
      finalizers: finalizers(added),
      "$deleteFromPrimitiveList/finalizers": finalizers(removed),
    })),
    ...maybe(4, () => ({
      ownerReferences: some(names).map((name) =>
        chance(3) ? { uid: `u${name}`, $patch: "delete" } : owner(name, { controller: true }),
      ),
    })),
  };
  const strategy = { $retainKeys: ["type"], type: "Recreate" };
  return {
    metadata,
    spec: {
      template: { spec },
      ...maybe(3, () => ({ replicas: chance(2) ? null : 5 })),
      ...maybe(4, () => ({ strategy })),
    },
  };
}

/** Without nulls and directives, which kubectl leaves in what is new, and which decoding drops. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value).filter(([key, inner]) => inner !== null && !key.startsWith("$"));
  return Object.fromEntries(kept.map(([key, inner]) => [key, plain(inner)]));
}

testWith(needs.that(kubectl !== undefined, "kubectl 1.35"))(
  "strategic merge does as kubectl does",
  () => {
    const file = join(folder, "deployment.json");
    for (let i = 0; i < CASES; i++) {
      const [document, change] = [deployment(), patch()];
      writeFileSync(file, JSON.stringify(document));
      const args = [
        "patch",
        "--local",
        "-f",
        file,
        "--type=strategic",
        "-p",
        JSON.stringify(change),
        "-o",
        "json",
      ];
      const { exitCode, stdout, stderr } = Bun.spawnSync([kubectl?.path ?? "", ...args], {
        env: { ...process.env, KUBECONFIG: "/dev/null" },
      });
      expect([exitCode, stderr.toString()]).toEqual([0, ""]);
      const theirs = JSON.parse(stdout.toString()) as unknown;
      expect({ document, change, result: plain(applyStrategicMerge(document, change, schema)) }).toEqual({
        document,
        change,
        result: plain(theirs),
      });
    }
  },
  60_000,
);
