import { describe, expect, it } from "vitest";
import { messageOf, startFailureStatus } from "../../../src/cli/cli-error.js";
import { DaemonError, notFound, unknownError } from "../../../src/core/errors.js";

const create =
  "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: ";

describe("the exit status of a run that started nothing", () => {
  it.each([
    [`${create}exec: "x": executable file not found in $PATH: unknown`, 127],
    [`${create}exec: "/x": stat /x: no such file or directory: unknown`, 127],
    [`${create}exec: "/etc/passwd": permission denied: unknown`, 126],
    [`${create}exec: "/etc": is a directory: unknown`, 126],
    [`${create}exec /x: exec format error: unknown`, 126],
    [`${create}unable to apply caps: operation not permitted: unknown`, 125],
    [
      'OCI runtime exec failed: exec failed: unable to start container process: exec: "x": executable file not found in $PATH',
      127,
    ],
    ["OCI runtime create failed: executable file `x` not found in $PATH: No such file or directory", 127],
    [
      "failed to create shim task: OCI runtime create failed: unable to retrieve OCI runtime error (open log.json: no such file or directory): fork/exec /nope/runc: no such file or directory",
      125,
    ],
    [
      'failed to start shim: failed to resolve runtime path: runtime "a.b.c.v1" binary not installed "containerd-shim-c-v1": file does not exist',
      125,
    ],
  ])("%s => %d", (message, status) => {
    expect(startFailureStatus(unknownError(message))).toBe(status);
  });

  it("is 125 for failures before the runtime was asked, whatever their words", () => {
    expect(
      startFailureStatus(new DaemonError("unavailable", "no daemon at /x: no such file or directory")),
    ).toBe(125);
    expect(startFailureStatus(new Error("permission denied"))).toBe(125);
  });
});

describe("messages for people", () => {
  it("lose containerd's mark for errors without a class, and keep the classes that say something", () => {
    expect(messageOf(unknownError("cannot pause a paused container: unknown"))).toBe(
      "cannot pause a paused container",
    );
    expect(messageOf(notFound('container "x" in namespace "default": not found'))).toBe(
      'container "x" in namespace "default": not found',
    );
  });

  it("are one line", () => {
    expect(messageOf(new Error("a\n  b\n"))).toBe("a b");
    expect(messageOf("text")).toBe("text");
  });
});
