import { isAlreadyExists } from "../../kube/errors.ts";
import { matchesRequirements, requirementsOf } from "../../kube/selectors.ts";
import { type EndpointSlice, keyOf, type Pod, resources, type Service } from "../../kube/types.ts";
import type { Controller, ControllerContext } from "./controller.ts";
import { endpointGroups, endpointSubsets, familiesOf, planSlices } from "./endpoints.ts";
import { canonical } from "./hash.ts";
import { controllerReference } from "./pods.ts";
import { applySlices, managedBy, serviceName } from "./slices.ts";
import type { WorkQueue } from "./workqueue.ts";
import { deleteObject } from "./writes.ts";

const manager = "endpointslice-controller.k8s.io";
const headless = "service.kubernetes.io/headless";
const zoneLabel = "topology.kubernetes.io/zone";

/** Keeps the EndpointSlices of every Service with a selector. */
export const endpointSlice: Controller = {
  name: "endpoint-slice",
  start(context) {
    const work = context.queue((key) => syncSlices(context, key));
    watchServices(context, work);
    context.informers.of(resources.endpointSlices).on({
      update: (slice) => addOwnerOf(slice, work),
      delete: (slice) => addOwnerOf(slice, work),
    });
    // A pod may come before its node is known; its zone then follows.
    context.informers.of(resources.nodes).on({
      add: ({ metadata }) => {
        if (metadata.labels?.[zoneLabel] === undefined) return;
        for (const pod of context.informers.of(resources.pods).by("node", metadata.name))
          addSelecting(context, work, pod);
      },
    });
  },
};

/** Keeps the legacy Endpoints of every Service with a selector. */
export const endpoints: Controller = {
  name: "endpoints",
  start(context) {
    const work = context.queue((key) => syncEndpoints(context, key));
    watchServices(context, work);
    const again = ({ metadata }: { metadata: Pod["metadata"] }) => work.add(keyOf(metadata));
    context.informers.of(resources.endpoints).on({ update: again, delete: again });
  },
};

function watchServices(context: ControllerContext, work: WorkQueue): void {
  const add = ({ metadata }: Service) => work.add(keyOf(metadata));
  context.informers.of(resources.services).on({ add, update: add, delete: add });
  const addFor = (pod: Pod) => addSelecting(context, work, pod);
  context.informers.of(resources.pods).on({
    add: addFor,
    update: (pod, before) => {
      if (endpointView(pod) === endpointView(before)) return;
      addFor(pod);
      if (canonical(pod.metadata.labels) !== canonical(before.metadata.labels)) addFor(before);
    },
    delete: addFor,
  });
}

/** What of a pod its endpoint shows. */
function endpointView({ metadata, spec, status }: Pod): string {
  const ready = status?.conditions?.find(({ type }) => type === "Ready")?.status;
  const { labels, deletionTimestamp } = metadata;
  return canonical([
    labels,
    deletionTimestamp,
    spec.nodeName,
    status?.podIP,
    status?.podIPs,
    status?.phase,
    ready,
  ]);
}

function addSelecting({ informers }: ControllerContext, work: WorkQueue, pod: Pod): void {
  for (const service of informers.of(resources.services).by("namespace", pod.metadata.namespace ?? "")) {
    if (selects(service, pod)) work.add(keyOf(service.metadata));
  }
}

function addOwnerOf({ metadata }: EndpointSlice, work: WorkQueue): void {
  const name = metadata.labels?.[serviceName];
  if (metadata.labels?.[managedBy] !== manager || name === undefined) return;
  work.add(keyOf({ name, namespace: metadata.namespace ?? "" }));
}

function hasSelector({ spec, metadata }: Service): boolean {
  const chosen = spec.type !== "ExternalName" && Object.keys(spec.selector ?? {}).length > 0;
  return chosen && metadata.deletionTimestamp === undefined;
}

function selects(service: Service, pod: Pod): boolean {
  const requirements = requirementsOf({ matchLabels: service.spec.selector ?? {} });
  return hasSelector(service) && matchesRequirements(requirements, pod.metadata.labels);
}

function podsOf({ informers }: ControllerContext, service: Service): Pod[] {
  const inNamespace = informers.of(resources.pods).by("namespace", service.metadata.namespace ?? "");
  return inNamespace.filter((pod) => selects(service, pod));
}

async function syncSlices(context: ControllerContext, key: string): Promise<undefined> {
  const { informers } = context;
  const service = informers.of(resources.services).getByKey(key);
  if (service === undefined || !hasSelector(service)) return;
  const zoneOf = (node: string) =>
    informers.of(resources.nodes).get({ name: node })?.metadata.labels?.[zoneLabel];
  const groups = endpointGroups(service, podsOf(context, service), zoneOf);
  const owner = controllerReference(resources.services, service);
  await applySlices(context, owner, service.metadata, sliceLabels(service), (existing) =>
    planSlices(familiesOf(service), groups, existing),
  );
}

function sliceLabels(service: Service): Record<string, string> {
  return {
    ...service.metadata.labels,
    [serviceName]: service.metadata.name,
    [managedBy]: manager,
    ...(service.spec.clusterIP === "None" ? { [headless]: "" } : {}),
  };
}

async function syncEndpoints(context: ControllerContext, key: string): Promise<undefined> {
  const { client, informers } = context;
  const service = informers.of(resources.services).getByKey(key);
  const existing = informers.of(resources.endpoints).getByKey(key);
  if (service === undefined) {
    // Those that somebody wrote by hand, for a Service without selector, are not ours to remove.
    const ours = existing?.metadata.labels?.["endpoints.kubernetes.io/managed-by"] === "endpoint-controller";
    if (existing !== undefined && ours) await deleteObject(client, resources.endpoints, existing);
    return;
  }
  if (!hasSelector(service)) return;
  const subsets = endpointSubsets(service, podsOf(context, service));
  const labels = {
    ...service.metadata.labels,
    "endpoints.kubernetes.io/managed-by": "endpoint-controller",
    ...(service.spec.clusterIP === "None" ? { [headless]: "" } : {}),
  };
  const { name, namespace = "" } = service.metadata;
  if (existing === undefined) {
    await client
      .create(resources.endpoints, { metadata: { name, namespace, labels }, subsets })
      .catch((error) => {
        if (!isAlreadyExists(error)) throw error;
      });
    return;
  }
  const same = canonical(existing.subsets ?? []) === canonical(subsets);
  if (same && canonical(existing.metadata.labels) === canonical(labels)) return;
  await client.update(resources.endpoints, {
    ...existing,
    metadata: { ...existing.metadata, labels },
    subsets,
  });
}
