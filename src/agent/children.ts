import { readdirSync, readFileSync } from "node:fs";

/** A process as proc_pid_stat(5) tells of it. */
interface Process {
  pid: number;
  parent: number;
  group: number;
}

/**
 * Kills all that this process has started and that still runs, with all that those have started: a plugin that hangs must
 * not outlive the agent that asked it. Answers how many processes it found.
 */
export function killChildren(): number {
  const all = processes();
  const group = all.find(({ pid }) => pid === process.pid)?.group;
  const descendants = new Set([process.pid]);
  // A set also visits what is added meanwhile.
  for (const known of descendants) {
    for (const { pid, parent } of all) if (parent === known) descendants.add(pid);
  }
  descendants.delete(process.pid);
  for (const each of all) {
    if (!descendants.has(each.pid)) continue;
    try {
      // A group of its own may have lost the process in between: all of it goes.
      process.kill(each.group === group ? each.pid : -each.group, "SIGKILL");
    } catch {
      // It has ended by now.
    }
  }
  return descendants.size;
}

function processes(): Process[] {
  return readdirSync("/proc").flatMap((name) =>
    /^[0-9]+$/.test(name) ? (processOf(Number(name)) ?? []) : [],
  );
}

/** Undefined where it has ended. */
function processOf(pid: number): Process | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name stands in parentheses and may have any in it.
    const [state, parent, group] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return state === "Z" ? undefined : { pid, parent: Number(parent), group: Number(group) };
  } catch {
    return undefined;
  }
}
