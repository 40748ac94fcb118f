/**
 * The embedded API server before the eyes of kubectl, from 1.20 to 1.35, over HTTPS with the kubeconfig that it writes:
 *
 *     kubectl ──TLS, bearer token──► API server (memory)
 *
 * No controllers run: what a controller or kubelet would do, the tests do.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ApiServer, startApiServer } from "../../src/controlplane/server.ts";
import { findKubectl, type Kubectl } from "../lib/kubectl.ts";
import { describeWith, needs } from "../lib/needs.ts";

const folder = mkdtempSync(join(tmpdir(), "weft-kubectl-"));
const kubeconfig = join(folder, "kubeconfig");
const files = {
  blue: join(folder, "blue.yaml"),
  typo: join(folder, "typo.yaml"),
  invalid: join(folder, "invalid.yaml"),
  definition: join(folder, "definition.yaml"),
  widget: join(folder, "widget.yaml"),
};
let server: ApiServer;

const blue = (image: string, replicas: number) => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: blue, labels: {app: blue}}
spec:
  replicas: ${replicas}
  selector: {matchLabels: {app: blue}}
  template:
    metadata: {labels: {app: blue}}
    spec:
      containers:
      - name: echo
        image: ${image}
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: blue}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: {app: blue}
  ports: [{port: 8888, targetPort: 8080}]
`;
const pod = (name: string, container: string) => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}}
spec: {containers: [${container}]}
`;
const definition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.weft.test}
spec:
  group: weft.test
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, minimum: 1, description: How large it is.}
              color: {type: string, default: blue}
`;
const widget = (size: number) => `
apiVersion: weft.test/v1
kind: Widget
metadata: {name: one}
spec: {size: ${size}}
`;

beforeAll(async () => {
  server = await startApiServer({ listen: { port: 0 }, serviceCidrs: ["10.96.0.0/16", "fd00:10:96::/112"] });
  writeFileSync(kubeconfig, server.kubeconfig("admin"), { mode: 0o600 });
  writeFileSync(files.typo, pod("typo", "{name: a, image: b, imagee: c}"));
  writeFileSync(files.invalid, pod("invalid", '{name: "A_", image: b}'));
  writeFileSync(files.definition, definition);
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs kubectl; the server lives in this process, so nothing may block. */
function start(kubectl: Kubectl, namespace: string, args: readonly string[]) {
  const cacheDir = join(folder, `cache-${kubectl.version}`);
  return Bun.spawn(
    [
      kubectl.path,
      `--kubeconfig=${kubeconfig}`,
      `--cache-dir=${cacheDir}`,
      `--namespace=${namespace}`,
      ...args,
    ],
    {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: 30_000,
    },
  );
}

