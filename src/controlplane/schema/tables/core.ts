import type { Table } from "../notation.ts";

/** core/v1 beside Pod. Notation: see notation.ts. */
export const coreTable: Table = {
  prefix: "io.k8s.api.core.v1",
  text: `
Namespace
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: NamespaceSpec ={}
  status#3: NamespaceStatus ={}
Node
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: NodeSpec ={}
  status#3: NodeStatus ={}
Service
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: ServiceSpec ={}
  status#3: ServiceStatus ={}
ConfigMap
  apiVersion, kind: string
  metadata#1: ObjectMeta
  immutable#4: bool?
  data#2: {string}
  binaryData#3: {bytes}
Secret
  apiVersion, kind: string
  metadata#1: ObjectMeta
  immutable#5: bool?
  data#2: {bytes}
  stringData#4: {string}
  type#3: string ="Opaque"
ServiceAccount
  apiVersion, kind: string
  metadata#1: ObjectMeta
  secrets#2: [ObjectReference] key=name
  imagePullSecrets#3: [LocalObjectReference] atomic
  automountServiceAccountToken#4: bool?
Endpoints
  apiVersion, kind: string
  metadata#1: ObjectMeta
  subsets#2: [EndpointSubset] atomic
Event
  apiVersion, kind: string
  metadata#1: ObjectMeta
  involvedObject#2: ObjectReference!
  reason#3, message#4: string
  source#5: EventSource ={}
  firstTimestamp#6, lastTimestamp#7: time
  count#8: int
  type#9: string
  eventTime#10: microtime
  series#11: EventSeries
  action#12: string
  related#13: ObjectReference
  reportingComponent#14: string =""
  reportingInstance#15: string
Binding
  apiVersion, kind: string
  metadata#1: ObjectMeta
  target#2: ObjectReference!
NamespaceSpec
  finalizers#1: [string] atomic
NamespaceStatus
  phase#1: string
  conditions#2: [NamespaceCondition] key=type
NodeSpec
  podCIDR#1: string check=cidr
  podCIDRs#7: [string] merge set check=cidr
  providerID#3: string
  unschedulable#4: bool
  taints#5: [Taint] atomic
  configSource#6: NodeConfigSource
  externalID#2: string
NodeStatus
  capacity#1, allocatable#2: {quantity}
  phase#3: string
  conditions#4: [NodeCondition] key=type
  addresses#5: [NodeAddress] key=type keys=type,address
  daemonEndpoints#6: NodeDaemonEndpoints ={}
  nodeInfo#7: NodeSystemInfo
  images#8: [ContainerImage] atomic
  volumesInUse#9: [string] atomic
  volumesAttached#10: [AttachedVolume] atomic
  config#11: NodeConfigStatus
  runtimeHandlers#12: [NodeRuntimeHandler] atomic
  features#13: NodeFeatures
  declaredFeatures#14: [string] atomic
ServiceSpec
  ports#1: [ServicePort] key=port keys=port,protocol
  selector#2: {string} atomic
  clusterIP#3: string
  clusterIPs#18: [string] atomic
  type#4: string ="ClusterIP" in(ClusterIP,ExternalName,LoadBalancer,NodePort)
  externalIPs#5: [string] atomic check=ip
  sessionAffinity#7: string ="None" in(ClientIP,None)
  loadBalancerIP#8: string
  loadBalancerSourceRanges#9: [string] atomic check=cidr
  externalName#10: string
  externalTrafficPolicy#11: string in(Cluster,Local)
  healthCheckNodePort#12: int 0..65535
  publishNotReadyAddresses#13: bool
  sessionAffinityConfig#14: SessionAffinityConfig
  ipFamilies#19: [string] atomic
  ipFamilyPolicy#17: string? in(SingleStack,PreferDualStack,RequireDualStack)
  allocateLoadBalancerNodePorts#20: bool?
  loadBalancerClass#21: string?
  internalTrafficPolicy#22: string? in(Cluster,Local)
  trafficDistribution#23: string?
ServiceStatus
  loadBalancer#1: LoadBalancerStatus ={}
  conditions#2: [Condition] key=type
ObjectReference atomic
  kind#1, namespace#2, name#3, uid#4, apiVersion#5, resourceVersion#6, fieldPath#7: string
EndpointSubset
  addresses#1, notReadyAddresses#2: [EndpointAddress] atomic
  ports#3: [EndpointPort] atomic
EventSource
  component#1, host#2: string
EventSeries
  count#1: int
  lastObservedTime#2: microtime
NamespaceCondition
  type#1, status#2: string!
  lastTransitionTime#4: time
  reason#5, message#6: string
Taint
  key#1: string!
  value#2: string
  effect#3: string! in(NoSchedule,PreferNoSchedule,NoExecute)
  timeAdded#4: time
NodeConfigSource
  configMap#2: ConfigMapNodeConfigSource
NodeCondition
  type#1, status#2: string!
  lastHeartbeatTime#3, lastTransitionTime#4: time
  reason#5, message#6: string
NodeAddress
  type#1, address#2: string!
NodeDaemonEndpoints
  kubeletEndpoint#1: DaemonEndpoint ={"Port":0}
NodeSystemInfo
  machineID#1, systemUUID#2, bootID#3, kernelVersion#4, osImage#5, containerRuntimeVersion#6, kubeletVersion#7: string
  kubeProxyVersion#8, operatingSystem#9, architecture#10: string
  swap#11: NodeSwapStatus
ContainerImage
  names#1: [string] atomic
  sizeBytes#2: long
AttachedVolume
  name#1, devicePath#2: string!
NodeConfigStatus
  assigned#1, active#2, lastKnownGood#3: NodeConfigSource
  error#4: string
NodeRuntimeHandler
  name#1: string
  features#2: NodeRuntimeHandlerFeatures
NodeFeatures
  supplementalGroupsPolicy#1: bool?
ServicePort
  name#1: string
  protocol#2: string ="TCP" in(TCP,UDP,SCTP)
  appProtocol#6: string?
  port#3: int! 1..65535
  targetPort#4: intstr check=port
  nodePort#5: int 0..65535
SessionAffinityConfig
  clientIP#1: ClientIPConfig
LoadBalancerStatus
  ingress#1: [LoadBalancerIngress] atomic
EndpointAddress atomic
  ip#1: string! check=ip
  hostname#3: string
  nodeName#4: string?
  targetRef#2: ObjectReference
EndpointPort atomic
  name#1: string
  port#2: int! 1..65535
  protocol#3: string ="TCP" in(TCP,UDP,SCTP)
  appProtocol#4: string?
PodTemplateSpec
  metadata#1: ObjectMeta
  spec#2: PodSpec
ConfigMapNodeConfigSource
  namespace#1, name#2: string!
  uid#3, resourceVersion#4: string
  kubeletConfigKey#5: string!
DaemonEndpoint
  Port#1: int! 0..65535
NodeSwapStatus
  capacity#1: long?
NodeRuntimeHandlerFeatures
  recursiveReadOnlyMounts#1, userNamespaces#2: bool?
ClientIPConfig
  timeoutSeconds#1: int? =10800 1..86400
LoadBalancerIngress
  ip#1: string check=ip
  hostname#2: string
  ipMode#3: string? in(VIP,Proxy)
  ports#4: [PortStatus] atomic
PortStatus
  port#1: int!
  protocol#2: string!
  error#3: string?
`,
};
