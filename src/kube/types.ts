/** Kubernetes objects as plain JSON types, and where they live in the API. */
export * from "./types/core.ts";
export * from "./types/groups.ts";
export * from "./types/meta.ts";
export * from "./types/resources.ts";
