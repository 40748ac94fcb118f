/** What a path of the API is about. */
export interface ApiPath {
  /** "" for the core group. */
  readonly group: string;
  readonly version: string;
  /** Undefined where the path names none: all namespaces, or a cluster-scoped resource. */
  readonly namespace: string | undefined;
  /** Undefined for the discovery document of the version. */
  readonly plural: string | undefined;
  readonly name: string | undefined;
  /** "" for the object itself. */
  readonly subresource: string;
}

const NAMESPACE_SUBRESOURCES = ["status", "finalize"];

/**
 * Reads /api/v1/..., /apis/GROUP/VERSION/... as the API's conventions have it. Undefined where the path is none of these
 * (which includes /api, /apis and /apis/GROUP).
 */
export function parseApiPath(pathname: string): ApiPath | undefined {
  const segments = split(pathname);
  if (segments === undefined) return undefined;
  const [root, ...rest] = segments;
  if (root === "api" && rest.length >= 1) return inVersion("", rest[0] as string, rest.slice(1));
  if (root !== "apis" || rest.length < 2) return undefined;
  return inVersion(rest[0] as string, rest[1] as string, rest.slice(2));
}

/** The decoded segments, or undefined where one is empty or cannot be decoded. One slash may end the path. */
function split(pathname: string): string[] | undefined {
  const parts = pathname.replace(/^\//, "").replace(/\/$/, "").split("/");
  try {
    const segments = parts.map(decodeURIComponent);
    return segments.every((segment) => segment !== "" && !segment.includes("/")) ? segments : undefined;
  } catch {
    return undefined;
  }
}

function inVersion(group: string, version: string, rest: readonly string[]): ApiPath | undefined {
  const path = { group, version, namespace: undefined, plural: undefined, name: undefined, subresource: "" };
  if (rest.length === 0) return path;
  const [first, second, third, fourth, fifth, sixth] = rest;
  if (
    first !== "namespaces" ||
    third === undefined ||
    (group === "" && NAMESPACE_SUBRESOURCES.includes(third))
  ) {
    return fourth === undefined
      ? { ...path, plural: first, name: second, subresource: third ?? "" }
      : undefined;
  }
  if (sixth !== undefined) return undefined;
  return { ...path, namespace: second, plural: third, name: fourth, subresource: fifth ?? "" };
}
