import type { Table } from "../notation.ts";

/** apps/v1. Notation: see notation.ts. */
export const appsTable: Table = {
  prefix: "io.k8s.api.apps.v1",
  text: `
Deployment
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: DeploymentSpec!
  status#3: DeploymentStatus ={}
ReplicaSet
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: ReplicaSetSpec!
  status#3: ReplicaSetStatus ={"replicas":0}
DaemonSet
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: DaemonSetSpec!
  status#3: DaemonSetStatus ={"currentNumberScheduled":0,"numberMisscheduled":0,"desiredNumberScheduled":0,"numberReady":0}
StatefulSet
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: StatefulSetSpec!
  status#3: StatefulSetStatus ={"replicas":0}
ControllerRevision
  apiVersion, kind: string
  metadata#1: ObjectMeta
  data#2: raw
  revision#3: long!
DeploymentSpec
  replicas#1: int? =1 0..
  selector#2: LabelSelector!
  template#3: PodTemplateSpec!
  strategy#4: DeploymentStrategy ={} retainKeys
  minReadySeconds#5: int 0..
  revisionHistoryLimit#6: int? =10 0..
  paused#7: bool
  progressDeadlineSeconds#9: int? =600 0..
DeploymentStatus
  observedGeneration#1: long
  replicas#2, updatedReplicas#3, readyReplicas#7, availableReplicas#4, unavailableReplicas#5: int
  terminatingReplicas#9: int?
  conditions#6: [DeploymentCondition] key=type
  collisionCount#8: int?
ReplicaSetSpec
  replicas#1: int? =1 0..
  minReadySeconds#4: int 0..
  selector#2: LabelSelector!
  template#3: PodTemplateSpec
ReplicaSetStatus
  replicas#1: int!
  fullyLabeledReplicas#2, readyReplicas#4, availableReplicas#5: int
  terminatingReplicas#7: int?
  observedGeneration#3: long
  conditions#6: [ReplicaSetCondition] key=type
DaemonSetSpec
  selector#1: LabelSelector!
  template#2: PodTemplateSpec!
  updateStrategy#3: DaemonSetUpdateStrategy ={}
  minReadySeconds#4: int 0..
  revisionHistoryLimit#6: int? =10 0..
DaemonSetStatus
  currentNumberScheduled#1, numberMisscheduled#2, desiredNumberScheduled#3, numberReady#4: int!
  observedGeneration#5: long
  updatedNumberScheduled#6, numberAvailable#7, numberUnavailable#8: int
  collisionCount#9: int?
  conditions#10: [DaemonSetCondition] key=type
StatefulSetSpec
  replicas#1: int? =1 0..
  selector#2: LabelSelector!
  template#3: PodTemplateSpec!
  volumeClaimTemplates#4: [PersistentVolumeClaim] atomic
  serviceName#5: string
  podManagementPolicy#6: string ="OrderedReady" in(OrderedReady,Parallel)
  updateStrategy#7: StatefulSetUpdateStrategy ={}
  revisionHistoryLimit#8: int? =10 0..
  minReadySeconds#9: int 0..
  persistentVolumeClaimRetentionPolicy#10: StatefulSetPersistentVolumeClaimRetentionPolicy ={}
  ordinals#11: StatefulSetOrdinals
StatefulSetStatus
  observedGeneration#1: long
  replicas#2: int!
  readyReplicas#3, currentReplicas#4, updatedReplicas#5: int
  currentRevision#6, updateRevision#7: string
  collisionCount#9: int?
  conditions#10: [StatefulSetCondition] key=type
  availableReplicas#11: int
DeploymentStrategy
  type#1: string ="RollingUpdate" in(Recreate,RollingUpdate)
  rollingUpdate#2: RollingUpdateDeployment
DeploymentCondition
  type#1, status#2: string!
  lastUpdateTime#6, lastTransitionTime#7: time
  reason#4, message#5: string
ReplicaSetCondition
  type#1, status#2: string!
  lastTransitionTime#3: time
  reason#4, message#5: string
DaemonSetUpdateStrategy
  type#1: string ="RollingUpdate" in(RollingUpdate,OnDelete)
  rollingUpdate#2: RollingUpdateDaemonSet
DaemonSetCondition
  type#1, status#2: string!
  lastTransitionTime#3: time
  reason#4, message#5: string
StatefulSetUpdateStrategy
  type#1: string ="RollingUpdate" in(RollingUpdate,OnDelete)
  rollingUpdate#2: RollingUpdateStatefulSetStrategy
StatefulSetPersistentVolumeClaimRetentionPolicy
  whenDeleted#1, whenScaled#2: string ="Retain" in(Retain,Delete)
StatefulSetOrdinals
  start#1: int! 0..
StatefulSetCondition
  type#1, status#2: string!
  lastTransitionTime#3: time
  reason#4, message#5: string
RollingUpdateDeployment
  maxUnavailable#1, maxSurge#2: intstr check=percent
RollingUpdateDaemonSet
  maxUnavailable#1, maxSurge#2: intstr check=percent
RollingUpdateStatefulSetStrategy
  partition#1: int? 0..
  maxUnavailable#2: intstr check=percent
`,
};

/** autoscaling/v1: the body of a scale subresource. */
export const autoscalingTable: Table = {
  prefix: "io.k8s.api.autoscaling.v1",
  text: `
Scale
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: ScaleSpec ={}
  status#3: ScaleStatus
ScaleSpec
  replicas#1: int 0..
ScaleStatus
  replicas#1: int!
  selector#2: string
`,
};

/** policy/v1. */
export const policyTable: Table = {
  prefix: "io.k8s.api.policy.v1",
  text: `
PodDisruptionBudget
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: PodDisruptionBudgetSpec ={}
  status#3: PodDisruptionBudgetStatus ={}
Eviction
  apiVersion, kind: string
  metadata#1: ObjectMeta
  deleteOptions#2: DeleteOptions
PodDisruptionBudgetSpec
  minAvailable#1: intstr check=percent
  selector#2: LabelSelector
  maxUnavailable#3: intstr check=percent
  unhealthyPodEvictionPolicy#4: string?
PodDisruptionBudgetStatus
  observedGeneration#1: long
  disruptedPods#2: time
  disruptionsAllowed#3, currentHealthy#4, desiredHealthy#5, expectedPods#6: int!
  conditions#7: [Condition] key=type
`,
};
