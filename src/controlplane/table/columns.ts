import { formatLabelSelector } from "../../kube/selectors.ts";
import type { Container, KubeObject, LabelSelector, PodTemplateSpec } from "../../kube/types.ts";
import type { Cell, Column } from "../resources/definition.ts";

type Value<T> = (object: T, now: number) => Cell;

/** A column that is always shown. */
export function column<T>(name: string, value: Value<T>, description = ""): Column<T> {
  return { name, type: "string", description, priority: 0, value };
}

/** A column of whole numbers that is always shown. */
export function countColumn<T>(name: string, value: Value<T>, description = ""): Column<T> {
  return { name, type: "integer", description, priority: 0, value };
}

/** A column that only `-o wide` shows. */
export function wide<T>(name: string, value: Value<T>, description = ""): Column<T> {
  return { name, type: "string", description, priority: 1, value };
}

export const nameColumn: Column<KubeObject> = {
  name: "Name",
  type: "string",
  format: "name",
  description: "Name must be unique within a namespace.",
  priority: 0,
  value: (object) => object.metadata.name,
};

export const ageColumn: Column<KubeObject> = column(
  "Age",
  (object, now) => since(object.metadata.creationTimestamp, now),
  "CreationTimestamp is a timestamp representing the server time when this object was created.",
);

export const createdColumn: Column<KubeObject> = column(
  "Created At",
  (object) => object.metadata.creationTimestamp ?? "<unknown>",
);

/** How long ago a time of RFC 3339 was, as kubectl says it. */
export function since(time: string | null | undefined, now: number): string {
  const then = time === undefined || time === null ? Number.NaN : Date.parse(time);
  return Number.isNaN(then) ? "<unknown>" : humanDuration(now - then);
}

/** Kubernetes' `duration.HumanDuration`: two units at most, and fewer the longer it is. */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.trunc(milliseconds / 1000);
  if (seconds < -1) return "<invalid>";
  if (seconds < 120) return `${Math.max(0, seconds)}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return two(minutes, "m", seconds % 60, "s");
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return two(hours, "h", minutes % 60, "m");
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (hours < 192) return two(days, "d", hours % 24, "h");
  if (days < 730) return `${days}d`;
  const years = Math.floor(days / 365);
  return days < 2920 ? two(years, "y", days % 365, "d") : `${years}y`;
}

const two = (major: number, unit: string, minor: number, smaller: string) =>
  minor === 0 ? `${major}${unit}` : `${major}${unit}${minor}${smaller}`;

const containersOf = (template: PodTemplateSpec | undefined): Container[] => template?.spec.containers ?? [];

/** The columns by which workloads show their pod template with `-o wide`. */
export function templateColumns<
  T extends { spec: { template?: PodTemplateSpec; selector: LabelSelector } },
>(): Column<T>[] {
  return [
    wide("Containers", ({ spec }) =>
      containersOf(spec.template)
        .map(({ name }) => name)
        .join(","),
    ),
    wide("Images", ({ spec }) =>
      containersOf(spec.template)
        .map(({ image }) => image ?? "")
        .join(","),
    ),
    wide("Selector", ({ spec }) => selectorText(spec.selector)),
  ];
}

export function selectorText(selector: LabelSelector | undefined): string {
  return selector === undefined ? "<none>" : formatLabelSelector(selector) || "<none>";
}
