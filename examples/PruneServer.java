import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import dev.laco.Cancellation;
import dev.laco.CancelledException;
import dev.laco.DeviceSettings;
import dev.laco.JobEvent;
import dev.laco.LacoException;
import dev.laco.Model;
import dev.laco.Request;
import dev.laco.prune.PruneJob;
import dev.laco.prune.PruneRequest;
import dev.laco.prune.PruneResult;
import dev.laco.prune.WriteSettings;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A server that prunes models, two at a time.
 *
 * <pre>
 * java -cp "cli/target/lib/*" examples/PruneServer.java 8080
 * curl localhost:8080/jobs -d '{"model": "models/storyteller", "out": "/tmp/small", "request": {"goal": {"layers": 12}}}'
 * curl localhost:8080/jobs/1            # how far it is
 * curl -X DELETE localhost:8080/jobs/1  # not wanted any more
 * </pre>
 *
 * <p>Whoever reaches the port can read and write files as the user that runs it: it listens on this
 * machine only.
 */
public final class PruneServer implements AutoCloseable {
  private static final ObjectMapper JSON = new ObjectMapper();

  private final Map<String, Job> jobs = new ConcurrentHashMap<>();
  private final AtomicInteger last = new AtomicInteger();
  private final ExecutorService workers = Executors.newFixedThreadPool(2);
  private final HttpServer server;

  public PruneServer(int port) throws IOException {
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
    server.createContext("/jobs", this::answer);
    server.start();
  }

  public int port() {
    return server.getAddress().getPort();
  }

  public static void main(String[] arguments) throws IOException {
    PruneServer server = new PruneServer(Integer.parseInt(arguments[0]));
    System.out.println("listening on port " + server.port());
  }

  /** A prune that somebody asked for. */
  private static final class Job {
    private final Cancellation cancellation = new Cancellation();
    private volatile String state = "waiting";
    private volatile String message = "";
    private final List<String> warnings = new CopyOnWriteArrayList<>();
    private volatile PruneJob running;

    void run(JsonNode asked) {
      try (Model model = Model.open(Path.of(asked.path("model").asText()));
          PruneJob job =
              new PruneJob(
                  model,
                  DeviceSettings.of(asked.path("device").asText("auto")),
                  Request.parse(
                      "request", (ObjectNode) asked.path("request"), PruneRequest.class),
                  WriteSettings.DEFAULT.format(out(asked)))) {
        running = job;
        state = "running";
        PruneResult result = job.cancelledBy(cancellation).listener(this::hear).run();
        result.writeTo(out(asked), WriteSettings.DEFAULT);
        message = result.layers().describe();
        state = "done";
      } catch (CancelledException e) {
        state = "cancelled";
      } catch (LacoException e) {
        message = e.getMessage();
        state = "failed";
      } catch (RuntimeException e) {
        message = e.toString(); // such as a path with a character that no path has
        state = "failed";
      }
    }

    private static Path out(JsonNode asked) {
      return Path.of(asked.path("out").asText());
    }

    private void hear(JobEvent event) {
      if (event instanceof JobEvent.Warned warned) {
        warnings.add(warned.message());
      }
    }

    ObjectNode describe() {
      ObjectNode json = JSON.createObjectNode().put("state", state).put("message", message);
      warnings.forEach(json.withArray("warnings")::add);
      PruneJob job = running;
      if (job != null) {
        var progress = job.progress().state();
        json.put("stage", progress.stage()).put("share", progress.share());
        progress.left().ifPresent(seconds -> json.put("secondsLeft", seconds));
        job.best().ifPresent(best -> json.put("bestLayers", best.plan().depth()));
      }
      return json;
    }
  }

  private void answer(HttpExchange exchange) throws IOException {
    String name = exchange.getRequestURI().getPath().replaceFirst("^/jobs/?", "");
    Job job = jobs.get(name);
    switch (exchange.getRequestMethod()) {
      case "POST" -> {
        JsonNode asked;
        try {
          asked = JSON.readTree(exchange.getRequestBody());
        } catch (JsonProcessingException e) {
          send(exchange, 400, JSON.createObjectNode().put("message", "the body is no JSON"));
          return;
        }
        if (asked == null || !asked.path("request").isObject()) {
          send(exchange, 400, JSON.createObjectNode().put("message", "request is missing"));
          return;
        }
        String next = Integer.toString(last.incrementAndGet());
        Job added = new Job();
        jobs.put(next, added);
        workers.execute(() -> added.run(asked));
        send(exchange, 202, JSON.createObjectNode().put("job", next));
      }
      case "DELETE" -> {
        if (job != null) {
          job.cancellation.cancel();
        }
        send(exchange, job == null ? 404 : 202, JSON.createObjectNode());
      }
      default ->
          send(
              exchange,
              job == null ? 404 : 200,
              job == null ? JSON.createObjectNode() : job.describe());
    }
  }

  private static void send(HttpExchange exchange, int status, ObjectNode body) throws IOException {
    byte[] bytes = JSON.writeValueAsBytes(body);
    exchange.getResponseHeaders().add("Content-Type", "application/json");
    exchange.sendResponseHeaders(status, bytes.length);
    exchange.getResponseBody().write(bytes);
    exchange.close();
  }

  /** Cancels what is under way and ends. */
  @Override
  public void close() {
    jobs.values().forEach(job -> job.cancellation.cancel());
    workers.close();
    server.stop(0);
  }
}
