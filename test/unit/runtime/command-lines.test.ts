import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import * as argv from "../../../src/runtime/runtime-argv.js";
import {
  killError,
  logSize,
  RuntimeFailure,
  readRuntimeLog,
  runtimeError,
} from "../../../src/runtime/runtime-errors.js";

describe("command lines", () => {
  it("are containerd's, flag by flag", () => {
    const creation = { id: "c1", bundle: "/b", pidFile: "/b/init.pid" };
    expect(argv.globalFlags({ root: "/r/ns", logFile: "/b/log.json", systemdCgroup: true }).join(" ")).toBe(
      "--root /r/ns --log /b/log.json --log-format json --systemd-cgroup",
    );
    expect(argv.createArgs(creation).join(" ")).toBe("--bundle /b --pid-file /b/init.pid c1");
    expect(
      argv.createArgs({ ...creation, consoleSocket: "/s", noPivot: true, noNewKeyring: true }).join(" "),
    ).toBe("--bundle /b --pid-file /b/init.pid --console-socket /s --no-pivot --no-new-keyring c1");
    expect(
      argv.execArgs({ id: "c1", processFile: "/p", pidFile: "/b/e.pid", consoleSocket: "/s" }).join(" "),
    ).toBe("--process /p --console-socket /s --detach --pid-file /b/e.pid c1");
    const images = { imagePath: "/i", workPath: "/w" };
    expect(
      argv
        .checkpointArgs({
          id: "c1",
          ...images,
          openTcp: true,
          externalUnixSockets: true,
          terminal: true,
          fileLocks: true,
          emptyNamespaces: ["network", "ipc"],
          leaveRunning: true,
        })
        .join(" "),
    ).toBe(
      "--image-path /i --work-path /w --tcp-established --ext-unix-sk --shell-job --file-locks --empty-ns network --empty-ns ipc --leave-running c1",
    );
    expect(argv.restoreArgs({ ...creation, ...images }).join(" ")).toBe(
      "--image-path /i --work-path /w --detach --pid-file /b/init.pid -no-subreaper --bundle /b c1",
    );
  });
});

describe("error texts", () => {
  const failure = new RuntimeFailure("runc did not terminate successfully: exit status 1", 1);
  const prefix = "OCI runtime create failed";

  it("take the last error of the log that was written since the call began", () => {
    const directory = mkdtempSync(join(tmpdir(), "berth-log-"));
    const path = join(directory, "log.json");
    try {
      writeFileSync(path, '{"level":"error","msg":"old"}\n');
      const start = logSize(path);
      expect(readRuntimeLog(path, start)).toEqual({
        lastError: undefined,
        lastLine: undefined,
        unreadable: undefined,
      });
      appendFileSync(
        path,
        '{"level":"error","msg":"first"}\n{"level":"error","msg":" second\\n"}\n{"level":"warning","msg":"last"}\n{"level":"err',
      );
      expect(readRuntimeLog(path, start)).toEqual({
        lastError: "second",
        lastLine: "last",
        unreadable: undefined,
      });
      expect(runtimeError(prefix, failure, readRuntimeLog(path, start)).message).toBe(`${prefix}: second`);
      writeFileSync(path, '{"level":"error","msg":"new"}\n');
      expect(readRuntimeLog(path, 10_000).lastError, "a log that was replaced").toBe("new");
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it("fall back to the process's own failure, and say why there is no log", () => {
    const silent = { lastError: undefined, lastLine: undefined, unreadable: undefined };
    expect(runtimeError(prefix, failure, silent).message).toBe(`${prefix}: ${failure.message}`);
    expect(runtimeError(prefix, failure, readRuntimeLog("/proc/no-such-directory/log.json", 0)).message).toBe(
      `${prefix}: unable to retrieve OCI runtime error (open /proc/no-such-directory/log.json: no such file or directory): ${failure.message}`,
    );
  });

  it.each([
    ["container not running", "not-found", "process already finished"],
    ["kill: No such process", "not-found", "process already finished"],
    ["os: process already finished", "not-found", "process already finished"],
    ['container "c1" does not exist', "not-found", "no such container"],
    ["something else", "unknown", "unknown error after kill: something else"],
  ])("a kill that says %s is %s: %s", (text, kind, message) => {
    expect(killError(new RuntimeFailure(text, 1))).toMatchObject({ kind, message });
  });
});
