import type { Table } from "../notation.ts";

/** core/v1 Pod and what is inside of it; see volumes.ts for its volumes. Notation: see notation.ts. */
export const podTable: Table = {
  prefix: "io.k8s.api.core.v1",
  text: `
Pod
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: PodSpec!
  status#3: PodStatus ={}
PodSpec
  volumes#1: [Volume] key=name retainKeys
  initContainers#20: [Container] key=name
  containers#2: [Container]! key=name
  ephemeralContainers#34: [EphemeralContainer] key=name
  restartPolicy#3: string ="Always" in(Always,OnFailure,Never)
  terminationGracePeriodSeconds#4: long? =30
  activeDeadlineSeconds#5: long? 1..
  dnsPolicy#6: string ="ClusterFirst" in(ClusterFirstWithHostNet,ClusterFirst,Default,None)
  nodeSelector#7: {string} atomic
  serviceAccountName#8, serviceAccount#9: string
  automountServiceAccountToken#21: bool?
  nodeName#10: string
  hostNetwork#11, hostPID#12, hostIPC#13: bool
  shareProcessNamespace#27: bool?
  securityContext#14: PodSecurityContext ={}
  imagePullSecrets#15: [LocalObjectReference] key=name
  hostname#16, subdomain#17: string
  affinity#18: Affinity
  schedulerName#19: string ="default-scheduler"
  tolerations#22: [Toleration] atomic
  hostAliases#23: [HostAlias] key=ip
  priorityClassName#24: string
  priority#25: int?
  dnsConfig#26: PodDNSConfig
  readinessGates#28: [PodReadinessGate] atomic
  runtimeClassName#29: string?
  enableServiceLinks#30: bool? =true
  preemptionPolicy#31: string? in(PreemptLowerPriority,Never)
  overhead#32: {quantity}
  topologySpreadConstraints#33: [TopologySpreadConstraint] key=topologyKey keys=topologyKey,whenUnsatisfiable
  setHostnameAsFQDN#35: bool?
  os#36: PodOS
  hostUsers#37: bool?
  schedulingGates#38: [PodSchedulingGate] key=name
  resourceClaims#39: [PodResourceClaim] key=name retainKeys
  resources#40: ResourceRequirements
  hostnameOverride#41: string?
  workloadRef#42: WorkloadReference
PodStatus
  observedGeneration#17: long
  phase#1: string
  conditions#2: [PodCondition] key=type
  message#3, reason#4, nominatedNodeName#11, hostIP#5: string
  hostIPs#16: [HostIP] atomic patchKey=ip
  podIP#6: string
  podIPs#12: [PodIP] key=ip
  startTime#7: time
  initContainerStatuses#10, containerStatuses#8: [ContainerStatus] atomic
  qosClass#9: string
  ephemeralContainerStatuses#13: [ContainerStatus] atomic
  resize#14: string
  resourceClaimStatuses#15: [PodResourceClaimStatus] key=name retainKeys
  extendedResourceClaimStatus#18: PodExtendedResourceClaimStatus
  allocatedResources#19: {quantity}
  resources#20: ResourceRequirements
Container
  name#1: string! check=dns-label
  image#2: string
  command#3, args#4: [string] atomic
  workingDir#5: string
  ports#6: [ContainerPort] key=containerPort keys=containerPort,protocol
  envFrom#19: [EnvFromSource] atomic
  env#7: [EnvVar] key=name
  resources#8: ResourceRequirements ={}
  resizePolicy#23: [ContainerResizePolicy] atomic
  restartPolicy#24: string?
  restartPolicyRules#25: [ContainerRestartRule] atomic
  volumeMounts#9: [VolumeMount] key=mountPath
  volumeDevices#21: [VolumeDevice] key=devicePath
  livenessProbe#10, readinessProbe#11, startupProbe#22: Probe
  lifecycle#12: Lifecycle
  terminationMessagePath#13: string ="/dev/termination-log"
  terminationMessagePolicy#20: string ="File" in(File,FallbackToLogsOnError)
  imagePullPolicy#14: string in(Always,IfNotPresent,Never)
  securityContext#15: SecurityContext
  stdin#16, stdinOnce#17, tty#18: bool
EphemeralContainer
  ...Container#1
  targetContainerName#2: string
PodSecurityContext
  seLinuxOptions#1: SELinuxOptions
  windowsOptions#8: WindowsSecurityContextOptions
  runAsUser#2, runAsGroup#6: long? 0..
  runAsNonRoot#3: bool?
  supplementalGroups#4: [long] atomic
  supplementalGroupsPolicy#12: string?
  fsGroup#5: long? 0..
  sysctls#7: [Sysctl] atomic
  fsGroupChangePolicy#9: string?
  seccompProfile#10: SeccompProfile
  appArmorProfile#11: AppArmorProfile
  seLinuxChangePolicy#13: string?
LocalObjectReference atomic
  name#1: string =""
Affinity
  nodeAffinity#1: NodeAffinity
  podAffinity#2: PodAffinity
  podAntiAffinity#3: PodAntiAffinity
Toleration
  key#1: string
  operator#2: string in(Exists,Equal,Lt,Gt)
  value#3: string
  effect#4: string in(NoSchedule,PreferNoSchedule,NoExecute)
  tolerationSeconds#5: long?
HostAlias
  ip#1: string! check=ip
  hostnames#2: [string] atomic
PodDNSConfig
  nameservers#1: [string] atomic check=ip
  searches#2: [string] atomic
  options#3: [PodDNSConfigOption] atomic
PodReadinessGate
  conditionType#1: string!
TopologySpreadConstraint
  maxSkew#1: int! 1..
  topologyKey#2: string!
  whenUnsatisfiable#3: string! in(DoNotSchedule,ScheduleAnyway)
  labelSelector#4: LabelSelector
  minDomains#5: int? 1..
  nodeAffinityPolicy#6, nodeTaintsPolicy#7: string? in(Honor,Ignore)
  matchLabelKeys#8: [string] atomic
PodOS
  name#1: string! in(linux,windows)
PodSchedulingGate
  name#1: string!
PodResourceClaim
  name#1: string!
  resourceClaimName#3, resourceClaimTemplateName#4: string?
ResourceRequirements
  limits#1, requests#2: {quantity}
  claims#3: [ResourceClaim] keys=name
WorkloadReference
  name#1, podGroup#2, podGroupReplicaKey#3: string
PodCondition
  type#1: string!
  observedGeneration#7: long
  status#2: string!
  lastProbeTime#3, lastTransitionTime#4: time
  reason#5, message#6: string
HostIP
  ip#1: string!
PodIP
  ip#1: string! check=ip
ContainerStatus
  name#1: string!
  state#2, lastState#3: ContainerState ={}
  ready#4: bool! =false
  restartCount#5: int! =0
  image#6, imageID#7: string! =""
  containerID#8: string
  started#9: bool?
  allocatedResources#10: {quantity}
  resources#11: ResourceRequirements
  volumeMounts#12: [VolumeMountStatus] key=mountPath
  user#13: ContainerUser
  allocatedResourcesStatus#14: [ResourceStatus] key=name
  stopSignal#15: string?
PodResourceClaimStatus
  name#1: string!
  resourceClaimName#2: string?
PodExtendedResourceClaimStatus
  requestMappings#1: [ContainerExtendedResourceRequest] atomic
  resourceClaimName#2: string
ContainerPort
  name#1: string
  hostPort#2: int 0..65535
  containerPort#3: int! 1..65535
  protocol#4: string ="TCP" in(TCP,UDP,SCTP)
  hostIP#5: string
EnvFromSource
  prefix#1: string
  configMapRef#2: ConfigMapEnvSource
  secretRef#3: SecretEnvSource
EnvVar
  name#1: string!
  value#2: string
  valueFrom#3: EnvVarSource
ContainerResizePolicy
  resourceName#1, restartPolicy#2: string!
ContainerRestartRule
  action#1: string
  exitCodes#2: ContainerRestartRuleOnExitCodes
VolumeMount
  name#1: string!
  readOnly#2: bool
  recursiveReadOnly#7: string?
  mountPath#3: string!
  subPath#4: string
  mountPropagation#5: string?
  subPathExpr#6: string
VolumeDevice
  name#1, devicePath#2: string!
Probe
  ...ProbeHandler#1
  initialDelaySeconds#2: int 0..
  timeoutSeconds#3: int =1 1..
  periodSeconds#4: int =10 1..
  successThreshold#5: int =1 1..
  failureThreshold#6: int =3 1..
  terminationGracePeriodSeconds#7: long? 1..
Lifecycle
  postStart#1, preStop#2: LifecycleHandler
  stopSignal#3: string?
SecurityContext
  capabilities#1: Capabilities
  privileged#2: bool?
  seLinuxOptions#3: SELinuxOptions
  windowsOptions#10: WindowsSecurityContextOptions
  runAsUser#4, runAsGroup#8: long? 0..
  runAsNonRoot#5, readOnlyRootFilesystem#6, allowPrivilegeEscalation#7: bool?
  procMount#9: string?
  seccompProfile#11: SeccompProfile
  appArmorProfile#12: AppArmorProfile
SELinuxOptions
  user#1, role#2, type#3, level#4: string
WindowsSecurityContextOptions
  gmsaCredentialSpecName#1, gmsaCredentialSpec#2, runAsUserName#3: string?
  hostProcess#4: bool?
Sysctl
  name#1, value#2: string!
SeccompProfile
  type#1: string!
  localhostProfile#2: string?
AppArmorProfile
  type#1: string!
  localhostProfile#2: string?
NodeAffinity
  requiredDuringSchedulingIgnoredDuringExecution#1: NodeSelector
  preferredDuringSchedulingIgnoredDuringExecution#2: [PreferredSchedulingTerm] atomic
PodAffinity
  requiredDuringSchedulingIgnoredDuringExecution#1: [PodAffinityTerm] atomic
  preferredDuringSchedulingIgnoredDuringExecution#2: [WeightedPodAffinityTerm] atomic
PodAntiAffinity
  requiredDuringSchedulingIgnoredDuringExecution#1: [PodAffinityTerm] atomic
  preferredDuringSchedulingIgnoredDuringExecution#2: [WeightedPodAffinityTerm] atomic
PodDNSConfigOption
  name#1: string
  value#2: string?
ResourceClaim
  name#1: string!
  request#2: string
ContainerState
  waiting#1: ContainerStateWaiting
  running#2: ContainerStateRunning
  terminated#3: ContainerStateTerminated
VolumeMountStatus
  name#1, mountPath#2: string!
  readOnly#3: bool
  recursiveReadOnly#4: string?
ContainerUser
  linux#1: LinuxContainerUser
ResourceStatus
  name#1: string
  resources#2: [ResourceHealth] atomic
ContainerExtendedResourceRequest
  containerName#1, resourceName#2, requestName#3: string
ConfigMapEnvSource
  ...LocalObjectReference#1
  optional#2: bool?
SecretEnvSource
  ...LocalObjectReference#1
  optional#2: bool?
EnvVarSource
  fieldRef#1: ObjectFieldSelector
  resourceFieldRef#2: ResourceFieldSelector
  configMapKeyRef#3: ConfigMapKeySelector
  secretKeyRef#4: SecretKeySelector
  fileKeyRef#5: FileKeySelector
ContainerRestartRuleOnExitCodes
  operator#1: string
  values#2: [int] atomic
ProbeHandler
  exec#1: ExecAction
  httpGet#2: HTTPGetAction
  tcpSocket#3: TCPSocketAction
  grpc#4: GRPCAction
LifecycleHandler
  exec#1: ExecAction
  httpGet#2: HTTPGetAction
  tcpSocket#3: TCPSocketAction
  sleep#4: SleepAction
Capabilities
  add#1, drop#2: [string] atomic
NodeSelector atomic
  nodeSelectorTerms#1: [NodeSelectorTerm]! atomic
PreferredSchedulingTerm
  weight#1: int! 1..100
  preference#2: NodeSelectorTerm!
PodAffinityTerm
  labelSelector#1: LabelSelector
  namespaces#2: [string] atomic
  topologyKey#3: string!
  namespaceSelector#4: LabelSelector
  matchLabelKeys#5, mismatchLabelKeys#6: [string] atomic
WeightedPodAffinityTerm
  weight#1: int! 1..100
  podAffinityTerm#2: PodAffinityTerm!
ContainerStateWaiting
  reason#1, message#2: string
ContainerStateRunning
  startedAt#1: time
ContainerStateTerminated
  exitCode#1: int! =0
  signal#2: int
  reason#3, message#4: string
  startedAt#5, finishedAt#6: time
  containerID#7: string
LinuxContainerUser
  uid#1, gid#2: long
  supplementalGroups#3: [long] atomic
ResourceHealth
  resourceID#1, health#2: string
ObjectFieldSelector atomic
  apiVersion#1: string ="v1"
  fieldPath#2: string!
ResourceFieldSelector atomic
  containerName#1: string
  resource#2: string!
  divisor#3: quantity ="0"
ConfigMapKeySelector atomic
  ...LocalObjectReference#1
  key#2: string!
  optional#3: bool?
SecretKeySelector atomic
  ...LocalObjectReference#1
  key#2: string!
  optional#3: bool?
FileKeySelector
  volumeName#1, path#2, key#3: string
  optional#4: bool?
ExecAction
  command#1: [string] atomic
HTTPGetAction
  path#1: string ="/"
  port#2: intstr! check=port
  host#3: string
  scheme#4: string ="HTTP" in(HTTP,HTTPS)
  httpHeaders#5: [HTTPHeader] atomic
TCPSocketAction
  port#1: intstr! check=port
  host#2: string
GRPCAction
  port#1: int! 1..65535
  service#2: string? =""
SleepAction
  seconds#1: long!
NodeSelectorTerm atomic
  matchExpressions#1, matchFields#2: [NodeSelectorRequirement] atomic
HTTPHeader
  name#1, value#2: string!
NodeSelectorRequirement
  key#1: string!
  operator#2: string! in(In,NotIn,Exists,DoesNotExist,Gt,Lt)
  values#3: [string] atomic
`,
};
