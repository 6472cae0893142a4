/** containerd.services.version.v1. */
import type { VersionServer } from "../wire/gen/containerd/services/version/v1/version.js";
import type { ApiDependencies } from "./dependencies.js";
import type { CallWrappers } from "./unary.js";

export const createVersionService = (
  { version }: ApiDependencies,
  { unary }: CallWrappers,
): VersionServer => ({
  version: unary(() => ({ version: version.version, revision: version.revision })),
});
