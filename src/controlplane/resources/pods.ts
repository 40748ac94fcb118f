import { matchesSelector } from "../../kube/selectors.ts";
import type {
  Container,
  LabelSelector,
  Pod,
  PodSpec,
  PodTemplateSpec,
  Toleration,
} from "../../kube/types.ts";
import { cloneJson } from "../objects.ts";
import { checkDnsLabel, checkDnsSubdomain, checkPortName, checkQualifiedName } from "../schema/checks.ts";
import {
  duplicate,
  type FieldError,
  forbiddenField,
  invalidValue,
  notSupported,
  required,
} from "../status.ts";
import type { Hooks } from "./definition.ts";

/** What the schema's defaults cannot say of a pod, or of the pod in a template. */
export function defaultPodSpec(spec: PodSpec): void {
  const containers = [...(spec.initContainers ?? []), ...(spec.containers ?? [])];
  for (const container of containers) {
    container.imagePullPolicy ??= hasFixedTag(container.image ?? "") ? "IfNotPresent" : "Always";
    for (const port of container.ports ?? []) {
      if (spec.hostNetwork === true) port.hostPort ??= port.containerPort;
    }
    const { limits = {}, requests } = container.resources ?? {};
    for (const [name, limit] of Object.entries(limits)) {
      if (requests !== undefined && Object.hasOwn(requests, name)) continue;
      container.resources = {
        ...container.resources,
        requests: { ...container.resources?.requests, [name]: limit },
      };
    }
  }
  if (spec.serviceAccountName !== undefined) spec.serviceAccount = spec.serviceAccountName;
  else if (spec.serviceAccount !== undefined) spec.serviceAccountName = spec.serviceAccount;
}

/** Whether an image is named by a tag other than "latest", or by a digest. */
function hasFixedTag(image: string): boolean {
  if (image.includes("@")) return true;
  const tag = /:([^:/]+)$/.exec(image)?.[1];
  return tag !== undefined && tag !== "latest";
}

const evictAfter = (key: string): Toleration => ({
  key,
  operator: "Exists",
  effect: "NoExecute",
  tolerationSeconds: 300,
});

/** What admission adds to every new pod. */
function admitPod(pod: Pod): void {
  const { spec } = pod;
  spec.serviceAccountName ??= "default";
  spec.serviceAccount ??= spec.serviceAccountName;
  spec.priority ??= 0;
  (spec as { preemptionPolicy?: string }).preemptionPolicy ??= "PreemptLowerPriority";
  const tolerations = spec.tolerations ?? [];
  for (const key of ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]) {
    const covered = tolerations.some(
      (toleration) =>
        (toleration.key === key || (toleration.key ?? "") === "") &&
        (toleration.effect === undefined || toleration.effect === "NoExecute"),
    );
    if (!covered) tolerations.push(evictAfter(key));
  }
  spec.tolerations = tolerations;
}

type Resources = { limits?: Record<string, string>; requests?: Record<string, string> };

/** Guaranteed, Burstable or BestEffort, by the containers' requests and limits of CPU and memory. */
export function qosClass(spec: PodSpec): string {
  const all = [...spec.containers, ...(spec.initContainers ?? [])].map(
    ({ resources }): Resources => resources ?? {},
  );
  const counted = ["cpu", "memory"];
  const any = all.some(({ limits, requests }) =>
    counted.some((name) => limits?.[name] !== undefined || requests?.[name] !== undefined),
  );
  if (!any) return "BestEffort";
  const guaranteed = all.every(({ limits, requests }) =>
    counted.every(
      (name) => limits?.[name] !== undefined && (requests?.[name] ?? limits[name]) === limits[name],
    ),
  );
  return guaranteed ? "Guaranteed" : "Burstable";
}

export const podHooks: Hooks<Pod> = {
  defaults: ({ spec }) => defaultPodSpec(spec),
  prepareCreate: (pod) => {
    admitPod(pod);
    const status: NonNullable<Pod["status"]> = { phase: "Pending", qosClass: qosClass(pod.spec) };
    if ((pod.spec.schedulingGates ?? []).length > 0) {
      status.conditions = [
        {
          type: "PodScheduled",
          status: "False",
          reason: "SchedulingGated",
          message: "Scheduling is blocked due to non-empty scheduling gates",
        },
      ];
    }
    pod.status = status;
  },
  validate: (pod, old) => [
    ...validatePodSpec(pod.spec, "spec"),
    ...(old === undefined ? [] : validatePodUpdate(pod, old)),
  ],
};

