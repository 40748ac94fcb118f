import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { deploymentOf, podOf, startTestServer, type TestServer } from "../testing.ts";

let api: TestServer;
beforeAll(async () => {
  api = await startTestServer();
});
afterAll(() => api.close());

const pods = "/api/v1/namespaces/default/pods";
const deployments = "/apis/apps/v1/namespaces/default/deployments";
const MERGE = "application/merge-patch+json";

describe("what is there from the start", () => {
  test("namespaces, and the Service kubernetes with the first address", async () => {
    const { body } = await api.get("/api/v1/namespaces");
    const names = body.items?.map((item) => item.metadata?.name as unknown as string);
    expect(names).toEqual(["default", "kube-node-lease", "kube-public", "kube-system"]);
    const service = await api.get("/api/v1/namespaces/default/services/kubernetes");
    expect(service.body.spec?.clusterIP as unknown as string).toBe("10.96.0.1");
  });
});

describe("create", () => {
  test("fills what kubelets and people expect", async () => {
    const { code, body } = await api.send("POST", pods, podOf("created"));
    expect(code).toBe(201);
    expect(body.metadata).toMatchObject({ name: "created", namespace: "default", generation: 1 } as never);
    expect(body.metadata?.uid).toMatch(/^[0-9a-f-]{36}$/);
    expect(body.spec as unknown).toMatchObject({
      restartPolicy: "Always",
      dnsPolicy: "ClusterFirst",
      serviceAccountName: "default",
      schedulerName: "default-scheduler",
      terminationGracePeriodSeconds: 30,
      containers: [{ imagePullPolicy: "Always", terminationMessagePolicy: "File", resources: {} }],
    });
    expect(body.status as unknown).toEqual({ phase: "Pending", qosClass: "BestEffort" });
  });

  test("a second of the same name is AlreadyExists", async () => {
    await api.send("POST", pods, podOf("twice"));
    const { code, body } = await api.send("POST", pods, podOf("twice"));
    expect(code).toBe(409);
    expect(body as unknown).toMatchObject({
      reason: "AlreadyExists",
      message: 'pods "twice" already exists',
      details: { kind: "pods" },
    });
  });

  test("generateName ends in five characters", async () => {
    const { body } = await api.send("POST", pods, { ...podOf(""), metadata: { generateName: "gen-" } });
    expect(body.metadata?.name).toMatch(/^gen-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
  });

  const refused: [name: string, path: string, body: unknown, code: number, message: RegExp][] = [
    ["a missing namespace", "/api/v1/namespaces/none/pods", podOf("x"), 404, /^namespaces "none" not found$/],
    [
      "another namespace than the path's",
      pods,
      { ...podOf("x"), metadata: { name: "x", namespace: "other" } },
      400,
      /does not match the namespace/,
    ],
    ["another kind", pods, { ...podOf("x"), kind: "Service" }, 400, /kind in the data \(Service\)/],
    ["no name", pods, { ...podOf("x"), metadata: {} }, 422, /metadata.name: Required value/],
    ["a bad name", pods, podOf("Upper"), 422, /metadata.name: Invalid value: "Upper"/],
    [
      "no containers",
      pods,
      podOf("x", { spec: { containers: [] } }),
      422,
      /^Pod "x" is invalid: spec.containers: Required value$/,
    ],
    [
      "a wrong type",
      pods,
      podOf("x", { spec: { hostNetwork: "yes" } }),
      422,
      /spec.hostNetwork: Invalid value: "yes": must be a boolean/,
    ],
    [
      "a bad label",
      pods,
      podOf("x", { labels: { "a/b/c": "d" } }),
      422,
      /metadata.labels: Invalid value: "a\/b\/c"/,
    ],
    [
      "a resourceVersion",
      pods,
      { ...podOf("x"), metadata: { name: "x", resourceVersion: "7" } },
      400,
      /resourceVersion should not be set/,
    ],
    [
      "a selector that misses its template",
      deployments,
      {
        ...deploymentOf("x", 1),
        spec: {
          selector: { matchLabels: { a: "b" } },
          template: (deploymentOf("x", 1).spec as { template: unknown }).template,
        },
      },
      422,
      /`selector` does not match template `labels`/,
    ],
    [
      "two things wrong at once",
      deployments,
      { ...deploymentOf("x", 1), spec: { replicas: -1 } },
      422,
      /^Deployment.apps "x" is invalid: \[.*spec.selector: Required value.*spec.template: Required value.*spec.replicas/,
    ],
  ];
  for (const [name, path, body, code, message] of refused) {
    test(`${name} is refused by name`, async () => {
      const answer = await api.send("POST", path, body);
      expect(answer.body.message).toMatch(message);
      expect(answer.code).toBe(code);
      if (code === 422) expect(answer.body.details?.causes?.[0]?.field).toBeDefined();
    });
  }

  test("unknown fields: a warning, an error where validation is strict, nothing where it is off", async () => {
    const body = podOf("unknown", { spec: { imagee: "x" } });
    const strict = await api.send("POST", `${pods}?fieldValidation=Strict`, body);
    expect([strict.code, strict.body.message] as unknown).toEqual([
      400,
      'strict decoding error: unknown field "spec.imagee"',
    ]);
    const warned = await api.send("POST", `${pods}?dryRun=All`, body);
    expect(warned.headers.get("warning")).toBe('299 - "unknown field \\"spec.imagee\\""');
    expect(warned.body.spec?.imagee).toBeUndefined();
    const ignored = await api.send("POST", `${pods}?dryRun=All&fieldValidation=Ignore`, body);
    expect([ignored.code, ignored.headers.get("warning")]).toEqual([201, null]);
  });

  test("a dry run stores nothing", async () => {
    expect((await api.send("POST", `${pods}?dryRun=All`, podOf("dry"))).code).toBe(201);
    expect((await api.get(`${pods}/dry`)).code).toBe(404);
    const services = "/api/v1/namespaces/default/services";
    const service = { metadata: { name: "dry" }, spec: { type: "NodePort", ports: [{ port: 80 }] } };
    const first = await api.send("POST", `${services}?dryRun=All`, service);
    const second = await api.send("POST", `${services}?dryRun=All`, {
      ...service,
      spec: { ...service.spec, clusterIP: first.body.spec?.clusterIP },
    });
    expect(second.code).toBe(201);
  });

  test("a Secret's stringData becomes data; namespaces and YAML bodies work", async () => {
    const secret = await api.send("POST", "/api/v1/namespaces/default/secrets", {
      metadata: { name: "s" },
      stringData: { a: "b" },
    });
    expect(secret.body as unknown).toMatchObject({ data: { a: "Yg==" }, type: "Opaque" });
    const yaml = "metadata:\n  name: from-yaml\ndata:\n  key: value\n";
    const map = await api.send("POST", "/api/v1/namespaces/default/configmaps", yaml, "application/yaml");
    expect(map.body.data as unknown).toEqual({ key: "value" });
  });
});

describe("update and patch", () => {
  test("an old version is a Conflict, none at all takes the current one", async () => {
    const { body } = await api.send("POST", deployments, deploymentOf("versions", 1));
    const next = { ...body, spec: { ...body.spec, replicas: 2 } };
    expect((await api.send("PUT", `${deployments}/versions`, next)).code).toBe(200);
    const stale = await api.send("PUT", `${deployments}/versions`, {
      ...next,
      spec: { ...body.spec, replicas: 3 },
    });
    expect([stale.code, stale.body.reason] as unknown).toEqual([409, "Conflict"]);
    expect(stale.body.message).toMatch(
      /the object has been modified; please apply your changes to the latest version/,
    );
    const blind = { ...next, metadata: { name: "versions" } };
    expect((await api.send("PUT", `${deployments}/versions`, blind)).code).toBe(200);
  });

  test("what changes nothing writes nothing", async () => {
    const { body } = await api.send("POST", deployments, deploymentOf("same", 1));
    const patched = await api.send("PATCH", `${deployments}/same`, { spec: { replicas: 1 } }, MERGE);
    expect(patched.body as unknown).toEqual(body as unknown);
  });

  test("generation counts changes of the spec, and status is the subresource's alone", async () => {
    await api.send("POST", deployments, deploymentOf("parts", 1));
    const main = await api.send(
      "PATCH",
      `${deployments}/parts`,
      { spec: { replicas: 2 }, status: { replicas: 9 } },
      MERGE,
    );
    expect(main.body.metadata?.generation as unknown as number).toBe(2);
    expect(main.body.status?.replicas).toBeUndefined();
    const status = await api.send(
      "PATCH",
      `${deployments}/parts/status`,
      { spec: { replicas: 7 }, status: { replicas: 2 } },
      MERGE,
    );
    expect(status.body.spec?.replicas as unknown as number).toBe(2);
    expect(status.body.status as unknown).toEqual({ replicas: 2 });
    expect(status.body.metadata?.generation as unknown as number).toBe(2);
  });

  test("the server's metadata stays", async () => {
    const { body } = await api.send("POST", pods, podOf("meta"));
    const patch = { metadata: { uid: null, creationTimestamp: "2000-01-01T00:00:00Z", labels: { a: "b" } } };
    const patched = await api.send("PATCH", `${pods}/meta`, patch, MERGE);
    expect(patched.body.metadata?.uid as unknown as string).toBe(body.metadata?.uid as unknown as string);
    expect(patched.body.metadata?.creationTimestamp as unknown as string).toBe(
      body.metadata?.creationTimestamp as unknown as string,
    );
    expect(patched.body.metadata?.labels as unknown).toEqual({ a: "b" });
  });

  test("of a pod that is there, only its image and little else may change", async () => {
    await api.send("POST", pods, podOf("fixed"));
    const image = { spec: { containers: [{ name: "echo", image: "weft/echo:2" }] } };
    const strategic = "application/strategic-merge-patch+json";
    expect((await api.send("PATCH", `${pods}/fixed`, image, strategic)).code).toBe(200);
    const host = await api.send("PATCH", `${pods}/fixed`, { spec: { hostNetwork: true } }, strategic);
    expect(host.code).toBe(422);
    expect(host.body.message).toMatch(/spec: Forbidden: pod updates may not change fields other than/);
  });

  test("a patch of an unknown type is 415 and names those that are known", async () => {
    const { code, body } = await api.send("PATCH", `${pods}/fixed`, {}, "application/json");
    expect(code).toBe(415);
    expect(body.message).toMatch(/application\/strategic-merge-patch\+json/);
  });

  test("server-side apply creates, updates, and tells of conflicts", async () => {
    const apply = (body: unknown, manager: string, more = "") =>
      api.send(
        "PATCH",
        `${deployments}/applied?fieldManager=${manager}${more}`,
        body,
        "application/apply-patch+yaml",
      );
    expect((await apply(deploymentOf("applied", 2), "one")).code).toBe(201);
    expect((await apply(deploymentOf("applied", 3), "one")).body.spec?.replicas as unknown as number).toBe(3);
    const conflict = await apply(deploymentOf("applied", 4), "two");
    expect(conflict.code).toBe(409);
    expect(conflict.body.details?.causes?.[0] as unknown).toMatchObject({
      reason: "FieldManagerConflict",
      field: ".spec.replicas",
    });
    expect(
      (await apply(deploymentOf("applied", 4), "two", "&force=true")).body.spec
        ?.replicas as unknown as number,
    ).toBe(4);
    expect((await apply(deploymentOf("applied", 4), "")).code).toBe(400);
  });
});

describe("delete", () => {
  test("a pod on a node waits for its kubelet, others go at once", async () => {
    await api.send("POST", pods, podOf("waiting", { spec: { nodeName: "n1" } }));
    await api.send("POST", pods, podOf("unbound"));
    expect((await api.send("DELETE", `${pods}/unbound`)).body as unknown).toMatchObject({
      status: "Success",
      details: { name: "unbound" },
    });
    const marked = await api.send("DELETE", `${pods}/waiting`, { gracePeriodSeconds: 5 });
    expect(marked.body.metadata as unknown).toMatchObject({ deletionGracePeriodSeconds: 5, generation: 2 });
    expect(marked.body.metadata?.deletionTimestamp).toBeDefined();
    expect((await api.get(`${pods}/waiting`)).code).toBe(200);
    await api.send("DELETE", `${pods}/waiting`, { gracePeriodSeconds: 0 });
    expect((await api.get(`${pods}/waiting`)).code).toBe(404);
  });

  test("finalizers hold an object until the last is off", async () => {
    const path = "/api/v1/namespaces/default/configmaps";
    await api.send("POST", path, { metadata: { name: "held", finalizers: ["example.com/hold"] } });
    const { body } = await api.send("DELETE", `${path}/held`);
    expect(body.metadata?.deletionTimestamp).toBeDefined();
    expect((await api.get(`${path}/held`)).code).toBe(200);
    const more = { metadata: { finalizers: ["example.com/hold", "example.com/late"] } };
    const late = await api.send("PATCH", `${path}/held`, more, MERGE);
    expect(late.code).toBe(422);
    expect(String(late.body.message)).toContain(
      'metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "example.com/late"',
    );
    await api.send("PATCH", `${path}/held`, { metadata: { finalizers: null } }, MERGE);
    expect((await api.get(`${path}/held`)).code).toBe(404);
  });

  test("the propagation policy becomes a finalizer for the garbage collector", async () => {
    for (const [policy, finalizer] of [
      ["Foreground", "foregroundDeletion"],
      ["Orphan", "orphan"],
    ] as const) {
      await api.send("POST", deployments, deploymentOf("owner", 1));
      const { body } = await api.send("DELETE", `${deployments}/owner`, { propagationPolicy: policy });
      expect(body.metadata?.finalizers as unknown).toEqual([finalizer]);
      await api.send("PATCH", `${deployments}/owner`, { metadata: { finalizers: null } }, MERGE);
    }
    expect((await api.get(`${deployments}/owner`)).code).toBe(404);
    expect((await api.send("DELETE", `${deployments}/parts`, { propagationPolicy: "Sideways" })).code).toBe(
      422,
    );
  });

  test("preconditions", async () => {
    await api.send("POST", pods, podOf("exact"));
    const wrong = await api.send("DELETE", `${pods}/exact`, { preconditions: { uid: "other" } });
    expect([wrong.code, wrong.body.reason] as unknown).toEqual([409, "Conflict"]);
  });

  test("a collection, by selector", async () => {
    for (const name of ["many-1", "many-2", "other"]) {
      await api.send("POST", pods, podOf(name, { labels: { set: name.split("-")[0] as string } }));
    }
    expect((await api.send("DELETE", `${pods}?labelSelector=set%3Dmany`)).code).toBe(200);
    const left = await api.get(`${pods}?labelSelector=set`);
    expect(left.body.items?.map((pod) => pod.metadata?.name as unknown as string)).toEqual(["other"]);
  });

  test("the namespaces that every cluster has stay", async () => {
    const { code, body } = await api.send("DELETE", "/api/v1/namespaces/default");
    expect([code, body.message as unknown]).toEqual([
      403,
      'namespaces "default" is forbidden: this namespace may not be deleted',
    ]);
  });

  test("a namespace is Terminating until it is finalized, and takes nothing new", async () => {
    await api.send("POST", "/api/v1/namespaces", { metadata: { name: "ending" } });
    const { body } = await api.send("DELETE", "/api/v1/namespaces/ending");
    expect(body.status?.phase as unknown as string).toBe("Terminating");
    const late = await api.send("POST", "/api/v1/namespaces/ending/pods", podOf("late"));
    expect(late.code).toBe(403);
    expect(late.body.message).toMatch(
      /unable to create new content in namespace ending because it is being terminated/,
    );
    const finalize = { ...body, spec: { finalizers: [] } };
    expect((await api.send("PUT", "/api/v1/namespaces/ending/finalize", finalize)).code).toBe(200);
    expect((await api.get("/api/v1/namespaces/ending")).code).toBe(404);
  });
});

describe("subresources", () => {
  test("scale, of deployments", async () => {
    await api.send("POST", deployments, deploymentOf("scaled", 1));
    const { body } = await api.get(`${deployments}/scaled/scale`);
    expect(body as unknown).toMatchObject({
      kind: "Scale",
      spec: { replicas: 1 },
      status: { replicas: 0, selector: "app=scaled" },
    });
    await api.send("PUT", `${deployments}/scaled/scale`, { ...body, spec: { replicas: 4 } });
    const patched = await api.send("PATCH", `${deployments}/scaled/scale`, { spec: { replicas: 5 } }, MERGE);
    expect(patched.body.spec?.replicas as unknown as number).toBe(5);
    expect((await api.get(`${deployments}/scaled`)).body.spec?.replicas as unknown as number).toBe(5);
    expect(
      (await api.send("PATCH", `${deployments}/scaled/scale`, { spec: { replicas: -1 } }, MERGE)).code,
    ).toBe(422);
    expect((await api.get(`${pods}/created/scale`)).code).toBe(404);
  });

  test("binding gives a pod its node, once", async () => {
    await api.send("POST", pods, podOf("bound"));
    const binding = {
      apiVersion: "v1",
      kind: "Binding",
      metadata: { name: "bound" },
      target: { kind: "Node", name: "n1" },
    };
    expect((await api.send("POST", `${pods}/bound/binding`, binding)).code).toBe(201);
    const pod = await api.get(`${pods}/bound`);
    expect(pod.body.spec?.nodeName as unknown as string).toBe("n1");
    expect(pod.body.status?.conditions?.[0] as unknown).toMatchObject({
      type: "PodScheduled",
      status: "True",
    });
    expect((await api.send("POST", `${pods}/bound/binding`, binding)).body.message).toMatch(
      /already assigned to node "n1"/,
    );
  });

  test("eviction deletes", async () => {
    await api.send("POST", pods, podOf("evicted"));
    const eviction = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name: "evicted" } };
    expect((await api.send("POST", `${pods}/evicted/eviction`, eviction)).code).toBe(201);
    expect((await api.get(`${pods}/evicted`)).code).toBe(404);
  });

  test("a service account's token is good for requests", async () => {
    await api.send("POST", "/api/v1/namespaces/default/serviceaccounts", { metadata: { name: "robot" } });
    const { body } = await api.send("POST", "/api/v1/namespaces/default/serviceaccounts/robot/token", {
      spec: {},
    });
    const review = await api.send("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {
      spec: { token: body.status?.token },
    });
    expect(review.body.status as unknown).toMatchObject({
      authenticated: true,
      user: { username: "system:serviceaccount:default:robot" },
    });
  });

  test("both event APIs show the same events", async () => {
    const event = {
      metadata: { name: "e1" },
      regarding: { kind: "Pod", name: "p", namespace: "default" },
      note: "hello",
      reason: "Test",
      type: "Normal",
      eventTime: "2026-01-01T00:00:00.000000Z",
    };
    expect((await api.send("POST", "/apis/events.k8s.io/v1/namespaces/default/events", event)).code).toBe(
      201,
    );
    const core = await api.get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp");
    expect(core.body.items?.[0] as unknown).toMatchObject({
      kind: "Event",
      apiVersion: "v1",
      message: "hello",
      involvedObject: { name: "p" },
    });
    const recent = await api.get("/apis/events.k8s.io/v1/namespaces/default/events/e1");
    expect(recent.body as unknown).toMatchObject({ apiVersion: "events.k8s.io/v1", note: "hello" });
  });
});

describe("paths and methods", () => {
  const table: [method: string, path: string, code: number][] = [
    ["GET", "/api/v1/nothing", 404],
    ["GET", "/apis/apps/v1/pods", 404],
    ["GET", "/api/v1/namespaces/default/nodes", 404],
    ["GET", "/api/v1/pods/created", 404],
    ["POST", "/api/v1/pods", 405],
    ["PUT", pods, 405],
    ["POST", `${pods}/created`, 405],
    ["GET", "/api/v1/namespaces/%2e%2e%2f/pods", 404],
    ["GET", "/api/v1//pods", 404],
    ["GET", `${pods}/created/nothing`, 404],
    ["GET", "/healthz", 200],
    ["GET", "/readyz/ping", 200],
  ];
  for (const [method, path, code] of table) {
    test(`${method} ${path}: ${code}`, async () => {
      const answer = await api.send(method, path, method === "GET" ? undefined : podOf("x"));
      expect(answer.code).toBe(code);
    });
  }
});
