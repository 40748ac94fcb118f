/**
 * Connection tracking over netlink: list, count and delete connections by filter.
 * @module
 */
export { Conntrack } from "./conntrack.ts";
export * from "./model.ts";
