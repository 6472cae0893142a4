/** A tiny root file system: a static busybox, links for its applets, and the files that clients look up in it. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

const busyboxPaths = ["/bin/busybox", "/usr/bin/busybox"];

/** Makes `directory` a root file system that containers can share; the caller removes it. */
export function buildRootfs(directory: string): string {
  const busybox = busyboxPaths.find((path) => existsSync(path));
  if (busybox === undefined) throw new Error("tests need a static busybox (Debian: busybox-static)");
  if (readFileSync(busybox).includes("/ld-linux")) {
    throw new Error(`${busybox} is linked dynamically; tests need busybox-static`);
  }
  for (const name of ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "var"]) {
    mkdirSync(join(directory, name), { recursive: true });
  }
  copyFileSync(busybox, join(directory, "bin/busybox"));
  chmodSync(join(directory, "bin/busybox"), 0o755);
  for (const applet of execFileSync(busybox, ["--list"], { encoding: "utf8" }).trim().split("\n")) {
    if (applet !== "busybox") symlinkSync("busybox", join(directory, "bin", applet));
  }
  symlinkSync("../bin", join(directory, "usr/bin"));
  chmodSync(join(directory, "tmp"), 0o1777);
  writeFileSync(
    join(directory, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\nworker:x:1000:1000::/tmp:/bin/sh\n",
  );
  writeFileSync(join(directory, "etc/group"), "root:x:0:\nnogroup:x:65534:\nworker:x:1000:\n");
  writeFileSync(join(directory, "etc/hostname"), "box\n");
  return directory;
}
