/** Comlink over Node's message ports; its own adapter ships without types for this path. */
import type { Endpoint } from "comlink";

interface Port {
  postMessage(message: unknown): void;
  on(event: "message", listener: (data: unknown) => void): unknown;
  off(event: "message", listener: (data: unknown) => void): unknown;
}

/** A comlink endpoint on a Worker or a MessagePort. Nothing that needs transferring may be sent through it. */
export function portEndpoint(port: Port): Endpoint {
  const listeners = new Map<unknown, (data: unknown) => void>();
  return {
    postMessage: (message: unknown) => port.postMessage(message),
    addEventListener(_type, listener) {
      const deliver = (data: unknown): void => {
        const event = { data } as MessageEvent;
        if (typeof listener === "function") listener(event);
        else listener.handleEvent(event);
      };
      listeners.set(listener, deliver);
      port.on("message", deliver);
    },
    removeEventListener(_type, listener) {
      const deliver = listeners.get(listener);
      if (deliver === undefined) return;
      listeners.delete(listener);
      port.off("message", deliver);
    },
  };
}
