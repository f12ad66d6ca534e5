package dev.laco.evaluate.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.Compute;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.backend.cuda.FreshDevice;
import dev.laco.evaluate.EvaluateJob;
import dev.laco.evaluate.EvaluateRequest;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;

/** A task on the emulated device gives the numbers that it gives on the processor. */
@ExtendWith(FreshDevice.class)
class CudaTasksTest {
  private static final Path DATA = Path.of("src/test/resources/tasks");

  @TempDir Path folder;

  /** Answers are compared, and whether the last word is the likeliest one. */
  @Test
  void likelihoodsAreThoseOfTheProcessor() throws IOException {
    assumeTrue(Files.isDirectory(Fixtures.STORYTELLER) && Files.isDirectory(DATA));
    List<JsonNode> expected = samples("cpu");
    List<JsonNode> found = samples("cuda");
    assertEquals(2, found.size());
    for (int i = 0; i < found.size(); i++) {
      JsonNode likelihoods = expected.get(i).get("filtered_resps");
      for (int k = 0; k < likelihoods.size(); k++) {
        double likelihood = Double.parseDouble(likelihoods.at("/" + k + "/0").textValue());
        JsonNode here = found.get(i).at("/filtered_resps/" + k);
        assertEquals(
            likelihood, Double.parseDouble(here.get(0).textValue()), 1e-4 * Math.abs(likelihood));
        assertEquals(likelihoods.at("/" + k + "/1"), here.get(1));
      }
      assertEquals(expected.get(i).get("acc"), found.get(i).get("acc"));
    }
  }

  private List<JsonNode> samples(String device) throws IOException {
    List<String> tasks = List.of("copa", "lambada_openai");
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      new EvaluateJob(
              model,
              DeviceSettings.of(device).withThreads(1).withCompute(Compute.F32),
              new EvaluateRequest.Tasks(tasks, DATA, 1, null, null, null))
          .samplesTo((of, task) -> folder.resolve(task.name()))
          .run();
    }
    List<JsonNode> samples = new ArrayList<>();
    for (String task : tasks) {
      samples.add(new ObjectMapper().readTree(folder.resolve(task).toFile()));
    }
    return samples;
  }
}
