package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.DeviceSettings;
import dev.laco.Model;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.cuda.EmulatedDevice;
import dev.laco.backend.cuda.OnStandIn;
import dev.laco.checkpoint.SparseCheckpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * What prunes at the shapes of a large model ask a GPU for: the numbers of the table in
 * docs/benchmarks.md ("What a GPU is asked for"). The model has the widths of Llama 3 8B, eight
 * layers, a small vocabulary, and weights that are zero. The device only counts; every similarity
 * and loss that it gives is the same.
 */
@OnStandIn
class CudaWorkTest {
  private static final int LAYERS = 8;
  private static final int VOCABULARY = 8192;
  private static final Path TABLE = Path.of("docs/benchmarks.md");

  @TempDir static Path folder;

  @BeforeAll
  static void makeModel() throws IOException {
    SparseCheckpoint.write(
        folder,
        """
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
         "intermediate_size": 14336, "num_hidden_layers": LAYERS, "num_attention_heads": 32,
         "num_key_value_heads": 8, "vocab_size": VOCABULARY, "max_position_embeddings": 8192,
         "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu",
         "tie_word_embeddings": false, "torch_dtype": "bfloat16"}
        """
            .replace("LAYERS", String.valueOf(LAYERS))
            .replace("VOCABULARY", String.valueOf(VOCABULARY)),
        1);
    tokens("calibration.json", 15, 32);
    tokens("fit.json", 32, 256);
    tokens("evaluation.json", 4, 256);
  }

  @BeforeEach
  void onADeviceThatOnlyCounts() {
    EmulatedDevice.reset();
    EmulatedDevice.memory(80L << 30);
    EmulatedDevice.countOnly();
  }

  @AfterEach
  void nothingIsLeftOnTheDevice() {
    EmulatedDevice.assertNothingLeaks();
  }

  @Test
  void theLoopOfThePaper() throws IOException {
    SearchSettings settings =
        new SearchSettings(null, null, null, null, 4, null, 1, null, null, null);
    assertAsked(
        "`--threshold 0.65 --merge-layers 4`, no merge accepted",
        PruneRequest.of(Goal.threshold(0.65)).withSearch(settings));
    assertAsked(
        "the same with `--rule rdsc`",
        PruneRequest.of(Goal.threshold(0.65)).withSearch(settings).withRule("rdsc"));
  }

  @Test
  void aSearchForASize() throws IOException {
    assertAsked(
        "`--target-layers 6 --rule drop`",
        PruneRequest.of(Goal.layers(6)).withRule("drop").withFit(furtherText()));
  }

  @Test
  void fitsOfAPlan() throws IOException {
    Path plan = folder.resolve("plan.json");
    try (Model model = Model.open(folder)) {
      Files.writeString(
          plan,
          CollapsePlan.identity(PlanApplier.source(model.checkpoint()))
              .fold(4, 2, MergeRule.DROP, NormsPolicy.BASE)
              .toJsonText());
    }
    for (String rule : List.of("fit", "refine")) {
      assertAsked(
          "`--from-plan` without layers 5 and 6, `--rule " + rule + "`",
          PruneRequest.of(Goal.layers(6)).withRule(rule).withFromPlan(plan).withFit(furtherText()));
    }
  }

  private static void assertAsked(String job, PruneRequest request) throws IOException {
    Map<String, Long> before = counted();
    prune(request);
    Map<String, Long> after = counted();
    Map<String, Long> work =
        after.keySet().stream()
            .collect(
                Collectors.toMap(
                    name -> name, name -> after.get(name) - before.getOrDefault(name, 0L)));
    String row =
        String.format(
            Locale.ROOT,
            "| %s | %,d | %,d | %,d | %,d | %,.1f MB | %,.2f | %,.2f | %,.2f |",
            job,
            work.get("launches"),
            work.get("products"),
            work.get("waits"),
            work.get("downloads"),
            work.get("downloaded bytes") / 1e6,
            work.getOrDefault("operations of products in 16 bits", 0L) / 1e12,
            work.getOrDefault("operations of products in f32", 0L) / 1e12,
            work.getOrDefault("operations of systems in f64", 0L) / 1e12);
    String expected =
        Files.readString(TABLE)
            .lines()
            .filter(line -> line.startsWith("| " + job + " |"))
            .findFirst()
            .orElse("");
    assertEquals(expected, row, TABLE.toString());
  }

  private static FitSettings furtherText() {
    return new FitSettings(folder.resolve("fit.json"), null);
  }

  private static void prune(PruneRequest request) {
    TextSettings texts =
        new TextSettings(
            folder.resolve("calibration.json"), null, folder.resolve("evaluation.json"));
    try (Model model = Model.open(folder);
        PruneJob job = new PruneJob(model, DeviceSettings.of("cuda"), request.withTexts(texts))) {
      job.run();
    }
  }

  private static Map<String, Long> counted() {
    Map<String, Long> work = EmulatedDevice.work();
    work.put("launches", EmulatedDevice.launches());
    work.put("waits", EmulatedDevice.synchronizations());
    work.put("allocations", EmulatedDevice.allocations());
    return work;
  }

  /** Lists of token ids that differ. */
  private static void tokens(String name, int lists, int length) throws IOException {
    String json =
        IntStream.range(0, lists)
            .mapToObj(
                list ->
                    IntStream.range(0, length)
                        .map(i -> (list * 7919 + i * 104_729) % VOCABULARY)
                        .boxed()
                        .toList()
                        .toString())
            .collect(Collectors.joining(",", "[", "]"));
    Files.writeString(folder.resolve(name), json);
  }
}
