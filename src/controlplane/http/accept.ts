import { notAcceptable } from "../status.ts";

/** How the client wants its answer. */
export interface Format {
  readonly yaml: boolean;
  /** The transformation that is asked for by `as=`; "" for none. */
  readonly as: "" | "Table" | "PartialObjectMetadata" | "PartialObjectMetadataList" | "APIGroupDiscoveryList";
  /** The version of the transformed kind. */
  readonly version: string;
}

const plain: Format = { yaml: false, as: "", version: "" };

/** Which `as=` can be had, of which group and in which versions. */
const transformations: Record<string, { group: string; versions: readonly string[] }> = {
  Table: { group: "meta.k8s.io", versions: ["v1", "v1beta1"] },
  PartialObjectMetadata: { group: "meta.k8s.io", versions: ["v1", "v1beta1"] },
  PartialObjectMetadataList: { group: "meta.k8s.io", versions: ["v1", "v1beta1"] },
  APIGroupDiscoveryList: { group: "apidiscovery.k8s.io", versions: ["v2", "v2beta1"] },
};

const jsonTypes = ["application/json", "application/*", "*/*", "text/*"];

/**
 * The first format of an Accept header that can be served; `discovery` says whether the path is one that has an
 * aggregated form. Throws a Status of 406 where there is none.
 */
export function negotiate(header: string | null, discovery = false): Format {
  if (header === null || header.trim() === "") return plain;
  for (const candidate of header.split(",")) {
    const [type = "", ...parameters] = candidate.split(";").map((part) => part.trim());
    const yaml = type.toLowerCase() === "application/yaml";
    if (!yaml && !jsonTypes.includes(type.toLowerCase())) continue;
    const options = new Map(parameters.map((parameter) => splitParameter(parameter)));
    const as = options.get("as") ?? "";
    if (as === "") return { ...plain, yaml };
    const known = Object.hasOwn(transformations, as) ? transformations[as] : undefined;
    if (known === undefined || (as === "APIGroupDiscoveryList") !== discovery) continue;
    const version = options.get("v") ?? "";
    if (options.get("g") === known.group && known.versions.includes(version)) {
      return { yaml, as: as as Format["as"], version };
    }
  }
  throw notAcceptable();
}

function splitParameter(text: string): [string, string] {
  const equals = text.indexOf("=");
  return equals < 0 ? [text, ""] : [text.slice(0, equals).trim(), text.slice(equals + 1).trim()];
}
