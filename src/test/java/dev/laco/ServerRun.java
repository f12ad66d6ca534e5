package dev.laco;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;

/**
 * A host of the example server: two jobs run at once, one is cancelled; others ask for what cannot
 * be. Prints what is not as it should be.
 */
final class ServerRun {
  private static final ObjectMapper JSON = new ObjectMapper();

  /** A job that takes longer hangs. */
  private static final Duration LONGEST = Duration.ofMinutes(2);

  private final HttpClient client = HttpClient.newHttpClient();
  private final String address;

  private ServerRun(int port) {
    address = "http://localhost:" + port + "/jobs";
  }

  /** Prunes {@code MODEL} into {@code FOLDER/kept}, and not into {@code FOLDER/cancelled}. */
  public static void main(String[] arguments) throws Exception {
    Path folder = Path.of(arguments[1]);
    HostProcess.unchangedBy(
        () -> {
          Class<?> type = Class.forName("PruneServer");
          try (AutoCloseable server =
              (AutoCloseable) type.getConstructor(int.class).newInstance(0)) {
            int port = (int) type.getMethod("port").invoke(server);
            new ServerRun(port)
                .run(arguments[0], folder, Files.readString(folder.resolve("request.json"), UTF_8));
          }
        });
  }

  private void run(String model, Path folder, String request) throws Exception {
    String cancelled = post(model, folder.resolve("cancelled"), request);
    String kept = post(model, folder.resolve("kept"), request);
    while (!get(cancelled).has("bestLayers")) {
      Thread.sleep(5);
    }
    client.send(
        HttpRequest.newBuilder(URI.create(address + "/" + cancelled)).DELETE().build(),
        BodyHandlers.discarding());
    expect(cancelled, "cancelled");
    expect(kept, "done");
    expect(post("no\0path", folder, request), "failed");
    int status = send("no JSON").statusCode();
    if (status != 400) {
      System.out.println("what is no JSON is answered with " + status);
    }
    client.close();
  }

  private String post(String model, Path out, String request) throws Exception {
    String body =
        JSON.createObjectNode()
            .put("model", model)
            .put("out", out.toString())
            .put("device", "cpu")
            .set("request", JSON.readTree(request))
            .toString();
    return JSON.readTree(send(body).body()).get("job").textValue();
  }

  private HttpResponse<String> send(String body) throws Exception {
    return client.send(
        HttpRequest.newBuilder(URI.create(address)).POST(BodyPublishers.ofString(body)).build(),
        BodyHandlers.ofString());
  }

  private JsonNode get(String job) throws Exception {
    return JSON.readTree(
        client
            .send(
                HttpRequest.newBuilder(URI.create(address + "/" + job)).build(),
                BodyHandlers.ofString())
            .body());
  }

  private void expect(String job, String state) throws Exception {
    JsonNode found = get(job);
    long end = System.nanoTime() + LONGEST.toNanos();
    while (found.get("state").textValue().matches("waiting|running") && System.nanoTime() < end) {
      Thread.sleep(20);
      found = get(job);
    }
    if (!found.get("state").textValue().equals(state)) {
      System.out.println(found + ", expected " + state);
    }
  }
}
