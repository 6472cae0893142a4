/** `ctr task …` and `ctr events` on running containers. */
import { execa } from "execa";
import { until } from "../support/until.js";
import { compareDaemons, type Scenario } from "./scenarios.js";
import type { Side } from "./side.js";

async function detached(side: Side, id: string, ...command: string[]): Promise<void> {
  const words = command.length === 0 ? ["/bin/sleep", "1000"] : command;
  const result = await side.ctr(["run", "-d", "--null-io", "--rootfs", side.rootfs, id, ...words], {
    silent: true,
  });
  if (result.code !== 0) throw new Error(`ctr run -d failed: ${result.stderr}`);
}

const table = { table: true, numbers: true } as const;

const scenarios: readonly Scenario[] = [
  {
    title: "task ls and ps show the tasks and their processes",
    proves: /worker <n> RUNNING/,
    run: async (side) => {
      await detached(side, "worker");
      await side.ctr(["task", "ls"], table);
      await side.ctr(["task", "ls", "-q"]);
      await side.ctr(["task", "ps", "worker"], table);
    },
  },
  {
    title: "task ps names the exec that started a process",
    proves: /later/,
    run: async (side) => {
      await detached(side, "worker");
      await side.ctr(["task", "exec", "-d", "--exec-id", "later", "worker", "/bin/sleep", "50"]);
      await side.ctr(["task", "ps", "worker"], table);
      await side.recordEvents();
    },
  },
  {
    title: "task start runs a container that was created before",
    proves: /"code":1,.*No such file/,
    run: async (side) => {
      await side.ctr([
        ...["container", "create", "--rootfs", side.rootfs, "ready"],
        ...["/bin/ls", "/no/such/file"],
      ]);
      await side.ctr(["task", "start", "ready"]);
      await side.ctr(["task", "ls"], table);
      await side.ctr(["container", "rm", "ready"]);
    },
  },
  {
    title: "task start -d leaves it running and refuses a second start",
    proves: /already exists/,
    run: async (side) => {
      await side.ctr(["container", "create", "--rootfs", side.rootfs, "ready", "/bin/sleep", "100"]);
      await side.ctr(["task", "start", "-d", "--null-io", "ready"]);
      await side.ctr(["task", "start", "-d", "--null-io", "ready"]);
      await side.ctr(["task", "ls"], table);
    },
  },
  ...(
    [
      ["SIGTERM is ignored by an init without a handler", "TERM", ["/bin/sleep", "1000"], undefined],
      ["SIGKILL ends it with 137", "KILL", ["/bin/sleep", "1000"], 137],
      ["SIGUSR1 reaches a handler", "USR1", trap("USR1", 21), 21],
      ["a signal may be given by number", "10", trap("USR1", 22), 22],
    ] as const
  ).map(
    ([title, signal, command, exits]): Scenario => ({
      title: `task kill: ${title}`,
      proves: /"code":0/,
      run: async (side) => {
        if (command[0] === "/bin/sh") {
          const task = await side.task({ id: "target", args: command });
          await task.start();
          await task.stdout?.match(/ready/);
        } else {
          await detached(side, "target", ...command);
        }
        await side.ctr(["task", "kill", "-s", signal, "target"]);
        if (exits !== undefined) await side.event("/tasks/exit");
        await side.ctr(["task", "ls"], table);
        if (exits !== undefined) {
          await side.ctr(["task", "kill", "-s", signal, "target"]);
          await side.ctr(["task", "rm", "target"]);
        }
        await side.recordEvents();
      },
    }),
  ),
  {
    title: "task kill --all and --exec-id signal what they name",
    proves: /exec-started/,
    run: async (side) => {
      await detached(side, "target");
      await side.ctr(["task", "exec", "-d", "--exec-id", "extra", "target", "/bin/sleep", "50"]);
      await side.ctr(["task", "kill", "-s", "KILL", "--exec-id", "extra", "target"]);
      await side.event("/tasks/exit", (event) => event.payload?.id === "extra");
      await side.ctr(["task", "ls"], table);
      await side.ctr(["task", "kill", "-s", "KILL", "--exec-id", "nosuch", "target"]);
      await side.ctr(["task", "kill", "-s", "KILL", "--all", "target"]);
      await side.event("/tasks/exit", (event) => event.payload?.id === "target");
      await side.ctr(["task", "rm", "target"]);
      await side.event("/tasks/delete");
      await side.recordEvents();
    },
  },
  {
    title: "task pause and resume change the status and refuse to be repeated",
    proves: /PAUSED/,
    run: async (side) => {
      await detached(side, "still");
      await side.ctr(["task", "pause", "still"]);
      await side.ctr(["task", "ls"], table);
      await side.ctr(["task", "pause", "still"]);
      await side.ctr(["task", "exec", "--exec-id", "e", "still", "/bin/true"]);
      await side.ctr(["task", "rm", "still"]);
      await side.ctr(["task", "resume", "still"]);
      await side.ctr(["task", "ls"], table);
      await side.ctr(["task", "resume", "still"]);
      await side.recordEvents();
    },
  },
  {
    title: "task exec prints, takes stdin to its end, and exits with the code of the process",
    proves: /"code":6/,
    run: async (side) => {
      await detached(side, "host");
      await side.ctr([
        ...["task", "exec", "--exec-id", "e1", "host"],
        ...["/bin/sh", "-c", "echo out; echo err >&2; exit 6"],
      ]);
      await side.ctr(["task", "exec", "--exec-id", "e2", "host", "/bin/cat"], { input: "piped in\n" });
      await side.ctr(["task", "exec", "--exec-id", "e3", "host", "/usr/bin/wc", "-c"], {
        input: "x".repeat(300_000),
      });
      await side.ctr(["task", "exec", "--exec-id", "e4", "--cwd", "/tmp", "host", "/bin/pwd"]);
      await side.ctr(["task", "exec", "--exec-id", "e5", "--user", "1000", "host", "/usr/bin/id", "-u"]);
      await side.recordEvents();
    },
  },
  {
    title: "task exec -t gives the exec a terminal",
    proves: /25 91/,
    run: async (side) => {
      await detached(side, "host");
      await side.ctrOnTty(
        [
          ...["task", "exec", "-t", "--exec-id", "e1", "host"],
          ...[
            "/bin/sh",
            "-c",
            "echo go; read x; until stty size 2>/dev/null | grep .; do sleep 0.05; done; exit 2",
          ],
        ],
        { rows: 25, columns: 91, type: [{ after: /go\s/, text: "\n" }] },
      );
    },
  },
  {
    title: "task exec that cannot start fails with the runtime's words and leaves the task alone",
    proves: /OCI runtime exec failed/,
    run: async (side) => {
      await detached(side, "host");
      await side.ctr(["task", "exec", "--exec-id", "e1", "host", "/no/such"]);
      await side.ctr(["task", "exec", "--exec-id", "e1", "host", "/etc/passwd"]);
      await side.ctr(["task", "exec", "--exec-id", "e1", "--cwd", "/no/dir", "host", "/bin/true"]);
      await side.ctr(["task", "exec", "--exec-id", "bad id", "host", "/bin/true"]);
      await side.ctr(["task", "exec", "--exec-id", "e1", "host", "/bin/true"]);
      await side.recordEvents();
    },
  },
  {
    title: "an exec id is taken until its process was deleted",
    proves: /already exists/,
    run: async (side) => {
      await detached(side, "host");
      await side.ctr(["task", "exec", "-d", "--exec-id", "same", "host", "/bin/sleep", "100"]);
      await side.ctr(["task", "exec", "-d", "--exec-id", "same", "host", "/bin/true"]);
    },
  },
  {
    title: "task metrics is a table of the cgroup's values",
    proves: /memory\.usage_in_bytes/,
    run: async (side) => {
      await detached(side, "measured");
      await side.ctr(["task", "metrics", "measured"], { silent: true }).then((result) => {
        side.note("metrics", {
          code: result.code,
          names: result.stdout.split("\n").map((line) => line.split(/\s+/)[0]),
        });
      });
      await side.ctr(["task", "metrics", "--format", "json", "measured"], { silent: true }).then((result) => {
        side.note("metrics as json", {
          code: result.code,
          // Zero values are not printed, so only the groups are sure to be there.
          groups: result.code === 0 ? Object.keys(JSON.parse(result.stdout)).sort() : result.stderr,
        });
      });
      await side.ctr(["task", "metrics", "nosuch"]);
    },
  },
  {
    title: "task rm refuses a running task and -f kills it",
    proves: /"code":137|must be stopped/,
    run: async (side) => {
      await detached(side, "busy");
      await side.ctr(["task", "rm", "busy"]);
      await side.ctr(["container", "rm", "busy"]);
      await side.ctr(["task", "rm", "-f", "busy"]);
      await side.ctr(["task", "ls", "-q"]);
      await side.ctr(["container", "rm", "busy"]);
      await side.recordEvents();
    },
  },
  {
    title: "task attach shows what the container prints from then on and its exit code",
    proves: /"attached":true/,
    run: async (side) => {
      const task = await side.task({ id: "voice", args: ["/bin/sh", "-c", trap("USR1", 8)[2] ?? ""] });
      await task.start();
      await task.stdout?.match(/ready/);
      task.stdout?.close();
      const attach = side.ctr(["task", "attach", "voice"], { silent: true });
      await until("ctr to be attached", async () => {
        const { stdout } = await execa("pgrep", ["-f", `${side.namespace} task attach voice`], {
          reject: false,
        });
        return stdout !== "";
      });
      await side.ctr(["task", "kill", "-s", "USR1", "voice"]);
      const result = await attach;
      side.note("attach", { attached: true, code: result.code, stderr: result.stderr });
    },
  },
  {
    title: "ctr events prints the life of a container",
    proves: /\/tasks\/exit/,
    run: async (side) => {
      const child = execa("ctr", ["-a", side.daemon.address, "events"], {
        reject: false,
        buffer: false,
        timeout: 60_000,
      });
      let text = "";
      child.stdout.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      try {
        // Labelling a namespace is the probe that says when the subscription is in place.
        await until("ctr events to print", async () => {
          await side.ctr(["namespaces", "label", `${side.namespace}-probe`, "probe=1"], { silent: true });
          return text.includes("probe");
        });
        await side.ctr(["run", "--rm", "--rootfs", side.rootfs, "seen", "/bin/true"], { silent: true });
        await until("the last event", () => /\/containers\/delete/.test(text));
      } finally {
        child.kill("SIGKILL");
        await child;
        await side.ctr(["namespaces", "rm", `${side.namespace}-probe`], { silent: true });
      }
      const lines = text
        .split("\n")
        .filter((line) => line.includes(` ${side.namespace} `) && !line.includes("probe"));
      side.note(
        "topics and fields",
        lines.map((line) => {
          const [, topic = "", json = ""] = /(\/[a-z-]+\/[a-z-]+) (\{.*\})$/.exec(line) ?? [];
          return `${topic} ${keyPaths(JSON.parse(json)).sort().join(" ")}`;
        }),
      );
    },
  },
  {
    title: "task commands on an unknown id fail as containerd's do",
    proves: /not found/,
    run: async (side) => {
      for (const verb of ["kill", "pause", "resume", "ps", "rm", "start", "attach", "metrics"]) {
        await side.ctr(["task", verb, "nosuch"]);
      }
      await side.ctr(["task", "exec", "--exec-id", "e", "nosuch", "/bin/true"]);
    },
  },
];

function trap(signal: string, exitStatus: number): [string, string, string] {
  const script = `trap 'echo caught; exit ${exitStatus}' ${signal}; echo ready; while :; do sleep 0.05; done`;
  return ["/bin/sh", "-c", script];
}

/** Every path of field names in a JSON value, list indexes left out. */
function keyPaths(value: unknown, prefix = ""): string[] {
  if (Array.isArray(value)) return [...new Set(value.flatMap((item) => keyPaths(item, prefix)))];
  if (typeof value !== "object" || value === null) return prefix === "" ? [] : [prefix];
  return Object.entries(value).flatMap(([key, item]) =>
    keyPaths(item, prefix === "" ? key : `${prefix}.${key}`),
  );
}

compareDaemons("ctr task", scenarios);
