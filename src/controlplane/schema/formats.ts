import { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";

const RFC3339 =
  /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)([.,]\d+)?([Zz]|[+-]\d\d:\d\d)$/;
const UUID = (version: string) =>
  new RegExp(`^[0-9a-f]{8}-?[0-9a-f]{4}-?${version}[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$`, "i");

/** The `format`s of OpenAPI that Kubernetes checks in custom resources; others mean nothing. */
const formats: Record<string, (value: string) => boolean> = {
  "date-time": (value) => RFC3339.test(value),
  datetime: (value) => RFC3339.test(value),
  date: (value) => /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/.test(value),
  byte: isBase64,
  ipv4: (value) => Ip.tryParse(value)?.family === 4,
  ipv6: (value) => Ip.tryParse(value)?.family === 6,
  cidr: (value) => {
    try {
      return Prefix.parse(value) !== undefined;
    } catch {
      return false;
    }
  },
  mac: (value) => /^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i.test(value),
  hostname: (value) =>
    value.length <= 253 &&
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\.?$/i.test(value),
  email: (value) => /^[^@\s<>]+@[^@\s<>]+$/.test(value),
  uri: (value) => URL.canParse(value) || value.startsWith("/"),
  uuid: (value) => UUID("[0-9a-f]").test(value),
  uuid3: (value) => UUID("3").test(value),
  uuid4: (value) => UUID("4").test(value),
  uuid5: (value) => UUID("5").test(value),
  duration: (value) => /^[+-]?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h|d|w))+$|^0$/.test(value.replaceAll(" ", "")),
};

/** True where the value has the format, or the format has no meaning here. */
export function checkFormat(format: string, value: string): boolean {
  const check = Object.hasOwn(formats, format) ? formats[format] : undefined;
  return check === undefined || check(value);
}

/** Standard base64 with its padding; line breaks are let through, as Go does. */
function isBase64(value: string): boolean {
  const text = /[\r\n]/.test(value) ? value.replace(/[\r\n]/g, "") : value;
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text);
}
