/** Containers, namespaces and leases as stored. Every change is durable before its reply; its event follows the commit. */

import type { Namespace } from "../../core/ids.js";
import type { ContainerRecord, LeaseRecord } from "../../ports/store-port.js";
import type { Reply } from "../kernel/types.js";

type Labels = Readonly<Record<string, string>>;

export type MetadataMessage =
  | {
      readonly kind: "get-container";
      readonly namespace: Namespace;
      readonly id: string;
      readonly reply: Reply<ContainerRecord>;
    }
  | {
      readonly kind: "list-containers";
      readonly namespace: Namespace;
      readonly reply: Reply<readonly ContainerRecord[]>;
    }
  /** createdAt and updatedAt of `record` are ignored and set. */
  | {
      readonly kind: "create-container";
      readonly namespace: Namespace;
      readonly record: ContainerRecord;
      readonly reply: Reply<ContainerRecord>;
    }
  | {
      readonly kind: "update-container";
      readonly namespace: Namespace;
      readonly id: string;
      /** May throw a DaemonError to refuse; updatedAt is set after it. */
      readonly change: (current: ContainerRecord) => ContainerRecord;
      readonly reply: Reply<ContainerRecord>;
    }
  | {
      readonly kind: "delete-container";
      readonly namespace: Namespace;
      readonly id: string;
      readonly reply: Reply<void>;
    }
  /** Never not-found: an unknown name has no labels. */
  | { readonly kind: "get-namespace"; readonly name: string; readonly reply: Reply<Labels> }
  | {
      readonly kind: "list-namespaces";
      readonly reply: Reply<readonly { readonly name: string; readonly labels: Labels }[]>;
    }
  | {
      readonly kind: "create-namespace";
      readonly name: string;
      readonly labels: Labels;
      readonly reply: Reply<void>;
    }
  | {
      readonly kind: "update-namespace";
      readonly name: string;
      /** The labels as the client sent them, empty ones included: what the event tells. */
      readonly requested: Labels;
      readonly change: (labels: Labels) => Labels;
      readonly reply: Reply<Labels>;
    }
  | { readonly kind: "delete-namespace"; readonly name: string; readonly reply: Reply<void> }
  | {
      readonly kind: "get-lease";
      readonly namespace: Namespace;
      readonly id: string;
      readonly reply: Reply<LeaseRecord>;
    }
  | {
      readonly kind: "list-leases";
      readonly namespace: Namespace;
      readonly reply: Reply<readonly LeaseRecord[]>;
    }
  | {
      readonly kind: "create-lease";
      readonly namespace: Namespace;
      readonly lease: LeaseRecord;
      readonly reply: Reply<LeaseRecord>;
    }
  | {
      readonly kind: "update-lease";
      readonly namespace: Namespace;
      readonly id: string;
      readonly change: (current: LeaseRecord) => LeaseRecord;
      readonly reply: Reply<LeaseRecord>;
    }
  | {
      readonly kind: "delete-lease";
      readonly namespace: Namespace;
      readonly id: string;
      readonly reply: Reply<void>;
    }
  | { readonly kind: "uuid"; readonly reply: Reply<string> };
