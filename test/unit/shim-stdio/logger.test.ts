import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { toDaemonError } from "../../../src/core/errors.js";
import { until } from "../../support/until.js";
import { createFixture, ourFds, type PlaneFixture, removePumpWorker, runChild } from "./plane-fixture.js";
import { startOnTerminal } from "./pty-sender.js";

describe("a binary:// logger", () => {
  let fixture: PlaneFixture;
  let before: string[];
  beforeEach(async () => {
    before = ourFds("/nowhere");
    fixture = await createFixture("direct");
  });
  afterEach(async () => {
    await fixture.close();
    await until("descriptors to be closed", () => ourFds(fixture.directory).length <= before.length);
  });
  afterAll(removePumpWorker);

  const program = (script: string): string => {
    const path = join(fixture.directory, "logger");
    writeFileSync(path, `#!/bin/sh\ncd ${fixture.directory}\n${script}\n`);
    chmodSync(path, 0o755);
    return `binary://${path}?key=value&flag`;
  };
  const file = (name: string): string => readFileSync(join(fixture.directory, name), "utf8");

  it("gets both streams, its arguments and only its own environment, and closes 5 when ready", async () => {
    const stdout = program(
      'echo "$@" > args; echo "$CONTAINER_NAMESPACE/$CONTAINER_ID/$HOME" > env; exec 5>&-; cat <&4 > err & cat <&3 > out; wait; echo done > end',
    );
    const io = await fixture.open({ stdout }, { streamKey: "ns/c1/e1", bundle: fixture.directory });
    await runChild(io, "echo one; echo two >&2");
    expect((await io.exited()).streams.map(({ route }) => route)).toEqual(["logger", "logger"]);
    await until("the logger to end", () => {
      try {
        return file("end") !== "";
      } catch {
        return false;
      }
    });
    expect([file("args"), file("env"), file("out"), file("err")]).toEqual([
      "key value flag\n",
      "ns/e1/\n",
      "one\n",
      "two\n",
    ]);
    await io.close();
  });

  it("gets a terminal's output through the pump", async () => {
    const stdout = program("exec 5>&-; cat <&3 > out; echo done > end");
    const io = await fixture.open({ stdout, terminal: true });
    const child = startOnTerminal(io.consoleSocketPath ?? "", "echo on a terminal");
    await io.childReady(5_000);
    expect(await child.exited).toBe(0);
    expect((await io.exited()).drained).toBe(true);
    await until("the logger to end", () => {
      try {
        return file("end") !== "";
      } catch {
        return false;
      }
    });
    expect(file("out")).toBe("on a terminal\r\n");
    await io.close();
  });

  it("is told to end when the process is deleted", async () => {
    const stdout = program("trap 'echo term > end; exit 0' TERM; exec 5>&-; while :; do sleep 0.05; done");
    const io = await fixture.open({ stdout });
    await runChild(io, "true");
    await io.exited();
    await io.close();
    expect(file("end")).toBe("term\n");
  });

  it("that cannot be started, ends early or never gets ready refuses the process", async () => {
    const missing = join(fixture.directory, "missing");
    const refused = await fixture.open({ stdout: `binary://${missing}` }).catch(toDaemonError);
    expect(refused).toMatchObject({ kind: "unknown" });
    expect(String(refused)).toBe(
      `DaemonError: failed to start binary process: fork/exec ${missing}: no such file or directory`,
    );
    await expect(fixture.open({ stdout: program("exit 1") })).rejects.toThrow("it ended");
    await expect(fixture.open({ stdout: program("exec sleep 100") }, { openTimeoutMs: 100 })).rejects.toThrow(
      "context deadline exceeded",
    );
  });
});
