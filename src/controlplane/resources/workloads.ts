import type { DaemonSet, Deployment, LabelSelector, ReplicaSet, StatefulSet } from "../../kube/types.ts";
import { type FieldError, forbiddenField, invalidValue, required } from "../status.ts";
import type { Hooks } from "./definition.ts";
import { defaultPodSpec, validateSelector, validateTemplate } from "./pods.ts";

function selectorUnchanged(now: LabelSelector, old: LabelSelector | undefined): FieldError[] {
  if (old === undefined || Bun.deepEquals(now, old)) return [];
  return [invalidValue("spec.selector", now, "field is immutable")];
}

export const deploymentHooks: Hooks<Deployment> = {
  defaults: ({ spec }) => {
    defaultPodSpec(spec.template.spec);
    if (spec.strategy?.type !== "RollingUpdate") return;
    spec.strategy.rollingUpdate ??= {};
    spec.strategy.rollingUpdate.maxUnavailable ??= "25%";
    spec.strategy.rollingUpdate.maxSurge ??= "25%";
  },
  prepareCreate: (deployment) => {
    deployment.status = {};
  },
  validate: ({ spec }, old) => {
    const errors = [
      ...validateTemplate(spec.template, spec.selector, "spec.template", ["Always"]),
      ...selectorUnchanged(spec.selector, old?.spec.selector),
    ];
    const { type, rollingUpdate } = spec.strategy ?? {};
    if (type === "Recreate" && rollingUpdate !== undefined) {
      errors.push(
        forbiddenField(
          "spec.strategy.rollingUpdate",
          "may not be specified when strategy `type` is 'Recreate'",
        ),
      );
    }
    if (isZero(rollingUpdate?.maxUnavailable) && isZero(rollingUpdate?.maxSurge)) {
      const why = "may not be 0 when `maxSurge` is 0";
      errors.push(
        invalidValue("spec.strategy.rollingUpdate.maxUnavailable", rollingUpdate?.maxUnavailable, why),
      );
    }
    const { minReadySeconds = 0, progressDeadlineSeconds } = spec;
    if (progressDeadlineSeconds !== undefined && progressDeadlineSeconds <= minReadySeconds) {
      const why = "must be greater than minReadySeconds";
      errors.push(invalidValue("spec.progressDeadlineSeconds", progressDeadlineSeconds, why));
    }
    return errors;
  },
};

const isZero = (value: number | string | undefined) => value === 0 || value === "0%";

export const replicaSetHooks: Hooks<ReplicaSet> = {
  defaults: ({ spec }) => {
    if (spec.template !== undefined) defaultPodSpec(spec.template.spec);
  },
  prepareCreate: (set) => {
    set.status = { replicas: 0 };
  },
  validate: ({ spec }, old) => {
    const errors =
      spec.template === undefined
        ? [required("spec.template"), ...validateSelector(spec.selector, "spec.selector")]
        : validateTemplate(spec.template, spec.selector, "spec.template", ["Always"]);
    return [...errors, ...selectorUnchanged(spec.selector, old?.spec.selector)];
  },
};

export const daemonSetHooks: Hooks<DaemonSet> = {
  defaults: ({ spec }) => {
    defaultPodSpec(spec.template.spec);
    if (spec.updateStrategy?.type !== "RollingUpdate") return;
    spec.updateStrategy.rollingUpdate ??= {};
    spec.updateStrategy.rollingUpdate.maxUnavailable ??= 1;
    spec.updateStrategy.rollingUpdate.maxSurge ??= 0;
  },
  prepareCreate: (set) => {
    set.status = {
      currentNumberScheduled: 0,
      numberMisscheduled: 0,
      desiredNumberScheduled: 0,
      numberReady: 0,
    };
  },
  validate: ({ spec }, old) => [
    ...validateTemplate(spec.template, spec.selector, "spec.template", ["Always"]),
    ...selectorUnchanged(spec.selector, old?.spec.selector),
  ],
};

export const statefulSetHooks: Hooks<StatefulSet> = {
  defaults: ({ spec }) => {
    defaultPodSpec(spec.template.spec);
    if (spec.updateStrategy?.type !== "RollingUpdate") return;
    spec.updateStrategy.rollingUpdate ??= {};
    spec.updateStrategy.rollingUpdate.partition ??= 0;
  },
  prepareCreate: (set) => {
    set.status = { replicas: 0 };
  },
  validate: (set, old) => {
    const { spec } = set;
    const errors = validateTemplate(spec.template, spec.selector, "spec.template", ["Always"]);
    if (old === undefined) return errors;
    const mutable = [
      "replicas",
      "ordinals",
      "template",
      "updateStrategy",
      "revisionHistoryLimit",
      "persistentVolumeClaimRetentionPolicy",
      "minReadySeconds",
    ];
    const fixed = (other: StatefulSet) =>
      Object.fromEntries(Object.entries(other.spec).filter(([key]) => !mutable.includes(key)));
    if (!Bun.deepEquals(fixed(set), fixed(old))) {
      const list = mutable.map((key) => `'${key}'`).join(", ");
      errors.push(
        forbiddenField("spec", `updates to statefulset spec for fields other than ${list} are forbidden`),
      );
    }
    return errors;
  },
};
