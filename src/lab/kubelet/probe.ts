import { connect } from "node:net";
import type { Container, IntOrString, Probe } from "../../kube/types.ts";
import { WeftError } from "../../lib/errors.ts";

/** Runs one probe once from the node, against the pod's address. False is a failed probe; nothing is thrown. */
export async function probeOnce(
  probe: Probe,
  container: Container,
  podIP: string,
  exec: (command: string[]) => Promise<number>,
): Promise<boolean> {
  const timeout = (probe.timeoutSeconds ?? 1) * 1000;
  try {
    if (probe.httpGet !== undefined) {
      const { path = "/", scheme = "HTTP", host = podIP, port, httpHeaders = [] } = probe.httpGet;
      const url = `${scheme.toLowerCase()}://${bracketed(host)}:${portOf(port, container)}${path}`;
      const response = await fetch(url, {
        headers: httpHeaders.map(({ name, value }) => [name, value] as [string, string]),
        signal: AbortSignal.timeout(timeout),
        redirect: "manual",
        keepalive: false,
        tls: { rejectUnauthorized: false },
      });
      await response.arrayBuffer();
      return response.status >= 200 && response.status < 400;
    }
    if (probe.tcpSocket !== undefined) {
      return await opens(probe.tcpSocket.host ?? podIP, portOf(probe.tcpSocket.port, container), timeout);
    }
    if (probe.exec?.command !== undefined) return (await exec(probe.exec.command)) === 0;
    return true;
  } catch {
    return false;
  }
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/** The number of a port that is given by number or by the name of a container port. */
function portOf(port: IntOrString, container: Container): number {
  if (typeof port === "number") return port;
  const named = container.ports?.find(({ name }) => name === port)?.containerPort;
  if (named === undefined)
    throw new WeftError("unknown-port", `container "${container.name}" has no port "${port}"`);
  return named;
}

function opens(host: string, port: number, timeout: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (opened: boolean) => {
      socket.destroy();
      resolve(opened);
    };
    socket.setTimeout(timeout, () => finish(false));
    socket.once("connect", () => finish(true));
    socket.once("error", () => finish(false));
  });
}