async function api(
  method: string,
  path: string,
  body?: unknown,
  type = "application/merge-patch+json",
): Promise<unknown> {
  const request = new Request(`http://test${path}`, {
    method,
    headers: { "content-type": type },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return (await server.handle(request)).json();
}

/** Lines of a stream, one by one. */
async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of stream.pipeThrough(
    new TextDecoderStream() as unknown as TransformStream<Uint8Array, string>,
  )) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

for (const version of ["1.20", "1.30", "1.35"]) {
  const found = findKubectl(version);
  const describe = describeWith(needs.that(found !== undefined, `kubectl ${version}`));
  const kubectl = found ?? { version, path: "" };
  const namespace = `test-${version.replace(".", "-")}`;
  const run = async (...args: string[]): Promise<Result> => {
    const child = start(kubectl, namespace, args);
    const [out, err, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { code, out, err };
  };
  const good = async (...args: string[]): Promise<string> => {
    const { code, out, err } = await run(...args);
    if (code !== 0) throw new Error(`kubectl ${args.join(" ")}: ${err}`);
    return out;
  };
  const pods = `/api/v1/namespaces/${namespace}/pods`;
  const deployments = `/apis/apps/v1/namespaces/${namespace}/deployments`;

  describe(`kubectl ${version}`, () => {
    beforeAll(async () => {
      expect(await good("create", "namespace", namespace)).toBe(`namespace/${namespace} created\n`);
      writeFileSync(files.blue, blue("weft/echo", 2));
      writeFileSync(files.widget, widget(3));
    }, 60_000);

    test("apply: created, unchanged, configured; diff shows what would be", async () => {
      expect(await good("apply", "-f", files.blue)).toBe(
        "deployment.apps/blue created\nservice/blue created\n",
      );
      expect(await good("apply", "-f", files.blue)).toBe(
        "deployment.apps/blue unchanged\nservice/blue unchanged\n",
      );
      writeFileSync(files.blue, blue("weft/echo:2", 3));
      const diff = await run("diff", "-f", files.blue);
      expect([diff.code, diff.out]).toEqual([
        1,
        expect.stringMatching(/^-\s+replicas: 2\n\+\s+replicas: 3$/m),
      ]);
      expect(await good("apply", "-f", files.blue)).toBe(
        "deployment.apps/blue configured\nservice/blue unchanged\n",
      );
      expect(await good("apply", "--dry-run=server", "-f", files.blue)).toMatch(
        /unchanged \(server dry run\)|configured \(server dry run\)/,
      );
    }, 60_000);

    test("get: tables, wide ones, templates, everything of a category", async () => {
      expect(await good("get", "deployment", "blue")).toMatch(
        /^NAME +READY +UP-TO-DATE +AVAILABLE +AGE\nblue +0\/3 +0 +0 +\S+\n$/,
      );
      expect(await good("get", "svc", "-o", "wide")).toMatch(
        /^blue +NodePort +10\.96\.\S+ +<none> +8888:3\d{4}\/TCP +\S+ +app=blue$/m,
      );
      expect(
        await good("get", "deploy/blue", "-o", "jsonpath={.spec.template.spec.containers[0].image}"),
      ).toBe("weft/echo:2");
      expect(await good("get", "all", "-l", "app=blue", "-o", "name")).toBe("deployment.apps/blue\n");
      expect(
        await good("get", "deploy", "-o", "custom-columns=N:.metadata.name", "--sort-by=.metadata.name"),
      ).toBe("N\nblue\n");
      expect((await run("get", "pod", "none")).err).toBe(
        'Error from server (NotFound): pods "none" not found\n',
      );
      expect((await run("get", "nothing")).err).toBe(
        'error: the server doesn\'t have a resource type "nothing"\n',
      );
    }, 60_000);

    test("describe", async () => {
      expect(await good("describe", "deployment", "blue")).toMatch(/Replicas: +3 desired \| 0 updated/);
      expect(await good("describe", "service", "blue")).toMatch(/IP Families: +IPv4,IPv6\n/);
      await good("run", "seen", "--image=weft/echo");
      const uid = await good("get", "pod", "seen", "-o", "jsonpath={.metadata.uid}");
      const event = {
        metadata: { name: "seen.1" },
        involvedObject: { kind: "Pod", name: "seen", namespace, uid },
        reason: "Pulled",
        message: "ready to go",
        type: "Normal",
      };
      await api("POST", `/api/v1/namespaces/${namespace}/events`, event, "application/json");
      expect(await good("describe", "pod", "seen")).toMatch(/QoS Class: +BestEffort[\s\S]*ready to go/);
      const node = {
        metadata: { name: `node-${namespace}` },
        status: { capacity: { cpu: "2" }, allocatable: { cpu: "2" } },
      };
      await api("POST", "/api/v1/nodes", node, "application/json");
      expect(await good("describe", "node", `node-${namespace}`)).toMatch(/Allocated resources:/);
      expect(await good("describe", "namespace", namespace)).toMatch(/Status: +Active/);
    }, 60_000);

    test("scale, patch, label, annotate, set image", async () => {
      expect(await good("scale", "deployment/blue", "--replicas=5")).toBe("deployment.apps/blue scaled\n");
      await good(
        "patch",
        "deployment",
        "blue",
        "-p",
        '{"spec":{"template":{"spec":{"containers":[{"name":"echo","env":[{"name":"A","value":"1"}]}]}}}}',
      );
      await good(
        "patch",
        "deployment",
        "blue",
        "--type=json",
        "-p",
        '[{"op":"replace","path":"/spec/replicas","value":4}]',
      );
      await good("patch", "deployment", "blue", "--type=merge", "-p", '{"spec":{"paused":true}}');
      await good("label", "deployment", "blue", "tier=front");
      await good("annotate", "deployment", "blue", "note=here");
      await good("set", "image", "deployment/blue", "echo=weft/echo:3");
      await good("rollout", "restart", "deployment/blue").catch(() => "a paused deployment is not restarted");
      const path =
        "{.spec.replicas} {.spec.paused} {.metadata.labels.tier} {.metadata.annotations.note} {.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].env[0].value}";
      expect(await good("get", "deployment", "blue", "-o", `jsonpath=${path}`)).toBe(
        "4 true front here weft/echo:3 1",
      );
    }, 60_000);

    test("create: typed objects, which newer versions send as protobuf", async () => {
      await good("create", "configmap", "map", "--from-literal=a=b");
      await good("create", "secret", "generic", "secret", "--from-literal=a=b");
      await good("create", "deployment", "green", "--image=weft/echo");
      await good("create", "service", "clusterip", "plain", "--tcp=80:8080");
      await good("create", "serviceaccount", "robot");
      await good("create", "role", "reader", "--verb=get", "--resource=pods");
      await good("create", "rolebinding", "binding", "--role=reader", `--serviceaccount=${namespace}:robot`);
      expect(await good("get", "configmap/map", "-o", "jsonpath={.data.a}")).toBe("b");
      expect(await good("get", "secret/secret", "-o", "jsonpath={.data.a} {.type}")).toBe("Yg== Opaque");
      const port = "jsonpath={.spec.ports[0].targetPort} {.spec.type}";
      expect(await good("get", "service/plain", "-o", port)).toBe("8080 ClusterIP");
      expect(
        await good(
          "get",
          "deployment/green",
          "-o",
          "jsonpath={.spec.replicas} {.spec.strategy.rollingUpdate.maxSurge}",
        ),
      ).toBe("1 25%");
      expect(await good("auth", "can-i", "create", "pods")).toBe("yes\n");
      if (version !== "1.20")
        expect(await good("create", "token", "robot")).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\s*$/);
    }, 60_000);

    test("wrong manifests are refused with the field's name, by default", async () => {
      const typo = await run("apply", "-f", files.typo);
      expect([typo.code, typo.err]).toEqual([
        1,
        expect.stringMatching(/unknown field "(spec\.containers\[0\]\.)?imagee"/),
      ]);
      const invalid = await run("apply", "-f", files.invalid);
      expect([invalid.code, invalid.err]).toEqual([
        1,
        expect.stringMatching(
          /^The Pod "invalid" is invalid: \n?(\* )?spec\.containers\[0\]\.name: Invalid value: "A_"/,
        ),
      ]);
    }, 60_000);

    test("server-side apply, and its conflicts", async () => {
      const map = join(folder, "map.yaml");
      const text = (value: string) =>
        JSON.stringify({
          apiVersion: "v1",
          kind: "ConfigMap",
          metadata: { name: "applied" },
          data: { key: value },
        });
      writeFileSync(map, text("one"));
      expect(await good("apply", "--server-side", "-f", map)).toBe("configmap/applied serverside-applied\n");
      await good("patch", "configmap", "applied", "--type=merge", "-p", '{"data":{"key":"two"}}');
      writeFileSync(map, text("three"));
      const conflict = await run("apply", "--server-side", "-f", map);
      expect(conflict.code).toBe(1);
      expect(conflict.err).toMatch(
        /Apply failed with 1 conflict: conflict with "kubectl(-patch)?" using v1: \.data\.key/,
      );
      await good("apply", "--server-side", "--force-conflicts", "-f", map);
      expect(await good("get", "configmap/applied", "-o", "jsonpath={.data.key}")).toBe("three");
    }, 60_000);

    test("watch: a line for each change, at once", async () => {
      const child = start(kubectl, namespace, ["get", "pods", "--watch", "-l", "watched=yes"]);
      const lines = linesOf(child.stdout);
      const body = {
        metadata: { name: "watched", labels: { watched: "yes" } },
        spec: { containers: [{ name: "a", image: "b" }] },
      };
      // An empty list prints nothing: the first object tells that the watch is there.
      await api("POST", pods, body, "application/json");
      expect((await lines.next()).value).toMatch(/^NAME +READY +STATUS/);
      expect((await lines.next()).value).toMatch(/^watched +0\/1 +Pending/);
      await api("PATCH", `${pods}/watched/status`, { status: { phase: "Running" } });
      expect((await lines.next()).value).toMatch(/^watched +0\/1 +Running/);
      child.kill();
      await child.exited;
    }, 60_000);

    test("rollout status and wait end when the status says so", async () => {
      const status = start(kubectl, namespace, ["rollout", "status", "deployment/green"]);
      const wait = start(kubectl, namespace, [
        "wait",
        "--for=condition=Available",
        "deployment/green",
        "--timeout=20s",
      ]);
      const lines = linesOf(status.stdout);
      expect((await lines.next()).value).toMatch(/^Waiting for deployment/);
      const conditions = [{ type: "Available", status: "True" }];
      const done = {
        observedGeneration: 1,
        replicas: 1,
        updatedReplicas: 1,
        readyReplicas: 1,
        availableReplicas: 1,
        conditions,
      };
      await api("PATCH", `${deployments}/green/status`, { status: done });
      expect(await status.exited).toBe(0);
      expect(await wait.exited).toBe(0);
    }, 60_000);

    test("delete waits until the kubelet has stopped the pod", async () => {
      const spec = { nodeName: `node-${namespace}`, containers: [{ name: "a", image: "b" }] };
      await api("POST", pods, { metadata: { name: "bound" }, spec }, "application/json");
      const answer = await server.handle(
        new Request(`http://test${pods}?watch=1&fieldSelector=metadata.name%3Dbound`),
      );
      const events = linesOf(answer.body as ReadableStream<Uint8Array>);
      await events.next();
      const child = start(kubectl, namespace, ["delete", "pod", "bound"]);
      const marked = JSON.parse((await events.next()).value as string) as {
        object: { metadata: { deletionGracePeriodSeconds: number } };
      };
      expect(marked.object.metadata.deletionGracePeriodSeconds).toBe(30);
      await api("DELETE", `${pods}/bound`, { gracePeriodSeconds: 0 }, "application/json");
      expect(await child.exited).toBe(0);
    }, 60_000);

    test("cordon and drain", async () => {
      const node = `node-${namespace}`;
      await good("cordon", node);
      expect(await good("get", "node", node)).toMatch(/SchedulingDisabled/);
      await api(
        "POST",
        pods,
        { metadata: { name: "drained" }, spec: { nodeName: node, containers: [{ name: "a", image: "b" }] } },
        "application/json",
      );
      await api("PATCH", `${pods}/drained/status`, { status: { phase: "Succeeded" } });
      expect(await good("drain", node, "--force")).toMatch(/drained/);
      expect((await run("get", "pod", "drained")).code).toBe(1);
      await good("uncordon", node);
    }, 60_000);

    test("custom resources: apply, columns, validation, explain, delete", async () => {
      await good("apply", "-f", files.definition);
      await good("wait", "--for=condition=established", "crd/widgets.weft.test", "--timeout=10s");
      expect(await good("apply", "-f", files.widget)).toBe("widget.weft.test/one created\n");
      expect(await good("get", "wd")).toMatch(/^NAME +SIZE\none +3\n$/);
      writeFileSync(files.widget, widget(4));
      expect(await good("apply", "-f", files.widget)).toBe("widget.weft.test/one configured\n");
      expect(await good("get", "widget/one", "-o", "jsonpath={.spec.color} {.metadata.generation}")).toBe(
        "blue 2",
      );
      writeFileSync(files.widget, widget(0));
      expect((await run("apply", "-f", files.widget)).err).toMatch(
        /spec\.size: Invalid value: 0: must be greater than or equal to 1/,
      );
      expect(await good("explain", "widget.spec")).toMatch(/size[\s\S]*How large it is/);
      expect(await good("explain", "pod.spec.containers.ports")).toMatch(/containerPort/);
      await good("delete", "crd", "widgets.weft.test");
      expect((await run("get", "widgets")).code).toBe(1);
    }, 60_000);

    test("delete, by file and by label, and the namespace", async () => {
      await good("delete", "-f", files.blue);
      expect((await run("get", "deployment", "blue")).code).toBe(1);
      await good("delete", "pods", "-l", "watched=yes");
      await good("delete", "pods,services,deployments", "--all");
      await good("delete", "namespace", namespace, "--wait=false");
      expect(await good("get", "namespace", namespace, "-o", "jsonpath={.status.phase}")).toBe("Terminating");
    }, 60_000);

    test("api-resources, cluster-info and version", async () => {
      expect(await good("api-resources", "-o", "name")).toMatch(/^deployments\.apps$/m);
      expect(await good("cluster-info")).toContain(server.url);
      expect(await good("version", "-o", "json")).toMatch(/"gitVersion": "v1\.34\.0\+weft"/);
    }, 60_000);
  });
}