/** Of a pod that is there, only these may change: what a kubelet can act on. */
function validatePodUpdate(pod: Pod, old: Pod): FieldError[] {
  const errors: FieldError[] = [];
  const before = cloneJson(old.spec);
  const after = cloneJson(pod.spec);
  for (const list of ["containers", "initContainers"] as const) {
    for (const [i, container] of (after[list] ?? []).entries()) {
      const same = before[list]?.[i];
      if (same?.image !== undefined) container.image = same.image;
      if (same?.resources !== undefined) container.resources = same.resources;
    }
  }
  for (const toleration of before.tolerations ?? []) {
    if (!after.tolerations?.some((other) => sameToleration(other, toleration))) {
      errors.push(
        forbiddenField(
          "spec.tolerations",
          "existing toleration can not be modified except its tolerationSeconds",
        ),
      );
    }
  }
  const gates = new Set(before.schedulingGates?.map(({ name }) => name));
  if (after.schedulingGates?.some(({ name }) => !gates.has(name))) {
    errors.push(
      forbiddenField("spec.schedulingGates", "only deletion is allowed, but found new scheduling gates"),
    );
  }
  const mutable = [
    "activeDeadlineSeconds",
    "tolerations",
    "schedulingGates",
    "terminationGracePeriodSeconds",
  ] as const;
  // A gated pod is not yet placed: its node selection may still be narrowed.
  const gated = gates.size > 0 ? (["nodeSelector", "affinity"] as const) : [];
  for (const key of [...mutable, ...gated, "ephemeralContainers"]) {
    delete (after as unknown as Record<string, unknown>)[key];
    delete (before as unknown as Record<string, unknown>)[key];
  }
  if (!Bun.deepEquals(before, after)) {
    const why =
      "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`," +
      "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)," +
      "`spec.terminationGracePeriodSeconds`";
    errors.push(forbiddenField("spec", `${why} (changed: ${changedKeys(before, after).join(", ")})`));
  }
  return errors;
}

function changedKeys(before: object, after: object): string[] {
  const [a, b] = [before as Record<string, unknown>, after as Record<string, unknown>];
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].filter(
    (key) => !Bun.deepEquals(a[key], b[key]),
  );
}

const sameToleration = (a: Toleration, b: Toleration) =>
  Bun.deepEquals({ ...a, tolerationSeconds: 0 }, { ...b, tolerationSeconds: 0 });

/** What is wrong with a pod's spec beyond its schema. */
function validatePodSpec(spec: PodSpec, path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.containers.length === 0) errors.push(required(`${path}.containers`));
  const names = new Set<string>();
  for (const list of ["initContainers", "containers"] as const) {
    for (const [i, container] of (spec[list] ?? []).entries()) {
      const at = `${path}.${list}[${i}]`;
      if (names.has(container.name)) errors.push(duplicate(`${at}.name`, container.name));
      names.add(container.name);
      errors.push(...validateContainer(container, at, spec));
    }
  }
  for (const [key, check] of [
    ["hostname", checkDnsLabel],
    ["subdomain", checkDnsLabel],
    ["nodeName", checkDnsSubdomain],
    ["serviceAccountName", checkDnsSubdomain],
  ] as const) {
    const problem = spec[key] ? check(spec[key]) : undefined;
    if (problem !== undefined) errors.push(invalidValue(`${path}.${key}`, spec[key], problem));
  }
  if (spec.dnsPolicy === "None" && (spec.dnsConfig?.nameservers ?? []).length === 0) {
    const why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
    errors.push(required(`${path}.dnsConfig.nameservers`, why));
  }
  if ((spec.dnsConfig?.nameservers ?? []).length > 3) {
    const servers = spec.dnsConfig?.nameservers;
    errors.push(
      invalidValue(`${path}.dnsConfig.nameservers`, servers, "must not have more than 3 nameservers"),
    );
  }
  for (const [i, toleration] of (spec.tolerations ?? []).entries()) {
    errors.push(...validateToleration(toleration, `${path}.tolerations[${i}]`));
  }
  errors.push(...validateNodeSelector(spec, path));
  return errors;
}

