/** What Introspection lists: the parts of containerd that berth stands in for, so that clients find what they look for. */
import { arch } from "node:os";
import type { PluginInfo } from "../api/dependencies.js";

const architectures: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

export function listPlugins(): readonly PluginInfo[] {
  const platform = { os: "linux", architecture: architectures[arch()] ?? arch() };
  const grpc = [
    "containers",
    "events",
    "healthcheck",
    "introspection",
    "leases",
    "namespaces",
    "tasks",
    "version",
  ];
  const services = [
    "containers-service",
    "introspection-service",
    "leases-service",
    "namespaces-service",
    "tasks-service",
  ];
  return [
    { type: "io.containerd.event.v1", id: "exchange" },
    { type: "io.containerd.metadata.v1", id: "lmdb" },
    { type: "io.containerd.runtime.v2", id: "task", platforms: [platform] },
    { type: "io.containerd.monitor.v1", id: "cgroups", platforms: [platform] },
    ...services.map((id) => ({ type: "io.containerd.service.v1", id })),
    ...grpc.map((id) => ({ type: "io.containerd.grpc.v1", id })),
  ];
}
