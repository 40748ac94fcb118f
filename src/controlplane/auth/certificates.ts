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
 * X.509 (RFC 5280) as a small cluster needs it: a CA, and server certificates for names and addresses. No certificates
 * of clients: Bun's server tells that a client has one, but not whose it is. ECDSA on P-256 with SHA-256 throughout; node:crypto does the cryptography. Written out rather than taken
 * from a library: @peculiar/x509 would bring a dozen packages for what is one page of DER here.
 */
export interface KeyPair {
  /** PEM. */
  readonly certificate: string;
  /** PEM, PKCS #8. */
  readonly key: string;
}

const ECDSA_SHA256 = der.sequence(der.oid("1.2.840.10045.4.3.2"));
const COMMON_NAME = "2.5.4.3";
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const YEAR = 365 * 86_400_000;
/** Clocks of clients may be behind. */
const SKEW = 3_600_000;

/** A new CA, good for ten years. */
export function createCa(commonName: string, now = Date.now()): KeyPair {
  const { privateKey, publicKey } = newKey();
  const subject = nameOf(commonName);
  const extensions = [
    extension("2.5.29.19", true, der.sequence(der.boolean(true))),
    // keyCertSign and cRLSign.
    extension("2.5.29.15", true, der.bits(Uint8Array.of(0b0000_0110), 1)),
    subjectKeyId(publicKey),
  ];
  return issue({
    subject,
    issuer: subject,
    key: { privateKey, publicKey },
    signer: privateKey,
    extensions,
    notBefore: now - SKEW,
    notAfter: now + 10 * YEAR,
  });
}

/** A server's certificate for these names and addresses, good for a year. */
export function createServerCertificate(ca: KeyPair, hosts: readonly string[], now = Date.now()): KeyPair {
  const names = hosts.map((host) => {
    const ip = Ip.tryParse(host);
    if (ip !== undefined) return der.context(7, false, ip.bytes);
    return der.context(2, false, new TextEncoder().encode(host));
  });
  const { privateKey, publicKey } = newKey();
  const extensions = [
    extension("2.5.29.19", true, der.sequence()),
    // digitalSignature.
    extension("2.5.29.15", true, der.bits(Uint8Array.of(0b1000_0000), 7)),
    extension("2.5.29.37", false, der.sequence(der.oid(SERVER_AUTH))),
    extension(
      "2.5.29.35",
      false,
      der.sequence(der.context(0, false, keyId(createPublicKey(ca.certificate)))),
    ),
    extension("2.5.29.17", false, der.sequence(...names)),
  ];
  return issue({
    subject: nameOf("kube-apiserver"),
    issuer: subjectOf(ca.certificate),
    key: { privateKey, publicKey },
    signer: createPrivateKey(ca.key),
    extensions,
    notBefore: now - SKEW,
    notAfter: now + YEAR,
  });
}

interface Issuance {
  /** Names in DER. */
  subject: Uint8Array;
  issuer: Uint8Array;
  /** Whom the certificate is for. */
  key: { privateKey: KeyObject; publicKey: KeyObject };
  signer: KeyObject;
  extensions: readonly Uint8Array[];
  /** Milliseconds since the epoch. */
  notBefore: number;
  notAfter: number;
}

function issue({ subject, issuer, key, signer, extensions, notBefore, notAfter }: Issuance): KeyPair {
  const body = der.sequence(
    der.context(0, true, der.integer(Uint8Array.of(2))),
    der.integer(randomBytes(16)),
    ECDSA_SHA256,
    issuer,
    der.sequence(der.time(new Date(notBefore)), der.time(new Date(notAfter))),
    subject,
    spki(key.publicKey),
    der.context(3, true, der.sequence(...extensions)),
  );
  const signature = sign("sha256", body, { key: signer, dsaEncoding: "der" });
  return {
    certificate: pem("CERTIFICATE", der.sequence(body, ECDSA_SHA256, der.bits(signature))),
    key: key.privateKey.export({ type: "pkcs8", format: "pem" }) as string,
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

function nameOf(commonName: string): Uint8Array {
  return der.sequence(der.set(der.sequence(der.oid(COMMON_NAME), der.utf8(commonName))));
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
