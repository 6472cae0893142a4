/**
 * One container through its OCI runtime. For runc and crun the kernel's own interfaces do what their commands
 * would (start gate, kill(2), freezer, cgroup files); any other runtime is asked for everything, because its
 * container need not be made of processes of this kernel.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DaemonError, notFound } from "../../core/errors.js";
import type { ContainerId, ExecId } from "../../core/ids.js";
import type { Logger } from "../../core/logger.js";
import { closeFd, makeInputFile } from "../../native/fds.js";
import { sendSignal } from "../../native/process.js";
import type { OpaqueAny } from "../../ports/store-port.js";
import { type CgroupPaths, locateCgroups, processDirectory } from "../../runtime/cgroups/locate.js";
import type { OomMonitor } from "../../runtime/cgroups/oom.js";
import { freeze, killAll, listPids, thaw } from "../../runtime/cgroups/processes.js";
import { readStats } from "../../runtime/cgroups/stats.js";
import type { OciRuntime, RuntimeCall } from "../../runtime/oci-runtime.js";
import { type DriverOptions, decodeCheckpointOptions } from "../../runtime/options.js";
import { deleteStopped } from "../../runtime/quick-delete.js";
import type { RuntimeProbe } from "../../runtime/runtime-probe.js";
import type { SpecFacts } from "../../runtime/spec.js";
import { startContainer } from "../../runtime/start-gate.js";
import { execPidPath } from "../exit-record.js";
import type { CheckpointRequest, ContainerRuntime, OomWatch, ProcessStreams } from "../ports.js";

export interface ContainerOptions {
  readonly id: ContainerId;
  readonly bundle: string;
  readonly spec: Pick<SpecFacts, "hooks" | "privatePidNamespace">;
  readonly driver: DriverOptions;
  readonly runtime: OciRuntime;
  readonly probe: RuntimeProbe;
  readonly oom: OomMonitor;
  readonly log: Logger;
  /** Each run of the runtime is killed after this. */
  readonly runtimeTimeoutMs: number;
  /** Where criu works when the task's options do not say; "" for a directory in the bundle. */
  readonly criuWorkPath: string;
}

const ownPid = process.pid;
const SIGKILL = 9;
const freezeMs = 5000;
const killAllMs = 5000;
const noWatch: OomWatch = { checkNow: () => undefined, close: () => undefined };

export class OciContainer implements ContainerRuntime {
  readonly sharesPidNamespace: boolean;
  readonly #options: ContainerOptions;
  readonly #call: RuntimeCall;
  /** The runtime's containers are plain processes in plain cgroups. */
  #isPlain = false;
  /** Undefined until init exists, and for an init that was gone before it could be asked. */
  #cgroups: CgroupPaths | undefined;

  constructor(options: ContainerOptions) {
    this.#options = options;
    this.sharesPidNamespace = !options.spec.privatePidNamespace;
    this.#call = { id: options.id, bundle: options.bundle, deadlineMs: options.runtimeTimeoutMs };
  }

  async create(streams: ProcessStreams): Promise<number> {
    return this.#made(this.#options.runtime.create(this.#creation(streams)));
  }

  async restore(streams: ProcessStreams, checkpoint: string): Promise<number> {
    const workPath = this.#criuWorkPath();
    const call = { ...this.#creation(streams), imagePath: checkpoint, workPath };
    return this.#made(this.#options.runtime.restore(call));
  }

  async #made(making: Promise<{ readonly pid: number }>): Promise<number> {
    const { probe, runtime } = this.#options;
    // Asked now, so that a signal later goes out in the same turn in which its pid was found to be alive.
    const [{ pid }, { kind }] = await Promise.all([making, probe(runtime.binary)]);
    this.#isPlain = kind !== "other";
    this.#cgroups = locateCgroups(pid);
    return pid;
  }

