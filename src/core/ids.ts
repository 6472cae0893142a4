/**
 * Branded identifiers. Each is parsed once, at the edge where it enters; inside, a branded string is proof
 * that it was checked. The rules are containerd's (pkg/identifiers).
 */
import { invalidArgument } from "./errors.js";

declare const brand: unique symbol;
type Branded<B extends string> = string & { readonly [brand]: B };

/** A containerd tenant; never a kernel namespace. */
export type Namespace = Branded<"namespace">;
export type ContainerId = Branded<"container-id">;
/** The id of a later process in a task; the init process has none. */
export type ExecId = Branded<"exec-id">;
/** Names one shim process of one daemon. */
export type ShimId = Branded<"shim-id">;

export const identifierPattern = "^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$";
export const maxIdentifierBytes = 76;
const identifierRegExp = new RegExp(identifierPattern);

/** The sentence that says what is wrong with `text` as an identifier, or undefined when nothing is. */
export function identifierProblem(text: string): string | undefined {
  if (text === "") return "identifier must not be empty";
  if (Buffer.byteLength(text) > maxIdentifierBytes) {
    return `identifier ${JSON.stringify(text)} greater than maximum length (${maxIdentifierBytes} characters)`;
  }
  if (!identifierRegExp.test(text))
    return `identifier ${JSON.stringify(text)} must match ${identifierPattern}`;
  return undefined;
}

function parser<T extends string>(prefix: string): (text: string) => T {
  return (text) => {
    const problem = identifierProblem(text);
    if (problem !== undefined) throw invalidArgument(`${prefix}${problem}`);
    return text as T;
  };
}

export const parseNamespace = parser<Namespace>("namespace validation: ");
export const parseContainerId = parser<ContainerId>("");
export const parseExecId = (text: string): ExecId => {
  if (text === "") throw invalidArgument("exec id cannot be empty", { bare: true });
  return parser<ExecId>(`invalid exec id ${text}: `)(text);
};

/** Containers of different namespaces may share an id, so every table is keyed by both. */
export interface TaskKey {
  readonly namespace: Namespace;
  readonly id: ContainerId;
}

/** An unambiguous string for a map key: neither part can contain a slash. */
export const taskKeyString = (key: TaskKey): string => `${key.namespace}/${key.id}`;
/** The key that taskKeyString() made this text from. */
export function parseTaskKey(text: string): TaskKey {
  const slash = text.indexOf("/");
  return { namespace: text.slice(0, slash) as Namespace, id: text.slice(slash + 1) as ContainerId };
}
