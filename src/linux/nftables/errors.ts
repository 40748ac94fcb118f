import type { ErrorDetails } from "../../lib/errors.ts";
import { type ErrnoName, errno } from "../errno.ts";
import { isErrno, KernelError } from "../errors.ts";
import { tableOf } from "./encode.ts";
import type { Element, TableRef, Values } from "./model.ts";
import type { Operation } from "./transaction.ts";

/** What the kernel refused of a transaction, of which it then did nothing. */
export class NftError extends KernelError {
  /** The place of the refused operation in the transaction; undefined where the whole was refused. */
  readonly index: number | undefined;
  /** The refused element, where the operation was about elements and the kernel told which one. */
  readonly element: Element | undefined;
  /** The attribute at fault, such as "expressions[2].data", where the kernel told. */
  readonly attribute: string | undefined;
  /** All that was refused, this first one included. Later ones may only follow from earlier ones. */
  readonly failures: readonly NftError[];

  constructor(operation: string, subject: string, errno: number, where: NftErrorDetails = {}) {
    const at = where.attribute === undefined ? "" : `, attribute ${where.attribute}`;
    const number = where.index === undefined ? "" : `, operation ${where.index}`;
    super(operation, `${subject}${number}${at}`, errno, where);
    this.index = where.index;
    this.element = where.element;
    this.attribute = where.attribute;
    this.failures = [this, ...(where.others ?? [])];
  }
}

/** See the fields of {@link NftError}. */
export interface NftErrorDetails extends ErrorDetails {
  extack?: string | undefined;
  index?: number | undefined;
  element?: Element | undefined;
  attribute?: string | undefined;
  others?: readonly NftError[];
}

/** The ruleset changed since the generation that the caller had seen: read it again. */
export const isGenerationChanged = (error: unknown): error is KernelError =>
  isErrno(error, "ERESTART" as ErrnoName);

/** "10.0.0.1 . tcp . 80". */
export function formatValues(values: Values): string {
  return Array.isArray(values) ? values.map(String).join(" . ") : String(values);
}

/** The words for an operation: "add chain", "\"pre\" in table inet weft". */
export function describe(
  { op, object }: Operation,
  table: TableRef,
  element?: Element,
): { operation: string; subject: string } {
  const { family, name } = tableOf(object, table);
  const inTable = `in table ${family} ${name}`;
  switch (object.kind) {
    case "table":
      return { operation: `${op} table`, subject: `${family} ${name}` };
    case "rule": {
      const handle = object.handle === undefined ? "" : ` handle ${object.handle}`;
      const comment = "comment" in object && object.comment !== undefined ? `"${object.comment}" ` : "";
      return { operation: `${op} rule`, subject: `${comment}of chain "${object.chain}"${handle} ${inTable}` };
    }
    case "elements": {
      const which = element === undefined ? "" : ` "${formatValues(element.key)}"`;
      const noun = element === undefined ? "elements" : "element";
      return {
        operation: `${op} ${noun}`,
        subject: `${which} of ${object.set.kind} "${object.set.name}" ${inTable}`.trim(),
      };
    }
    default: {
      const which = element === undefined ? "" : ` with the element "${formatValues(element.key)}"`;
      return { operation: `${op} ${object.kind}`, subject: `"${object.name}"${which} ${inTable}` };
    }
  }
}

const remedies: Partial<Record<number, string>> = {
  [errno.EMSGSIZE]: "Raise net.core.wmem_max or split the transaction: the kernel takes it in one piece",
  [errno.EPERM]: "Run it with CAP_NET_ADMIN in the network namespace",
};

/** The remedy for an errno, where there is a general one. */
export function remedyFor(value: number): ErrorDetails {
  const remedy = remedies[value];
  return remedy === undefined ? {} : { remedy };
}
