import { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const QUALIFIED = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const QUANTITY = /^[+-]?(\d+(\.\d*)?|\.\d+)(([KMGTPE]i)|[numkMGTPE]|([eE][+-]?\d+))?$/;

/** A DNS label of RFC 1123, as container and namespace names are; undefined where it is one, else what is wrong. */
export function checkDnsLabel(value: string): string | undefined {
  if (value.length > 63) return "must be no more than 63 characters";
  if (LABEL.test(value)) return undefined;
  return (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end " +
    "with an alphanumeric character (e.g. 'my-name', or '123-abc')"
  );
}

/** A DNS label of RFC 1035, as Service names are: it starts with a letter. */
export function checkDns1035Label(value: string): string | undefined {
  if (value.length > 63) return "must be no more than 63 characters";
  if (/^[a-z]([-a-z0-9]*[a-z0-9])?$/.test(value)) return undefined;
  return (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, " +
    "and end with an alphanumeric character (e.g. 'my-name', or 'abc-123')"
  );
}

/** A DNS subdomain of RFC 1123, as most names are. */
export function checkDnsSubdomain(value: string): string | undefined {
  if (value.length > 253) return "must be no more than 253 characters";
  if (SUBDOMAIN.test(value)) return undefined;
  return (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and " +
    "end with an alphanumeric character (e.g. 'example.com')"
  );
}

/** A name that is one segment of a path and no more, as RBAC names are. */
export function checkPathSegment(value: string): string | undefined {
  if (value === "." || value === "..") return `may not be '${value}'`;
  return /[/%]/.test(value) ? "may not contain '/' or '%'" : undefined;
}

/** The key of a label or annotation: an optional DNS subdomain, a slash, a name. */
export function checkQualifiedName(value: string): string | undefined {
  const parts = value.split("/");
  const name = parts.at(-1) as string;
  if (parts.length > 2) return "a qualified name must have at most one '/'";
  if (parts.length === 2) {
    if (parts[0] === "") return "prefix part must be non-empty";
    const problem = checkDnsSubdomain(parts[0] as string);
    if (problem !== undefined) return `prefix part ${problem}`;
  }
  if (name.length > 63) return "name part must be no more than 63 characters";
  if (QUALIFIED.test(name)) return undefined;
  return (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric " +
    "character (e.g. 'MyName', or 'my.name', or '123-abc')"
  );
}

/** The value of a label. */
export function checkLabelValue(value: string): string | undefined {
  if (value.length > 63) return "must be no more than 63 characters";
  if (value === "" || QUALIFIED.test(value)) return undefined;
  return (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and " +
    "end with an alphanumeric character (e.g. 'MyValue', or 'my_value', or '12345')"
  );
}

/** The name of a port, as IANA's service names are (RFC 6335). */
export function checkPortName(value: string): string | undefined {
  if (value.length > 15) return "must be no more than 15 characters";
  if (!/^[-a-z0-9]+$/.test(value))
    return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
  if (!/[a-z]/.test(value)) return "must contain at least one letter (a-z)";
  if (value.includes("--")) return "must not contain consecutive hyphens";
  if (value.startsWith("-") || value.endsWith("-")) return "must not begin or end with a hyphen";
  return undefined;
}

/** What is wrong with a value that a schema gives a `check`; undefined where nothing is. */
export type Check = (value: unknown) => string | undefined;

const ofString =
  (check: (value: string) => string | undefined): Check =>
  (value) =>
    typeof value === "string" ? check(value) : undefined;

/** The checks by name, as the schema tables use them. The type of the value was checked before. */
export const checks: Record<string, Check> = {
  "dns-label": ofString(checkDnsLabel),
  ip: ofString((value) =>
    Ip.tryParse(value) === undefined
      ? "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
      : undefined,
  ),
  cidr: ofString(checkCidr),
  quantity: (value) =>
    typeof value === "number" || (typeof value === "string" && QUANTITY.test(value))
      ? undefined
      : `quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'`,
  port: (value) => {
    if (typeof value === "string") return checkPortName(value);
    return (value as number) >= 1 && (value as number) <= 65535
      ? undefined
      : "must be between 1 and 65535, inclusive";
  },
  percent: (value) => {
    if (typeof value === "number") return value >= 0 ? undefined : "must be greater than or equal to 0";
    return /^\d+%$/.test(value as string)
      ? undefined
      : "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%')";
  },
};

function checkCidr(value: string): string | undefined {
  try {
    Prefix.parse(value);
    return undefined;
  } catch {
    return "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
  }
}
