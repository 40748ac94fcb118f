/**
 * nf_tables over netlink: tables, chains, rules, sets and maps as plain data, changed in atomic transactions.
 * @module
 */
export { canonicalExpressions, sameRule, withoutState } from "./compare.ts";
export type { DataType, Datum, TypeName, TypeSpec } from "./datatypes.ts";
export { isGenerationChanged, NftError } from "./errors.ts";
export type { DynsetExpression, Expression, ExpressionName, OpaqueExpression } from "./expressions.ts";
export * from "./model.ts";
export { type DumpOptions, Nftables, type NftablesApi } from "./nftables.ts";
export {
  type Applied,
  type ApplyOptions,
  type Flushable,
  type Operation,
  type Removable,
  Transaction,
} from "./transaction.ts";
