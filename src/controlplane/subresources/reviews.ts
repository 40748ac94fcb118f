import type { User } from "../auth/tokens.ts";
import type { Cluster } from "../cluster.ts";
import { type Dict, dictAt, stringAt } from "../objects.ts";

/** A resource that is only asked and never stored. */
export interface Review {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  status(cluster: Cluster, body: Dict, user: User): Dict;
}

const allowed = () => ({ allowed: true, reason: "this API server lets every known user do everything" });
const infoOf = ({ name, groups }: User): Dict => ({ username: name, groups: [...groups] });
const authorization = { group: "authorization.k8s.io", version: "v1" };
const authentication = { group: "authentication.k8s.io", version: "v1" };

/** What `kubectl auth can-i` and `kubectl auth whoami` ask. */
export const reviews: readonly Review[] = [
  {
    ...authorization,
    plural: "selfsubjectaccessreviews",
    kind: "SelfSubjectAccessReview",
    namespaced: false,
    status: allowed,
  },
  {
    ...authorization,
    plural: "subjectaccessreviews",
    kind: "SubjectAccessReview",
    namespaced: false,
    status: allowed,
  },
  {
    ...authorization,
    plural: "localsubjectaccessreviews",
    kind: "LocalSubjectAccessReview",
    namespaced: true,
    status: allowed,
  },
  {
    ...authorization,
    plural: "selfsubjectrulesreviews",
    kind: "SelfSubjectRulesReview",
    namespaced: false,
    status: () => ({
      resourceRules: [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"] }],
      nonResourceRules: [{ verbs: ["*"], nonResourceURLs: ["*"] }],
      incomplete: false,
    }),
  },
  {
    ...authentication,
    plural: "selfsubjectreviews",
    kind: "SelfSubjectReview",
    namespaced: false,
    status: (_cluster, _body, user) => ({ userInfo: infoOf(user) }),
  },
  {
    ...authentication,
    plural: "tokenreviews",
    kind: "TokenReview",
    namespaced: false,
    status: (cluster, body) => {
      const user = cluster.tokens.verify(stringAt(body, "spec", "token") ?? "", cluster.now());
      return user === undefined
        ? { authenticated: false, error: "invalid token" }
        : { authenticated: true, user: infoOf(user) };
    },
  },
];

/** The review with its answer. */
export function answerReview(review: Review, cluster: Cluster, body: Dict, user: User): Dict {
  return {
    kind: review.kind,
    apiVersion: `${review.group}/${review.version}`,
    metadata: dictAt(body, "metadata"),
    spec: dictAt(body, "spec"),
    status: review.status(cluster, body, user),
  };
}
