/** Types over ttrpc's bytes: one value per method, used by the client to call and by the server to serve. */
import { internal, invalidArgument } from "../../core/errors.js";
import type { TtrpcCallOptions, TtrpcClient } from "./client.js";
import type { TtrpcServices } from "./server.js";
import type { TtrpcCall, TtrpcHandler } from "./server-call.js";

/** What ts-proto generates for a message. */
export interface Codec<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(input: Uint8Array): T;
}

export interface TtrpcMethod<Request, Response> {
  readonly service: string;
  readonly method: string;
  /** Calls it; rejects as TtrpcClient.call, or `internal` for an answer that is not a Response. */
  call(client: TtrpcClient, request: Request, options: TtrpcCallOptions): Promise<Response>;
  /** Serves it; a request that does not decode is answered invalid-argument. */
  handledBy(handle: (request: Request, call: TtrpcCall) => Promise<Response>): TtrpcRegistration;
}

export interface TtrpcRegistration {
  readonly service: string;
  readonly method: string;
  readonly handler: TtrpcHandler;
}

export function ttrpcMethod<Request, Response>(
  service: string,
  method: string,
  requestCodec: Codec<Request>,
  responseCodec: Codec<Response>,
): TtrpcMethod<Request, Response> {
  return {
    service,
    method,
    async call(client, request, options) {
      const answer = await client.call(service, method, requestCodec.encode(request).finish(), options);
      try {
        return responseCodec.decode(answer);
      } catch (error) {
        throw internal(`malformed answer to ${service}/${method}`, { cause: error });
      }
    },
    handledBy: (handle) => ({
      service,
      method,
      handler: async (payload, call) => {
        let request: Request;
        try {
          request = requestCodec.decode(payload);
        } catch (error) {
          throw invalidArgument(`malformed request to ${service}/${method}`, { cause: error });
        }
        return responseCodec.encode(await handle(request, call)).finish();
      },
    }),
  };
}

/** The table that createTtrpcServer takes. A method registered twice throws. */
export function ttrpcServices(...registrations: readonly TtrpcRegistration[]): TtrpcServices {
  const services: Record<string, Record<string, TtrpcHandler>> = {};
  for (const { service, method, handler } of registrations) {
    const methods = services[service] ?? {};
    services[service] = methods;
    if (methods[method] !== undefined) throw internal(`${service}/${method} is registered twice`);
    methods[method] = handler;
  }
  return services;
}
