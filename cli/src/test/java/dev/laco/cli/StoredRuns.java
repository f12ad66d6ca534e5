package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;

/** Repeats a stored run of an independent implementation through the command line. */
public abstract class StoredRuns {
  static final double SIMILARITY = 1e-4;
  static final double NLL = 1e-4;

  @TempDir protected Path folder;

  /** Prunes a fixture on a device as a stored run did, and evaluates what was written. */
  protected final JsonNode assertRunMatches(String name, String run, Object... options) {
    Object[] device = with(options, "--compute", "f32");
    JsonNode expected = Fixtures.json(name, "expected.json").get("runs").get(run);
    Path out = folder.resolve("out");
    Path evalTokens = Fixtures.tokens(folder, name, "eval");
    JsonNode report = prune(Fixtures.model(name), name, expected, evalTokens, out, device);
    assertTrialsMatch(expected, report, Fixtures.similarityTolerance(name));
    assertEquals(bases(expected.get("baseLayers")), bases(report.get("plan").get("layers")));
    assertWritten(Fixtures.model(name), report.get("plan"), out);

    JsonNode found = eval(out, evalTokens, device);
    JsonNode quality = report.get("quality");
    double nll = found.get("meanNll").doubleValue();
    assertEquals(nll, quality.get("pruned").get("meanNll").doubleValue(), NLL * nll);
    if (!expected.get("pruned").isNull()) {
      JsonNode stored = expected.get("pruned").get("float32").get("eval");
      assertEquals(stored.get("tokens_scored"), found.get("tokens"));
      assertEquals(stored.get("mean_nll").doubleValue(), nll, NLL * nll);
    }
    double dense =
        Fixtures.json(name, "expected.json").at("/dense/float32/eval/mean_nll").doubleValue();
    assertEquals(dense, quality.get("dense").get("meanNll").doubleValue(), NLL * dense);
    return report;
  }

  /** Prunes with the settings of a stored run. */
  protected final JsonNode prune(
      Path model, String fixture, JsonNode run, Path evalTokens, Path out, Object... device) {
    JsonNode report =
        Laco.run(
                with(
                    device,
                    "prune",
                    model,
                    out,
                    "--json",
                    "--calibration",
                    Fixtures.tokens(folder, fixture, "calib"),
                    "--eval-tokens",
                    evalTokens,
                    "--merge-layers",
                    run.get("mergeLayers"),
                    "--interval",
                    run.get("interval"),
                    "--lowest",
                    run.get("lowest"),
                    "--highest",
                    run.get("highest"),
                    "--threshold",
                    run.get("threshold"),
                    "--rule",
                    run.get("rule").textValue(),
                    "--norms",
                    run.get("norms").textValue()))
            .succeeded()
            .json();
    for (String key :
        List.of("mergeLayers", "interval", "lowest", "highest", "threshold", "rule")) {
      assertEquals(run.get(key), report.get("settings").get(key), key);
    }
    return report;
  }

  final JsonNode eval(Path model, Path tokens, Object... device) {
    return Laco.run(with(device, "eval", model, "--tokens", tokens, "--json")).succeeded().json();
  }

  private static Object[] with(Object[] device, Object... command) {
    return Stream.concat(Arrays.stream(command), Arrays.stream(device)).toArray();
  }

  private static List<Integer> bases(JsonNode layers) {
    List<Integer> bases = new ArrayList<>();
    layers.forEach(layer -> bases.add(layer.path("base").asInt(layer.intValue())));
    return bases;
  }

