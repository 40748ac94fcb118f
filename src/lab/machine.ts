import { existsSync } from "node:fs";
import { WeftError } from "../lib/errors.ts";
import { pluginExecutable } from "../lib/self.ts";
import { resolvConf } from "./paths.ts";

/** Whether this machine can have a lab. Throws one sentence why not, before anything is made. */
export function checkMachine(): void {
  checkPlugins();
  checkResolvConf();
  checkNamespaces();
}

/** The agents would say the same, but only each for itself, and when all else is up. */
function checkPlugins(): void {
  const path = pluginExecutable();
  if (existsSync(path)) return;
  throw new WeftError("plugins-missing", `the plugin executable "${path}" is not there`, {
    remedy: "Build it (npm run build), and keep it beside the executable weft",
  });
}

/** The nodes' and pods' resolv.conf take the place of the machine's, each in its own mounts: there has to be one. */
function checkResolvConf(): void {
  if (existsSync(resolvConf)) return;
  throw new WeftError(
    "lab-resolv-conf",
    `there is no ${resolvConf} on this machine, where the lab's could appear`,
    {
      remedy: `Make one; it may be empty: touch ${resolvConf}`,
    },
  );
}

/** Whether the kernel lets this user make the lab's namespaces; throws one sentence why not. */
function checkNamespaces(): void {
  const user = process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"];
  let said: string;
  try {
    const tried = Bun.spawnSync([
      "unshare",
      ...user,
      "--net",
      "--mount",
      "--pid",
      "--fork",
      "--mount-proc",
      "true",
    ]);
    if (tried.exitCode === 0) return;
    said = tried.stderr.toString().trim();
  } catch (error) {
    said = `"unshare" of util-linux cannot be started: ${error}`;
  }
  throw new WeftError(
    "lab-namespaces",
    `the lab needs namespaces of its own, which the kernel refuses: ${said}`,
    {
      remedy:
        user.length === 0
          ? "Give this machine or container the right to make namespaces (CAP_SYS_ADMIN)"
          : "Run it as root, or allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)",
    },
  );
}
