import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { resolveUser } from "../../../src/client/user-lookup.js";

let rootfs: string;
beforeAll(() => {
  rootfs = mkdtempSync(join(tmpdir(), "berth-users-"));
  mkdirSync(join(rootfs, "etc"));
  writeFileSync(
    join(rootfs, "etc/passwd"),
    "root:x:0:0::/root:/bin/sh\nann:x:1000:1001::/:/bin/sh\nodd:x:::/\n",
  );
  writeFileSync(join(rootfs, "etc/group"), "root:x:0:\nann:x:1001:\nwheel:x:10:ann,bob\nship:x:20:ann\n");
});
afterAll(() => rmSync(rootfs, { recursive: true }));

describe("looking up a user", () => {
  it.each([
    ["0", { uid: 0, gid: 0 }],
    ["4321", { uid: 4321, gid: 0 }],
    ["4321:77", { uid: 4321, gid: 77 }],
    ["ann", { uid: 1000, gid: 1001, additionalGids: [10, 20] }],
    ["1000", { uid: 1000, gid: 1001, additionalGids: [10, 20] }],
    ["ann:wheel", { uid: 1000, gid: 10 }],
    ["ann:5", { uid: 1000, gid: 5 }],
    ["root", { uid: 0, gid: 0 }],
  ])("%s", (text, expected) => {
    expect(resolveUser(text, rootfs)).toEqual(expected);
  });

  it.each(["nobody", "odd", "ann:nogroup", "", ":", "ann:", "a:b:c", "4294967295"])(
    "%j is refused",
    (text) => {
      expect(() => resolveUser(text, rootfs)).toThrow(/no user|no group|bad user|out of range/);
    },
  );

  it("does not read files outside the root directory through a link of the container's", () => {
    const trap = mkdtempSync(join(tmpdir(), "berth-users-"));
    try {
      symlinkSync("/etc", join(trap, "etc"));
      expect(() => resolveUser("daemon", trap)).toThrow('no user "daemon"');
    } finally {
      rmSync(trap, { recursive: true });
    }
  });
});
