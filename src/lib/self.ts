import { dirname, join } from "node:path";

/** How to start `weft` once more: the executable itself, or Bun with the source file while developing. */
export function selfCommand(): string[] {
  return Bun.main.startsWith("/$bunfs/") ? [process.execPath] : [process.execPath, Bun.main];
}

/** The plugin executable: beside `weft`, or in dist/ while developing. */
export function pluginExecutable(): string {
  if (Bun.main.startsWith("/$bunfs/")) return join(dirname(process.execPath), "weft-cni");
  return join(dirname(Bun.main), "..", "dist", "weft-cni");
}
