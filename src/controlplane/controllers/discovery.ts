import type { KubeClient } from "../../kube/client.ts";
import { isNotFound } from "../../kube/errors.ts";
import { type Resource, resource } from "../../kube/types.ts";

interface ApiResource {
  name: string;
  kind: string;
  namespaced: boolean;
  verbs: string[];
}

/** Kinds that are served by two groups; the first group's are the same objects. */
const duplicates = ["events.events.k8s.io"];

/** All resources of the API server, each in the version that its group prefers, that can be listed and deleted. */
export async function discoverResources(client: KubeClient): Promise<Resource[]> {
  const { groups } = await client.request<{ groups: { preferredVersion: { groupVersion: string } }[] }>(
    "GET",
    "/apis",
  );
  const versions = ["v1", ...groups.map(({ preferredVersion }) => preferredVersion.groupVersion)];
  const found = await Promise.all(
    versions.map(async (groupVersion) => {
      const path = groupVersion.includes("/") ? `/apis/${groupVersion}` : `/api/${groupVersion}`;
      const [group, version] = groupVersion.includes("/") ? groupVersion.split("/") : ["", groupVersion];
      // A group of a CustomResourceDefinition may be gone by now.
      const list = await client.request<{ resources: ApiResource[] }>("GET", path).catch((error) => {
        if (!isNotFound(error)) throw error;
        return { resources: [] };
      });
      return list.resources
        .filter(
          ({ name, verbs }) =>
            !name.includes("/") && ["list", "watch", "delete"].every((verb) => verbs.includes(verb)),
        )
        .filter(({ name }) => !duplicates.includes(`${name}.${group}`))
        .map(({ name, kind, namespaced }) =>
          resource(group as string, version as string, name, kind, namespaced),
        );
    }),
  );
  return found.flat();
}
