/** A process that makes one call of the runtime, in whichever namespace it was started: its argument says which. */

import { parseNetworkList } from "../../src/cni/list.ts";
import type { AttachmentKey } from "../../src/cni/plugin.ts";
import { formatResult } from "../../src/cni/result.ts";
import { type Attachment, CniRuntime } from "../../src/cni/runtime.ts";

/** What is to be called. */
export interface RuntimeCall {
  command: "ADD" | "CHECK" | "DEL" | "GC" | "STATUS";
  list: string;
  path: string;
  cacheDir: string;
  attachment?: Attachment;
  valid?: AttachmentKey[];
}

if (import.meta.main) {
  const {
    command,
    list: text,
    path,
    cacheDir,
    attachment,
    valid = [],
  } = JSON.parse(process.argv[2] as string) as RuntimeCall;
  const list = parseNetworkList(text);
  const runtime = new CniRuntime({ path: [path], cacheDir, onWarning: (message) => console.error(message) });
  if (command === "GC") await runtime.gc(list, valid);
  else if (command === "STATUS") await runtime.status(list);
  else if (attachment === undefined) throw new Error(`${command} needs an attachment`);
  else if (command === "ADD") {
    console.log(JSON.stringify(formatResult(await runtime.add(list, attachment), "1.1.0")));
  } else if (command === "DEL") await runtime.del(list, attachment);
  else await runtime.check(list, attachment);
}
