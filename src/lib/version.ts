import pkg from "../../package.json" with { type: "json" };

/** Weft's own version, from package.json. */
export const version: string = pkg.version;
