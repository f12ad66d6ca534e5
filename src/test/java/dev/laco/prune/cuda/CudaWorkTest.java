package dev.laco.prune.cuda;

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
import dev.laco.evaluate.EvaluateJob;
import dev.laco.evaluate.EvaluateRequest;
import dev.laco.heal.HealSettings;
import dev.laco.prune.FitSettings;
import dev.laco.prune.Goal;
import dev.laco.prune.PruneJob;
import dev.laco.prune.PruneRequest;
import dev.laco.prune.SearchSettings;
import dev.laco.prune.TextSettings;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * What prunes at the shapes of large models ask a GPU for: the numbers of the table in
 * docs/benchmarks.md ("What a GPU is asked for"). Two models have the widths of Llama 3 8B and of
 * Llama 2 7B, eight layers and a small vocabulary, and one has the shape of SmolLM2-135M; all
 * weights are zero. The device only counts; every similarity and loss that it gives is the same.
 */
@OnStandIn
class CudaWorkTest {
  private static final int LAYERS = 8;
  private static final int VOCABULARY = 8192;

  private static final String SMOLLM2 =
      """
      "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
       "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152,
       "tie_word_embeddings": true""";

  private static final Path TABLE = Path.of("docs/benchmarks.md");

  // What an H100 is taken to reach, for the seconds that are reckoned.
  private static final double OPERATIONS_IN_16_BITS = 600e12;
  private static final double OPERATIONS_IN_F32 = 50e12;
  private static final double OPERATIONS_IN_F64 = 30e12;
  private static final double BUS_BYTES = 25e9;

  @TempDir static Path folder;
  private static Path llama3;
  private static Path llama2;
  private static Path smolLm2;

  @BeforeAll
  static void makeModels() throws IOException {
    llama3 = model("llama-3-8b", large(14336, 8));
    llama2 = model("llama-2-7b", large(11008, 32));
    smolLm2 = model("smollm2-135m", SMOLLM2);
    tokens("calibration.json", 15, 32);
    tokens("fit.json", 32, 256);
    tokens("evaluation.json", 4, 256);
  }

  /** The shape of a model as wide as the large ones, with fewer layers and tokens. */
  private static String large(int channels, int keyValueHeads) {
    return String.format(
        Locale.ROOT,
        """
        "hidden_size": 4096, "intermediate_size": %d, "num_hidden_layers": %d,
         "num_attention_heads": 32, "num_key_value_heads": %d, "vocab_size": %d,
         "tie_word_embeddings": false""",
        channels,
        LAYERS,
        keyValueHeads,
        VOCABULARY);
  }

