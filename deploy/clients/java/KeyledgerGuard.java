import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import dev.keyledger.v1.AuthenticateContext;
import dev.keyledger.v1.AuthenticateRequest;
import dev.keyledger.v1.AuthenticateResponse;
import dev.keyledger.v1.KeyServiceGrpc;
import dev.keyledger.v1.KeyServiceGrpc.KeyServiceBlockingStub;
import dev.keyledger.v1.Outcome;
import dev.keyledger.v1.Principal;
import io.grpc.Channel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.logging.Logger;

/**
 * Lets requests through only if keyledger allows the key they bring. The channel has
 * service_config.json.
 */
final class KeyledgerGuard {
  /** What is guarded; who calls is an argument, so that nothing unguarded fits. */
  interface Guarded {
    void handle(HttpExchange exchange, Principal principal) throws IOException;
  }

  private static final Logger LOG = Logger.getLogger(KeyledgerGuard.class.getName());

  /**
   * How long a request may wait for a verdict; keyledger is told, and does not begin what comes too
   * late.
   */
  private static final long DEADLINE_SECONDS = 2;

  /** No key is as long: what is longer is cut, so that keyledger can say that it is none. */
  private static final int MOST_KEY = 256;

  private final KeyServiceBlockingStub keys;

  KeyledgerGuard(Channel channel, String credential) {
    Metadata headers = new Metadata();
    headers.put(
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + credential);
    keys =
        KeyServiceGrpc.newBlockingStub(channel)
            .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
  }

  /** Serves keys with a permission. */
  HttpHandler require(String permission, Guarded guarded) {
    return exchange -> {
      AuthenticateResponse answer;
      try {
        answer =
            keys.withDeadlineAfter(DEADLINE_SECONDS, TimeUnit.SECONDS)
                .authenticate(question(exchange, permission));
      } catch (StatusRuntimeException noVerdict) {
        LOG.warning("keyledger gave no verdict: " + noVerdict.getStatus().getCode());
        answer(exchange, 503, "Service Unavailable");
        return;
      }
      // A denied key is a normal answer: nothing is thrown.
      if (answer.getOutcome() != Outcome.OUTCOME_ALLOWED || !answer.hasPrincipal()) {
        refuse(exchange, answer);
        return;
      }
      guarded.handle(exchange, answer.getPrincipal());
    };
  }

  private static AuthenticateRequest question(HttpExchange exchange, String permission) {
    // Behind a proxy the address is the proxy's: take the one that it puts into a header of its own.
    String source = exchange.getRemoteAddress().getAddress().getHostAddress();
    return AuthenticateRequest.newBuilder()
        .setApiKey(presented(exchange.getRequestHeaders().get("Authorization")))
        .addRequiredPermissions(permission)
        .setContext(AuthenticateContext.newBuilder().setAction(permission).setSourceIp(source))
        .build();
  }

  /** The key of one `authorization: Bearer`; of several none is picked. */
  private static String presented(List<String> values) {
    if (values == null || values.size() != 1) {
      return "";
    }
    String[] parts = values.get(0).split(" ", 2);
    if (parts.length != 2 || !parts[0].equalsIgnoreCase("bearer")) {
      return "";
    }
    return parts[1].substring(0, Math.min(parts[1].length(), MOST_KEY));
  }

  private static void refuse(HttpExchange exchange, AuthenticateResponse answer)
      throws IOException {
    int status = 401;
    switch (answer.getDenialReason()) {
      case DENIAL_REASON_TENANT_MISMATCH:
      case DENIAL_REASON_ACCOUNT_INACTIVE:
      case DENIAL_REASON_PERMISSION_MISSING:
      case DENIAL_REASON_SOURCE_NOT_ALLOWED:
        status = 403;
        break;
      case DENIAL_REASON_RATE_LIMITED:
        status = 429;
        var wait = answer.getRateLimit().getRetryAfter();
        long seconds = wait.getSeconds() + (wait.getNanos() > 0 ? 1 : 0);
        exchange.getResponseHeaders().set("Retry-After", Long.toString(seconds));
        break;
      default:
        exchange.getResponseHeaders().set("WWW-Authenticate", "Bearer");
    }
    answer(exchange, status, answer.getPublicMessage());
  }

  static void answer(HttpExchange exchange, int status, String text) throws IOException {
    byte[] body = text.getBytes(StandardCharsets.UTF_8);
    exchange.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
    exchange.getResponseBody().write(body);
    exchange.close();
  }
}
