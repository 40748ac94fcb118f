import {
  type DhcpAnswer,
  type DhcpRequest,
  defaultSocketPath,
  formatLine,
  longestLine,
  otherDaemon,
  parseAnswer,
} from "../../cni/dhcp-protocol.ts";
import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { JsonObject } from "../../cni/fields.ts";
import type { GcRequest, Plugin, PluginRequest } from "../../cni/plugin.ts";
import { parseResult, type Result } from "../../cni/result.ts";

/** What may stand under `ipam`. */
export const dhcpKeys = ["type", "daemonSocketPath", "provide", "request", "priority", "suppress"];
const provideKeys = ["option", "value", "fromArg"];
const requestKeys = ["option", "skipDefault"];

/** Gets an address from a DHCP server of the interface's network, by way of the daemon that keeps the lease. */
export const dhcp: Plugin = {
  name: "dhcp",

  /** The daemon reads the other values. */
  parse({ config, warn }: PluginRequest): void {
    const ipam = config.fields.object("ipam");
    const unknown = [
      ...(ipam?.unknownKeys(dhcpKeys) ?? []),
      ...(ipam?.objects("provide") ?? []).flatMap((item) => item.unknownKeys(provideKeys)),
      ...(ipam?.objects("request") ?? []).flatMap((item) => item.unknownKeys(requestKeys)),
    ];
    for (const sentence of unknown) warn(sentence);
    ipam?.absolutePath("daemonSocketPath");
  },

  async add(request: PluginRequest): Promise<Result> {
    dhcp.parse?.(request);
    return parseResult(await ask("ADD", request), "1.1.0");
  },

  async del(request: PluginRequest): Promise<void> {
    await askAbsent("DEL", request);
  },

  async check(request: PluginRequest): Promise<void> {
    await ask("CHECK", request);
  },

  async gc(request: GcRequest): Promise<void> {
    await askAbsent("GC", request, request.valid);
  },

  async status(request: PluginRequest): Promise<void> {
    await ask("STATUS", request);
  },
};

/** How long a daemon may take to say that it is one, and to do what needs no DHCP server. Milliseconds. */
const patience = 5000;
/** How long the restart of a daemon may take. Milliseconds. */
const restartPatience = 2000;

/** Nobody listens on the socket. */
class NoDaemon extends CniError {}

/**
 * As {@link ask}, but a daemon that is not there, not even after the time that a restart takes, is no failure: a container
 * must be able to go without it. Its lease ends by itself, and the next daemon lets go of it.
 */
