/** Commands that must fail: what ctr prints, its exit code, and that the id is free again. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { containerSpec } from "../support/spec.js";
import { compareDaemons, type Scenario } from "./scenarios.js";
import type { Side } from "./side.js";

const run = (side: Side, ...rest: string[]) => side.ctr(["run", "--rm", "--rootfs", side.rootfs, ...rest]);

/** A failed run leaves neither task nor container under the id, so the same command with `true` works. */
async function idIsFree(side: Side, id: string): Promise<void> {
  await side.ctr(["container", "ls", "-q"]);
  await side.ctr(["task", "ls", "-q"]);
  await run(side, id, "/bin/true");
}

function brokenConfig(side: Side, change: (spec: Record<string, unknown>) => unknown): string {
  const file = join(side.directory, "broken.json");
  const spec = containerSpec({ rootfs: side.rootfs, args: ["/bin/true"] });
  writeFileSync(file, JSON.stringify(change(spec)));
  return file;
}

const scenarios: readonly Scenario[] = [
  {
    title: "a second run with the id of a living container is refused",
    proves: /already exists/,
    run: async (side) => {
      await side.ctr(["run", "-d", "--null-io", "--rootfs", side.rootfs, "twin", "/bin/sleep", "100"]);
      await run(side, "twin", "/bin/true");
      await side.ctr(["task", "ls", "-q"]);
    },
  },
  {
    title: "a binary that does not exist fails the run with the runtime's words",
    proves: /OCI runtime create failed.*no such file or directory/,
    run: async (side) => {
      await run(side, "missing", "/no/such/binary");
      await idIsFree(side, "missing");
      await side.recordEvents();
    },
  },
  {
    title: "a name that is not in PATH fails the run with the runtime's words",
    proves: /executable file not found in \$PATH/,
    run: async (side) => {
      await run(side, "missing", "nosuchcommand");
      await idIsFree(side, "missing");
    },
  },
  {
    title: "a file without execute permission fails the run with the runtime's words",
    proves: /permission denied/,
    run: async (side) => {
      await run(side, "plain", "/etc/passwd");
      await idIsFree(side, "plain");
    },
  },
  {
    title: "a working directory that cannot be made fails the run",
    proves: /"code":1/,
    run: async (side) => {
      await side.ctr([
        ...["run", "--rm", "--cwd", "/etc/passwd/below", "--rootfs", side.rootfs, "nodir"],
        "/bin/true",
      ]);
      await idIsFree(side, "nodir");
    },
  },
  {
    title: "an unknown runtime name fails the run with the shim's name",
    proves: /containerd-shim-nosuch-v1/,
    run: async (side) => {
      await side.ctr([
        ...["run", "--rm", "--runtime", "io.containerd.nosuch.v1", "--rootfs", side.rootfs, "odd"],
        "/bin/true",
      ]);
      await idIsFree(side, "odd");
    },
  },
  {
    title: "a runtime name that is no name fails the run",
    proves: /"code":1/,
    run: async (side) => {
      for (const runtime of ["nodots", "relative/path", "/no/such/shim"]) {
        await side.ctr(["run", "--rm", "--runtime", runtime, "--rootfs", side.rootfs, "odd", "/bin/true"]);
      }
      await idIsFree(side, "odd");
    },
  },
  {
    title: "a runc binary that does not exist fails the run",
    proves: /no such file or directory/,
    run: async (side) => {
      await side.ctr([
        ...["run", "--rm", "--runc-binary", "/no/such/runc", "--rootfs", side.rootfs, "bare"],
        "/bin/true",
      ]);
      await idIsFree(side, "bare");
    },
  },
  {
    title: "a rootfs that does not exist fails the run",
    proves: /"code":1/,
    run: async (side) => {
      const missing = join(side.directory, "nowhere");
      await side.ctr(["run", "--rm", "--rootfs", missing, "rootless", "/bin/true"]);
      await idIsFree(side, "rootless");
    },
  },
  {
    title: "an id that breaks the rules fails the run",
    proves: /must match/,
    run: async (side) => {
      for (const id of ["bad id", "-dash", "dots..dots", "x".repeat(77)]) await run(side, id, "/bin/true");
      await side.ctr(["container", "ls", "-q"]);
    },
  },
  {
    title: "a config file that is not JSON is refused",
    proves: /"code":1/,
    run: async (side) => {
      const file = join(side.directory, "text.json");
      writeFileSync(file, "this is not JSON");
      await side.ctr(["run", "--rm", "--config", file, "texty"]);
      await idIsFree(side, "texty");
    },
  },
  {
    title: "a config file without arguments is refused by the runtime",
    proves: /OCI runtime create failed/,
    run: async (side) => {
      const file = brokenConfig(side, (spec) => ({
        ...spec,
        process: { ...(spec.process as object), args: [] },
      }));
      await side.ctr(["run", "--rm", "--config", file, "argless"]);
      await idIsFree(side, "argless");
    },
  },
  {
    title: "a config file with an unknown kernel namespace is refused by the runtime",
    proves: /OCI runtime create failed/,
    run: async (side) => {
      const file = brokenConfig(side, (spec) => ({
        ...spec,
        linux: { ...(spec.linux as object), namespaces: [{ type: "nonsense" }] },
      }));
      await side.ctr(["run", "--rm", "--config", file, "strange"]);
      await idIsFree(side, "strange");
    },
  },
  {
    title: "a bind mount of a source that does not exist fails the run",
    proves: /OCI runtime create failed/,
    run: async (side) => {
      const source = join(side.directory, "nothing");
      await side.ctr([
        ...["run", "--rm", "--mount", `type=bind,src=${source},dst=/mnt,options=rbind:ro`],
        ...["--rootfs", side.rootfs, "unbound", "/bin/true"],
      ]);
      await idIsFree(side, "unbound");
    },
  },
  {
    title: "an unknown log scheme fails the run",
    proves: /STDIO scheme/,
    run: async (side) => {
      await side.ctr([
        ...["run", "-d", "--log-uri", "zzz:///x", "--rootfs", side.rootfs, "schemed"],
        "/bin/true",
      ]);
      await side.ctr(["container", "rm", "schemed"]);
    },
  },
];

compareDaemons("ctr on failures", scenarios);
