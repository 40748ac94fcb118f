import { isDeepStrictEqual } from "node:util";
import { Writer } from "../netlink/codec.ts";
import { type Expression, expressionList } from "./expressions.ts";
import type { Rule } from "./model.ts";

/** Expressions as a dump would show them: what is the same to the kernel is the same here. */
export function canonicalExpressions(expressions: readonly Expression[]): Expression[] {
  const writer = new Writer();
  expressionList.write(writer, [...expressions]);
  return expressionList.read(writer.finish());
}

/** Expressions without what packets changed in them: counts and used-up quotas. */
export function withoutState(expressions: readonly Expression[]): Expression[] {
  return expressions.map((expression) => {
    switch (expression.name) {
      case "counter":
        return { ...expression, bytes: 0, packets: 0 };
      case "quota": {
        const flags = expression.flags?.filter((flag) => flag !== "depleted") ?? [];
        const { flags: _, ...rest } = expression;
        return { ...rest, consumed: 0, ...(flags.length > 0 && { flags }) };
      }
      default:
        return expression;
    }
  });
}

/** True where two rules do the same and have the same comment; handles and counts do not matter. */
export function sameRule(a: Rule, b: Rule): boolean {
  return (
    a.chain === b.chain &&
    a.comment === b.comment &&
    isDeepStrictEqual(canonicalForm(a.expressions), canonicalForm(b.expressions))
  );
}

const canonicalForm = (expressions: readonly Expression[]) => withoutState(canonicalExpressions(expressions));
