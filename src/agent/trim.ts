/**
 * What the agent keeps of each object: a cluster's worth of them lies in every agent's memory.
 */
import type { EndpointSlice, Namespace, Node, ObjectMeta, Pod, Service } from "../kube/types.ts";

function trimMeta(meta: ObjectMeta, labels = false): ObjectMeta {
  const { name, namespace, uid, resourceVersion, deletionTimestamp } = meta;
  return {
    name,
    ...(namespace !== undefined && { namespace }),
    ...(uid !== undefined && { uid }),
    ...(resourceVersion !== undefined && { resourceVersion }),
    ...(deletionTimestamp !== undefined && { deletionTimestamp }),
    ...(labels && meta.labels !== undefined && { labels: meta.labels }),
  };
}

/** The name alone. */
export function trimNamespace({ metadata }: Namespace): Namespace {
  return { metadata: trimMeta(metadata) };
}

/** Name, podCIDRs and addresses. */
export function trimNode(node: Node): Node {
  const { podCIDR, podCIDRs } = node.spec ?? {};
  return {
    metadata: trimMeta(node.metadata, true),
    spec: { ...(podCIDR !== undefined && { podCIDR }), ...(podCIDRs !== undefined && { podCIDRs }) },
    status: { ...(node.status?.addresses !== undefined && { addresses: node.status.addresses }) },
  };
}

/** All of spec and status: both are small and nearly all used. */
export function trimService(service: Service): Service {
  return {
    metadata: {
      ...trimMeta(service.metadata, true),
      // The older of two Services keeps an address that both want.
      ...(service.metadata.creationTimestamp !== undefined && {
        creationTimestamp: service.metadata.creationTimestamp,
      }),
      ...(service.metadata.annotations !== undefined && { annotations: service.metadata.annotations }),
    },
    spec: service.spec,
    ...(service.status !== undefined && { status: service.status }),
  };
}

export function trimSlice(slice: EndpointSlice): EndpointSlice {
  return { ...slice, metadata: trimMeta(slice.metadata, true) };
}

/** Name, node, host names and addresses. */
export function trimPod(pod: Pod): Pod {
  const { nodeName, hostNetwork, hostname, subdomain } = pod.spec;
  const { phase, podIP, podIPs } = pod.status ?? {};
  return {
    metadata: trimMeta(pod.metadata, true),
    spec: {
      containers: [],
      ...(nodeName !== undefined && { nodeName }),
      ...(hostNetwork !== undefined && { hostNetwork }),
      ...(hostname !== undefined && { hostname }),
      ...(subdomain !== undefined && { subdomain }),
    },
    status: {
      ...(phase !== undefined && { phase }),
      ...(podIP !== undefined && { podIP }),
      ...(podIPs !== undefined && { podIPs }),
    },
  };
}
