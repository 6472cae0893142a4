/** containerd.services.introspection.v1: which parts this daemon has, and who it is. */
import { readlinkSync } from "node:fs";
import { notFound } from "../core/errors.js";
import { adaptPlugin } from "../wire/filter/adaptors.js";
import type {
  IntrospectionServer,
  Plugin,
} from "../wire/gen/containerd/services/introspection/v1/introspection.js";
import { statusCodes } from "../wire/status-code.js";
import { type ApiDependencies, askOptionsOf, type PluginInfo } from "./dependencies.js";
import { listFilters } from "./filtering.js";
import { goQuote } from "./go-quote.js";
import type { CallWrappers } from "./unary.js";

const toPlugin = (plugin: PluginInfo): Plugin => ({
  type: plugin.type,
  id: plugin.id,
  requires: [...(plugin.requires ?? [])],
  platforms: (plugin.platforms ?? []).map(({ os, architecture, variant = "" }) => ({
    os,
    architecture,
    variant,
    osVersion: "",
    osFeatures: [],
  })),
  exports: { ...plugin.exports },
  capabilities: [...(plugin.capabilities ?? [])],
  // Clients read code 2 as "skipped".
  initErr:
    plugin.initError === undefined
      ? undefined
      : { code: statusCodes.unknown, message: plugin.initError, details: [] },
});

/** The inode of our pid namespace, 0 where /proc does not tell. */
function pidNamespaceInode(): bigint {
  try {
    return BigInt(/\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0] ?? 0);
  } catch {
    return 0n;
  }
}

export function createIntrospectionService(
  { metadata, plugins, limits }: ApiDependencies,
  { unary }: CallWrappers,
): IntrospectionServer {
  const { quick } = askOptionsOf(limits);
  const pidns = pidNamespaceInode();

  return {
    plugins: unary(({ request }) => {
      const matches = listFilters(request.filters);
      const found = plugins().filter((plugin) => matches(adaptPlugin(plugin)));
      return { plugins: found.map(toPlugin) };
    }),

    server: unary(async ({ signal }) => {
      const uuid = await metadata.ask<string>((reply) => ({ kind: "uuid", reply }), quick(signal));
      return { uuid, pid: BigInt(process.pid), pidns, deprecations: [] };
    }),

    pluginInfo: unary(({ request: { type, id } }) => {
      const plugin = plugins().find((candidate) => candidate.type === type && candidate.id === id);
      if (plugin === undefined) throw notFound(`plugin ${goQuote(type)} ${goQuote(id)}`);
      return { plugin: toPlugin(plugin), extra: undefined };
    }),
  };
}