async function askAbsent(
  command: DhcpRequest["command"],
  request: PluginRequest,
  valid?: GcRequest["valid"],
): Promise<void> {
  const { signal, ...lasting } = request;
  // Where it was aborted before, something is being taken back, which goes on.
  const asking: PluginRequest = signal?.aborted === true ? lasting : request;
  const deadline = performance.now() + restartPatience;
  for (let pause = 20; ; pause *= 2) {
    try {
      await ask(command, asking, valid);
      return;
    } catch (error) {
      if (!(error instanceof NoDaemon)) throw error;
      if (performance.now() + pause > deadline) {
        request.warn(`${error.message}; the DHCP server keeps the lease until it ends`);
        return;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
    asking.signal?.throwIfAborted();
  }
}

async function ask(
  command: DhcpRequest["command"],
  request: PluginRequest,
  valid: GcRequest["valid"] = [],
): Promise<JsonObject> {
  const { config, invocation } = request;
  const ipam = config.fields.object("ipam");
  const path = ipam?.absolutePath("daemonSocketPath") ?? defaultSocketPath;
  const { containerId, ifname, netns, args } = invocation;
  const answer = await converse(path, request, {
    command,
    network: config.name,
    containerId,
    ifname,
    netns,
    args: args.text,
    ipam: ipam?.raw ?? {},
    addresses: ownAddresses(request),
    valid: [...valid],
  });
  if ("result" in answer) return answer.result;
  if (!("error" in answer)) throw otherDaemon(path);
  const { code, msg, details } = answer.error;
  throw new CniError(code, msg, details === undefined ? {} : { remedy: details });
}

/** The IPv4 addresses that the result says of the container's interface. */
function ownAddresses({ config: { prevResult }, invocation: { ifname } }: PluginRequest): string[] {
  if (prevResult === undefined) return [];
  const { ips, interfaces } = prevResult;
  const own = ips.filter(({ address, interface: index }) => {
    const name = index === undefined ? ifname : interfaces[index]?.name;
    return address.family === 4 && name === ifname;
  });
  return own.map(({ address }) => String(address));
}

/** Says one thing to the daemon, and resolves to its second answer; the first is that it took the request. */
function converse(path: string, request: PluginRequest, say: DhcpRequest): Promise<DhcpAnswer> {
  const { signal, delegateTimeout = Number.POSITIVE_INFINITY } = request;
  return new Promise((resolve, reject) => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let socket: { terminate(): void } | undefined;
    let isOver = false;
    const over = (end: () => void) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      socket?.terminate();
      end();
    };
    const fail = (error: unknown) => over(() => reject(error));
    const onAbort = () => fail(signal?.reason);
    const wait = (milliseconds: number) => {
      clearTimeout(timer);
      const most = Math.min(milliseconds, delegateTimeout);
      timer = setTimeout(() => fail(silent(path, most)), most);
    };
    const lines = new Lines();
    let rest: Uint8Array = new TextEncoder().encode(formatLine(say));
    const flush = (to: { write(bytes: Uint8Array): number }) => {
      if (rest.length > 0) rest = rest.subarray(Math.max(0, to.write(rest)));
    };
    const take = (bytes: Uint8Array) => {
      for (const line of lines.take(bytes)) {
        const answer = parseAnswer(line, path);
        // The daemon gives up by itself; this is for one that cannot even do that.
        if ("patience" in answer) wait(answer.patience + patience);
        else over(() => resolve(answer));
      }
      if (lines.waiting > longestLine) throw otherDaemon(path);
    };
    if (signal?.aborted === true) {
      fail(signal.reason);
      return;
    }
    signal?.addEventListener("abort", onAbort, { once: true });
    wait(patience);
    Bun.connect({
      unix: path,
      socket: {
        open: (opened) => {
          socket = opened;
          if (isOver) opened.terminate();
          else flush(opened);
        },
        drain: flush,
        data: (_, bytes) => {
          try {
            take(bytes);
          } catch (error) {
            fail(error);
          }
        },
        close: () => fail(lines.waiting > 0 ? otherDaemon(path) : hungUp(path)),
        error: (_, error) => fail(error),
      },
    }).catch((error) => fail(unreachable(path, error)));
  });
}

/** Takes bytes apart into lines. */
class Lines {
  readonly #decoder = new TextDecoder();
  #text = "";

  /** How much there is of a line that has no end yet. */
  get waiting(): number {
    return this.#text.length;
  }

  take(bytes: Uint8Array): string[] {
    const parts = (this.#text + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#text = parts.pop() ?? "";
    return parts;
  }
}

const startIt = "Start `weft dhcp daemon`, or correct ipam.daemonSocketPath";

function unreachable(path: string, cause: Error): CniError {
  const why = (cause as NodeJS.ErrnoException).code ?? cause.message;
  const kind = why === "ENOENT" || why === "ECONNREFUSED" ? NoDaemon : CniError;
  return new kind(cniErrorCode.pluginNotAvailable, `error dialing DHCP daemon: ${path}: ${why}`, {
    remedy: startIt,
    cause,
  });
}

function hungUp(path: string): CniError {
  return new CniError(
    cniErrorCode.tryAgainLater,
    `the DHCP daemon at ${path} ended in the middle of a call`,
    {
      remedy: "Look at its log",
    },
  );
}

function silent(path: string, milliseconds: number): CniError {
  const seconds = milliseconds / 1000;
  return new CniError(cniErrorCode.tryAgainLater, `what listens on ${path} said nothing for ${seconds} s`, {
    remedy: startIt,
  });
}
