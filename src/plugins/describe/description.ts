import { isJsonObject, type JsonObject } from "../../cni/fields.ts";

/** What a configuration says, as far as it can be understood: what is wrong with it is the plugin's own to say. */
export class Keys {
  readonly raw: JsonObject;

  constructor(raw: JsonObject) {
    this.raw = raw;
  }

  /** As plugins read it, a name is matched without regard to case. */
  get(name: string): unknown {
    if (Object.hasOwn(this.raw, name)) return this.raw[name];
    const key = Object.keys(this.raw).find((other) => other.toLowerCase() === name.toLowerCase());
    return key === undefined ? undefined : this.raw[key];
  }

  /** A text that is not empty. */
  text(name: string): string | undefined {
    const value = this.get(name);
    return typeof value === "string" && value !== "" ? value : undefined;
  }

  number(name: string): number | undefined {
    const value = this.get(name);
    return typeof value === "number" ? value : undefined;
  }

  flag(name: string): boolean {
    return this.get(name) === true;
  }

  /** False only where it says so. */
  flagOr(name: string, otherwise: boolean): boolean {
    const value = this.get(name);
    return typeof value === "boolean" ? value : otherwise;
  }

  object(name: string): Keys {
    const value = this.get(name);
    return new Keys(isJsonObject(value) ? value : {});
  }

  texts(name: string): string[] {
    return this.#array(name).filter((item) => typeof item === "string");
  }

  objects(name: string): Keys[] {
    return this.#array(name)
      .filter(isJsonObject)
      .map((item) => new Keys(item));
  }

  #array(name: string): unknown[] {
    const value = this.get(name);
    return Array.isArray(value) ? value : [];
  }
}

/** What a description is made from. */
export interface Described {
  /** The plugin's whole configuration. */
  keys: Keys;
  network: string;
  /** `ipam.type`, where there is one. */
  ipamType: string | undefined;
  /** The gateways that its IPAM plugin will name, with their networks' lengths, as far as they are known. */
  gateways: readonly string[];
  /** The capabilities that it declares. */
  capabilities: readonly string[];
  /** Weft's own plugin does it, not somebody else's of the same name. */
  isOwn: boolean;
}

/** Something that is probably not what was meant. */
export interface Advice {
  /** "error" where ADD cannot but fail. */
  level?: "error";
  /** The key, below the plugin's configuration. */
  field: string;
  problem: string;
  remedy?: string;
}

/** Something that is wrong with a configuration, or that is worth to know of it. */
export interface Finding {
  /** With an error ADD fails; a warning is probably not what was meant; a note is how it is. */
  level: "error" | "warning" | "note";
  /** The key's whole path, such as "plugins[0].ipam.ranges"; "" for the list as a whole. */
  field: string;
  /** Without the field. */
  message: string;
  remedy?: string;
}

/** What is known of a plugin for those who explain a configuration; no pod needs it. */
export interface Description {
  /** Makes an interface, gives addresses to those who do, works on what the plugins before it made, or only sets up lo. */
  role: "interface" | "ipam" | "chained" | "loopback";
  /** The capabilities that it understands: what a runtime may pass. */
  capabilities: Readonly<Record<string, string>>;
  /** What ADD will do, in sentences without a subject. */
  describe(described: Described): string[];
  advise?(described: Described): Advice[];
}

/** "a", "a and b", "a, b and c". */
export function listed(items: readonly (string | number)[]): string {
  if (items.length < 2) return items.join("");
  return `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;
}

/** The sentences that apply. */
export function sentences(...candidates: readonly (string | false | undefined)[]): string[] {
  return candidates.filter((candidate) => typeof candidate === "string");
}
