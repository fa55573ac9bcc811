import com.google.gson.Gson;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import dev.keyledger.v1.Principal;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.Executors;

/** A guarded service: GuardedService KEYLEDGER CREDENTIAL_FILE SERVICE_CONFIG */
final class GuardedService {
  public static void main(String[] arguments) throws IOException {
    String credential = Files.readString(Path.of(arguments[1])).stripTrailing();
    ManagedChannel channel = channel(arguments[0], Files.readString(Path.of(arguments[2])));
    KeyledgerGuard guard = new KeyledgerGuard(channel, credential);

    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
    server.createContext("/reports", guard.require("reports:read", GuardedService::account));
    server.createContext("/invoices", guard.require("invoices:write", GuardedService::account));
    server.setExecutor(Executors.newCachedThreadPool());
    server.start();
    System.out.println("ready http=127.0.0.1:" + server.getAddress().getPort());
  }

  @SuppressWarnings("unchecked")
  private static ManagedChannel channel(String address, String serviceConfig) {
    Map<String, ?> config = new Gson().fromJson(serviceConfig, Map.class);
    return ManagedChannelBuilder.forTarget(address)
        .usePlaintext() // To another machine: useTransportSecurity()
        .defaultServiceConfig(config)
        .enableRetry()
        .build();
  }

  private static void account(HttpExchange exchange, Principal principal) throws IOException {
    KeyledgerGuard.answer(exchange, 200, principal.getAccountId());
  }
}
