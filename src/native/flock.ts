/** flock(2): a lock that belongs to an open file and ends with it. */
import { bind, checked, errno, lastErrno } from "./libc.js";

const flock = bind("int flock(int fd, int operation)");
const LOCK_EX = 2;
const LOCK_NB = 4;

/** Takes the exclusive lock; false when another open file has it. Throws SystemError otherwise. */
export function tryLockFile(fd: number): boolean {
  const result = flock(fd, LOCK_EX | LOCK_NB);
  if (result === -1 && lastErrno() === errno.EWOULDBLOCK) return false;
  checked(result, "flock");
  return true;
}
