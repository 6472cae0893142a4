/** containerd's command lines for an OCI runtime, verb by verb. Pure: what it is given, in the order runc takes it. */

export function globalFlags(options: {
  readonly root: string;
  readonly logFile: string;
  readonly systemdCgroup: boolean;
}): string[] {
  const flags = ["--root", options.root, "--log", options.logFile, "--log-format", "json"];
  return options.systemdCgroup ? [...flags, "--systemd-cgroup"] : flags;
}

interface Creation {
  readonly id: string;
  readonly bundle: string;
  readonly pidFile: string;
  readonly consoleSocket?: string | undefined;
  readonly noPivot?: boolean | undefined;
  readonly noNewKeyring?: boolean | undefined;
}

const flag = (on: boolean | undefined, name: string): string[] => (on === true ? [name] : []);
const option = (value: string | undefined, name: string): string[] =>
  value === undefined ? [] : [name, value];

export const createArgs = (call: Creation): string[] => [
  ...["--bundle", call.bundle, "--pid-file", call.pidFile],
  ...option(call.consoleSocket, "--console-socket"),
  ...flag(call.noPivot, "--no-pivot"),
  ...flag(call.noNewKeyring, "--no-new-keyring"),
  call.id,
];

export const execArgs = (call: {
  readonly id: string;
  readonly processFile: string;
  readonly pidFile: string;
  readonly consoleSocket?: string | undefined;
}): string[] => [
  ...["--process", call.processFile],
  ...option(call.consoleSocket, "--console-socket"),
  ...["--detach", "--pid-file", call.pidFile, call.id],
];

export interface CheckpointFlags {
  readonly openTcp?: boolean | undefined;
  readonly externalUnixSockets?: boolean | undefined;
  readonly terminal?: boolean | undefined;
  readonly fileLocks?: boolean | undefined;
  readonly emptyNamespaces?: readonly string[] | undefined;
  /** False ends the container once it is dumped. */
  readonly leaveRunning: boolean;
}

export const checkpointArgs = (
  call: CheckpointFlags & { readonly id: string; readonly imagePath: string; readonly workPath: string },
): string[] => [
  ...["--image-path", call.imagePath, "--work-path", call.workPath],
  ...flag(call.openTcp, "--tcp-established"),
  ...flag(call.externalUnixSockets, "--ext-unix-sk"),
  ...flag(call.terminal, "--shell-job"),
  ...flag(call.fileLocks, "--file-locks"),
  ...(call.emptyNamespaces ?? []).flatMap((name) => ["--empty-ns", name]),
  ...flag(call.leaveRunning, "--leave-running"),
  call.id,
];

export const restoreArgs = (
  call: Creation & { readonly imagePath: string; readonly workPath: string },
): string[] => [
  ...["--image-path", call.imagePath, "--work-path", call.workPath, "--detach", "--pid-file", call.pidFile],
  ...option(call.consoleSocket, "--console-socket"),
  ...flag(call.noPivot, "--no-pivot"),
  "-no-subreaper",
  ...["--bundle", call.bundle, call.id],
];
