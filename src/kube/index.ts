/** The Kubernetes API: types, configuration, client, watch and informers. */
export { createKubeClient, type KubeClient } from "./client.ts";
export * from "./config.ts";
export * from "./errors.ts";
export * from "./follow.ts";
export * from "./informer.ts";
export type * from "./interface.ts";
export * from "./selectors.ts";
export * from "./types.ts";
