import { readFileSync } from "node:fs";
import { WeftError } from "../lib/errors.ts";
import { selfCommand } from "../lib/self.ts";
import type { PodEntrance } from "./ask.ts";
import type { LabRecord } from "./daemon.ts";

/**
 * Runs a command of this machine in a pod: its network, host name, /etc/resolv.conf and /etc/hosts; files and the
 * terminal are the caller's. Resolves to the command's exit status.
 */
export async function execInPod(
  record: LabRecord,
  socket: string,
  target: { namespace: string; pod: string } | { namespace: string; deployment: string },
  command: string[],
): Promise<number> {
  const query = new URLSearchParams(target);
  const answer = await fetch(`http://lab/exec?${query}`, { unix: socket });
  const said = (await answer.json()) as PodEntrance & { error?: string };
  if (!answer.ok) throw new WeftError("lab-exec", said.error ?? "the lab does not say how to enter there");
  const env = { ...(process.env as Record<string, string>), ...said.spec.env };
  const spec = {
    ...said.spec,
    image: "weft/host",
    command,
    env,
    workingDir: workingDir(),
    ...(said.netns === undefined ? {} : { netns: said.netns }),
  };
  const user = process.getuid?.() === 0 ? [] : ["--user", "--preserve-credentials"];
  const inside = insidePid(record.pid);
  const child = Bun.spawn(
    [
      ...["nsenter", "--target", String(inside), ...user, "--mount", "--pid", "--"],
      ...[...selfCommand(), "lab", "container", JSON.stringify(spec)],
    ],
    { stdin: "inherit", stdout: "inherit", stderr: "inherit", env },
  );
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
  return await child.exited;
}

/** The caller's folder, where the lab has it: its /run is its own. */
function workingDir(): string {
  const folder = process.cwd();
  return `${folder}/`.startsWith("/run/") ? "/" : folder;
}

/** Process 1 of the lab, by the number that the host gives it: the only grandchild of the lab's keeper. */
function insidePid(daemon: number): number {
  const childOf = (pid: number) =>
    readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0];
  const inside = Number(childOf(Number(childOf(daemon))));
  if (!(inside > 0))
    throw new WeftError("lab-exec", "the lab is not up yet", { remedy: "See weft lab status" });
  return inside;
}