  private static Path model(String name, String shape) throws IOException {
    String config =
        """
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", SHAPE,
         "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
         "hidden_act": "silu", "torch_dtype": "bfloat16"}
        """
            .replace("SHAPE", shape);
    Path model = Files.createDirectory(folder.resolve(name));
    SparseCheckpoint.write(model, config, 1);
    return model;
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
  void theTableOfTheDocumentationHolds() throws IOException {
    PruneRequest loop =
        PruneRequest.of(Goal.threshold(0.65))
            .withSearch(new SearchSettings(null, null, null, null, 4, null, 1, null, null, null));
    PruneRequest size = PruneRequest.of(Goal.layers(6)).withFit(furtherText());
    PruneRequest fit = size.withRule("fit").withFromPlan(without(llama3, 2, 4));
    // Trained layers gain nothing here, so that the fit ends behind the last gap.
    PruneRequest refine = size.withRule("refine").withFromPlan(without(llama3, 1, 5, 2));
    PruneRequest earlier = refine.withFromPlan(without(llama3, 1, 5, 1));
    Map<String, Work> rows = new LinkedHashMap<>();
    rows.put(
        "`--threshold 0.65 --merge-layers 4 --rule replace`, no merge accepted",
        asked(llama3, loop));
    rows.put("the same with `--rule rdsc`", asked(llama3, loop.withRule("rdsc")));
    rows.put("`--target-layers 6 --rule drop`", asked(llama3, size.withRule("drop")));
    rows.put("`--from-plan` (layers 5 and 6 removed), `--rule fit`", asked(llama3, fit));
    Work refined = asked(llama3, refine);
    rows.put("`--from-plan` (layers 3 and 6 removed), `--rule refine`", refined);
    rows.put(
        "one layer more between the gaps (layers 2 and 6 removed), `--rule refine`",
        asked(llama3, earlier).less(refined));
    rows.put(
        "`--from-plan`, `--rule drop --heal-tokens 4096 --rate 1e-4`",
        asked(
            llama3,
            PruneRequest.of(Goal.layers(6))
                .withRule("drop")
                .withFromPlan(without(llama3, 2, 4))
                .withHeal(training(4096, null, HealSettings.Layers.BEHIND))));
    PruneRequest shallow =
        PruneRequest.of(Goal.layers(23)).withRule("drop").withFromPlan(without(smolLm2, 7, 11));
    HealSettings.Layers all = HealSettings.Layers.ALL;
    rows.put(
        "SmolLM2-135M at 23 layers: 4,096 tokens more of"
            + " `--heal-tokens N --step-tokens 1024 --heal-layers all`",
        asked(smolLm2, shallow.withHeal(training(6144, 1024, all)))
            .less(asked(smolLm2, shallow.withHeal(training(2048, 1024, all)))));
    rows.put(
        "the same with `--step-tokens 4096`",
        asked(smolLm2, shallow.withHeal(training(8192, 4096, all)))
            .less(asked(smolLm2, shallow.withHeal(training(4096, 4096, all)))));
    rows.put(
        "Llama 2 7B: `--from-plan`, `--rule refine`",
        asked(llama2, refine.withFromPlan(without(llama2, 1, 5, 2))));
    rows.put("`laco eval` on 8,192 tokens", evaluated(llama3));
    String documented =
        Files.readString(TABLE)
            .lines()
            .filter(
                line -> rows.keySet().stream().anyMatch(job -> line.startsWith("| " + job + " |")))
            .collect(Collectors.joining("\n"));
    String counted =
        rows.entrySet().stream()
            .map(row -> "| " + row.getKey() + " | " + row.getValue().cells() + " |")
            .collect(Collectors.joining("\n"));
    assertEquals(documented, counted, TABLE.toString());
  }

  /**
   * A file with the plan that lacks some layers behind each of some layers.
   *
   * @param bases the last one first
   */
  private static Path without(Path checkpoint, int followers, int... bases) throws IOException {
    Path file = checkpoint.resolve("without-" + followers + Arrays.toString(bases) + ".json");
    try (Model model = Model.open(checkpoint)) {
      CollapsePlan plan = CollapsePlan.identity(PlanApplier.source(model.checkpoint()));
      for (int base : bases) {
        plan = plan.fold(base, followers, MergeRule.DROP, NormsPolicy.BASE);
      }
      Files.writeString(file, plan.toJsonText());
    }
    return file;
  }

  /** What a device was asked for, by name. */
  private record Work(Map<String, Long> counts) {
    private long of(String name) {
      return counts.getOrDefault(name, 0L);
    }

    Work less(Work other) {
      Map<String, Long> less = new TreeMap<>(counts);
      other.counts.forEach((name, count) -> less.merge(name, -count, Long::sum));
      return new Work(less);
    }

    /** The cells of a row; the last two are seconds that are reckoned. */
    String cells() {
      double narrow = of("operations of products in 16 bits");
      double wide = of("operations of products in f32");
      double systems = of("operations of systems in f64");
      return String.format(
          Locale.ROOT,
          "%,d | %,d | %,d | %,d | %,d | %,.1f MB | %,.1f GB | %,.1f | %,.1f | %,.1f | %.2f | %.2f",
          of("launches"),
          of("products"),
          of("waits"),
          of("allocations"),
          of("downloads"),
          of("downloaded bytes") / 1e6,
          of("uploaded bytes") / 1e9,
          narrow / 1e12,
          wide / 1e12,
          systems / 1e12,
          narrow / OPERATIONS_IN_16_BITS + wide / OPERATIONS_IN_F32 + systems / OPERATIONS_IN_F64,
          (of("uploaded bytes") + of("downloaded bytes")) / BUS_BYTES);
    }
  }

  private static Work asked(Path model, PruneRequest request) {
    Work before = counted();
    prune(model, request);
    return counted().less(before);
  }

  private static Work evaluated(Path checkpoint) {
    Work before = counted();
    try (Model model = Model.open(checkpoint)) {
      new EvaluateJob(
              model,
              DeviceSettings.of("cuda"),
              new EvaluateRequest.Tokens(folder.resolve("fit.json")))
          .run();
    }
    return counted().less(before);
  }

  private static FitSettings furtherText() {
    return new FitSettings(folder.resolve("fit.json"), null);
  }

  private static HealSettings training(
      long tokens, @Nullable Integer stepTokens, HealSettings.Layers layers) {
    return new HealSettings(
        List.of(folder.resolve("fit.json")),
        0L,
        tokens,
        stepTokens,
        1e-4,
        null,
        layers,
        null,
        null,
        null,
        null,
        null);
  }

  private static void prune(Path checkpoint, PruneRequest request) {
    TextSettings texts =
        new TextSettings(
            folder.resolve("calibration.json"), null, folder.resolve("evaluation.json"));
    try (Model model = Model.open(checkpoint);
        PruneJob job = new PruneJob(model, DeviceSettings.of("cuda"), request.withTexts(texts))) {
      job.run();
    }
  }

  private static Work counted() {
    Map<String, Long> work = EmulatedDevice.work();
    work.put("launches", EmulatedDevice.launches());
    work.put("waits", EmulatedDevice.synchronizations());
    work.put("allocations", EmulatedDevice.allocations());
    return new Work(work);
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
