/** Runs containerd's own command line client against a daemon under test. */
import { execa } from "execa";
import type { Daemon } from "./daemon.js";

export interface CtrResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CtrOptions {
  readonly namespace: string;
  /** Sent to its stdin, which is then closed; without it stdin is /dev/null. */
  readonly input?: string;
  /** Milliseconds until it is killed; 60 s when not given. */
  readonly timeoutMs?: number;
}

export interface CtrTtyOptions extends CtrOptions {
  readonly rows?: number;
  readonly columns?: number;
  /** Typed in turn, each once the output since the last one matches `after`. */
  readonly type?: readonly { readonly after: RegExp; readonly text: string }[];
}

const baseArguments = (daemon: Daemon, namespace: string): string[] => [
  "--address",
  daemon.address,
  "--namespace",
  namespace,
];

const environment = { TERM: "dumb", CONTAINERD_ADDRESS: "", CONTAINERD_NAMESPACE: "" };

/** Never rejects for an exit status; rejects when the deadline passed. */
export async function runCtr(
  daemon: Daemon,
  args: readonly string[],
  options: CtrOptions,
): Promise<CtrResult> {
  const timeoutMs = options.timeoutMs ?? 60_000;
  const result = await execa("ctr", [...baseArguments(daemon, options.namespace), ...args], {
    reject: false,
    timeout: timeoutMs,
    killSignal: "SIGKILL",
    stripFinalNewline: false,
    env: environment,
    ...(options.input === undefined ? { stdin: "ignore" } : { input: options.input }),
  });
  if (result.timedOut) {
    throw new Error(
      `ctr ${args.join(" ")} took over ${timeoutMs} ms on ${daemon.kind}: ${result.stdout}\n${result.stderr}`,
    );
  }
  return { code: result.exitCode ?? -1, stdout: result.stdout, stderr: result.stderr };
}

const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

/** The same inside a pseudo terminal; its output, which is both streams, comes back as `stdout`. */
export async function runCtrOnTty(
  daemon: Daemon,
  args: readonly string[],
  options: CtrTtyOptions,
): Promise<CtrResult> {
  const timeoutMs = options.timeoutMs ?? 60_000;
  const words = ["ctr", ...baseArguments(daemon, options.namespace), ...args].map(quoted).join(" ");
  const size = `stty rows ${options.rows ?? 24} cols ${options.columns ?? 80}`;
  const child = execa("script", ["-qefc", `${size}; exec ${words}`, "/dev/null"], {
    reject: false,
    timeout: timeoutMs,
    killSignal: "SIGKILL",
    stdin: "pipe",
    stripFinalNewline: false,
    env: environment,
  });
  const toType = [...(options.type ?? [])];
  let pending = "";
  child.stdout.on("data", (chunk: Buffer) => {
    pending += chunk.toString("latin1");
    const next = toType[0];
    if (next?.after.test(pending)) {
      toType.shift();
      pending = "";
      child.stdin.write(next.text);
    }
  });
  const result = await child;
  if (result.timedOut) {
    throw new Error(`ctr ${args.join(" ")} on a terminal took over ${timeoutMs} ms: ${result.stdout}`);
  }
  return { code: result.exitCode ?? -1, stdout: result.stdout, stderr: result.stderr };
}
