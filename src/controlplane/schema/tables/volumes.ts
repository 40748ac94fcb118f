import type { Table } from "../notation.ts";

/** core/v1 Volume and PersistentVolumeClaim. Notation: see notation.ts. */
export const volumeTable: Table = {
  prefix: "io.k8s.api.core.v1",
  text: `
Volume
  name#1: string! check=dns-label
  ...VolumeSource#2
PersistentVolumeClaim
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: PersistentVolumeClaimSpec
  status#3: PersistentVolumeClaimStatus
VolumeSource
  hostPath#1: HostPathVolumeSource
  emptyDir#2: EmptyDirVolumeSource
  gcePersistentDisk#3: GCEPersistentDiskVolumeSource
  awsElasticBlockStore#4: AWSElasticBlockStoreVolumeSource
  gitRepo#5: GitRepoVolumeSource
  secret#6: SecretVolumeSource
  nfs#7: NFSVolumeSource
  iscsi#8: ISCSIVolumeSource
  glusterfs#9: GlusterfsVolumeSource
  persistentVolumeClaim#10: PersistentVolumeClaimVolumeSource
  rbd#11: RBDVolumeSource
  flexVolume#12: FlexVolumeSource
  cinder#13: CinderVolumeSource
  cephfs#14: CephFSVolumeSource
  flocker#15: FlockerVolumeSource
  downwardAPI#16: DownwardAPIVolumeSource
  fc#17: FCVolumeSource
  azureFile#18: AzureFileVolumeSource
  configMap#19: ConfigMapVolumeSource
  vsphereVolume#20: VsphereVirtualDiskVolumeSource
  quobyte#21: QuobyteVolumeSource
  azureDisk#22: AzureDiskVolumeSource
  photonPersistentDisk#23: PhotonPersistentDiskVolumeSource
  projected#26: ProjectedVolumeSource
  portworxVolume#24: PortworxVolumeSource
  scaleIO#25: ScaleIOVolumeSource
  storageos#27: StorageOSVolumeSource
  csi#28: CSIVolumeSource
  ephemeral#29: EphemeralVolumeSource
  image#30: ImageVolumeSource
PersistentVolumeClaimSpec
  accessModes#1: [string] atomic
  selector#4: LabelSelector
  resources#2: VolumeResourceRequirements
  volumeName#3: string
  storageClassName#5, volumeMode#6: string?
  dataSource#7: TypedLocalObjectReference
  dataSourceRef#8: TypedObjectReference
  volumeAttributesClassName#9: string?
PersistentVolumeClaimStatus
  phase#1: string
  accessModes#2: [string] atomic
  capacity#3: {quantity}
  conditions#4: [PersistentVolumeClaimCondition] key=type
  allocatedResources#5: {quantity}
  allocatedResourceStatuses#7: {string}
  currentVolumeAttributesClassName#8: string?
  modifyVolumeStatus#9: ModifyVolumeStatus
TypedLocalObjectReference
  apiGroup#1: string?
  kind#2, name#3: string!
HostPathVolumeSource
  path#1: string!
  type#2: string? =""
EmptyDirVolumeSource
  medium#1: string
  sizeLimit#2: quantity
GCEPersistentDiskVolumeSource
  pdName#1: string!
  fsType#2: string
  partition#3: int
  readOnly#4: bool
AWSElasticBlockStoreVolumeSource
  volumeID#1: string!
  fsType#2: string
  partition#3: int
  readOnly#4: bool
GitRepoVolumeSource
  repository#1: string!
  revision#2, directory#3: string
SecretVolumeSource
  secretName#1: string
  items#2: [KeyToPath] atomic
  defaultMode#3: int? =420 0..511
  optional#4: bool?
NFSVolumeSource
  server#1, path#2: string!
  readOnly#3: bool
ISCSIVolumeSource
  targetPortal#1, iqn#2: string!
  lun#3: int!
  iscsiInterface#4, fsType#5: string
  readOnly#6: bool
  portals#7: [string] atomic
  chapAuthDiscovery#8, chapAuthSession#11: bool
  secretRef#10: LocalObjectReference
  initiatorName#12: string?
GlusterfsVolumeSource
  endpoints#1, path#2: string!
  readOnly#3: bool
PersistentVolumeClaimVolumeSource
  claimName#1: string!
  readOnly#2: bool
RBDVolumeSource
  monitors#1: [string]! atomic
  image#2: string!
  fsType#3, pool#4, user#5, keyring#6: string
  secretRef#7: LocalObjectReference
  readOnly#8: bool
FlexVolumeSource
  driver#1: string!
  fsType#2: string
  secretRef#3: LocalObjectReference
  readOnly#4: bool
  options#5: {string}
CinderVolumeSource
  volumeID#1: string!
  fsType#2: string
  readOnly#3: bool
  secretRef#4: LocalObjectReference
CephFSVolumeSource
  monitors#1: [string]! atomic
  path#2, user#3, secretFile#4: string
  secretRef#5: LocalObjectReference
  readOnly#6: bool
FlockerVolumeSource
  datasetName#1, datasetUUID#2: string
DownwardAPIVolumeSource
  items#1: [DownwardAPIVolumeFile] atomic
  defaultMode#2: int? =420 0..511
FCVolumeSource
  targetWWNs#1: [string] atomic
  lun#2: int?
  fsType#3: string
  readOnly#4: bool
  wwids#5: [string] atomic
AzureFileVolumeSource
  secretName#1, shareName#2: string!
  readOnly#3: bool
ConfigMapVolumeSource
  ...LocalObjectReference#1
  items#2: [KeyToPath] atomic
  defaultMode#3: int? =420 0..511
  optional#4: bool?
VsphereVirtualDiskVolumeSource
  volumePath#1: string!
  fsType#2, storagePolicyName#3, storagePolicyID#4: string
QuobyteVolumeSource
  registry#1, volume#2: string!
  readOnly#3: bool
  user#4, group#5, tenant#6: string
AzureDiskVolumeSource
  diskName#1, diskURI#2: string!
  cachingMode#3, fsType#4: string?
  readOnly#5: bool?
  kind#6: string?
PhotonPersistentDiskVolumeSource
  pdID#1: string!
  fsType#2: string
ProjectedVolumeSource
  sources#1: [VolumeProjection] atomic
  defaultMode#2: int? =420 0..511
PortworxVolumeSource
  volumeID#1: string!
  fsType#2: string
  readOnly#3: bool
ScaleIOVolumeSource
  gateway#1, system#2: string!
  secretRef#3: LocalObjectReference!
  sslEnabled#4: bool
  protectionDomain#5, storagePool#6, storageMode#7, volumeName#8, fsType#9: string
  readOnly#10: bool
StorageOSVolumeSource
  volumeName#1, volumeNamespace#2, fsType#3: string
  readOnly#4: bool
  secretRef#5: LocalObjectReference
CSIVolumeSource
  driver#1: string!
  readOnly#2: bool?
  fsType#3: string?
  volumeAttributes#4: {string}
  nodePublishSecretRef#5: LocalObjectReference
EphemeralVolumeSource
  volumeClaimTemplate#1: PersistentVolumeClaimTemplate
ImageVolumeSource
  reference#1, pullPolicy#2: string
VolumeResourceRequirements
  limits#1, requests#2: {quantity}
TypedObjectReference
  apiGroup#1: string?
  kind#2, name#3: string!
  namespace#4: string?
PersistentVolumeClaimCondition
  type#1, status#2: string!
  lastProbeTime#3, lastTransitionTime#4: time
  reason#5, message#6: string
ModifyVolumeStatus
  targetVolumeAttributesClassName#1: string
  status#2: string!
KeyToPath
  key#1, path#2: string!
  mode#3: int? 0..511
DownwardAPIVolumeFile
  path#1: string!
  fieldRef#2: ObjectFieldSelector
  resourceFieldRef#3: ResourceFieldSelector
  mode#4: int? 0..511
VolumeProjection
  secret#1: SecretProjection
  downwardAPI#2: DownwardAPIProjection
  configMap#3: ConfigMapProjection
  serviceAccountToken#4: ServiceAccountTokenProjection
  clusterTrustBundle#5: ClusterTrustBundleProjection
  podCertificate#6: PodCertificateProjection
PersistentVolumeClaimTemplate
  metadata#1: ObjectMeta
  spec#2: PersistentVolumeClaimSpec!
SecretProjection
  ...LocalObjectReference#1
  items#2: [KeyToPath] atomic
  optional#4: bool?
DownwardAPIProjection
  items#1: [DownwardAPIVolumeFile] atomic
ConfigMapProjection
  ...LocalObjectReference#1
  items#2: [KeyToPath] atomic
  optional#4: bool?
ServiceAccountTokenProjection
  audience#1: string
  expirationSeconds#2: long? =3600 600..
  path#3: string!
ClusterTrustBundleProjection
  name#1, signerName#2: string?
  labelSelector#3: LabelSelector
  optional#5: bool?
  path#4: string!
PodCertificateProjection
  signerName#1, keyType#2: string
  maxExpirationSeconds#3: int?
  credentialBundlePath#4, keyPath#5, certificateChainPath#6: string
  userAnnotations#7: {string}
`,
};
