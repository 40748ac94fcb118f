import blueYaml from "../../examples/blue.yaml" with { type: "text" };
import { isAlreadyExists, type KubeClient } from "../kube/index.ts";
import { type Deployment, resources, type Service } from "../kube/types.ts";

/** Creates what examples/blue.yaml describes; what is there already is left alone. */
export async function applyExample(client: KubeClient): Promise<void> {
  const documents = Bun.YAML.parse(blueYaml) as (Deployment | Service)[];
  for (const document of documents) {
    const object = { ...document, metadata: { namespace: "default", ...document.metadata } };
    try {
      if (object.kind === "Deployment") await client.create(resources.deployments, object as Deployment);
      else await client.create(resources.services, object as Service);
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
    }
  }
}
