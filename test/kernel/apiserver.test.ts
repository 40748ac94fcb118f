/**
 * The API server listens in a network namespace and on the host's loopback at the same time, from one process:
 *
 *     curl in weft-t-api-… ──► 127.0.0.1 of that namespace ─┐
 *     fetch here           ──► 127.0.0.1 of the host        ─┴─► API server
 */
import { afterAll, beforeAll, expect } from "bun:test";
import { type ApiServer, startApiServer } from "../../src/controlplane/server.ts";
import { createNetns, deleteNetns, inNetns } from "../../src/linux/netns.ts";
import { needs, testWith } from "../lib/needs.ts";

const name = `weft-t-api-${process.pid}`;
const kernelTest = testWith(needs.root, needs.command("ip", "iproute2"), needs.command("curl", "curl"));
let server: ApiServer | undefined;

beforeAll(() => {
  if (needs.root !== undefined) return;
  createNetns(name);
  Bun.spawnSync(["ip", "-n", name, "link", "set", "lo", "up"]);
});
afterAll(() => {
  server?.close();
  if (needs.root === undefined) deleteNetns(name);
});

kernelTest("one server, two network namespaces", async () => {
  server = await startApiServer({
    listen: [{ port: 0 }, { port: 6443, within: (open) => inNetns({ name }, open) }],
  });
  const inside = Bun.spawn(
    ["ip", "netns", "exec", name, "curl", "-sk", "--max-time", "5", "https://127.0.0.1:6443/readyz"],
    {
      stdout: "pipe",
    },
  );
  expect(await new Response(inside.stdout).text()).toBe("ok");
  const here = await fetch(`${server.url}/readyz`, { tls: { ca: server.caCert } } as RequestInit);
  expect(await here.text()).toBe("ok");
  expect(
    fetch("https://127.0.0.1:6443/readyz", { tls: { rejectUnauthorized: false } } as RequestInit),
  ).rejects.toThrow();
});
