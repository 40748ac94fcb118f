import type { Table } from "../notation.ts";

/** core/v1 beside Pod. Notation: see notation.ts. */
export const coreTable: Table = {
  prefix: "io.k8s.api.core.v1",
  text: `
Namespace
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: NamespaceSpec ={}
  status: NamespaceStatus ={}
NamespaceSpec
  finalizers: [string] atomic
NamespaceStatus
  phase: string
  conditions: [Condition] key=type
Node
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: NodeSpec ={}
  status: NodeStatus ={}
NodeSpec
  podCIDR: string check=cidr
  podCIDRs: [string] merge set check=cidr
  providerID, externalID: string
  unschedulable: bool
  taints: [Taint] atomic
  configSource: object
Taint
  key: string!
  effect: string! in(NoSchedule,PreferNoSchedule,NoExecute)
  value: string
  timeAdded: time
NodeStatus
  capacity, allocatable: {quantity}
  phase: string
  conditions: [NodeCondition] key=type
  addresses: [NodeAddress] key=type keys=type,address
  daemonEndpoints: NodeDaemonEndpoints ={}
  nodeInfo: NodeSystemInfo
  images: [ContainerImage] atomic
  volumesInUse: [string] atomic
  volumesAttached: [object] atomic
  config, features: object
  runtimeHandlers: [object] atomic
  declaredFeatures: [string] atomic
NodeCondition
  type, status: string!
  lastHeartbeatTime, lastTransitionTime: time
  reason, message: string
NodeAddress
  type, address: string!
NodeDaemonEndpoints
  kubeletEndpoint: DaemonEndpoint ={"Port":0}
DaemonEndpoint
  Port: int! 0..65535
NodeSystemInfo
  machineID, systemUUID, bootID, kernelVersion, osImage, containerRuntimeVersion, kubeletVersion: string
  kubeProxyVersion, operatingSystem, architecture: string
  swap: object
ContainerImage
  names: [string] atomic
  sizeBytes: long
Service
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: ServiceSpec ={}
  status: ServiceStatus ={}
ServiceSpec
  type: string ="ClusterIP" in(ClusterIP,ExternalName,LoadBalancer,NodePort)
  ports: [ServicePort] key=port keys=port,protocol
  selector: {string} atomic
  clusterIP: string
  clusterIPs, ipFamilies: [string] atomic
  ipFamilyPolicy: string in(SingleStack,PreferDualStack,RequireDualStack)
  externalIPs: [string] atomic check=ip
  externalName, loadBalancerIP, loadBalancerClass, trafficDistribution: string
  sessionAffinity: string ="None" in(ClientIP,None)
  sessionAffinityConfig: SessionAffinityConfig
  loadBalancerSourceRanges: [string] atomic check=cidr
  externalTrafficPolicy, internalTrafficPolicy: string in(Cluster,Local)
  healthCheckNodePort: int 0..65535
  publishNotReadyAddresses, allocateLoadBalancerNodePorts: bool
ServicePort
  name: string
  protocol: string ="TCP" in(TCP,UDP,SCTP)
  appProtocol: string
  port: int! 1..65535
  targetPort: intstr check=port
  nodePort: int 0..65535
SessionAffinityConfig
  clientIP: ClientIPConfig
ClientIPConfig
  timeoutSeconds: int =10800 1..86400
ServiceStatus
  loadBalancer: LoadBalancerStatus ={}
  conditions: [Condition] key=type
LoadBalancerStatus
  ingress: [LoadBalancerIngress] atomic
LoadBalancerIngress
  ip: string check=ip
  hostname: string
  ipMode: string in(VIP,Proxy)
  ports: [PortStatus] atomic
PortStatus
  port: int!
  protocol: string!
  error: string
ConfigMap
  apiVersion, kind: string
  metadata: ObjectMeta
  data: {string}
  binaryData: {bytes}
  immutable: bool
Secret
  apiVersion, kind: string
  metadata: ObjectMeta
  data: {bytes}
  stringData: {string}
  type: string ="Opaque"
  immutable: bool
ServiceAccount
  apiVersion, kind: string
  metadata: ObjectMeta
  secrets: [ObjectReference] key=name
  imagePullSecrets: [LocalObjectReference] atomic
  automountServiceAccountToken: bool
ObjectReference atomic
  kind, namespace, name, uid, apiVersion, resourceVersion, fieldPath: string
Endpoints
  apiVersion, kind: string
  metadata: ObjectMeta
  subsets: [EndpointSubset] atomic
EndpointSubset
  addresses, notReadyAddresses: [EndpointAddress] atomic
  ports: [EndpointPort] atomic
EndpointAddress atomic
  ip: string! check=ip
  hostname, nodeName: string
  targetRef: ObjectReference
EndpointPort atomic
  name: string
  port: int! 1..65535
  protocol: string ="TCP" in(TCP,UDP,SCTP)
  appProtocol: string
Event
  apiVersion, kind: string
  metadata: ObjectMeta
  involvedObject: ObjectReference!
  reason, message, type, action, reportingInstance: string
  reportingComponent: string =""
  source: EventSource ={}
  firstTimestamp, lastTimestamp: time
  eventTime: microtime
  count: int
  series: EventSeries
  related: ObjectReference
EventSource
  component, host: string
EventSeries
  count: int
  lastObservedTime: microtime
Binding
  apiVersion, kind: string
  metadata: ObjectMeta
  target: ObjectReference!
`,
};
