import type { Status, StatusCause, StatusDetails } from "../kube/types.ts";
import { WeftError } from "../lib/errors.ts";

/** Names a resource in messages: "pods", or "deployments.apps". */
export interface GroupResource {
  readonly group: string;
  readonly plural: string;
}

/** Names a kind in messages: "Pod", or "Deployment.apps". */
export interface GroupKind {
  readonly group: string;
  readonly kind: string;
}

/** A request that the API server refuses; `status` is what the client gets. */
export class StatusError extends WeftError {
  readonly status: Status & { code: number };

  constructor(code: number, reason: string, message: string, details?: StatusDetails) {
    super(`api-${reason.toLowerCase()}`, message);
    this.status = {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message,
      reason,
      ...(details === undefined ? {} : { details }),
      code,
    };
  }
}

const dotted = (name: string, group: string) => (group === "" ? name : `${name}.${group}`);

const detailsOf = (resource: GroupResource, name: string): StatusDetails => ({
  name,
  ...(resource.group === "" ? {} : { group: resource.group }),
  kind: resource.plural,
});

export const badRequest = (message: string) => new StatusError(400, "BadRequest", message);
export const unauthorized = () => new StatusError(401, "Unauthorized", "Unauthorized");
export const unknownPath = () =>
  new StatusError(404, "NotFound", "the server could not find the requested resource", {});
export const notAcceptable = () =>
  new StatusError(
    406,
    "NotAcceptable",
    "only the following media types are accepted: application/json, application/yaml",
  );
export const unsupportedMediaType = (type: string, accepted: readonly string[]) =>
  new StatusError(
    415,
    "UnsupportedMediaType",
    `the body of the request was in an unknown format - ${JSON.stringify(type)}; accepted media types include: ${accepted.join(", ")}`,
  );
export const tooLarge = (limit: number) =>
  new StatusError(
    413,
    "RequestEntityTooLarge",
    `Request entity too large: limit is ${limit} bytes; split the object or store the data elsewhere`,
  );
export const internalError = (message: string) =>
  new StatusError(500, "InternalError", `Internal error occurred: ${message}`);

/** A version, or a page of a list, that is no longer kept (410). */
export const expired = (message: string) => new StatusError(410, "Expired", message);

export const notFound = (resource: GroupResource, name: string) =>
  new StatusError(
    404,
    "NotFound",
    `${dotted(resource.plural, resource.group)} ${JSON.stringify(name)} not found`,
    detailsOf(resource, name),
  );

export const alreadyExists = (resource: GroupResource, name: string) =>
  new StatusError(
    409,
    "AlreadyExists",
    `${dotted(resource.plural, resource.group)} ${JSON.stringify(name)} already exists`,
    detailsOf(resource, name),
  );

export const conflict = (resource: GroupResource, name: string, why: string) =>
  new StatusError(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${dotted(resource.plural, resource.group)} ${JSON.stringify(name)}: ${why}`,
    detailsOf(resource, name),
  );

/** The version that the client read is not the current one. */
export const modified = (resource: GroupResource, name: string) =>
  conflict(
    resource,
    name,
    "the object has been modified; please apply your changes to the latest version and try again",
  );

export const methodNotAllowed = (method: string, resource: GroupResource) =>
  new StatusError(
    405,
    "MethodNotAllowed",
    `${method} is not supported on resources of kind "${dotted(resource.plural, resource.group)}"`,
    { ...(resource.group === "" ? {} : { group: resource.group }), kind: resource.plural },
  );

export const forbidden = (resource: GroupResource, name: string, why: string, causes?: StatusCause[]) =>
  new StatusError(
    403,
    "Forbidden",
    `${dotted(resource.plural, resource.group)} ${JSON.stringify(name)} is forbidden: ${why}`,
    { ...detailsOf(resource, name), ...(causes === undefined ? {} : { causes }) },
  );

/** The reason of one field error, as Kubernetes' clients know them. */
export type FieldReason =
  | "FieldValueRequired"
  | "FieldValueInvalid"
  | "FieldValueNotSupported"
  | "FieldValueDuplicate"
  | "FieldValueForbidden"
  | "FieldValueTooMany"
  | "FieldValueTooLong"
  | "FieldValueTypeInvalid"
  | "FieldValueNotFound"
  | "InternalError";

/** One thing that is wrong with one field; `message` goes after "spec.replicas: ". */
export interface FieldError {
  readonly reason: FieldReason;
  readonly field: string;
  readonly message: string;
}

const show = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 300 ? `${text.slice(0, 297)}...` : text;
};

export const required = (field: string, detail = ""): FieldError => ({
  reason: "FieldValueRequired",
  field,
  message: detail === "" ? "Required value" : `Required value: ${detail}`,
});
export const invalidValue = (field: string, value: unknown, detail: string): FieldError => ({
  reason: "FieldValueInvalid",
  field,
  message: `Invalid value: ${show(value)}: ${detail}`,
});
export const wrongType = (field: string, value: unknown, detail: string): FieldError => ({
  reason: "FieldValueTypeInvalid",
  field,
  message: `Invalid value: ${show(value)}: ${detail}`,
});
export const notSupported = (field: string, value: unknown, supported: readonly unknown[]): FieldError => ({
  reason: "FieldValueNotSupported",
  field,
  message: `Unsupported value: ${show(value)}: supported values: ${supported.map(show).join(", ")}`,
});
export const duplicate = (field: string, value: unknown): FieldError => ({
  reason: "FieldValueDuplicate",
  field,
  message: `Duplicate value: ${show(value)}`,
});
export const forbiddenField = (field: string, detail: string): FieldError => ({
  reason: "FieldValueForbidden",
  field,
  message: `Forbidden: ${detail}`,
});
export const tooMany = (field: string, count: number, most: number): FieldError => ({
  reason: "FieldValueTooMany",
  field,
  message: `Too many: ${count}: must have at most ${most} items`,
});
export const tooLong = (field: string, most: number): FieldError => ({
  reason: "FieldValueTooLong",
  field,
  message: `Too long: may not be more than ${most} bytes`,
});

/** 422 with a cause for each field. */
export function invalid(kind: GroupKind, name: string, errors: readonly FieldError[]): StatusError {
  const lines = errors.map((error) =>
    error.field === "" ? error.message : `${error.field}: ${error.message}`,
  );
  const list = lines.length === 1 ? (lines[0] as string) : `[${lines.join(", ")}]`;
  return new StatusError(
    422,
    "Invalid",
    `${dotted(kind.kind, kind.group)} ${JSON.stringify(name)} is invalid: ${list}`,
    {
      name,
      ...(kind.group === "" ? {} : { group: kind.group }),
      kind: kind.kind,
      causes: errors.map(({ reason, message, field }) => ({ reason, message, field })),
    },
  );
}
