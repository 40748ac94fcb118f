import type { Tokens } from "./auth/tokens.ts";
import type { Registry } from "./resources/registry.ts";
import type { ServiceAllocator } from "./services/allocator.ts";
import type { Store } from "./store/store.ts";

/** All that the handlers of requests work with. */
export interface Cluster {
  readonly store: Store;
  readonly registry: Registry;
  readonly allocator: ServiceAllocator;
  readonly tokens: Tokens;
  /** Milliseconds since the epoch. */
  now(): number;
}
