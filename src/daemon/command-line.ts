/** The command line of berthd: containerd's own flags, because dockerd starts its containerd with them. */
import { parseArgs } from "node:util";
import type { RawConfig } from "../config/schema.js";
import { invalidArgument } from "../core/errors.js";

export const usage = `berthd: a container supervisor with containerd's API

Usage: berthd [flags]
       berthd config default     print the default configuration with its documentation
       berthd config dump        print the configuration in force

  -c, --config FILE              configuration file (/etc/berth/config.toml)
      --root DIR                 durable data (/var/lib/berth)
      --state DIR                data of running containers (/run/berth)
  -a, --address SOCKET           socket of the gRPC API (berth.sock under state)
      --metrics-address ADDRESS  host:port, or the path of a unix socket, for Prometheus (off)
  -l, --log-level LEVEL          trace, debug, info, warn, error, fatal (info)
  -v, --version                  print the version
  -h, --help                     print this
`;

export const defaultConfigPath = "/etc/berth/config.toml";

export type Command =
  | { readonly kind: "help" | "version" | "config-default" }
  | {
      readonly kind: "serve" | "config-dump";
      readonly configFile: { readonly path: string; readonly required: boolean };
      readonly overrides: Partial<RawConfig>;
    };

/** Log levels that containerd's clients name and pino does not. */
const levelNames: Readonly<Record<string, RawConfig["logLevel"]>> = { warning: "warn", panic: "fatal" };
const levels: readonly string[] = ["trace", "debug", "info", "warn", "error", "fatal"];

/** Throws invalid-argument with a sentence for the operator. */
export function parseCommandLine(args: readonly string[]): Command {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(args);
  } catch (cause) {
    throw invalidArgument(`${(cause as Error).message}; see berthd --help`, { cause });
  }
  const { values, positionals } = parsed;
  if (values.help === true) return { kind: "help" };
  if (values.version === true) return { kind: "version" };
  const words = positionals.join(" ");
  if (words === "config default") return { kind: "config-default" };
  if (words !== "" && words !== "config dump") {
    throw invalidArgument(`unknown command ${JSON.stringify(words)}; see berthd --help`);
  }
  return {
    kind: words === "" ? "serve" : "config-dump",
    configFile: { path: values.config ?? defaultConfigPath, required: values.config !== undefined },
    overrides: {
      ...(values.root === undefined ? {} : { root: absolute("--root", values.root) }),
      ...(values.state === undefined ? {} : { state: absolute("--state", values.state) }),
      ...(values.address === undefined ? {} : { grpcAddress: values.address }),
      ...(values["metrics-address"] === undefined ? {} : { metricsAddress: values["metrics-address"] }),
      ...(values["log-level"] === undefined ? {} : { logLevel: logLevel(values["log-level"]) }),
    },
  };
}

const parse = (args: readonly string[]) =>
  parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      config: { type: "string", short: "c" },
      root: { type: "string" },
      state: { type: "string" },
      address: { type: "string", short: "a" },
      "metrics-address": { type: "string" },
      "log-level": { type: "string", short: "l" },
      version: { type: "boolean", short: "v" },
      help: { type: "boolean", short: "h" },
    },
  });

function absolute(flag: string, path: string): string {
  if (!path.startsWith("/"))
    throw invalidArgument(`${flag} is ${JSON.stringify(path)}, expected an absolute path`);
  return path;
}

function logLevel(text: string): RawConfig["logLevel"] {
  const level = levelNames[text] ?? text;
  if (!levels.includes(level))
    throw invalidArgument(`--log-level is ${JSON.stringify(text)}, expected one of ${levels.join(", ")}`);
  return level as RawConfig["logLevel"];
}
