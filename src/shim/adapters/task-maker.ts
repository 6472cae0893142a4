/** Makes tasks out of decoded requests: reads options and spec, picks the runtime, binds the adapters. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../core/clock.js";
import { invalidArgument, unknownError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import type { TaskCreation } from "../../ports/shim-port.js";
import { joinCgroup } from "../../runtime/cgroups/join.js";
import type { OomMonitor } from "../../runtime/cgroups/oom.js";
import { createOciRuntime, type OciRuntime } from "../../runtime/oci-runtime.js";
import {
  type DriverDefaults,
  type DriverOptions,
  decodeOptions,
  driverOptions,
  writeOptions,
} from "../../runtime/options.js";
import { mountRootfs, unmountRootfs } from "../../runtime/rootfs-mounts.js";
import type { RuntimeHost } from "../../runtime/runtime-command.js";
import type { RuntimeProbe } from "../../runtime/runtime-probe.js";
import { parseSpec } from "../../runtime/spec.js";
import type { EventPublisher, ExitSource, StdioOpener } from "../ports.js";
import { type StdioMode, stdioModes } from "../stdio/stdio-plan.js";
import type { Task } from "../task.js";
import type { TaskLimits } from "../task-context.js";
import { createTask } from "../task-creation.js";
import { TaskEvents } from "../task-events.js";
import { OciContainer } from "./container.js";

export interface TaskMakerOptions {
  readonly namespace: string;
  readonly log: Logger;
  readonly clock: Clock;
  readonly host: RuntimeHost;
  readonly probe: RuntimeProbe;
  readonly oom: OomMonitor;
  readonly events: EventPublisher;
  readonly exits: ExitSource;
  readonly stdio: StdioOpener;
  readonly limits: TaskLimits;
  readonly defaults: DriverDefaults;
  readonly runtimeTimeoutMs: number;
}

const maxRuntimes = 64;

/** A function that makes tasks; runtimes are shared by tasks with the same binary and root. */
export function taskMaker(options: TaskMakerOptions): (creation: TaskCreation) => Promise<Task> {
  const runtimes = new Map<string, OciRuntime>();
  const runtimeFor = ({ binary, root, systemdCgroup }: DriverOptions): OciRuntime => {
    const key = JSON.stringify([binary, root, systemdCgroup]);
    const known = runtimes.get(key);
    if (known !== undefined) return known;
    if (runtimes.size >= maxRuntimes) runtimes.clear();
    const made = createOciRuntime({ ...options.host, binary, root, systemdCgroup, log: options.log });
    runtimes.set(key, made);
    return made;
  };

  let joined: string | undefined;
  /** The shim is one process for many tasks: the first that names a cgroup for it decides. */
  const joinOnce = (cgroup: string): void => {
    if (cgroup === "" || cgroup === joined) return;
    if (joined === undefined) {
      joinCgroup(cgroup);
      joined = cgroup;
      return;
    }
    options.log.warn({ cgroup, joined }, "the shim is in another task's shim_cgroup already");
  };

  return async ({ id, bundle, rootfs, stdio, checkpoint, options: wireOptions }) => {
    const decoded = decodeOptions(wireOptions);
    const driver = driverOptions(decoded, options.namespace, options.defaults);
    const { hooks, privatePidNamespace, annotations } = parseSpec(readConfig(bundle));
    const stdioMode = stdioModeOf(annotations);
    joinOnce(driver.shimCgroup);
    // Before anything exists that a cleanup would have to find by them.
    writeOptions(bundle, decoded);
    const log = options.log.child({ containerId: id });
    const mountPoint = join(bundle, "rootfs");
    return createTask({
      identity: {
        id,
        bundle,
        stdio,
        rootfs,
        checkpoint,
        ioUid: driver.ioUid,
        ioGid: driver.ioGid,
        stdioMode,
      },
      log,
      clock: options.clock,
      events: new TaskEvents(options.events, id),
      exits: options.exits,
      stdio: options.stdio,
      runtime: new OciContainer({
        id,
        bundle,
        spec: { hooks, privatePidNamespace },
        driver,
        runtime: runtimeFor(driver),
        probe: options.probe,
        oom: options.oom,
        log,
        runtimeTimeoutMs: options.runtimeTimeoutMs,
        criuWorkPath: decoded.criuWorkPath,
      }),
      rootfs: {
        mount: async () => mountRootfs(rootfs, mountPoint),
        unmount: async () => unmountRootfs(mountPoint),
      },
      limits: options.limits,
    });
  };
}

/** The annotation by which one container chooses how its output travels, for it and its execs. */
export const stdioModeAnnotation = "io.berth.stdio.mode";

function stdioModeOf(annotations: Readonly<Record<string, string>>): StdioMode | undefined {
  const asked = annotations[stdioModeAnnotation];
  if (asked === undefined) return undefined;
  const mode = stdioModes.find((known) => known === asked);
  if (mode === undefined) {
    throw invalidArgument(
      `annotation ${stdioModeAnnotation} is ${JSON.stringify(asked)}, expected one of ${stdioModes.join(", ")}`,
    );
  }
  return mode;
}

function readConfig(bundle: string): Uint8Array {
  try {
    return readFileSync(join(bundle, "config.json"));
  } catch (error) {
    throw unknownError(`open ${join(bundle, "config.json")}: no such file or directory`, { cause: error });
  }
}
