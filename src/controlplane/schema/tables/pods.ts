import type { Table } from "../notation.ts";

/** core/v1 Pod and all that is inside of it. Notation: see notation.ts. */
export const podTable: Table = {
  prefix: "io.k8s.api.core.v1",
  text: `
Pod
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: PodSpec!
  status: PodStatus ={}
PodTemplateSpec
  metadata: ObjectMeta
  spec: PodSpec
PodSpec
  volumes: [Volume] key=name retainKeys
  initContainers: [Container] key=name
  containers: [Container]! key=name
  ephemeralContainers: [EphemeralContainer] key=name
  restartPolicy: string ="Always" in(Always,OnFailure,Never)
  terminationGracePeriodSeconds: long =30
  activeDeadlineSeconds: long 1..
  dnsPolicy: string ="ClusterFirst" in(ClusterFirstWithHostNet,ClusterFirst,Default,None)
  nodeSelector: {string} atomic
  serviceAccountName, serviceAccount, nodeName, hostname, subdomain, priorityClassName, runtimeClassName, hostnameOverride: string
  schedulerName: string ="default-scheduler"
  automountServiceAccountToken, hostNetwork, hostPID, hostIPC, hostUsers, shareProcessNamespace, setHostnameAsFQDN: bool
  enableServiceLinks: bool =true
  securityContext: PodSecurityContext ={}
  imagePullSecrets: [LocalObjectReference] key=name
  affinity: Affinity
  tolerations: [Toleration] atomic
  hostAliases: [HostAlias] key=ip
  priority: int
  preemptionPolicy: string in(PreemptLowerPriority,Never)
  dnsConfig: PodDNSConfig
  readinessGates: [PodReadinessGate] atomic
  overhead: {quantity}
  topologySpreadConstraints: [TopologySpreadConstraint] key=topologyKey keys=topologyKey,whenUnsatisfiable
  schedulingGates: [PodSchedulingGate] key=name
  os: PodOS
  resourceClaims: [PodResourceClaim] key=name retainKeys
  resources: ResourceRequirements
  workloadRef: object
Container
  name: string! check=dns-label
  image, workingDir: string
  imagePullPolicy: string in(Always,IfNotPresent,Never)
  command, args: [string] atomic
  ports: [ContainerPort] key=containerPort keys=containerPort,protocol
  envFrom: [EnvFromSource] atomic
  env: [EnvVar] key=name
  resources: ResourceRequirements ={}
  resizePolicy: [ContainerResizePolicy] atomic
  restartPolicy: string
  restartPolicyRules: [object] atomic
  volumeMounts: [VolumeMount] key=mountPath
  volumeDevices: [VolumeDevice] key=devicePath
  livenessProbe, readinessProbe, startupProbe: Probe
  lifecycle: Lifecycle
  terminationMessagePath: string ="/dev/termination-log"
  terminationMessagePolicy: string ="File" in(File,FallbackToLogsOnError)
  securityContext: SecurityContext
  stdin, stdinOnce, tty: bool
EphemeralContainer
  ...Container
  targetContainerName: string
ContainerPort
  name: string
  hostPort: int 0..65535
  containerPort: int! 1..65535
  protocol: string ="TCP" in(TCP,UDP,SCTP)
  hostIP: string
ContainerResizePolicy
  resourceName, restartPolicy: string!
EnvFromSource
  prefix: string
  configMapRef, secretRef: OptionalReference
OptionalReference
  name: string
  optional: bool
EnvVar
  name: string!
  value: string
  valueFrom: EnvVarSource
EnvVarSource
  fieldRef: ObjectFieldSelector
  resourceFieldRef: ResourceFieldSelector
  configMapKeyRef, secretKeyRef: KeySelector
  fileKeyRef: object
KeySelector atomic
  name: string
  key: string!
  optional: bool
ObjectFieldSelector atomic
  apiVersion: string ="v1"
  fieldPath: string!
ResourceFieldSelector atomic
  containerName: string
  resource: string!
  divisor: quantity ="0"
ResourceRequirements
  limits, requests: {quantity}
  claims: [ResourceClaim] keys=name
ResourceClaim
  name: string!
  request: string
VolumeMount
  name, mountPath: string!
  readOnly: bool
  subPath, subPathExpr, mountPropagation, recursiveReadOnly: string
VolumeDevice
  name, devicePath: string!
Probe
  exec: ExecAction
  httpGet: HTTPGetAction
  tcpSocket: TCPSocketAction
  grpc: GRPCAction
  initialDelaySeconds: int 0..
  timeoutSeconds: int =1 1..
  periodSeconds: int =10 1..
  successThreshold: int =1 1..
  failureThreshold: int =3 1..
  terminationGracePeriodSeconds: long 1..
ExecAction
  command: [string] atomic
HTTPGetAction
  path: string ="/"
  port: intstr! check=port
  host: string
  scheme: string ="HTTP" in(HTTP,HTTPS)
  httpHeaders: [HTTPHeader] atomic
HTTPHeader
  name, value: string!
TCPSocketAction
  port: intstr! check=port
  host: string
GRPCAction
  port: int! 1..65535
  service: string =""
Lifecycle
  postStart, preStop: LifecycleHandler
  stopSignal: string
LifecycleHandler
  exec: ExecAction
  httpGet: HTTPGetAction
  tcpSocket: TCPSocketAction
  sleep: SleepAction
SleepAction
  seconds: long!
SecurityContext
  capabilities: Capabilities
  privileged, runAsNonRoot, readOnlyRootFilesystem, allowPrivilegeEscalation: bool
  seLinuxOptions: SELinuxOptions
  windowsOptions: object
  runAsUser, runAsGroup: long 0..
  procMount: string
  seccompProfile, appArmorProfile: SecurityProfile
Capabilities
  add, drop: [string] atomic
SELinuxOptions
  user, role, type, level: string
SecurityProfile
  type: string!
  localhostProfile: string
PodSecurityContext
  seLinuxOptions: SELinuxOptions
  windowsOptions: object
  runAsUser, runAsGroup, fsGroup: long 0..
  runAsNonRoot: bool
  supplementalGroups: [long] atomic
  supplementalGroupsPolicy, fsGroupChangePolicy, seLinuxChangePolicy: string
  sysctls: [Sysctl] atomic
  seccompProfile, appArmorProfile: SecurityProfile
Sysctl
  name, value: string!
LocalObjectReference atomic
  name: string =""
Affinity
  nodeAffinity: NodeAffinity
  podAffinity, podAntiAffinity: PodAffinity
NodeAffinity
  requiredDuringSchedulingIgnoredDuringExecution: NodeSelector
  preferredDuringSchedulingIgnoredDuringExecution: [PreferredSchedulingTerm] atomic
NodeSelector atomic
  nodeSelectorTerms: [NodeSelectorTerm]! atomic
NodeSelectorTerm atomic
  matchExpressions, matchFields: [NodeSelectorRequirement] atomic
NodeSelectorRequirement
  key: string!
  operator: string! in(In,NotIn,Exists,DoesNotExist,Gt,Lt)
  values: [string] atomic
PreferredSchedulingTerm
  weight: int! 1..100
  preference: NodeSelectorTerm!
PodAffinity
  requiredDuringSchedulingIgnoredDuringExecution: [PodAffinityTerm] atomic
  preferredDuringSchedulingIgnoredDuringExecution: [WeightedPodAffinityTerm] atomic
PodAffinityTerm
  labelSelector, namespaceSelector: LabelSelector
  namespaces, matchLabelKeys, mismatchLabelKeys: [string] atomic
  topologyKey: string!
WeightedPodAffinityTerm
  weight: int! 1..100
  podAffinityTerm: PodAffinityTerm!
Toleration
  key, value: string
  operator: string in(Exists,Equal,Lt,Gt)
  effect: string in(NoSchedule,PreferNoSchedule,NoExecute)
  tolerationSeconds: long
HostAlias
  ip: string! check=ip
  hostnames: [string] atomic
PodDNSConfig
  nameservers: [string] atomic check=ip
  searches: [string] atomic
  options: [PodDNSConfigOption] atomic
PodDNSConfigOption
  name, value: string
PodReadinessGate
  conditionType: string!
TopologySpreadConstraint
  maxSkew: int! 1..
  topologyKey: string!
  whenUnsatisfiable: string! in(DoNotSchedule,ScheduleAnyway)
  labelSelector: LabelSelector
  minDomains: int 1..
  nodeAffinityPolicy, nodeTaintsPolicy: string in(Honor,Ignore)
  matchLabelKeys: [string] atomic
PodSchedulingGate
  name: string!
PodOS
  name: string! in(linux,windows)
PodResourceClaim
  name: string!
  resourceClaimName, resourceClaimTemplateName: string
  source: object
Volume
  name: string! check=dns-label
  hostPath: HostPathVolumeSource
  emptyDir: EmptyDirVolumeSource
  secret: SecretVolumeSource
  configMap: ConfigMapVolumeSource
  downwardAPI: DownwardAPIVolumeSource
  projected: ProjectedVolumeSource
  persistentVolumeClaim: PersistentVolumeClaimVolumeSource
  nfs: NFSVolumeSource
  csi: CSIVolumeSource
  image: ImageVolumeSource
  ephemeral, awsElasticBlockStore, azureDisk, azureFile, cephfs, cinder, fc, flexVolume, flocker: object
  gcePersistentDisk, gitRepo, glusterfs, iscsi, photonPersistentDisk, portworxVolume, quobyte, rbd: object
  scaleIO, storageos, vsphereVolume: object
HostPathVolumeSource
  path: string!
  type: string =""
EmptyDirVolumeSource
  medium: string
  sizeLimit: quantity
SecretVolumeSource
  secretName: string
  items: [KeyToPath] atomic
  defaultMode: int =420 0..511
  optional: bool
ConfigMapVolumeSource
  name: string
  items: [KeyToPath] atomic
  defaultMode: int =420 0..511
  optional: bool
KeyToPath
  key, path: string!
  mode: int 0..511
DownwardAPIVolumeSource
  items: [DownwardAPIVolumeFile] atomic
  defaultMode: int =420 0..511
DownwardAPIVolumeFile
  path: string!
  fieldRef: ObjectFieldSelector
  resourceFieldRef: ResourceFieldSelector
  mode: int 0..511
ProjectedVolumeSource
  sources: [VolumeProjection] atomic
  defaultMode: int =420 0..511
VolumeProjection
  secret, configMap: ProjectedReference
  downwardAPI: ProjectedDownwardAPI
  serviceAccountToken: ServiceAccountTokenProjection
  clusterTrustBundle, podCertificate: object
ProjectedReference
  name: string
  items: [KeyToPath] atomic
  optional: bool
ProjectedDownwardAPI
  items: [DownwardAPIVolumeFile] atomic
ServiceAccountTokenProjection
  audience: string
  expirationSeconds: long =3600 600..
  path: string!
PersistentVolumeClaimVolumeSource
  claimName: string!
  readOnly: bool
NFSVolumeSource
  server, path: string!
  readOnly: bool
CSIVolumeSource
  driver: string!
  readOnly: bool
  fsType: string
  volumeAttributes: {string}
  nodePublishSecretRef: LocalObjectReference
ImageVolumeSource
  reference, pullPolicy: string
PodStatus
  phase, message, reason, nominatedNodeName, hostIP, podIP, qosClass, resize: string
  conditions: [PodCondition] key=type
  hostIPs: [HostIP] atomic patchKey=ip
  podIPs: [PodIP] key=ip
  startTime: time
  observedGeneration: long
  initContainerStatuses, containerStatuses, ephemeralContainerStatuses: [ContainerStatus] atomic
  resourceClaimStatuses: [object]
  allocatedResources: {quantity}
  resources, extendedResourceClaimStatus: object
HostIP
  ip: string!
PodIP
  ip: string! check=ip
PodCondition
  type, status: string!
  observedGeneration: long
  lastProbeTime, lastTransitionTime: time
  reason, message: string
ContainerStatus
  name: string!
  state, lastState: ContainerState ={}
  ready: bool! =false
  restartCount: int! =0
  image, imageID: string! =""
  containerID, stopSignal: string
  started: bool
  allocatedResources: {quantity}
  resources: ResourceRequirements
  volumeMounts: [VolumeMountStatus] key=mountPath
  user: object
  allocatedResourcesStatus: [object]
VolumeMountStatus
  name, mountPath: string!
  readOnly: bool
  recursiveReadOnly: string
  volumeStatus: object
ContainerState
  waiting: ContainerStateWaiting
  running: ContainerStateRunning
  terminated: ContainerStateTerminated
ContainerStateWaiting
  reason, message: string
ContainerStateRunning
  startedAt: time
ContainerStateTerminated
  exitCode: int! =0
  signal: int
  reason, message, containerID: string
  startedAt, finishedAt: time
`,
};
