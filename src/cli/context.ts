/** What every command gets: where the daemon is, how to print, when to stop. */
import type { Readable, Writable } from "node:stream";
import { connect, type DaemonClient } from "../client/daemon-client.js";
import { identifierProblem } from "../core/ids.js";
import { CliError } from "./cli-error.js";
import { SignalRouter } from "./signal-router.js";
import { parseDurationMs } from "./values.js";

export const defaultAddress = "/run/berth/berth.sock";

export interface GlobalOptions {
  readonly address?: string;
  readonly namespace?: string;
  readonly json?: boolean;
  readonly timeout?: string;
}

export interface Stdio {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
}

export interface CliContext {
  readonly address: string;
  readonly namespace: string;
  /** True when the user named the namespace; then streams of all namespaces narrow to it. */
  readonly namespaceGiven: boolean;
  readonly json: boolean;
  /** Milliseconds for each call to the daemon. */
  readonly timeoutMs: number;
  readonly stdio: Stdio;
  readonly signals: SignalRouter;
  /** Aborts when the user interrupts the command. */
  readonly signal: AbortSignal;
  /** One line (or a rendered table) to stdout. */
  print(text: string): void;
  /** One JSON document to stdout: indented alone, on one line as part of a stream. */
  printJson(value: unknown, form?: "document" | "line"): void;
  /** One line for people to stderr. */
  note(text: string): void;
  /** Runs `work` with a connection that is closed afterwards. */
  withClient<T>(work: (client: DaemonClient) => Promise<T>): Promise<T>;
}

const defaultTimeoutMs = 60_000;

export function createContext(
  options: GlobalOptions,
  stdio: Stdio,
  environment: Readonly<Record<string, string | undefined>>,
  signals: SignalRouter = new SignalRouter(),
): CliContext {
  const address = options.address ?? (environment.BERTH_ADDRESS || defaultAddress);
  const namespace =
    options.namespace ?? (environment.BERTH_NAMESPACE || environment.CONTAINERD_NAMESPACE || "default");
  const problem = identifierProblem(namespace);
  if (problem !== undefined) throw new CliError(`bad namespace: ${problem}`);
  const timeoutMs = options.timeout === undefined ? defaultTimeoutMs : parseDurationMs(options.timeout);
  return {
    address,
    namespace,
    namespaceGiven: options.namespace !== undefined,
    json: options.json ?? false,
    timeoutMs,
    stdio,
    signals,
    signal: signals.signal,
    print: (text) => {
      stdio.stdout.write(`${text}\n`);
    },
    printJson: (value, form = "document") => {
      stdio.stdout.write(
        `${form === "line" ? JSON.stringify(value) : JSON.stringify(value, undefined, 2)}\n`,
      );
    },
    note: (text) => {
      stdio.stderr.write(`berth: ${text}\n`);
    },
    withClient: async (work) => {
      const client = await connect(address, { namespace, deadlineMs: timeoutMs });
      try {
        return await work(client);
      } finally {
        client.close();
      }
    },
  };
}

/** `text` when it is a valid container id; says what is wrong with it otherwise. */
export function checkedId(text: string, what = "container id"): string {
  const problem = identifierProblem(text);
  if (problem !== undefined) throw new CliError(`bad ${what}: ${problem}`);
  return text;
}
