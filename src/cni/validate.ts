import { InvalidInput, quote } from "../lib/errors.ts";
import { CniError, cniErrorCode } from "./errors.ts";

/** Names that become file names here and in libcni's cache; the specification's own grammar. */
const nameGrammar = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const longestName = 200;
/** IFNAMSIZ without its terminating zero. */
const longestInterfaceName = 15;

/** Checks CNI_CONTAINERID: starts alphanumeric, then also "_", "." and "-". Throws a CniError of code 4. */
export function requireContainerId(id: string): string {
  if (id === "") throw environmentError("CNI_CONTAINERID", id, "is missing");
  if (!nameGrammar.test(id) || id.length > longestName) {
    throw environmentError(
      "CNI_CONTAINERID",
      id,
      "is not a container id",
      `Use at most ${longestName} letters, digits, "_", "." and "-", a letter or digit first`,
    );
  }
  return id;
}

const interfaceNameRemedy = `Use at most ${longestInterfaceName} bytes without "/", ":" and white space, and not "." or ".."`;

/** Checks CNI_IFNAME as the kernel's dev_valid_name does. Throws a CniError of code 4. */
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

/** True for what the kernel takes as an interface's name. */
export function isInterfaceName(name: string): boolean {
  if (name === "" || name === "." || name === "..") return false;
  return new TextEncoder().encode(name).length <= longestInterfaceName && !/[/:\s\p{Cc}]/u.test(name);
}

/** Checks a network's name, the same grammar as container ids. Throws a CniError of code 7. */
export function requireNetworkName(name: unknown): string {
  if (name === undefined || name === null || name === "") {
    throw new CniError(cniErrorCode.invalidNetworkConfig, "missing network name", {
      remedy: 'Give the configuration a "name"',
    });
  }
  if (typeof name !== "string" || !nameGrammar.test(name) || name.length > longestName) {
    throw new CniError(cniErrorCode.invalidNetworkConfig, `name: ${quote(name)} is not a network name`, {
      remedy: `Use at most ${longestName} letters, digits, "_", "." and "-", a letter or digit first`,
    });
  }
  return name;
}

/** Checks a plugin's type: a bare file name, so that it cannot lead out of CNI_PATH. Throws a CniError of code 7. */
export function requirePluginType(type: unknown, field = "type"): string {
  if (type === undefined || type === null || type === "") {
    throw new CniError(cniErrorCode.invalidNetworkConfig, `${field}: a plugin's type is missing`, {
      remedy: `Give the plugin a "type", such as "bridge"`,
    });
  }
  if (typeof type !== "string" || !/^[a-zA-Z0-9_][a-zA-Z0-9_.+-]*$/.test(type) || type.length > longestName) {
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
