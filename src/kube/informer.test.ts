import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { FakeClock } from "../lib/clock.ts";
import { createLog } from "../lib/log.ts";
import { ApiError, ApiUnreachable } from "./errors.ts";
import { FakeKube } from "./fake/index.ts";
import { createKubeClient, type Informer, type InformerOptions, startInformer } from "./index.ts";
import { HttpKube } from "./testdata/server.ts";
import { type ConfigMap, resources } from "./types.ts";

const { configMaps } = resources;
const namespace = "default";

let kube: FakeKube;
let clock: FakeClock;
let controller: AbortController;
let seen: string[];
let logged: string[];

beforeEach(() => {
  clock = new FakeClock();
  kube = new FakeKube({ clock });
  controller = new AbortController();
  seen = [];
  logged = [];
});
afterEach(() => controller.abort());

function start(options: Partial<InformerOptions<ConfigMap>> = {}): Informer<ConfigMap> {
  const log = createLog({ write: (line) => logged.push(line.slice(25)) });
  const signal = controller.signal;
  const informer = startInformer(kube, configMaps, {
    signal,
    clock,
    log,
    backoff: { jitter: 0 },
    ...options,
  });
  record(informer);
  return informer;
}

function record(informer: Informer<ConfigMap>): void {
  informer.on({
    add: ({ metadata }) => seen.push(`+${metadata.name}`),
    update: ({ data }, before) =>
      seen.push(`${before.metadata.name}:${before.data?.v ?? ""}>${data?.v ?? ""}`),
    delete: ({ metadata }) => seen.push(`-${metadata.name}`),
  });
}

const put = async (name: string, v?: string, labels: Record<string, string> = {}) => {
  const object = { metadata: { name, namespace, labels }, data: v === undefined ? {} : { v } };
  return kube.store.get(configMaps, `${namespace}/${name}`) === undefined
    ? await kube.create(configMaps, object)
    : await kube.update(configMaps, object);
};
const remove = (name: string) => kube.delete(configMaps, { name, namespace });

/** Until all that can run without time passing has run. */
async function settle(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve();
}

const names = (informer: Informer<ConfigMap>) => informer.list().map(({ metadata }) => metadata.name);

describe("an informer", () => {
  test("lists, then follows", async () => {
    await put("a", "1");
    const informer = start();
    expect(informer.hasSynced).toBe(false);
    await informer.synced;
    expect(seen).toEqual(["+a"]);
    await put("b");
    await put("a", "2");
    await remove("b");
    await settle();
    expect(seen).toEqual(["+a", "+b", "a:1>2", "-b"]);
    expect(informer.get({ name: "a", namespace })?.data).toEqual({ v: "2" });
    expect(informer.getByKey("default/b")).toBeUndefined();
    expect(informer.size).toBe(1);
    expect(informer.health).toEqual({ connected: true, error: undefined });
  });

  test("follows only what its selector wants", async () => {
    const informer = start({ labelSelector: "app=blue", namespace });
    await put("a", "1", { app: "blue" });
    await put("b", "1", { app: "red" });
    await informer.synced;
    await put("b", "2", { app: "blue" });
    await put("a", "2", { app: "red" });
    await settle();
    expect(seen).toEqual(["+a", "+b", "-a"]);
    expect(names(informer)).toEqual(["b"]);
  });

  test("keeps what trim leaves, and no managed fields without it", async () => {
    const { metadata } = await put("a", "1");
    await kube.patch(configMaps, metadata, {
      type: "merge",
      body: { metadata: { managedFields: [{ manager: "x" }] } },
    });
    const trimmed = start({ trim: ({ metadata }) => ({ metadata }) });
    const whole = start();
    await Promise.all([trimmed.synced, whole.synced]);
    expect(trimmed.list()[0]?.data).toBeUndefined();
    expect(whole.list()[0]?.data).toEqual({ v: "1" });
    expect(whole.list()[0]?.metadata.managedFields).toBeUndefined();
  });

  test("finds by index, also after changes", async () => {
    const informer = start({ indexes: { v: ({ data }) => (data?.v ?? "").split(",") } });
    await informer.synced;
    await put("a", "1,2");
    await put("b", "2");
    await settle();
    const by = (value: string) => informer.by("v", value).map(({ metadata }) => metadata.name);
    expect([by("1"), by("2"), by("3")]).toEqual([["a"], ["a", "b"], []]);
    await put("a", "3");
    await remove("b");
    await settle();
    expect([by("1"), by("2"), by("3")]).toEqual([[], [], ["a"]]);
    expect(() => informer.by("x", "1")).toThrow('no index "x"');
  });

  test("tells a late handler what there is, and one that left nothing", async () => {
    await put("a");
    const informer = start();
    await informer.synced;
    seen.length = 0;
    const off = informer.on({ add: ({ metadata }) => seen.push(`late+${metadata.name}`) });
    await put("b");
    await settle();
    off();
    await put("c");
    await settle();
    expect(seen).toEqual(["late+a", "+b", "late+b", "+c"]);
  });

  test("observes writes of one's own at once, and is not thrown back by what is told late", async () => {
    const informer = start();
    await informer.synced;
    const first = await put("a", "1");
    const second = await put("a", "2");
    informer.observe(second);
    informer.observe(first);
    expect(seen).toEqual(["+a"]);
    await settle();
    expect(seen).toEqual(["+a"]);
    expect(informer.get(first.metadata)?.data).toEqual({ v: "2" });
    await remove("a");
    informer.observeRemoval(second);
    expect(seen.splice(0)).toEqual(["+a", "-a"]);
    await settle();
    expect(seen).toEqual([]);
    expect(informer.size).toBe(0);
  });

  test("does not raise the dead: an answer that comes after the deletion was told", async () => {
    const informer = start();
    await informer.synced;
    const late = await put("a", "1");
    await remove("a");
    await settle();
    informer.observe(late);
    expect(seen).toEqual(["+a", "-a"]);
    expect(informer.size).toBe(0);
  });

  test("keeps what was observed after the list that brings everything anew", async () => {
    const informer = start();
    await informer.synced;
    kube.intercept = ({ verb }) => {
      if (verb === "watch") throw new ApiError({ code: 410, reason: "Expired" }, "watch");
    };
    const list = kube.list.bind(kube);
    kube.list = async (...parameters) => {
      const answer = await list(...parameters);
      kube.intercept = () => {};
      informer.observe((await put("late")) as ConfigMap);
      return answer as never;
    };
    kube.interrupt();
    for (let i = 0; i < 3; i++) {
      await settle();
      clock.advance(30_000);
    }
    expect(seen).toEqual(["+late"]);
    expect(names(informer)).toEqual(["late"]);
  });

  test("goes on when a handler, trim or index fails, and says so", async () => {
    const informer = start({
      indexes: {
        bad: ({ metadata }) => {
          if (metadata.name === "odd") throw new Error("no index for this");
          return [];
        },
      },
    });
    informer.on({
      add: () => {
        throw new Error("handler is broken");
      },
    });
    await put("odd");
    await put("a");
    await informer.synced;
    await settle();
    expect(names(informer)).toContain("a");
    expect(logged.join()).toContain("handler is broken");
    expect(logged.join()).toContain("no index for this");
  });
});

