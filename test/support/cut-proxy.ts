/** A unix socket in front of a daemon whose connections can be cut, as when a client is killed in mid-call. */
import { connect as connectTo, createServer, type Socket } from "node:net";

export interface CutProxy {
  readonly address: string;
  /** Ends every connection at once, in both directions. */
  cut(): void;
  /** Stops carrying answers to clients, as one that hangs does not read them. */
  stall(): void;
  /** Bytes that clients sent so far: how far a call has come. */
  readonly sent: number;
  close(): Promise<void>;
}

export function openCutProxy(address: string, target: string): Promise<CutProxy> {
  const sockets = new Set<Socket>();
  const upstreams = new Set<Socket>();
  let sent = 0;
  const server = createServer((client) => {
    const upstream = connectTo(target);
    upstreams.add(upstream);
    upstream.on("close", () => upstreams.delete(upstream));
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => socket.destroy());
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (chunk) => {
      sent += chunk.length;
    });
    client.pipe(upstream);
    upstream.pipe(client);
  });
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(address, () =>
      resolve({
        address,
        cut,
        stall: () => {
          for (const upstream of upstreams) upstream.unpipe().pause();
        },
        get sent() {
          return sent;
        },
        close: () =>
          new Promise((done) => {
            cut();
            server.close(() => done());
          }),
      }),
    );
  });
}
