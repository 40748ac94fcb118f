import { describe, expect, test } from "bun:test";
import { dnsEndpointSlice, dnsService } from "../dns/index.ts";
import type { EndpointSlice, Node, Pod, Service } from "../kube/types.ts";
import { trimNamespace, trimNode, trimPod, trimService, trimSlice } from "./trim.ts";

const waste = "x".repeat(10_000);
const metadata = {
  name: "blue",
  namespace: "default",
  uid: "1-2-3",
  resourceVersion: "7",
  generation: 3,
  creationTimestamp: "2030-01-01T00:00:00Z",
  labels: { app: waste },
  annotations: { "kubectl.kubernetes.io/last-applied-configuration": waste },
  ownerReferences: [{ apiVersion: "v1", kind: "Service", name: waste, uid: "4" }],
  managedFields: [{ manager: waste }],
  finalizers: [waste],
};
const keptMeta = { name: "blue", namespace: "default", uid: "1-2-3", resourceVersion: "7" };
const type = (apiVersion: string, kind: string) => ({ apiVersion, kind });

const fullService: Service = {
  ...type("v1", "Service"),
  metadata: { ...metadata, labels: { app: waste, "service.kubernetes.io/headless": "" } },
  spec: {
    type: "LoadBalancer",
    selector: { app: waste },
    ports: [
      { name: "http", protocol: "TCP", appProtocol: waste, port: 80, targetPort: waste, nodePort: 30080 },
    ],
    clusterIP: "10.96.0.5",
    clusterIPs: ["10.96.0.5"],
    externalIPs: ["192.0.2.1"],
    externalTrafficPolicy: "Local",
    internalTrafficPolicy: "Cluster",
    publishNotReadyAddresses: true,
    sessionAffinity: "ClientIP",
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 10 } },
    loadBalancerSourceRanges: ["10.0.0.0/8"],
    loadBalancerClass: waste,
  },
  status: {
    loadBalancer: { ingress: [{ ip: "192.0.2.9" }] },
    conditions: [{ type: "x", status: "True", message: waste }],
  },
};

const fullSlice: EndpointSlice = {
  ...type("discovery.k8s.io/v1", "EndpointSlice"),
  metadata: { ...metadata, labels: { "kubernetes.io/service-name": "blue", app: waste } },
  addressType: "IPv4",
  ports: [{ name: "http", protocol: "TCP", port: 8080, appProtocol: waste }],
  endpoints: [
    {
      addresses: ["10.244.1.2"],
      conditions: { ready: true, serving: true, terminating: false },
      hostname: "first",
      nodeName: "node-1",
      zone: waste,
      targetRef: { kind: "Pod", name: waste },
      hints: { forZones: [{ name: "a" }] },
    },
    { addresses: ["10.244.1.3"], conditions: { ready: true, serving: true, terminating: false } },
  ],
};

describe("keeps what features read, and nothing else", () => {
  test("of a Service", () => {
    const trimmed = trimService(fullService);
    const { selector: _, loadBalancerClass: __, ...spec } = fullService.spec;
    expect(trimmed).toEqual({
      ...type("v1", "Service"),
      metadata: {
        ...keptMeta,
        labels: { "service.kubernetes.io/headless": "" },
        creationTimestamp: metadata.creationTimestamp,
      },
      spec: { ...spec, ports: [{ name: "http", protocol: "TCP", port: 80, nodePort: 30080 }] },
      status: { loadBalancer: { ingress: [{ ip: "192.0.2.9" }] } },
    });
    expect(dnsService(trimmed)).toEqual(dnsService(fullService));
  });

  test("of an EndpointSlice, and equal conditions once", () => {
    const trimmed = trimSlice(fullSlice);
    const conditions = { ready: true, serving: true, terminating: false };
    expect(trimmed).toEqual({
      ...type("discovery.k8s.io/v1", "EndpointSlice"),
      metadata: { ...keptMeta, labels: { "kubernetes.io/service-name": "blue" } },
      addressType: "IPv4",
      ports: [{ name: "http", protocol: "TCP", port: 8080 }],
      endpoints: [
        {
          addresses: ["10.244.1.2"],
          conditions,
          hostname: "first",
          nodeName: "node-1",
          hints: { forZones: [{ name: "a" }] },
        },
        { addresses: ["10.244.1.3"], conditions },
      ],
    });
    expect(trimmed.endpoints[0]?.conditions).toBe(trimmed.endpoints[1]?.conditions as object);
    expect(dnsEndpointSlice(trimmed)).toEqual(dnsEndpointSlice(fullSlice));
  });

  test("of an EndpointSlice as the API writes one without endpoints", () => {
    const empty = { ...fullSlice, endpoints: null, ports: null } as unknown as EndpointSlice;
    const trimmed = trimSlice(empty);
    expect(trimmed.endpoints).toEqual([]);
    expect(trimmed.ports).toBeUndefined();
  });

  test("of a Node", () => {
    const addresses = [{ type: "InternalIP" as const, address: "172.30.0.11" }];
    const full = {
      ...type("v1", "Node"),
      metadata: { ...metadata, labels: { "topology.kubernetes.io/zone": "a", app: waste } },
      spec: { podCIDR: "10.244.1.0/24", podCIDRs: ["10.244.1.0/24"], providerID: waste },
      status: { addresses, images: [{ names: [waste] }] },
    } as unknown as Node;
    expect(trimNode(full)).toEqual({
      ...type("v1", "Node"),
      metadata: { ...keptMeta, labels: { "topology.kubernetes.io/zone": "a" } },
      spec: { podCIDR: "10.244.1.0/24", podCIDRs: ["10.244.1.0/24"] },
      status: { addresses },
    });
  });

  test("of a Pod and a Namespace", () => {
    const pod = {
      metadata,
      spec: { containers: [{ name: waste, image: waste }], nodeName: "node-1", subdomain: "bare" },
      status: { phase: "Running", podIP: "10.244.1.2", podIPs: [{ ip: "10.244.1.2" }], message: waste },
    } as unknown as Pod;
    expect(trimPod(pod)).toEqual({
      metadata: keptMeta,
      spec: { containers: [], nodeName: "node-1", subdomain: "bare" },
      status: { phase: "Running", podIP: "10.244.1.2", podIPs: [{ ip: "10.244.1.2" }] },
    });
    expect(trimNamespace({ metadata })).toEqual({ metadata: keptMeta });
  });
});