function validateContainer(container: Container, path: string, spec: PodSpec): FieldError[] {
  const errors: FieldError[] = [];
  const image = container.image ?? "";
  if (image === "") errors.push(required(`${path}.image`));
  else if (image.trim() !== image) {
    errors.push(invalidValue(`${path}.image`, image, "must not have leading or trailing whitespace"));
  }
  const portNames = new Set<string>();
  for (const [i, port] of (container.ports ?? []).entries()) {
    const at = `${path}.ports[${i}]`;
    if (port.name) {
      const problem = checkPortName(port.name);
      if (problem !== undefined) errors.push(invalidValue(`${at}.name`, port.name, problem));
      if (portNames.has(port.name)) errors.push(duplicate(`${at}.name`, port.name));
      portNames.add(port.name);
    }
    if (spec.hostNetwork === true && port.hostPort !== port.containerPort) {
      errors.push(
        invalidValue(
          `${at}.hostPort`,
          port.hostPort,
          "must match `containerPort` when `hostNetwork` is true",
        ),
      );
    }
  }
  for (const kind of ["livenessProbe", "readinessProbe", "startupProbe"] as const) {
    const probe = container[kind];
    if (probe === undefined) continue;
    const handlers = [probe.exec, probe.httpGet, probe.tcpSocket, probe.grpc].filter(
      (handler) => handler !== undefined,
    );
    if (handlers.length === 0) errors.push(required(`${path}.${kind}`, "must specify a handler type"));
    if (handlers.length > 1) {
      errors.push(forbiddenField(`${path}.${kind}`, "may not specify more than 1 handler type"));
    }
    if (kind !== "readinessProbe" && (probe.successThreshold ?? 1) !== 1) {
      errors.push(invalidValue(`${path}.${kind}.successThreshold`, probe.successThreshold, "must be 1"));
    }
  }
  const volumes = new Set((spec.volumes ?? []).map((volume) => (volume as { name?: string } | null)?.name));
  for (const [i, mount] of (container.volumeMounts ?? []).entries()) {
    const name = (mount as { name?: string } | null)?.name;
    if (volumes.has(name)) continue;
    errors.push({
      reason: "FieldValueNotFound",
      field: `${path}.volumeMounts[${i}].name`,
      message: `Not found: ${JSON.stringify(name)}`,
    });
  }
  return errors;
}

function validateToleration(toleration: Toleration, path: string): FieldError[] {
  const { key = "", operator = "Equal", value = "", effect, tolerationSeconds } = toleration;
  const errors: FieldError[] = [];
  const problem = key === "" ? undefined : checkQualifiedName(key);
  if (problem !== undefined) errors.push(invalidValue(`${path}.key`, key, problem));
  if (key === "" && operator !== "Exists") {
    errors.push(
      invalidValue(
        `${path}.operator`,
        operator,
        'operator must be Exists when `key` is empty, which means "match all values and all keys"',
      ),
    );
  }
  if (operator === "Exists" && value !== "") {
    errors.push(invalidValue(`${path}.operator`, value, "value must be empty when `operator` is 'Exists'"));
  }
  if (tolerationSeconds !== undefined && effect !== "NoExecute") {
    errors.push(
      invalidValue(
        `${path}.effect`,
        effect ?? "",
        "effect must be 'NoExecute' when `tolerationSeconds` is set",
      ),
    );
  }
  return errors;
}

function validateNodeSelector(spec: PodSpec, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const key of Object.keys(spec.nodeSelector ?? {})) {
    const problem = checkQualifiedName(key);
    if (problem !== undefined) errors.push(invalidValue(`${path}.nodeSelector`, key, problem));
  }
  return errors;
}

/** What is wrong with a template, and with the selector that must choose its pods. */
export function validateTemplate(
  template: PodTemplateSpec,
  selector: LabelSelector,
  path: string,
  restartPolicies: readonly string[],
): FieldError[] {
  const { restartPolicy } = template.spec;
  const errors = [
    ...validateSelector(selector, "spec.selector"),
    ...validatePodSpec(template.spec, `${path}.spec`),
  ];
  if (errors.length === 0 && !matchesSelector(selector, template.metadata?.labels ?? {})) {
    const why = "`selector` does not match template `labels`";
    errors.push(invalidValue(`${path}.metadata.labels`, template.metadata?.labels ?? {}, why));
  }
  if (restartPolicy !== undefined && !restartPolicies.includes(restartPolicy)) {
    errors.push(notSupported(`${path}.spec.restartPolicy`, restartPolicy, restartPolicies));
  }
  return errors;
}

/** A selector of a workload: well-formed, and not for all pods. */
export function validateSelector(selector: LabelSelector, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const expressions = selector.matchExpressions ?? [];
  if (Object.keys(selector.matchLabels ?? {}).length + expressions.length === 0) {
    errors.push(invalidValue(path, selector, "empty selector is invalid: it would select all pods"));
  }
  for (const [i, { operator, values = [] }] of expressions.entries()) {
    const at = `${path}.matchExpressions[${i}]`;
    const listed = operator === "In" || operator === "NotIn";
    if (!listed && operator !== "Exists" && operator !== "DoesNotExist") {
      errors.push(invalidValue(`${at}.operator`, operator, "not a valid selector operator"));
    } else if (listed && values.length === 0) {
      errors.push(required(`${at}.values`, "must be specified when `operator` is 'In' or 'NotIn'"));
    } else if (!listed && values.length > 0) {
      errors.push(
        forbiddenField(`${at}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
      );
    }
  }
  return errors;
}
