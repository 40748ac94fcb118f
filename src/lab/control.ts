import { explain } from "../lib/errors.ts";
import type { Lab } from "./lab.ts";
import { files, sharedDir } from "./paths.ts";
import { eventStream } from "./streams.ts";

/**
 * The lab's control socket, HTTP over a Unix socket that only its owner can open:
 *
 *     GET  /status                     LabStatus
 *     GET  /events                     progress since the beginning, until the lab is ready
 *     POST /check                      the checks as they finish, then a verdict
 *     POST /story                      pods and nodes coming and going, measured, then a verdict
 *     GET  /exec?namespace=N&pod=P     how to enter a pod, a node or the host outside; also &deployment=D
 *     POST /down                       ends the lab
 */
export function startControl(lab: Lab, down: () => void): { stop(): void } {
  const routes: Record<string, (url: URL) => Response | Promise<Response>> = {
    "GET /status": async () => Response.json(await lab.status()),
    "GET /events": () => eventStream((emit) => lab.follow(emit)),
    "POST /check": () => eventStream((emit) => lab.check(emit)),
    "POST /story": () => eventStream((emit) => lab.story(emit)),
    "GET /exec": async ({ searchParams }) => {
      const namespace = searchParams.get("namespace") ?? "default";
      const deployment = searchParams.get("deployment");
      const pod = deployment === null ? searchParams.get("pod") : lab.podOf(namespace, deployment);
      return Response.json(await lab.entrance(namespace, pod ?? ""));
    },
    "POST /down": () => {
      down();
      return new Response("going down\n", { status: 202 });
    },
  };
  const server = Bun.serve({
    unix: `${sharedDir}/${files.control}`,
    async fetch(request) {
      const url = new URL(request.url);
      const route = routes[`${request.method} ${url.pathname}`];
      if (route === undefined) return new Response("no such thing\n", { status: 404 });
      try {
        return await route(url);
      } catch (error) {
        return Response.json({ error: explain(error) }, { status: 409 });
      }
    },
  });
  return { stop: () => void server.stop(true) };
}