describe("an API server that goes away", () => {
  test("in mid-watch: what was known stays, changes meanwhile arrive, without a list", async () => {
    await put("a", "1");
    const informer = start();
    await informer.synced;
    let lists = 0;
    let down = true;
    kube.intercept = ({ verb }) => {
      if (verb === "list") lists++;
      if (down && verb === "watch") throw new ApiUnreachable("fake", "watch", "refuses the connection");
    };
    kube.interrupt();
    await settle();
    expect(names(informer)).toEqual(["a"]);
    expect(informer.health.connected).toBe(false);
    expect(informer.health.error).toBeInstanceOf(ApiUnreachable);
    await put("b");
    await remove("a");
    for (let i = 0; i < 5; i++) {
      clock.advance(30_000);
      await settle();
    }
    expect(seen).toEqual(["+a"]);
    down = false;
    clock.advance(30_000);
    await settle();
    expect(seen).toEqual(["+a", "+b", "-a"]);
    expect(informer.health).toEqual({ connected: true, error: undefined });
    expect(lists).toBe(0);
    expect(logged.filter((line) => line.includes("not heard")).length).toBe(1);
    expect(logged.filter((line) => line.includes("heard again")).length).toBe(1);
  });

  test("for so long that its versions are gone: a new list tells the difference", async () => {
    for (const name of ["a", "b", "c"]) await put(name, "1");
    const informer = start();
    await informer.synced;
    kube.intercept = ({ verb }) => {
      if (verb === "watch") throw new ApiUnreachable("fake", "watch", "refuses the connection");
    };
    kube.interrupt();
    await remove("a");
    await put("b", "2");
    await put("d", "1");
    await remove("c");
    await put("c", "3");
    await settle();
    kube.store.compact();
    kube.intercept = () => {};
    clock.advance(30_000);
    await settle();
    expect(seen.splice(0)).toEqual(["+a", "+b", "+c"]);
    clock.advance(30_000);
    await settle();
    // "c" is another object now: it went and came.
    expect(seen).toEqual(["b:1>2", "-c", "+c", "+d", "-a"]);
    expect(logged).toEqual([
      expect.stringContaining("closed the connection"),
      expect.stringContaining("heard again"),
    ]);
  });

  test("and comes back as it was long ago: it is believed", async () => {
    await put("a", "1");
    const before = kube;
    const informer = start();
    await informer.synced;
    await put("a", "2");
    await put("b");
    await settle();
    kube = new FakeKube({ clock });
    await put("a", "0");
    before.list = kube.list.bind(kube);
    before.watch = kube.watch.bind(kube);
    before.interrupt(new ApiError({ code: 410, reason: "Expired" }, "watch"));
    for (let i = 0; i < 3; i++) {
      await settle();
      clock.advance(30_000);
    }
    expect(seen.slice(3)).toEqual(["a:2>0", "-b"]);
    await put("a", "9");
    await settle();
    expect(informer.list().map(({ data }) => data?.v)).toEqual(["9"]);
  });

  test("before the first list: synced waits", async () => {
    let down = true;
    kube.intercept = () => {
      if (down) throw new ApiUnreachable("fake", "list", "refuses the connection");
    };
    const informer = start();
    await put("a").catch(() => {});
    await settle();
    clock.advance(30_000);
    await settle();
    expect(informer.hasSynced).toBe(false);
    down = false;
    clock.advance(30_000);
    await informer.synced;
    expect(informer.health.connected).toBe(true);
  });

  test("an informer that is aborted before it synced rejects, and afterwards stays as it is", async () => {
    kube.intercept = () => {
      throw new ApiUnreachable("fake", "list", "refuses the connection");
    };
    const never = start();
    controller.abort(new Error("enough"));
    expect(never.synced).rejects.toThrow("enough");
    kube.intercept = () => {};
    controller = new AbortController();
    await put("a");
    const informer = start();
    await informer.synced;
    controller.abort();
    await settle();
    await put("b");
    await settle();
    expect(names(informer)).toEqual(["a"]);
    expect(kube.store.watches).toBe(0);
  });

  test("a closed client ends it", async () => {
    const server = new HttpKube({ requireCertificate: true });
    const client = createKubeClient(server.config());
    client.close();
    const informer = startInformer(client, configMaps, { signal: controller.signal });
    expect(informer.synced).rejects.toThrow("is closed");
    await informer.synced.catch(() => {});
    await server.stop();
  });
});

