// Lets requests through only if keyledger allows the key they bring. It fails closed.

import { type IncomingMessage, type ServerResponse } from "node:http";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

/** Who a key speaks for: `Principal` of authentication.proto. */
export interface Principal {
  key_id: string;
  tenant_id: string;
  account_id: string;
  permissions: string[];
}

interface Answer {
  outcome: string;
  denial_reason: string;
  public_message: string;
  principal: Principal | null;
  rate_limit: { retry_after: { seconds: string; nanos: number } | null } | null;
}

type Stub = grpc.Client & {
  Authenticate(
    request: object,
    metadata: grpc.Metadata,
    options: grpc.CallOptions,
    done: (error: grpc.ServiceError | null, answer?: Answer) => void,
  ): void;
};

/** What is guarded; who calls is an argument, so that nothing unguarded fits. */
export type Guarded = (
  request: IncomingMessage,
  response: ServerResponse,
  principal: Principal,
) => void;

const NOT_ALLOWED = [
  "DENIAL_REASON_TENANT_MISMATCH",
  "DENIAL_REASON_ACCOUNT_INACTIVE",
  "DENIAL_REASON_PERMISSION_MISSING",
  "DENIAL_REASON_SOURCE_NOT_ALLOWED",
];

/** How long a request may wait for a verdict; keyledger is told, and does not begin what comes too late. */
const DEADLINE_MILLISECONDS = 2_000;

/** No key is as long: what is longer is cut, so that keyledger can say that it is none. */
const MOST_KEY = 256;

export class Guard {
  private readonly keys: Stub;
  // Said here, since this client does not take it from the service config.
  private readonly metadata = new grpc.Metadata({ waitForReady: true });

  /** `protos` is keyledger's directory of protos; `serviceConfig` is service_config.json. */
  constructor(
    address: string,
    channel: grpc.ChannelCredentials,
    credential: string,
    serviceConfig: string,
    protos: string,
  ) {
    const options = { keepCase: true, enums: String, longs: String, defaults: true };
    const file = "keyledger/v1/key_service.proto";
    const loaded = loadSync(file, { ...options, includeDirs: [protos] });
    const service = loaded["keyledger.v1.KeyService"] as grpc.ServiceDefinition;
    const Client = grpc.makeGenericClientConstructor(service, "KeyService");
    const config = { "grpc.service_config": serviceConfig };
    this.keys = new Client(address, channel, config) as unknown as Stub;
    this.metadata.set("authorization", `Bearer ${credential}`);
  }

  /** Serves keys with a permission. */
  require(permission: string, guarded: Guarded) {
    return (request: IncomingMessage, response: ServerResponse): void => {
      // Behind a proxy the address is the proxy's: take the one that it puts into a header of its own.
      const context = { action: permission, source_ip: request.socket.remoteAddress ?? "" };
      const question = {
        api_key: presented(request),
        required_permissions: [permission],
        context,
      };
      const deadline = Date.now() + DEADLINE_MILLISECONDS;
      this.keys.Authenticate(question, this.metadata, { deadline }, (error, answer) => {
        if (error || !answer) {
          console.warn("keyledger gave no verdict:", error?.code);
          response.writeHead(503).end("Service Unavailable");
        } else if (answer.outcome === "OUTCOME_ALLOWED" && answer.principal) {
          guarded(request, response, answer.principal);
        } else {
          // A denied key is a normal answer: error is null.
          refuse(response, answer);
        }
      });
    };
  }
}

/** The key of one `authorization: Bearer`; of several none is picked, where `headers` would pick the first. */
function presented(request: IncomingMessage): string {
  const values = request.headersDistinct["authorization"] ?? [];
  const bearer = values.length === 1 ? /^bearer (.*)$/is.exec(values[0]!) : null;
  return bearer?.[1]?.slice(0, MOST_KEY) ?? "";
}

function refuse(response: ServerResponse, answer: Answer): void {
  if (NOT_ALLOWED.includes(answer.denial_reason)) {
    response.writeHead(403);
  } else if (answer.denial_reason === "DENIAL_REASON_RATE_LIMITED") {
    const wait = answer.rate_limit?.retry_after;
    const seconds = Number(wait?.seconds ?? 0) + (wait?.nanos ? 1 : 0);
    response.writeHead(429, { "Retry-After": seconds });
  } else {
    response.writeHead(401, { "WWW-Authenticate": "Bearer" });
  }
  response.end(answer.public_message);
}
