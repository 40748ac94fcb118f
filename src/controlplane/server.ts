import type { Service } from "../kube/types.ts";
import { InvalidInput } from "../lib/errors.ts";
import { Ip } from "../lib/ip.ts";
import { type Log, silentLog } from "../lib/log.ts";
import { Prefix } from "../lib/prefix.ts";
import { createCa, createServerCertificate, type KeyPair } from "./auth/certificates.ts";
import { kubeconfigText } from "./auth/kubeconfig.ts";
import { Tokens, type User } from "./auth/tokens.ts";
import { advertise, bootstrap } from "./bootstrap.ts";
import type { Cluster } from "./cluster.ts";
import { serveDefinitions } from "./crd/controller.ts";
import { expireEvents } from "./events.ts";
import { createHandler } from "./http/handler.ts";
import { isTrue, Watches } from "./http/watch.ts";
import { type Listen, type Listener, openListener } from "./listen.ts";
import { builtinResources } from "./resources/builtins.ts";
import { Registry } from "./resources/registry.ts";
import { ServiceAllocator } from "./services/allocator.ts";
import type { Database } from "./store/database.ts";
import { Store } from "./store/store.ts";

export type { Listen, Listener } from "./listen.ts";

export interface ApiServerOptions {
  /** Where to listen; more than one place where a list. None at all serves {@link ApiServer.handle} alone. */
  listen?: Listen | readonly Listen[];
  /** SQLite file of all objects, the CA and the token key; all in memory where not given. */
  dataFile?: string;
  /** One network, or one of each family, the primary one first. 10.96.0.0/16 where not given. */
  serviceCidrs?: readonly string[];
  /** First and last NodePort; 30000 and 32767 where not given. */
  nodePorts?: readonly [number, number];
  /** Names and addresses that the server's certificate covers, beside those that it listens on. */
  names?: readonly string[];
  /** What the Service `kubernetes` leads to: addresses that pods reach. Where it listens, if not given. */
  advertise?: { addresses: readonly string[]; port?: number };
  /** How the cluster is called in kubeconfigs; "weft" where not given. */
  clusterName?: string;
  /** Events kept of each resource for watches that come back; 10,000 where not given. */
  historyLimit?: number;
  /** How long core/v1 Events stay, in seconds; an hour where not given. */
  eventTtl?: number;
  log?: Log;
}

export interface KubeconfigOptions {
  /** The URL to write; that of the first listener where not given. */
  server?: string;
  /** "system:masters" where not given. */
  groups?: readonly string[];
  /** Namespace of its context. */
  namespace?: string;
}

/** A running API server. */
export interface ApiServer {
  /** The URL of the first listener; "https://kubernetes.default.svc" where there is none. */
  readonly url: string;
  readonly listeners: readonly Listener[];
  /** PEM. */
  readonly caCert: string;
  /** Answers a request without a connection: for controllers and tests. Without a user, as the server's own admin. */
  handle(request: Request, user?: User): Promise<Response>;
  /** Opens one more listener. Throws `InvalidInput` where it cannot. */
  listen(listen: Listen): Listener;
  /** A bearer token for a user; "system:masters" is the group where none is given. */
  token(user: string, groups?: readonly string[]): string;
  /** The text of a kubeconfig with a bearer token of this user. */
  kubeconfig(user: string, options?: KubeconfigOptions): string;
  /** Ends all watches and connections, and closes the store. */
  close(): void;
}

const MASTERS = ["system:masters", "system:authenticated"];
const ADMIN: User = { name: "system:admin", groups: MASTERS };
const ownNames = [
  "kubernetes",
  "kubernetes.default",
  "kubernetes.default.svc",
  "kubernetes.default.svc.cluster.local",
  "localhost",
];

/**
 * Starts the embedded Kubernetes-style API server: HTTPS with a CA of its own, bearer tokens, and SQLite behind it. It
 * serves the lab and tests; a real cluster has the real one. Throws `InvalidInput` that names the option at fault.
 */
export async function startApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const log = options.log ?? silentLog;
  const allocator = new ServiceAllocator({
    cidrs: (options.serviceCidrs ?? ["10.96.0.0/16"]).map((text, i) =>
      Prefix.parse(text, `serviceCidrs[${i}]`),
    ),
    ...(options.nodePorts === undefined ? {} : { nodePorts: options.nodePorts }),
  });
  const advertised = options.advertise?.addresses.map((text, i) =>
    Ip.parse(text, `advertise.addresses[${i}]`),
  );
  const store = new Store({
    ...(options.dataFile === undefined ? {} : { dataFile: options.dataFile }),
    ...(options.historyLimit === undefined ? {} : { historyLimit: options.historyLimit }),
  });
  const ends: (() => void)[] = [() => store.close()];
  const close = () => {
    for (const end of ends.splice(0).reverse()) end();
  };
  try {
    const { database } = store;
    const tokens = new Tokens(kept(database, "tokenKey", Tokens.newKey));
    const ca = JSON.parse(kept(database, "ca", () => JSON.stringify(createCa("weft-ca")))) as KeyPair;
    const registry = new Registry(builtinResources);
    const cluster: Cluster = { store, registry, allocator, tokens, now: Date.now };
    followServices(cluster);
    ends.push(serveDefinitions(cluster), expireEvents(cluster, options.eventTtl ?? 3600));
    bootstrap(cluster);
    const watches = new Watches();
    ends.push(() => watches.close());
    const listeners: Listener[] = [];
    const handle = createHandler({ cluster, watches, log, host: () => hostOf(listeners[0]) });
    const server = new Server(cluster, ca, listeners, options, handle, close);
    ends.push(() => server.closeListeners());
    const places = options.listen === undefined ? [] : [options.listen].flat();
    for (const [i, place] of places.entries())
      server.open(place, places.length > 1 ? `listen[${i}]` : "listen");
    announce(cluster, listeners, advertised, options.advertise?.port);
    return server;
  } catch (error) {
    close();
    throw error;
  }
}

