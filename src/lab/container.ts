import { existsSync } from "node:fs";
import { constants } from "node:os";
import { explain, InvalidInput } from "../lib/errors.ts";
import { selfCommand } from "../lib/self.ts";
import * as ffi from "../linux/ffi.ts";
import { inNetns } from "../linux/netns.ts";
import type { EchoOptions } from "./echo.ts";

const CLONE_NEWNS = 0x00020000;
const CLONE_NEWUTS = 0x04000000;
const CLONE_NEWNET = 0x40000000;
const MS_BIND = 0x1000;
const MS_REC = 0x4000;
const MS_PRIVATE = 1 << 18;

/** What a container is to be: written by the kubelet role, read by the process that becomes the container. */
export interface ContainerSpec {
  image: string;
  /** The command and its arguments, for images that take one. */
  command: string[];
  env: Record<string, string>;
  workingDir: string | undefined;
  hostname: string;
  /** Files that take the place of the host's, by the path they appear at. */
  files: Record<string, string>;
  pod: { name: string; namespace: string; ips: string[]; node: string };
  /** weft/echo: the port to listen on, and the socket for the node. */
  echo: { port: number; socket: string };
  /** The namespace to enter; where undefined, the process is there already. */
  netns?: string;
}

/** The images that the lab knows. */
export const images = ["weft/echo", "weft/host"] as const;

/** The name of an image without its registry, tag and digest: "weft/echo" from "docker.io/weft/echo:v1". */
export function imageName(image: string): string {
  const plain = image.split("@")[0]?.replace(/:[^/:]*$/, "") ?? image;
  return plain.split("/").slice(-2).join("/");
}

/** Becomes the container: enters the pod's namespaces, puts the pod's files in place of the host's, runs the image. */
function becomeContainer(spec: ContainerSpec): never {
  if (spec.netns !== undefined) {
    const fd = ffi.open(spec.netns, 0);
    ffi.setns(fd, CLONE_NEWNET);
    ffi.close(fd);
  }
  ffi.unshare(CLONE_NEWNS | CLONE_NEWUTS);
  ffi.mount("none", "/", null, MS_REC | MS_PRIVATE);
  ffi.sethostname(spec.hostname);
  // /sys shows the links of the namespace in which it was mounted.
  ffi.mount("sysfs", "/sys", "sysfs", 0);
  for (const [path, source] of Object.entries(spec.files)) {
    if (existsSync(path)) ffi.mount(source, path, null, MS_BIND);
  }
  const [name, ...args] = commandOf(spec);
  if (name === undefined) {
    throw new InvalidInput("command", [], `is empty, and the image "${spec.image}" has none of its own`, {
      remedy: 'Give the container a command, such as ["sleep", "infinity"]',
    });
  }
  if (spec.workingDir !== undefined) process.chdir(spec.workingDir);
  ffi.execve(findExecutable(name, spec.env.PATH ?? ""), [name, ...args], spec.env);
}

/**
 * The image's own command comes before that of none. weft/echo is a process of its own too: threads that this one has
 * already are in the namespaces that it came from, and on one of them a lookup would read the host's resolv.conf.
 */
function commandOf({ image, command, pod, echo }: ContainerSpec): string[] {
  if (imageName(image) !== "weft/echo" || command.length > 0) return command;
  const options: EchoOptions = { pod: pod.name, podIPs: pod.ips, node: pod.node, ...echo };
  return [...selfCommand(), "lab", "echo", JSON.stringify(options)];
}

function findExecutable(name: string, path: string): string {
  if (name.includes("/")) return name;
  const found = path
    .split(":")
    .map((dir) => `${dir}/${name}`)
    .find((file) => existsSync(file));
  if (found !== undefined) return found;
  throw new InvalidInput("command", name, "is not on the container's PATH", { remedy: `PATH is ${path}` });
}

/** How a process ended, as shells and kubelets say it: of one that a signal ended, 128 and the signal's number. */
function exitCode(code: number | null, signal: NodeJS.Signals | number | null): number {
  if (code !== null) return code;
  return 128 + (typeof signal === "string" ? constants.signals[signal] : (signal ?? 0));
}

/** Starts a process in another network namespace; everything else is as with `Bun.spawn`. */
export function spawnIn(
  netns: string | undefined,
  command: string[],
  options: { env: Record<string, string>; output: number | "inherit"; onExit?: (code: number) => void },
): Bun.Subprocess {
  return inNetns(netns === undefined ? undefined : { path: netns }, () =>
    Bun.spawn(command, {
      env: options.env,
      stdin: "ignore",
      stdout: options.output,
      stderr: options.output,
      onExit: (_, code, signal) => options.onExit?.(exitCode(code, signal as NodeJS.Signals | number | null)),
    }),
  );
}

/** The process behind `weft lab container`, which becomes the container. */
export function runContainer(json: string): never {
  try {
    return becomeContainer(JSON.parse(json) as ContainerSpec);
  } catch (error) {
    console.error(`weft: the container cannot start: ${explain(error)}`);
    process.exit(127);
  }
}
