/**
 * Raw mode of the terminal at a descriptor, as cfmakeraw has it. Node's setRawMode leaves the translation of
 * newlines on, which breaks full-screen programs: with a pty on the far side every byte must pass unchanged.
 */
import { bind, checked } from "../native/libc.js";

const cGetAttributes = bind("int tcgetattr(int fd, void *attributes)");
const cSetAttributes = bind("int tcsetattr(int fd, int when, void *attributes)");
const cMakeRaw = bind("void cfmakeraw(void *attributes)");

/** At once, without waiting for output or dropping input that was typed ahead. */
const TCSANOW = 0;
/** struct termios has 60 bytes with glibc; room to spare. */
const termiosBytes = 128;

/** Puts the terminal at `fd` into raw mode and returns how to restore it; throws ENOTTY for anything else. */
export function makeRaw(fd: number): () => void {
  const before = Buffer.alloc(termiosBytes);
  checked(cGetAttributes(fd, before), "tcgetattr", String(fd));
  const raw = Buffer.from(before);
  cMakeRaw(raw);
  checked(cSetAttributes(fd, TCSANOW, raw), "tcsetattr", String(fd));
  return () => {
    checked(cSetAttributes(fd, TCSANOW, before), "tcsetattr", String(fd));
  };
}
