import { describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { createCa, createServerCertificate } from "./certificates.ts";
import * as der from "./der.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("DER", () => {
  const table: [string, Uint8Array, string][] = [
    ["a small integer", der.integer(Uint8Array.of(5)), "020105"],
    ["an integer with its high bit set stays positive", der.integer(Uint8Array.of(0x80)), "02020080"],
    ["leading zeros go", der.integer(Uint8Array.of(0, 0, 1)), "020101"],
    ["an identifier with a long arc", der.oid("1.2.840.10045.4.3.2"), "06082a8648ce3d040302"],
    ["a long length", der.octets(new Uint8Array(200)).subarray(0, 3), "0481c8"],
    ["a longer length", der.octets(new Uint8Array(300)).subarray(0, 4), "0482012c"],
    [
      "UTCTime",
      der.time(new Date("2026-01-02T03:04:05Z")),
      `170d${Buffer.from("260102030405Z").toString("hex")}`,
    ],
    [
      "GeneralizedTime from 2050",
      der.time(new Date("2050-01-02T03:04:05Z")),
      `180f${Buffer.from("20500102030405Z").toString("hex")}`,
    ],
  ];
  for (const [name, bytes, expected] of table) test(name, () => expect(hex(bytes)).toBe(expected));
});

describe("certificates", () => {
  const ca = createCa("weft-ca");
  const caCertificate = new X509Certificate(ca.certificate);

  test("the CA is one, and signed by itself", () => {
    expect(caCertificate.ca).toBe(true);
    expect(caCertificate.verify(caCertificate.publicKey)).toBe(true);
    expect(caCertificate.subject).toBe("CN=weft-ca");
  });

  test("a server's certificate covers its names and addresses", () => {
    const server = createServerCertificate(ca, ["localhost", "10.96.0.1", "fd00:10:96::1"]);
    const certificate = new X509Certificate(server.certificate);
    expect(certificate.verify(caCertificate.publicKey)).toBe(true);
    expect(certificate.checkIssued(caCertificate)).toBe(true);
    expect(certificate.checkHost("localhost")).toBe("localhost");
    expect(certificate.checkIP("10.96.0.1")).toBe("10.96.0.1");
    expect(certificate.checkIP("fd00:10:96::1")).toBe("fd00:10:96::1");
    expect(certificate.checkIP("10.96.0.2")).toBeUndefined();
    expect(certificate.ca).toBe(false);
  });
});
