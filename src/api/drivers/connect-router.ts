import { Code, ConnectError, type ConnectRouter, createConnectRouter, createContextKey, type HandlerContext } from "@connectrpc/connect";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import { asCcError, CcError, type ErrorCode, statusOf } from "../../base/index.ts";
import { type CallContext, type CloudCall, isOpenCall, type OpenContext, type OpenHandlers, type SignedHandlers } from "../calls.ts";
import { Cloud } from "../gen/cc/v1/cloud_pb.ts";

/** What the HTTP layer found out before Connect saw the request. */
export type Admitted = { readonly kind: "signed"; readonly context: CallContext } | { readonly kind: "open"; readonly context: OpenContext };
export const admittedKey = createContextKey<Admitted | undefined>(undefined);

const STATUS_CODES: Readonly<Record<ReturnType<typeof statusOf>, Code>> = {
  invalid_argument: Code.InvalidArgument,
  unauthenticated: Code.Unauthenticated,
  permission_denied: Code.PermissionDenied,
  not_found: Code.NotFound,
  already_exists: Code.AlreadyExists,
  aborted: Code.Aborted,
  failed_precondition: Code.FailedPrecondition,
  resource_exhausted: Code.ResourceExhausted,
  unavailable: Code.Unavailable,
  unknown: Code.Unknown,
  internal: Code.Internal,
  data_loss: Code.DataLoss,
  unimplemented: Code.Unimplemented,
  deadline_exceeded: Code.DeadlineExceeded,
  canceled: Code.Canceled,
};

/** Our stable code travels beside Connect's status: `cc-error-code`, and details for programs as JSON. */
function toConnectError(thrown: unknown): ConnectError {
  if (thrown instanceof ConnectError) return thrown;
  const error = asCcError(thrown);
  return new ConnectError(error.message, STATUS_CODES[statusOf(error.code)], errorHeaders(error));
}

export function errorHeaders(error: CcError): Record<string, string> {
  const details = Object.keys(error.details).length > 0 ? { "cc-error-details": encodeURIComponent(JSON.stringify(error.details)) } : {};
  return { "cc-error-code": error.code, ...details };
}

const HTTP_STATUS: Readonly<Record<ReturnType<typeof statusOf>, number>> = {
  invalid_argument: 400,
  unauthenticated: 401,
  permission_denied: 403,
  not_found: 404,
  already_exists: 409,
  aborted: 409,
  failed_precondition: 400,
  resource_exhausted: 429,
  unavailable: 503,
  unknown: 500,
  internal: 500,
  data_loss: 500,
  unimplemented: 501,
  deadline_exceeded: 504,
  canceled: 499,
};

export const httpStatusOf = (code: ErrorCode): number => HTTP_STATUS[statusOf(code)];

/** The handlers of every unary call, as Connect serves them: gRPC, gRPC-Web and JSON. */
export function cloudRoutes(signed: SignedHandlers, open: OpenHandlers, messageBytesMax: number): ReadonlyMap<string, UniversalHandler> {
  const router = createConnectRouter({ readMaxBytes: messageBytesMax, acceptCompression: [] });
  addRoutes(router, signed, open);
  return new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
}

function addRoutes(router: ConnectRouter, signed: SignedHandlers, open: OpenHandlers): void {
  const routes: Record<string, (request: never, context: HandlerContext) => Promise<object>> = {};
  for (const call of Object.keys(Cloud.method) as CloudCall[]) {
    const isOpen = isOpenCall(call);
    routes[call] = async (request, context) => {
      const admitted = context.values.get(admittedKey);
      if (admitted === undefined || (admitted.kind === "open") !== isOpen) throw toConnectError(new CcError("UNAUTHENTICATED", "this call must be signed"));
      try {
        return admitted.kind === "open"
          ? await (open[call as keyof OpenHandlers] as (request: never, context: OpenContext) => Promise<object>)(request, admitted.context)
          : await (signed[call as keyof SignedHandlers] as (request: never, context: CallContext) => Promise<object>)(request, admitted.context);
      } catch (error) {
        throw toConnectError(error);
      }
    };
  }
  router.service(Cloud, routes);
}
