import type { KubeObject, Status, WatchEvent } from "../kube/types.ts";
import type { Dict } from "./objects.ts";
import { type ApiServer, type ApiServerOptions, startApiServer } from "./server.ts";

/** An answer of the server: its code, its body as JSON, and its headers. */
export interface Answer {
  readonly code: number;
  readonly body: Body;
  readonly headers: Headers;
}

/** JSON of which a test knows the shape; its leaves are cast by who reads them. */
export type Body = { readonly [key: string]: Body } & readonly Body[];

export interface TestServer {
  readonly server: ApiServer;
  get(path: string, headers?: Record<string, string>): Promise<Answer>;
  send(method: string, path: string, body?: unknown, contentType?: string): Promise<Answer>;
  /** A watch whose events are read one by one. */
  watch(path: string, headers?: Record<string, string>): Promise<TestWatch>;
  close(): void;
}

export interface TestWatch {
  /** The next event; undefined at the end of the stream. */
  next(): Promise<WatchEvent<KubeObject> | undefined>;
  end(): void;
}

/** An API server without a listener, and short ways to ask it. */
export async function startTestServer(options: ApiServerOptions = {}): Promise<TestServer> {
  const server = await startApiServer({ serviceCidrs: ["10.96.0.0/16", "fd00:10:96::/112"], ...options });
  const ask = async (path: string, init: RequestInit): Promise<Answer> => {
    const response = await server.handle(new Request(`http://test${path}`, init));
    const text = await response.text();
    const json = (response.headers.get("content-type") ?? "").startsWith("application/json");
    return {
      code: response.status,
      body: (json && text !== "" ? JSON.parse(text) : text) as Body,
      headers: response.headers,
    };
  };
  return {
    server,
    get: (path, headers = {}) => ask(path, { headers }),
    send: (method, path, body, contentType = "application/json") =>
      ask(path, {
        method,
        headers: { "content-type": contentType },
        ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      }),
    watch: async (path, headers = {}) => {
      const stop = new AbortController();
      const request = new Request(`http://test${path}`, { headers, signal: stop.signal });
      const response = await server.handle(request);
      if (response.status !== 200) throw new Error(((await response.json()) as Status).message);
      const lines = readLines(response);
      return { next: async () => (await lines.next()).value ?? undefined, end: () => stop.abort() };
    },
    close: () => server.close(),
  };
}

async function* readLines(response: Response): AsyncGenerator<WatchEvent<KubeObject>, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of response.body as ReadableStream<Uint8Array>) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) yield JSON.parse(line) as WatchEvent<KubeObject>;
  }
  return undefined;
}

/** A pod with one container. */
export function podOf(name: string, more: { labels?: Record<string, string>; spec?: Dict } = {}): Dict {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, ...(more.labels === undefined ? {} : { labels: more.labels }) },
    spec: { containers: [{ name: "echo", image: "weft/echo" }], ...more.spec },
  };
}

/** A deployment of such pods. */
export function deploymentOf(name: string, replicas: number): Dict {
  const labels = { app: name };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: "echo", image: "weft/echo" }] } },
    },
  };
}

/** Repeatable numbers below `below`, from a seed. */
export function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 8) % below;
  };
}
