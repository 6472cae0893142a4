import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { acquireInstanceLock } from "../../../src/store/instance-lock.js";

let state: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), "lock-"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(state, { recursive: true });
});

/** Another process that holds the lock, once it has said so. */
async function holder(): Promise<ChildProcess> {
  const module = join(process.cwd(), "src/store/instance-lock.ts");
  const file = join(state, "holder.mts");
  writeFileSync(
    file,
    `import { acquireInstanceLock } from ${JSON.stringify(module)};
     import { spawn } from "node:child_process";
     acquireInstanceLock(process.argv[2]);
     const child = spawn("sleep", ["60"], { stdio: "ignore", detached: true });
     console.log(child.pid);
     setInterval(() => {}, 1000);`,
  );
  const child = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), file, state], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  outliving = Number(line.toString());
  return child;
}
let outliving: number | undefined;
afterEach(() => {
  if (outliving !== undefined) process.kill(outliving, "SIGKILL");
  outliving = undefined;
});

it("a second daemon is refused with the pid of the first, until the first is killed, whatever it leaves running", async () => {
  const first = await holder();
  expect(() => acquireInstanceLock(state)).toThrow(
    expect.objectContaining({
      kind: "failed-precondition",
      message: `another berthd (pid ${first.pid}) serves ${state}`,
    }),
  );
  first.kill("SIGKILL");
  await once(first, "exit");
  const lock = acquireInstanceLock(state);
  expect(readFileSync(join(state, "lock"), "utf8")).toBe(String(process.pid));
  lock.release();
});

it("a lock given back can be taken again, and giving back twice frees nobody else's", () => {
  const first = acquireInstanceLock(state);
  expect(() => acquireInstanceLock(state)).toThrow(`pid ${process.pid}`);
  first.release();
  const second = acquireInstanceLock(state);
  first.release();
  expect(() => acquireInstanceLock(state)).toThrow(`pid ${process.pid}`);
  second.release();
});

it("a stale file of a dead daemon means nothing, a removed one is made anew", () => {
  writeFileSync(join(state, "lock"), "999999");
  acquireInstanceLock(state).release();
  unlinkSync(join(state, "lock"));
  acquireInstanceLock(state).release();
});
