import { InvalidInput, quote } from "../lib/errors.ts";
import { CniError, cniErrorCode } from "./errors.ts";

/*
 * Characters are looked at one by one, because the first use of each regular expression costs a plugin's process a tenth
 * of a millisecond.
 */

function isAlphanumeric(code: number): boolean {
  return (code >= 48 && code <= 57) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122);
}

/**
 * The specification's grammar of names that become file names: letters, digits, and behind the first also "_", "." and
 * "-" (and those of `more`).
 */
function isName(text: string, more = ""): boolean {
  if (text.length > longestName || !(isAlphanumeric(text.charCodeAt(0)) || more.includes(text[0] ?? "")))
    return false;
  for (let i = 1; i < text.length; i++) {
    if (
      !isAlphanumeric(text.charCodeAt(i)) &&
      !"_.-".includes(text[i] as string) &&
      !more.includes(text[i] as string)
    ) {
      return false;
    }
  }
  return true;
}

const longestName = 200;
/** IFNAMSIZ without its terminating zero. */
const longestInterfaceName = 15;

/** Checks CNI_CONTAINERID: starts alphanumeric, then also "_", "." and "-". Throws a CniError of code 4. */
export function requireContainerId(id: string): string {
  if (id === "") throw environmentError("CNI_CONTAINERID", id, "is missing");
  if (!isName(id)) {
    throw environmentError(
      "CNI_CONTAINERID",
      id,
      "is not a container id",
      `Use at most ${longestName} letters, digits, "_", "." and "-", a letter or digit first`,
    );
  }
  return id;
}

const interfaceNameRemedy = `Use at most ${longestInterfaceName} bytes without "/", ":", "%" and white space, and not "." or ".."`;

/** Checks CNI_IFNAME as {@link isInterfaceName}. Throws a CniError of code 4. */
export function requireInterfaceName(name: string): string {
  if (name === "") throw environmentError("CNI_IFNAME", name, "is missing");
  if (isInterfaceName(name)) return name;
  throw environmentError("CNI_IFNAME", name, "is not an interface name", interfaceNameRemedy);
}

/** Checks an interface's name in a configuration. Throws {@link InvalidInput}. */
export function requireConfiguredInterface(name: string, field: string): string {
  if (isInterfaceName(name)) return name;
  throw new InvalidInput(field, name, "is not an interface name", { remedy: interfaceNameRemedy });
}

/**
 * True for what can be an interface's name: what the kernel's dev_valid_name takes, save for "%", which is no part of a name
 * but asks the kernel to choose one (dev_alloc_name: "eth%d" becomes eth0).
 */
export function isInterfaceName(name: string): boolean {
  if (name === "" || name === "." || name === ".." || name.length > longestInterfaceName) return false;
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    // Not "/", ":", "%", white space, control characters. Beyond ASCII the kernel counts bytes.
    if (code === 47 || code === 58 || code === 37 || code <= 32 || code === 127) return false;
    if (code > 127) return isForeignName(name);
  }
  return true;
}

function isForeignName(name: string): boolean {
  return Buffer.byteLength(name) <= longestInterfaceName && !/[/:%\s\p{Cc}]/u.test(name);
}

/** Checks a network's name, the same grammar as container ids. Throws a CniError of code 7, where it is missing with `remedy`. */
export function requireNetworkName(name: unknown, remedy = 'Give the configuration a "name"'): string {
  if (name === undefined || name === null || name === "") {
    throw new CniError(cniErrorCode.invalidNetworkConfig, "missing network name", {
      remedy,
    });
  }
  if (typeof name !== "string" || !isName(name)) {
    throw new CniError(cniErrorCode.invalidNetworkConfig, `name: ${quote(name)} is not a network name`, {
      remedy: `Use at most ${longestName} letters, digits, "_", "." and "-", a letter or digit first`,
    });
  }
  return name;
}

/**
 * Checks a plugin's type: a bare file name, so that it cannot lead out of CNI_PATH. Throws a CniError of code 7, where it
 * is missing with `remedy`.
 */
export function requirePluginType(
  type: unknown,
  field = "type",
  remedy = 'Give the plugin a "type", such as "bridge"',
): string {
  if (type === undefined || type === null || type === "") {
    throw new CniError(cniErrorCode.invalidNetworkConfig, `${field}: a plugin's type is missing`, {
      remedy,
    });
  }
  if (typeof type !== "string" || !isName(type, "_+") || type[0] === "+") {
    throw new CniError(cniErrorCode.invalidNetworkConfig, `${field}: ${quote(type)} is not a plugin type`, {
      remedy: "Give the bare file name of an executable on CNI_PATH, without any folder",
    });
  }
  return type;
}

function environmentError(variable: string, value: string, problem: string, remedy?: string): CniError {
  const shown = value === "" ? "" : `: ${quote(value)}`;
  return new CniError(cniErrorCode.invalidEnvironment, `${variable}${shown} ${problem}`, {
    ...(remedy === undefined ? {} : { remedy }),
  });
}
