/**
 * Turns `--user` into numbers, looking names up in the container's own /etc/passwd and /etc/group. The files
 * belong to the container, so they are opened without following a link out of the root directory.
 */
import { closeSync, constants, openSync, readSync, realpathSync } from "node:fs";
import { join, sep } from "node:path";
import { invalidArgument } from "../core/errors.js";
import type { OciUser } from "./spec.js";

const maxFileBytes = 1024 * 1024;
const numeric = /^\d{1,10}$/;
const maxId = 0xffff_fffe;

function readInside(rootfs: string, name: string): string[][] {
  const root = realpathSync(rootfs);
  let fd: number;
  try {
    const path = realpathSync(join(root, name));
    if (!path.startsWith(root === sep ? sep : root + sep)) return [];
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return [];
  }
  try {
    const buffer = Buffer.alloc(maxFileBytes);
    const length = readSync(fd, buffer, 0, maxFileBytes, 0);
    return buffer
      .toString("utf8", 0, length)
      .split("\n")
      .map((line) => line.split(":"));
  } finally {
    closeSync(fd);
  }
}

function parseId(text: string, what: string): number {
  const id = Number(text);
  if (id > maxId) throw invalidArgument(`${what} ${text} is out of range`);
  return id;
}

/**
 * `uid`, `uid:gid`, `name`, `name:group` and mixtures. A name without a group gets its primary group and the
 * groups that list it; a bare uid that /etc/passwd knows gets the same. Throws invalid-argument.
 */
export function resolveUser(text: string, rootfs: string): OciUser {
  const [user = "", group, ...more] = text.split(":");
  if (user === "" || group === "" || more.length > 0)
    throw invalidArgument(`bad user ${JSON.stringify(text)}: expected USER or USER:GROUP`);
  const passwd = readInside(rootfs, "etc/passwd");
  const groups = readInside(rootfs, "etc/group");
  const entry = passwd.find((fields) =>
    numeric.test(user) ? fields[2] === user : fields[0] === user && numeric.test(fields[2] ?? ""),
  );
  if (entry === undefined && !numeric.test(user))
    throw invalidArgument(`no user ${JSON.stringify(user)} in the container's /etc/passwd`);
  const uid = parseId(entry?.[2] ?? user, "user id");
  if (group === undefined) {
    const gid = numeric.test(entry?.[3] ?? "") ? parseId(entry?.[3] ?? "0", "group id") : 0;
    const extra = groups
      .filter((fields) => entry !== undefined && (fields[3] ?? "").split(",").includes(entry[0] ?? ""))
      .map((fields) => Number(fields[2]))
      .filter((id) => Number.isInteger(id) && id !== gid);
    return { uid, gid, ...(extra.length === 0 ? {} : { additionalGids: extra }) };
  }
  if (numeric.test(group)) return { uid, gid: parseId(group, "group id") };
  const found = groups.find((fields) => fields[0] === group && numeric.test(fields[2] ?? ""));
  if (found === undefined)
    throw invalidArgument(`no group ${JSON.stringify(group)} in the container's /etc/group`);
  return { uid, gid: parseId(found[2] ?? "", "group id") };
}