  #creation(streams: ProcessStreams) {
    const { driver, bundle } = this.#options;
    return {
      ...this.#call,
      pidFile: join(bundle, "init.pid"),
      stdio: streams.childStdio,
      ...(streams.consoleSocketPath === undefined ? {} : { consoleSocket: streams.consoleSocketPath }),
      noPivot: driver.noPivot,
      noNewKeyring: driver.noNewKeyring,
    };
  }

  async start(pid: number): Promise<void> {
    const { runtime, probe, spec } = this.#options;
    await startContainer(runtime, probe, { ...this.#call, pid, spec });
  }

  async exec(execId: ExecId, process: Uint8Array, streams: ProcessStreams): Promise<number> {
    const { bundle, runtime } = this.#options;
    // A file in memory that only this process has open: nothing to make on disk, nothing to clean up.
    const processFd = makeInputFile("exec-process", process);
    try {
      const { pid } = await runtime.exec({
        ...this.#call,
        processFile: `/proc/${ownPid}/fd/${processFd}`,
        pidFile: execPidPath(bundle, execId),
        stdio: streams.childStdio,
        ...(streams.consoleSocketPath === undefined ? {} : { consoleSocket: streams.consoleSocketPath }),
      });
      return pid;
    } finally {
      closeFd(processFd);
    }
  }

  signal(pid: number, signalNumber: number): boolean {
    return sendSignal(pid, signalNumber);
  }

  async signalInit(pid: number, signalNumber: number): Promise<boolean> {
    if (this.#isPlain) return sendSignal(pid, signalNumber);
    try {
      await this.#options.runtime.kill({ ...this.#call, signal: signalNumber, all: false });
      return true;
    } catch (error) {
      if (error instanceof DaemonError && error.kind === "not-found") return false;
      throw error;
    }
  }

  async signalAll(signalNumber: number): Promise<void> {
    const cgroups = this.#ownCgroups();
    if (signalNumber === SIGKILL && cgroups !== undefined && this.#isPlain)
      return killAll(cgroups, killAllMs);
    // Other signals want every process stopped while they are sent; runc knows how.
    await this.#options.runtime.kill({ ...this.#call, signal: signalNumber, all: true });
  }

  async pause(): Promise<void> {
    const freezer = this.#freezer();
    await (freezer === undefined ? this.#options.runtime.pause(this.#call) : freeze(freezer, freezeMs));
  }

  async resume(): Promise<void> {
    const freezer = this.#freezer();
    if (freezer === undefined) await this.#options.runtime.resume(this.#call);
    else thaw(freezer);
  }

  async update(resources: Uint8Array): Promise<void> {
    await this.#options.runtime.update({ ...this.#call, resources });
  }

  async pids(): Promise<readonly number[]> {
    const cgroups = this.#ownCgroups();
    if (cgroups !== undefined && this.#isPlain) return listPids(cgroups);
    return this.#options.runtime.ps(this.#call);
  }

  async stats(): Promise<OpaqueAny> {
    if (this.#cgroups === undefined) throw notFound("cgroup does not exist");
    return readStats(this.#cgroups);
  }

  async checkpoint({ path, options }: CheckpointRequest): Promise<void> {
    const flags = decodeCheckpointOptions(options);
    await this.#options.runtime.checkpoint({
      ...this.#call,
      ...flags,
      leaveRunning: !flags.exit,
      imagePath: path,
      workPath: this.#criuWorkPath(flags.workPath),
    });
  }

  async delete(force: boolean): Promise<void> {
    const { runtime, probe, spec } = this.#options;
    if (force) await runtime.delete({ ...this.#call, force: true });
    else await deleteStopped(runtime, probe, { ...this.#call, spec });
  }

  watchOom(_pid: number, onOom: () => void): OomWatch {
    const watch = this.#cgroups && this.#options.oom.watch(this.#cgroups, onOom);
    return watch === undefined ? noWatch : { checkNow: () => watch.settle(), close: () => watch.close() };
  }

  #ownCgroups(): CgroupPaths | undefined {
    return this.#cgroups && processDirectory(this.#cgroups) !== undefined ? this.#cgroups : undefined;
  }

  /** The cgroups to freeze by ourselves; undefined leaves it to the runtime. */
  #freezer(): CgroupPaths | undefined {
    const cgroups = this.#ownCgroups();
    if (cgroups === undefined || !this.#isPlain) return undefined;
    return cgroups.version === "v2" || cgroups.controllers.freezer === processDirectory(cgroups)
      ? cgroups
      : undefined;
  }

  #criuWorkPath(wanted = ""): string {
    const { bundle, criuWorkPath } = this.#options;
    const path = wanted || criuWorkPath || join(bundle, "criu-work");
    mkdirSync(path, { recursive: true, mode: 0o711 });
    return path;
  }
}