describe("attempts", () => {
  test("come ever more rarely, up to the limit, and at once again after a success", async () => {
    const informer = start({ backoff: { jitter: 0, initialMs: 100, maxMs: 1000 } });
    await informer.synced;
    const attempts: number[] = [];
    let last = clock.now();
    kube.intercept = ({ verb }) => {
      attempts.push(clock.now() - last);
      last = clock.now();
      throw new ApiUnreachable("fake", verb, "refuses the connection");
    };
    kube.interrupt();
    await settle();
    for (let i = 0; i < 400; i++) {
      clock.advance(10);
      await settle();
    }
    expect(attempts).toEqual([0, 200, 400, 800, 1000, 1000]);
    kube.intercept = () => {};
    clock.advance(1000);
    await settle();
    await put("a");
    await settle();
    expect(seen).toEqual(["+a"]);
    kube.interrupt();
    await put("b");
    await settle();
    expect(seen).toEqual(["+a", "+b"]);
  });

  test("a watch that falls silent is quietly taken up anew, but not one that never began", async () => {
    const informer = start();
    await informer.synced;
    const silent = new ApiUnreachable("fake", "watch", "did not answer within 120000 ms", { silent: true });
    kube.interrupt(silent);
    await settle();
    expect(logged).toEqual([]);
    kube.intercept = () => {
      throw silent;
    };
    kube.interrupt(silent);
    for (let i = 0; i < 3; i++) {
      clock.advance(30_000);
      await settle();
    }
    expect(informer.health).toEqual({ connected: false, error: silent });
  });

  test("watches that the server ends at once are not asked for in a circle", async () => {
    const informer = start();
    await informer.synced;
    let watches = 0;
    kube.intercept = ({ verb }) => {
      if (verb === "watch") watches++;
    };
    for (let i = 0; i < 20; i++) {
      kube.endWatches();
      await settle();
    }
    expect(watches).toBeLessThan(3);
  });

  test("a version that the server keeps refusing is given up for a new list", async () => {
    const informer = start();
    await informer.synced;
    const verbs: string[] = [];
    kube.intercept = ({ verb }) => {
      verbs.push(verb);
      if (verb === "watch" && !verbs.includes("list")) {
        throw new ApiError({ code: 500, message: "etcd is confused" }, "watch");
      }
    };
    kube.interrupt();
    for (let i = 0; i < 10; i++) {
      await settle();
      clock.advance(30_000);
    }
    expect(verbs).toEqual(["watch", "watch", "watch", "list", "watch"]);
  });
});

test("over HTTPS an informer outlives its server", async () => {
  const server = new HttpKube({ requireCertificate: true });
  const client = createKubeClient(server.config());
  const changed = () => new Promise<void>((resolve) => waiting.push(resolve));
  const waiting: (() => void)[] = [];
  try {
    const informer = startInformer(client, configMaps, { signal: controller.signal, backoff: { maxMs: 20 } });
    await informer.synced;
    record(informer);
    informer.on({ add: () => waiting.shift()?.() });
    let next = changed();
    await server.fake.create(configMaps, { metadata: { name: "a", namespace } });
    await next;
    await server.stop();
    await server.fake.create(configMaps, { metadata: { name: "b", namespace } });
    next = changed();
    server.restart();
    await next;
    expect(seen).toEqual(["+a", "+b"]);
    expect(server.requests.filter((request) => request.includes("limit=")).length).toBe(1);
  } finally {
    client.close();
    await server.stop();
  }
});
