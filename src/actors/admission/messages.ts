/** The gate for runtime invocations: so many at a time, fair across namespaces. */
import type { Namespace } from "../../core/ids.js";
import type { Reply } from "../kernel/types.js";

export interface Permit {
  /** Gives the place back; calling it again is harmless. */
  release(): void;
}

export type AdmissionMessage =
  | { readonly kind: "acquire"; readonly namespace: Namespace; readonly reply: Reply<Permit> }
  | { readonly kind: "release"; readonly permit: number }
  | { readonly kind: "reclaim"; readonly permit: number };