class Server implements ApiServer {
  readonly listeners: Listener[];
  readonly close: () => void;
  readonly #cluster: Cluster;
  readonly #ca: KeyPair;
  readonly #options: ApiServerOptions;
  readonly #handle: ReturnType<typeof createHandler>;

  constructor(
    cluster: Cluster,
    ca: KeyPair,
    listeners: Listener[],
    options: ApiServerOptions,
    handle: ReturnType<typeof createHandler>,
    close: () => void,
  ) {
    this.#cluster = cluster;
    this.#ca = ca;
    this.listeners = listeners;
    this.#options = options;
    this.#handle = handle;
    this.close = close;
  }

  get url(): string {
    return this.listeners[0]?.url ?? "https://kubernetes.default.svc";
  }

  get caCert(): string {
    return this.#ca.certificate;
  }

  handle(request: Request, user: User = ADMIN): Promise<Response> {
    return this.#handle(request, user);
  }

  listen(listen: Listen): Listener {
    return this.open(listen, "listen");
  }

  /** As {@link listen}; `field` names the option in errors. */
  open(listen: Listen, field: string): Listener {
    const tls = this.#serverTls("unix" in listen ? undefined : (listen.host ?? "127.0.0.1"));
    const listener = openListener(listen, field, tls, this.#handle, (request) => {
      const at = request.url.indexOf("?");
      return at >= 0 && isTrue(new URLSearchParams(request.url.slice(at)).get("watch"));
    });
    this.listeners.push(listener);
    return listener;
  }

  token(user: string, groups: readonly string[] = MASTERS): string {
    return this.#cluster.tokens.issue({ name: user, groups });
  }

  kubeconfig(user: string, options: KubeconfigOptions = {}): string {
    return kubeconfigText({
      server: options.server ?? this.url,
      caCert: this.caCert,
      cluster: this.#options.clusterName ?? "weft",
      user,
      token: this.token(user, options.groups ?? MASTERS),
      ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
    });
  }

  closeListeners(): void {
    for (const listener of this.listeners) listener.close();
  }

  /** A certificate for the server's own names, the given ones, its ClusterIP, and where it listens. */
  #serverTls(host: string | undefined): KeyPair {
    const { allocator } = this.#cluster;
    const names = new Set([
      ...ownNames,
      "127.0.0.1",
      "::1",
      ...(this.#options.names ?? []),
      ...(this.#options.advertise?.addresses ?? []),
    ]);
    for (const cidr of allocator.cidrs) names.add(Ip.fromBigInt(cidr.first + 1n, cidr.family).toString());
    if (host !== undefined && !(Ip.tryParse(host)?.isUnspecified() ?? false)) names.add(host);
    return createServerCertificate(this.#ca, [...names]);
  }
}

/** A secret that the database keeps, made when first asked for. */
function kept(database: Database, key: string, make: () => string): string {
  const found = database.getMeta(key);
  if (found !== undefined) return found;
  const made = make();
  database.setMeta(key, made);
  return made;
}

/** The allocator holds what the stored Services have. */
function followServices({ store, allocator }: Cluster): void {
  const service = (object: unknown) => object as Service;
  for (const { namespace, name, object } of store.list("services")) {
    allocator.update(`${namespace}/${name}`, service(object), undefined);
  }
  store.subscribe("services", ({ type, entry, previous }) => {
    const now = type === "DELETED" ? undefined : service(entry.object);
    allocator.update(`${entry.namespace}/${entry.name}`, now, service(previous?.object));
  });
}

const hostOf = (listener: Listener | undefined) =>
  listener === undefined ? "kubernetes.default.svc:443" : new URL(listener.url).host;

function announce(
  cluster: Cluster,
  listeners: readonly Listener[],
  addresses: readonly Ip[] | undefined,
  port: number | undefined,
): void {
  const [first] = listeners.filter((listener) => listener.port !== 0);
  const own = listeners.map(({ host }) => Ip.tryParse(host)).filter((ip) => ip !== undefined);
  const reachable = own.filter((ip) => !ip.isUnspecified() && !ip.isLoopback());
  const chosen = port ?? first?.port;
  if (chosen === undefined) return;
  if (!Number.isInteger(chosen) || chosen < 1 || chosen > 65535) {
    throw new InvalidInput("advertise.port", chosen, "is not a port");
  }
  advertise(cluster, { addresses: addresses ?? reachable, port: chosen });
}
