import { childPlugin } from "./plugin.ts";

/** Gives a container an interface that leads nowhere, for addresses that are to be reached otherwise. */
export const dummy = childPlugin({
  kind: "dummy",
  keys: [],
  notify: false,
  needsAddresses: true,
  parse: () => ({ link: { kind: "dummy" } }),
});
