import { CniError } from "../../cni/errors.ts";
import { InvalidInput } from "../../lib/errors.ts";

/**
 * What `parse` reads for DEL; undefined where ADD refuses it: then this configuration has made nothing, and a container
 * must not be kept from going.
 */
export function validOrNone<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof InvalidInput || error instanceof CniError) return undefined;
    throw error;
  }
}