  /** Checks a run's trials: the same decisions, similarities to {@code tolerance}. */
  protected static void assertTrialsMatch(JsonNode expected, JsonNode report, double tolerance) {
    assertEquals(expected.get("layersIn"), report.get("layersIn"));
    assertEquals(expected.get("layersOut"), report.get("layersOut"));
    JsonNode trials = report.get("trials");
    assertEquals(expected.get("trials").size(), trials.size());
    double last = 1;
    for (int i = 0; i < trials.size(); i++) {
      JsonNode want = expected.get("trials").get(i);
      JsonNode trial = trials.get(i);
      String where = "trial " + i;
      assertEquals(i, trial.get("step").intValue());
      for (String key : List.of("base", "merged", "layersBefore", "accepted")) {
        assertEquals(want.get(key), trial.get(key), where + " " + key);
      }
      assertEquals(want.get("similarities").size(), trial.get("similarities").size(), where);
      for (int s = 0; s < want.get("similarities").size(); s++) {
        assertEquals(
            want.get("similarities").get(s).doubleValue(),
            trial.get("similarities").get(s).doubleValue(),
            tolerance,
            where);
      }
      assertEquals(
          want.get("mean").doubleValue(), trial.get("mean").doubleValue(), tolerance, where);
      last = trial.get("accepted").booleanValue() ? trial.get("mean").doubleValue() : last;
    }
    assertEquals(last, report.get("finalSimilarity").doubleValue());
  }

  /**
   * The written tensors are the plan's mixes of the original ones: the same bits where a layer is
   * copied, one unit in the last place from the float64 sum where layers are mixed.
   */
  static void assertWritten(Path model, JsonNode plan, Path out) {
    assertEquals(plan, Fixtures.read(out.resolve("laco_plan.json")));
    assertEquals(
        plan.get("layers").size(),
        Fixtures.read(out.resolve("config.json")).get("num_hidden_layers").intValue());
    JsonNode first = Fixtures.read(model.resolve("config.json")).path("max_window_layers");
    if (first.isInt()) {
      // Which layers slide is said of the survivors.
      assertEquals(
          bases(plan.get("layers")).stream().filter(base -> base < first.intValue()).count(),
          Fixtures.read(out.resolve("config.json")).get("max_window_layers").longValue());
    }
    Map<String, Safetensors.Tensor> originals = Safetensors.readAll(model);
    Map<String, Safetensors.Tensor> written = Safetensors.readAll(out);
    int perLayer = 0;
    for (String name : originals.keySet()) {
      if (!name.startsWith("model.layers.")) {
        assertSame(originals.get(name), written.get(name), name);
      } else if (name.startsWith("model.layers.0.")) {
        String suffix = name.substring("model.layers.0.".length());
        perLayer++;
        for (int layer = 0; layer < plan.get("layers").size(); layer++) {
          assertMixed(
              originals,
              plan.get("layers").get(layer),
              suffix,
              written.get("model.layers." + layer + "." + suffix));
        }
      }
    }
    int inLayers = (plan.get("source").get("layers").intValue() - plan.get("layers").size());
    assertEquals(originals.size() - inLayers * perLayer, written.size());
  }

  private static void assertMixed(
      Map<String, Safetensors.Tensor> originals,
      JsonNode mix,
      String suffix,
      Safetensors.Tensor written) {
    JsonNode terms = mix.get("mix");
    if (terms.has("norms")) {
      boolean matrix = written.isMatrix();
      terms =
          terms.get(
              !matrix ? "norms" : suffix.startsWith("self_attn") ? "attention" : "feedForward");
    }
    List<Map.Entry<String, JsonNode>> sources = List.copyOf(terms.properties());
    if (sources.size() == 1 && sources.getFirst().getValue().doubleValue() == 1) {
      String source = "model.layers." + sources.getFirst().getKey() + "." + suffix;
      assertSame(originals.get(source), written, source);
      return;
    }
    for (int i = 0; i < written.elements(); i++) {
      double sum = 0;
      for (Map.Entry<String, JsonNode> source : sources) {
        sum +=
            source.getValue().doubleValue()
                * originals.get("model.layers." + source.getKey() + "." + suffix).value(i);
      }
      double error = Math.abs(sum - written.value(i));
      assertTrue(error <= written.ulp(sum), suffix + " at " + i + ": off by " + error);
    }
  }

  private static void assertSame(
      Safetensors.Tensor expected, Safetensors.Tensor found, String name) {
    assertEquals(expected.dtype(), found.dtype(), name);
    assertArrayEquals(expected.bytes(), found.bytes(), name);
  }
}
