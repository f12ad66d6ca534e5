package dev.laco.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.JobEvent;
import dev.laco.Model;
import dev.laco.evaluate.ItemSample.Stratum;
import dev.laco.evaluate.ItemSample.Weight;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A sample of items for an evaluation within a time. */
class ItemSampleTest {
  private static final Path DATA = Path.of("src/test/resources/tasks");
  private static final List<String> TASKS = List.of("copa", "winogrande", "laco_copy");

  @TempDir Path folder;

  private static Stratum stratum(Random random, int items, double secondsPerByte) {
    return new Stratum(
        IntStream.range(0, items)
            .mapToObj(i -> new Weight(random.nextLong(), 1 + random.nextInt(100)))
            .toList(),
        secondsPerByte);
  }

  private static double seconds(Stratum stratum, int count) {
    return stratum.secondsPerByte()
        * stratum.items().stream().limit(count).mapToLong(Weight::bytes).sum();
  }

  @Test
  void eachTaskHasTheSameShareThatTheTimeSufficesFor() {
    Random random = new Random(5);
    List<Stratum> strata =
        List.of(stratum(random, 1000, 0.01), stratum(random, 200, 0.5), stratum(random, 1, 1));
    double all = strata.stream().mapToDouble(each -> seconds(each, each.items().size())).sum();
    assertEquals(1, ItemSample.share(strata, all));
    double share = ItemSample.share(strata, all / 2);
    assertEquals(0.5, share, 0.05);
    double taken = strata.stream().mapToDouble(each -> seconds(each, each.count(share))).sum();
    assertTrue(taken <= all / 2, () -> taken + " of " + all / 2);
    assertEquals(share * 1000, strata.get(0).count(share), 1);
    assertEquals(share * 200, strata.get(1).count(share), 1);
    assertEquals(1, strata.get(2).count(share));
    // So little time that one item of each task is all.
    assertEquals(1, strata.get(0).count(ItemSample.share(strata, 0)));
  }

  @Test
  void aSampleHasTheSameItemsOfEveryModel() throws IOException {
    List<String> warnings = new ArrayList<>();
    try (Model dense = Model.open(Fixtures.STORYTELLER);
        Model other = Model.open(Fixtures.STORYTELLER)) {
      EvaluateResult.OfTasks result =
          (EvaluateResult.OfTasks)
              new EvaluateJob(dense, DeviceSettings.of("cpu"), request(1e-6))
                  .against(List.of(other))
                  .samplesTo((of, task) -> folder.resolve((of == dense) + task.name()))
                  .listener(
                      event -> {
                        if (event instanceof JobEvent.Warned warned) {
                          warnings.add(warned.message());
                        }
                      })
                  .run();
      ItemSample sample = result.sample();
      assertNotNull(sample);
      assertEquals(3, sample.items());
      assertEquals(12 + 50 + 100, sample.of());
      JsonNode json = EvaluateJson.of(result);
      assertEquals(50, json.at("/n-samples/winogrande/original").intValue());
      assertEquals(1, json.at("/n-samples/winogrande/effective").intValue());
      assertEquals(3, json.at("/sample/items").intValue());
    }
    assertTrue(
        warnings.stream().anyMatch(warning -> warning.startsWith("3 of 162 items are measured")),
        warnings::toString);
    for (String task : TASKS) {
      List<String> samples = Files.readAllLines(folder.resolve("true" + task));
      assertEquals(samples, Files.readAllLines(folder.resolve("false" + task)));
    }
    // The number of an item is that in its file.
    JsonNode sample = new ObjectMapper().readTree(folder.resolve("truewinogrande").toFile());
    List<String> items = Files.readAllLines(DATA.resolve("winogrande_1.1/dev.jsonl"));
    assertEquals(
        new ObjectMapper().readTree(items.get(sample.get("doc_id").intValue())), sample.get("doc"));
  }

  @Test
  void anItemOfASampleHasTheExamplesThatItHasAmongAllItems() throws IOException {
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      for (Double within : new Double[] {null, 1e-6}) {
        new EvaluateJob(
                model,
                DeviceSettings.of("cpu"),
                new EvaluateRequest.Tasks(List.of("lambada_openai"), DATA, null, 2, null, within))
            .samplesTo((of, task) -> folder.resolve(within == null ? "all" : "sample"))
            .run();
      }
    }
    List<String> sample = Files.readAllLines(folder.resolve("sample"));
    assertEquals(1, sample.size());
    JsonNode one = new ObjectMapper().readTree(sample.getFirst());
    List<String> all = Files.readAllLines(folder.resolve("all"));
    JsonNode same = new ObjectMapper().readTree(all.get(one.get("doc_id").intValue()));
    assertTrue(one.get("doc_id").intValue() > 0, "the first item draws its examples first");
    assertEquals(same.get("doc"), one.get("doc"));
    assertEquals(same.get("arguments"), one.get("arguments"));
  }

  @Test
  void whereTheTimeSufficesAllItemsAreMeasured() {
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      EvaluateResult.OfTasks result =
          (EvaluateResult.OfTasks)
              new EvaluateJob(model, DeviceSettings.of("cpu"), request(1e6)).run();
      ItemSample sample = result.sample();
      assertNotNull(sample);
      assertEquals(sample.of(), sample.items());
    }
  }

  @Test
  void theTimeThatIsToldIsThatOfTheWholeJob() {
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      EvaluateJob job =
          new EvaluateJob(
              model,
              DeviceSettings.of("cpu"),
              new EvaluateRequest.Tasks(
                  List.of("winogrande", "perplexity"), DATA, null, null, null, 1e-6));
      double[] measured = new double[1];
      job.listener(
          event -> {
            if (event instanceof JobEvent.Measured) {
              measured[0] = job.progress().seconds();
            }
          });
      ItemSample sample = ((EvaluateResult.OfTasks) job.run()).sample();
      assertNotNull(sample);
      assertTrue(measured[0] > 0, "the perplexity is a part of the job");
      assertTrue(sample.seconds() >= measured[0], sample + ", perplexity at " + measured[0]);
    }
  }

  private static EvaluateRequest.Tasks request(double within) {
    return new EvaluateRequest.Tasks(TASKS, DATA, null, null, null, within);
  }
}
