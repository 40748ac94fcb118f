import { WeftError } from "../lib/errors.ts";
import type { ContainerSpec } from "./container.ts";
import type { DialResult } from "./echo.ts";
import { nodePaths } from "./paths.ts";

/** Asks a process of the lab over its Unix socket. */
export async function ask(
  socket: string,
  path: string,
  query: Record<string, string> = {},
): Promise<Response> {
  const url = new URL(path, "http://lab");
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return await fetch(url, { unix: socket });
}

/** Lets a pod, a node or the host outside make requests; see `/dial` of the echo server. `timeout` in milliseconds. */
export async function dialFrom(
  socket: string,
  url: string,
  count = 1,
  timeout = 2_000,
): Promise<DialResult[]> {
  try {
    return (await (
      await ask(socket, "/dial", { url, count: String(count), timeout: String(timeout) })
    ).json()) as DialResult[];
  } catch (error) {
    throw new WeftError("lab-dial", `nobody answers at ${socket}`, { cause: error });
  }
}

/** Lets it look up a name: as its resolv.conf says, or at one server. */
export async function lookupFrom(
  socket: string,
  name: string,
  server?: string,
): Promise<{ addresses: string[]; error?: string }> {
  const query = server === undefined ? { name } : { name, server };
  return (await (await ask(socket, "/lookup", query)).json()) as { addresses: string[]; error?: string };
}

/** How to enter a pod, and where its own socket is. */
export interface PodEntrance {
  netns: string | undefined;
  spec: ContainerSpec;
  socket: string;
}

/** Asks a node's kubelet role about one of its pods; undefined where it has none of that name. */
export async function podOn(node: string, namespace: string, name: string): Promise<PodEntrance | undefined> {
  const answer = await ask(nodePaths(node).kubeletSocket, "/pod", { namespace, name });
  return answer.ok ? ((await answer.json()) as PodEntrance) : undefined;
}

/** True when every feature of a node's agent is ready; else what it says of those that are not. */
export async function agentReady(node: string): Promise<{ ready: boolean; message: string }> {
  try {
    const answer = await ask(nodePaths(node).kubeletSocket, "/agent/readyz");
    const said = (await answer.text()).trim();
    const missing = said.split("\n").flatMap((line) => /^\[-\] (.*)/.exec(line)?.[1] ?? []);
    return { ready: answer.ok, message: missing.length > 0 ? missing.join("; ") : said };
  } catch {
    return { ready: false, message: "the kubelet role does not answer yet" };
  }
}
