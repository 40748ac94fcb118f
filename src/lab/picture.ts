import type { LabStatus, NodeStatus, PodSummary } from "./model.ts";

/** How a picture is coloured; the plain one leaves text as it is. */
export interface Palette {
  strong(text: string): string;
  soft(text: string): string;
  good(text: string): string;
  bad(text: string): string;
  accent(text: string): string;
}

export const plain: Palette = {
  strong: (text) => text,
  soft: (text) => text,
  good: (text) => text,
  bad: (text) => text,
  accent: (text) => text,
};

const sgr = (code: number) => (text: string) => `\x1b[${code}m${text}\x1b[0m`;

export const coloured: Palette = {
  strong: sgr(1),
  soft: sgr(2),
  good: sgr(32),
  bad: sgr(31),
  accent: sgr(36),
};

/** The lab as a tree: the fabric, its nodes, their bridges, pods and routes, then the Services. */
export function drawLab(status: LabStatus, palette: Palette = plain): string {
  const { strong, soft, accent } = palette;
  const lines = [
    `${strong("fabric")}  ${soft("the wire between the nodes")}`,
    "│",
    ...status.nodes.flatMap((node) => drawNode(node, palette)),
    `└── ${strong("outside")}${status.outsideName.replace(/^[^.]+/, "")}  ${status.outside.join("  ")}  ${soft("beyond the cluster")}`,
    "",
    ...status.services.map(
      (service) =>
        `${strong(`service ${service.namespace}/${service.name}`)}  ${accent(service.clusterIPs.join("  "))}  ${service.ports
          .map(
            ({ port, nodePort, protocol }) =>
              `${protocol} ${port}${nodePort === undefined ? "" : `, NodePort ${nodePort}`}`,
          )
          .join("; ")}`,
    ),
  ];
  return lines.join("\n");
}

function drawNode(node: NodeStatus, palette: Palette): string[] {
  const { strong, soft, good, bad } = palette;
  const ready = node.ready ? good("ready") : bad("not ready");
  const state = node.agent === "running" ? ready : `${ready}, ${bad("its agent has ended")}`;
  const width = Math.max(0, ...node.pods.map(({ name }) => name.length));
  const inner = [
    `${node.bridge}  ${node.gateways.join("  ") || soft("no pods yet")}`,
    ...node.pods.map((pod, i) => drawPod(pod, i === node.pods.length - 1, width, palette)),
    ...node.routes.map((route) => `${soft("route")} ${route}`),
  ];
  return [
    `├── ${strong(node.name)}  ${node.addresses.join("  ")}  ${state}`,
    ...inner.map((line) => `│     ${line}`),
    "│",
  ];
}

function drawPod(pod: PodSummary, last: boolean, width: number, { soft, accent, bad }: Palette): string {
  const state = pod.ready ? "" : `  ${bad(pod.phase)}`;
  return `${last ? "└──" : "├──"} ${pod.name.padEnd(width)}  ${accent(pod.ips.join("  "))}  ${soft(pod.link)}${state}`;
}
