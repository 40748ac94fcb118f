import type { Table } from "../notation.ts";

/** networking.k8s.io/v1. Notation: see notation.ts. */
export const networkingTable: Table = {
  prefix: "io.k8s.api.networking.v1",
  text: `
NetworkPolicy
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: NetworkPolicySpec ={}
Ingress
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: IngressSpec ={}
  status#3: IngressStatus ={}
IngressClass
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: IngressClassSpec ={}
NetworkPolicySpec
  podSelector#1: LabelSelector ={}
  ingress#2: [NetworkPolicyIngressRule] atomic
  egress#3: [NetworkPolicyEgressRule] atomic
  policyTypes#4: [string] atomic in(Ingress,Egress)
IngressSpec
  ingressClassName#4: string?
  defaultBackend#1: IngressBackend
  tls#2: [IngressTLS] atomic
  rules#3: [IngressRule] atomic
IngressStatus
  loadBalancer#1: IngressLoadBalancerStatus ={}
IngressClassSpec
  controller#1: string
  parameters#2: IngressClassParametersReference
NetworkPolicyIngressRule
  ports#1: [NetworkPolicyPort] atomic
  from#2: [NetworkPolicyPeer] atomic
NetworkPolicyEgressRule
  ports#1: [NetworkPolicyPort] atomic
  to#2: [NetworkPolicyPeer] atomic
IngressBackend
  service#4: IngressServiceBackend
  resource#3: TypedLocalObjectReference
IngressTLS
  hosts#1: [string] atomic
  secretName#2: string
IngressRule
  host#1: string
  ...IngressRuleValue#2
IngressLoadBalancerStatus
  ingress#1: [IngressLoadBalancerIngress] atomic
IngressClassParametersReference
  apiGroup#1: string?
  kind#2, name#3: string!
  scope#4, namespace#5: string?
NetworkPolicyPort
  protocol#1: string? ="TCP" in(TCP,UDP,SCTP)
  port#2: intstr check=port
  endPort#3: int? 1..65535
NetworkPolicyPeer
  podSelector#1, namespaceSelector#2: LabelSelector
  ipBlock#3: IPBlock
IngressServiceBackend
  name#1: string!
  port#2: ServiceBackendPort
IngressRuleValue
  http#1: HTTPIngressRuleValue
IngressLoadBalancerIngress
  ip#1, hostname#2: string
  ports#4: [IngressPortStatus] atomic
IPBlock
  cidr#1: string! check=cidr
  except#2: [string] atomic check=cidr
ServiceBackendPort atomic
  name#1: string
  number#2: int 0..65535
HTTPIngressRuleValue
  paths#1: [HTTPIngressPath]! atomic
IngressPortStatus
  port#1: int!
  protocol#2: string!
  error#3: string?
HTTPIngressPath
  path#1: string
  pathType#3: string?! in(Exact,ImplementationSpecific,Prefix)
  backend#2: IngressBackend!
`,
};

/** discovery.k8s.io/v1. */
export const discoveryTable: Table = {
  prefix: "io.k8s.api.discovery.v1",
  text: `
EndpointSlice
  apiVersion, kind: string
  metadata#1: ObjectMeta
  addressType#4: string! in(IPv4,IPv6,FQDN)
  endpoints#2: [Endpoint] =[] atomic
  ports#3: [EndpointPort] atomic
Endpoint
  addresses#1: [string]! set
  conditions#2: EndpointConditions ={}
  hostname#3: string?
  targetRef#4: ObjectReference
  deprecatedTopology#5: {string}
  nodeName#6, zone#7: string?
  hints#8: EndpointHints
EndpointPort
  name#1: string? =""
  protocol#2: string? ="TCP" in(TCP,UDP,SCTP)
  port#3: int? 1..65535
  appProtocol#4: string?
EndpointConditions
  ready#1, serving#2, terminating#3: bool?
EndpointHints
  forZones#1: [ForZone] atomic
  forNodes#2: [ForNode] atomic
ForZone
  name#1: string!
ForNode
  name#1: string
`,
};
