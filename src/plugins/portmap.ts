import { CniError } from "../cni/errors.ts";
import type { Plugin, PluginRequest } from "../cni/plugin.ts";
import type { Result } from "../cni/result.ts";
export const portmap: Plugin = {
  name: "portmap",
  keys: [],
  add({ config }: PluginRequest): Result {
    if (config.prevResult === undefined) throw new CniError(7, "must be called as chained plugin");
    return config.prevResult;
  },
  del() {},
  check() {},
};
