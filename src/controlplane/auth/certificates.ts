import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";
import { Ip } from "../../lib/ip.ts";
import * as der from "./der.ts";

/**
 * X.509 (RFC 5280) as a small cluster needs it: a CA, server certificates for names and addresses, client certificates
 * for users. ECDSA on P-256 with SHA-256 throughout; node:crypto does the cryptography. Written out rather than taken
 * from a library: @peculiar/x509 would bring a dozen packages for what is one page of DER here.
 */
export interface KeyPair {
  /** PEM. */
  readonly certificate: string;
  /** PEM, PKCS #8. */
  readonly key: string;
}

const ECDSA_SHA256 = der.sequence(der.oid("1.2.840.10045.4.3.2"));
const ORGANIZATION = "2.5.4.10";
const COMMON_NAME = "2.5.4.3";
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
const YEAR = 365 * 86_400_000;
/** Clocks of clients may be behind. */
const SKEW = 3_600_000;

interface Subject {
  commonName: string;
  organizations?: readonly string[];
}

/** A new CA, good for ten years. */
export function createCa(commonName: string, now = Date.now()): KeyPair {
  const { privateKey, publicKey } = newKey();
  const subject = nameOf({ commonName });
  const extensions = [
    extension("2.5.29.19", true, der.sequence(der.boolean(true))),
    // keyCertSign and cRLSign.
    extension("2.5.29.15", true, der.bits(Uint8Array.of(0b0000_0110), 1)),
    subjectKeyId(publicKey),
  ];
  return issue(subject, subject, publicKey, privateKey, privateKey, extensions, now + 10 * YEAR, now);
}

/** A server's certificate for these names and addresses, good for a year. */
export function createServerCertificate(ca: KeyPair, hosts: readonly string[], now = Date.now()): KeyPair {
  const names = hosts.map((host) => {
    const ip = Ip.tryParse(host);
    if (ip !== undefined) return der.context(7, false, ip.bytes);
    return der.context(2, false, new TextEncoder().encode(host));
  });
  return createLeaf(ca, { commonName: "kube-apiserver" }, SERVER_AUTH, now, [
    extension("2.5.29.17", false, der.sequence(...names)),
  ]);
}

/** A client's certificate; Kubernetes reads the user from its CN and the groups from its O. Good for a year. */
export function createClientCertificate(
  ca: KeyPair,
  user: string,
  groups: readonly string[],
  now = Date.now(),
): KeyPair {
  return createLeaf(ca, { commonName: user, organizations: groups }, CLIENT_AUTH, now, []);
}

function createLeaf(
  ca: KeyPair,
  subject: Subject,
  usage: string,
  now: number,
  more: readonly Uint8Array[],
): KeyPair {
  const { privateKey, publicKey } = newKey();
  const caPublic = createPublicKey(ca.certificate);
  const extensions = [
    extension("2.5.29.19", true, der.sequence()),
    // digitalSignature.
    extension("2.5.29.15", true, der.bits(Uint8Array.of(0b1000_0000), 7)),
    extension("2.5.29.37", false, der.sequence(der.oid(usage))),
    extension("2.5.29.35", false, der.sequence(der.context(0, false, keyId(caPublic)))),
    ...more,
  ];
  const issuer = subjectOf(ca.certificate);
  const caKey = createPrivateKey(ca.key);
  return issue(nameOf(subject), issuer, publicKey, privateKey, caKey, extensions, now + YEAR, now);
}

function issue(
  subject: Uint8Array,
  issuer: Uint8Array,
  publicKey: KeyObject,
  privateKey: KeyObject,
  signer: KeyObject,
  extensions: readonly Uint8Array[],
  notAfter: number,
  now: number,
): KeyPair {
  const body = der.sequence(
    der.context(0, true, der.integer(Uint8Array.of(2))),
    der.integer(randomBytes(16)),
    ECDSA_SHA256,
    issuer,
    der.sequence(der.time(new Date(now - SKEW)), der.time(new Date(notAfter))),
    subject,
    spki(publicKey),
    der.context(3, true, der.sequence(...extensions)),
  );
  const signature = sign("sha256", body, { key: signer, dsaEncoding: "der" });
  const certificate = der.sequence(body, ECDSA_SHA256, der.bits(signature));
  return {
    certificate: pem("CERTIFICATE", certificate),
    key: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
  };
}

const newKey = () => generateKeyPairSync("ec", { namedCurve: "prime256v1" });

const spki = (key: KeyObject) => new Uint8Array(key.export({ type: "spki", format: "der" }));

/** The key identifier of RFC 5280 section 4.2.1.2 (1): SHA-1 of the key's bits. They end the SPKI: 65 bytes on P-256. */
const keyId = (key: KeyObject) => new Uint8Array(createHash("sha1").update(spki(key).slice(-65)).digest());

const subjectKeyId = (key: KeyObject) => extension("2.5.29.14", false, der.octets(keyId(key)));

function extension(id: string, critical: boolean, value: Uint8Array): Uint8Array {
  return der.sequence(der.oid(id), ...(critical ? [der.boolean(true)] : []), der.octets(value));
}

function nameOf({ commonName, organizations = [] }: Subject): Uint8Array {
  const attribute = (type: string, value: string) => der.set(der.sequence(der.oid(type), der.utf8(value)));
  return der.sequence(
    ...organizations.map((organization) => attribute(ORGANIZATION, organization)),
    attribute(COMMON_NAME, commonName),
  );
}

/** The subject's bytes, cut from a certificate that {@link issue} made: the sixth element of its body. */
function subjectOf(certificate: string): Uint8Array {
  const bytes = Buffer.from(certificate.replace(/-----.*?-----/g, ""), "base64");
  let offset = contentAt(bytes, contentAt(bytes, 0).start).start;
  for (let i = 0; i < 5; i++) offset = contentAt(bytes, offset).end;
  return new Uint8Array(bytes.subarray(offset, contentAt(bytes, offset).end));
}

/** Where the content of the element at an offset starts and ends. */
function contentAt(bytes: Uint8Array, offset: number): { start: number; end: number } {
  const first = bytes[offset + 1] as number;
  if (first < 0x80) return { start: offset + 2, end: offset + 2 + first };
  const size = first & 0x7f;
  let length = 0;
  for (let i = 0; i < size; i++) length = length * 256 + (bytes[offset + 2 + i] as number);
  return { start: offset + 2 + size, end: offset + 2 + size + length };
}

function pem(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
