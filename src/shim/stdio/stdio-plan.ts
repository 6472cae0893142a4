/**
 * Decides, from the strings of a request alone, what each stream of a process is: no file is touched. The
 * texts of refusals are the ones that containerd's clients know.
 */
import { unknownError } from "../../core/errors.js";
import type { Stdio } from "../../ports/shim-port.js";

export const stdioModes = ["auto", "direct", "pump"] as const;
export type StdioMode = (typeof stdioModes)[number];

/** Where a stream's bytes go. The literal string of a path is opened, whatever it looks like. */
export type OutputTarget =
  | { readonly kind: "null" }
  /** A FIFO or an existing file. */
  | { readonly kind: "path"; readonly path: string }
  /** A log file, made with its parents; one open file takes both streams. */
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "logger"; readonly program: string; readonly args: readonly string[] };

/**
 * `stderr`: stdout and stdin are direct, stderr is pumped when it goes to a FIFO. runc prints why a create or
 * exec failed to its own stderr, which is the container's: given the client's FIFO itself, it would tell the
 * client's terminal what containerd tells only in the error of the call.
 */
export type PumpedStreams = "all" | "stderr" | "none";

export interface StdioPlan {
  readonly terminal: boolean;
  /** Which streams pass through the shim's pipes; the others get the client's FIFO or file itself. */
  readonly pump: PumpedStreams;
  readonly stdin: string | undefined;
  readonly stdout: OutputTarget;
  readonly stderr: OutputTarget;
}

/** Throws `unknown` for a scheme that containerd does not know. */
export function planStdio(stdio: Stdio, mode: StdioMode, criuPresent: boolean): StdioPlan {
  const stdin = stdio.stdin === "" ? undefined : stdio.stdin;
  if (stdio.terminal) {
    if (stdio.stdout === "") {
      throw unknownError("failed to start console copy: stat : no such file or directory");
    }
    // The console's output is one stream: whatever stderr says, the terminal's bytes go to stdout.
    return { terminal: true, pump: "all", stdin, stdout: target(stdio.stdout), stderr: { kind: "null" } };
  }
  // criu cannot dump a process that has a host's FIFO or file open, so where it could be asked to, pipes.
  const dumpable = mode === "pump" || (mode === "auto" && criuPresent);
  const pump = dumpable ? "all" : mode === "auto" ? "stderr" : "none";
  const stdout = target(stdio.stdout);
  // stdout's scheme decides for both streams.
  const both = stdout.kind === "file" || stdout.kind === "logger";
  return { terminal: false, pump, stdin, stdout, stderr: both ? stdout : plainTarget(stdio.stderr) };
}

const plainTarget = (text: string): OutputTarget =>
  text === "" ? { kind: "null" } : { kind: "path", path: text };

function target(text: string): OutputTarget {
  const scheme = /^([a-zA-Z][a-zA-Z0-9+.-]*):/.exec(text)?.[1]?.toLowerCase();
  switch (scheme) {
    case undefined:
    case "fifo":
      return plainTarget(text);
    case "file":
      return { kind: "file", path: parseUri(text).path };
    case "binary": {
      const { path, query } = parseUri(text);
      return { kind: "logger", program: path, args: query };
    }
    default:
      throw unknownError(`unknown STDIO scheme ${scheme}`);
  }
}

/** Path and query of `scheme://host/path?key=value&flag#fragment`, decoded; a query part is key, then value. */
function parseUri(text: string): { readonly path: string; readonly query: readonly string[] } {
  const [withoutFragment = ""] = text.split("#", 1);
  const questionMark = withoutFragment.indexOf("?");
  const head = questionMark < 0 ? withoutFragment : withoutFragment.slice(0, questionMark);
  const tail = questionMark < 0 ? "" : withoutFragment.slice(questionMark + 1);
  const afterScheme = head.slice(head.indexOf(":") + 1);
  const path = afterScheme.startsWith("//")
    ? afterScheme.slice(2).replace(/^[^/]*/, "") // The authority says nothing here.
    : afterScheme;
  const query: string[] = [];
  for (const pair of tail.split("&")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const key = equals < 0 ? pair : pair.slice(0, equals);
    query.push(decode(key.replaceAll("+", " ")));
    const value = equals < 0 ? "" : pair.slice(equals + 1);
    if (value !== "") query.push(decode(value.replaceAll("+", " ")));
  }
  return { path: decode(path), query };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    throw unknownError(`failed to parse STDIO URI: invalid URL escape in ${JSON.stringify(text)}`, {
      cause: error,
    });
  }
}
