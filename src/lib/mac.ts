import { InvalidInput } from "./errors.ts";

/** Six bytes of an Ethernet address from "0a:58:0a:f4:01:07" (or with dashes). */
export function parseMac(text: string, field = "mac"): Uint8Array {
  if (!/^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$/.test(text)) {
    throw new InvalidInput(field, text, "is not a MAC address", {
      remedy: "Write it like 0a:58:0a:f4:01:07",
    });
  }
  return Uint8Array.from(text.split(/[:-]/), (byte) => Number.parseInt(byte, 16));
}

/** Lower-case, colon-separated; works for link-layer addresses of any length. */
export function formatMac(bytes: Uint8Array): string {
  const hex = bytes.toHex();
  let text = hex.slice(0, 2);
  for (let i = 2; i < hex.length; i += 2) text += `:${hex.slice(i, i + 2)}`;
  return text;
}

/** A unicast address that is locally administered (IEEE 802-2014, 8.2.2), as text. */
export function randomMac(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(6));
  bytes[0] = ((bytes[0] as number) & 0xfc) | 0x02;
  return formatMac(bytes);
}
