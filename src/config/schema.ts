/**
 * Every setting of berthd once: where it stands in the TOML file, what it may be, its default and its meaning.
 * The parser, the printed defaults and the warnings about unknown keys all read this table.
 */
import { availableParallelism } from "node:os";

export type SettingKind =
  | "string"
  | "path"
  | "integer"
  | "duration"
  | "boolean"
  | "string-map"
  | readonly string[];

export interface Setting {
  /** TOML path from the top. */
  readonly path: readonly string[];
  readonly kind: SettingKind;
  readonly value: string | number | boolean | Readonly<Record<string, string>>;
  readonly help: string;
  readonly min?: number;
  readonly max?: number;
}

const own = (plugin: string, key: string): readonly string[] => ["plugins", `berth.${plugin}`, key];
const timeout = (name: string): readonly string[] => ["timeouts", name];

/** Durations are milliseconds here and Go durations ("1m30s") in the file. */
export const settings = {
  version: {
    path: ["version"],
    kind: "integer",
    value: 2,
    min: 1,
    max: 3,
    help: "Layout of this file; containerd's 2 and 3 are read alike.",
  },
  root: { path: ["root"], kind: "path", value: "/var/lib/berth", help: "Durable data: metadata." },
  state: {
    path: ["state"],
    kind: "path",
    value: "/run/berth",
    help: "Data of running containers; may be a tmpfs.",
  },
  oomScore: {
    path: ["oom_score"],
    kind: "integer",
    value: 0,
    min: -1000,
    max: 1000,
    help: "oom_score_adj of the daemon; shims get one more.",
  },
  grpcAddress: {
    path: ["grpc", "address"],
    kind: "string",
    value: "",
    help: "Socket of the gRPC API. Empty: berth.sock under state.",
  },
  grpcUid: { path: ["grpc", "uid"], kind: "integer", value: 0, min: 0, help: "Owner of the socket." },
  grpcGid: { path: ["grpc", "gid"], kind: "integer", value: 0, min: 0, help: "Group of the socket." },
  maxRecvBytes: {
    path: ["grpc", "max_recv_message_size"],
    kind: "integer",
    value: 16777216,
    min: 4096,
    help: "Largest request, bytes.",
  },
  maxSendBytes: {
    path: ["grpc", "max_send_message_size"],
    kind: "integer",
    value: 16777216,
    min: 4096,
    help: "Largest answer, bytes.",
  },
  ttrpcAddress: {
    path: ["ttrpc", "address"],
    kind: "string",
    value: "",
    help: "Socket for events of shims. Empty: the gRPC socket's name with .ttrpc.",
  },
  ttrpcUid: { path: ["ttrpc", "uid"], kind: "integer", value: 0, min: 0, help: "Owner of the socket." },
  ttrpcGid: { path: ["ttrpc", "gid"], kind: "integer", value: 0, min: 0, help: "Group of the socket." },
  metricsAddress: {
    path: ["metrics", "address"],
    kind: "string",
    value: "",
    help: "HTTP for Prometheus: host:port or the path of a unix socket. Empty: off.",
  },
  debugAddress: {
    path: ["debug", "address"],
    kind: "string",
    value: "",
    help: "HTTP socket for inspection. Empty: the gRPC socket's name with .debug.",
  },
  logLevel: {
    path: ["debug", "level"],
    kind: ["trace", "debug", "info", "warn", "error", "fatal"],
    value: "info",
    help: "Least level that is logged.",
  },
  shimLoadMs: {
    path: timeout("io.containerd.timeout.shim.load"),
    kind: "duration",
    value: 5000,
    help: "How long the start waits for a shim of an earlier daemon.",
  },
  shimCleanupMs: {
    path: timeout("io.containerd.timeout.shim.cleanup"),
    kind: "duration",
    value: 5000,
    help: "Cleanup of one container after the death of its shim.",
  },
  shimShutdownMs: {
    path: timeout("io.containerd.timeout.shim.shutdown"),
    kind: "duration",
    value: 3000,
    help: "How long an empty shim may take to exit.",
  },
  taskStateMs: {
    path: timeout("io.containerd.timeout.task.state"),
    kind: "duration",
    value: 2000,
    help: "Answers that need no runtime.",
  },
  shimStatsMs: {
    path: timeout("io.containerd.timeout.metrics.shimstats"),
    kind: "duration",
    value: 2000,
    help: "One sample of all containers for a scrape.",
  },
  shimCapacity: {
    path: own("shim", "capacity"),
    kind: "integer",
    value: 256,
    min: 1,
    max: 4096,
    help: "Tasks in one shim process.",
  },
  shimGrouping: {
    path: own("shim", "grouping"),
    kind: ["packed", "sandbox", "container"],
    value: "packed",
    help: "Which tasks share a shim: those of a namespace, of a pod sandbox, or none.",
  },
  shimIdleMs: {
    path: own("shim", "idle_timeout"),
    kind: "duration",
    value: 10000,
    help: "How long an empty shim is kept for the next task.",
  },
  shimStartMs: {
    path: own("shim", "start_timeout"),
    kind: "duration",
    value: 30000,
    help: "Start of a shim process.",
  },
  stdioMode: {
    path: own("stdio", "mode"),
    kind: ["auto", "direct", "pump"],
    value: "auto",
    help: "direct: the container writes into the client's FIFO itself; pump: a thread copies; auto: direct unless a working criu is installed.",
  },
  drainMs: {
    path: own("stdio", "drain_timeout"),
    kind: "duration",
    value: 2000,
    help: "How long an exit waits for its output to reach the sinks.",
  },
  fifoOpenMs: {
    path: own("stdio", "open_timeout"),
    kind: "duration",
    value: 30000,
    help: "How long a client may take to open its end of a FIFO.",
  },
  pumpWorkers: {
    path: own("stdio", "pump_workers"),
    kind: "integer",
    value: 1,
    min: 1,
    max: 16,
    help: "Most copying threads in one shim.",
  },
  runtimeBinary: {
    path: own("runtime", "binary"),
    kind: "string",
    value: "runc",
    help: "OCI runtime of tasks whose options name none.",
  },
  runtimeRoot: {
    path: own("runtime", "root"),
    kind: "string",
    value: "",
    help: "State of that runtime. Empty: runtime under state.",
  },
  runtimeConcurrency: {
    path: own("runtime", "concurrency"),
    kind: "integer",
    value: 0,
    min: 0,
    max: 1024,
    help: `Runtime calls at once. 0: cores + 1 (here ${availableParallelism() + 1}).`,
  },
  runtimeMs: {
    path: own("runtime", "timeout"),
    kind: "duration",
    value: 60000,
    help: "Longest run of one runtime call.",
  },
  runtimes: {
    path: ["plugins", "berth.runtimes"],
    kind: "string-map",
    value: {},
    help: "Runtime name = shim binary that serves it.",
  },
  subscriberQueue: {
    path: own("events", "subscriber_queue"),
    kind: "integer",
    value: 65536,
    min: 16,
    help: "Events that may wait for one subscriber before it is cut off.",
  },
  journalEntries: {
    path: own("events", "journal_entries"),
    kind: "integer",
    value: 10000,
    min: 16,
    help: "Events that are kept for inspection.",
  },
} as const satisfies Record<string, Setting>;

export type SettingName = keyof typeof settings;

type ValueOf<S extends Setting> = S["kind"] extends readonly (infer Choice)[]
  ? Choice
  : S["kind"] extends "string" | "path"
    ? string
    : S["kind"] extends "boolean"
      ? boolean
      : S["kind"] extends "string-map"
        ? Readonly<Record<string, string>>
        : number;

export type RawConfig = { readonly [N in SettingName]: ValueOf<(typeof settings)[N]> };
