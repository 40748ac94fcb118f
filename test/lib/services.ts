/** Services and EndpointSlices in few words, for tests and benches. */
import type {
  Endpoint,
  EndpointSlice,
  Protocol,
  Service,
  ServicePort,
  ServiceSpec,
} from "../../src/kube/types.ts";

/** A Service of the namespace "default"; ports as "80", "dns:53/UDP", "80:30080" (node port last). */
export function service(
  name: string,
  clusterIPs: string[],
  ports: string[],
  rest: Partial<ServiceSpec> = {},
): Service {
  return {
    metadata: { name, namespace: "default", creationTimestamp: "2030-01-01T00:00:00Z" },
    spec: {
      clusterIPs,
      ...(clusterIPs[0] === undefined ? {} : { clusterIP: clusterIPs[0] }),
      ports: ports.map(portOf),
      ...rest,
    },
  };
}

function portOf(text: string): ServicePort {
  const match = /^(?:([a-z-]+)\/)?([0-9]+)(?:\/(TCP|UDP|SCTP))?(?::([0-9]+))?$/.exec(text);
  if (match === null) throw new Error(`"${text}" is not a port: name/80/TCP:30080`);
  const [, name, port, protocol, nodePort] = match;
  return {
    ...(name === undefined ? {} : { name }),
    port: Number(port),
    protocol: (protocol ?? "TCP") as Protocol,
    ...(nodePort === undefined ? {} : { nodePort: Number(nodePort) }),
  };
}

/**
 * A slice of a Service's endpoints, each "address", "address@node" and after it any of "!" (not ready), "~" (terminating but
 * serving), "x" (terminating). Ports as those of {@link service}; 8080 where none is given.
 */
export function slice(
  name: string,
  of: string,
  endpoints: string[],
  ports: string[] = ["8080"],
): EndpointSlice {
  const first = endpoints[0] ?? "10.0.0.0";
  return {
    metadata: { name, namespace: "default", labels: { "kubernetes.io/service-name": of } },
    addressType: first.includes(":") ? "IPv6" : "IPv4",
    ports: ports.map(portOf).map(({ name: portName, port, protocol }) => ({
      ...(portName === undefined ? {} : { name: portName }),
      ...(protocol === undefined ? {} : { protocol }),
      port,
    })),
    endpoints: endpoints.map(endpointOf),
  };
}

const states = {
  "": { ready: true },
  "!": { ready: false },
  "~": { ready: false, serving: true, terminating: true },
  x: { ready: false, serving: false, terminating: true },
} as const;

function endpointOf(text: string): Endpoint {
  const match = /^([0-9a-f.:]+?)(?:@([a-z0-9-]+?))?([!~x]?)$/.exec(text);
  if (match === null) throw new Error(`"${text}" is not an endpoint: 10.244.1.2@node-1~`);
  const [, address, node, state] = match;
  return {
    addresses: [address as string],
    conditions: states[state as keyof typeof states],
    ...(node === undefined ? {} : { nodeName: node }),
  };
}
