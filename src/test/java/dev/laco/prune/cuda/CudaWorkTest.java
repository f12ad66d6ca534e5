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
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.ToLongFunction;
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
  void theTableOfTheDocumentationHolds() throws IOException {
    Path plan = folder.resolve("plan.json");
    try (Model model = Model.open(folder)) {
      Files.writeString(
          plan,
          CollapsePlan.identity(PlanApplier.source(model.checkpoint()))
              .fold(4, 2, MergeRule.DROP, NormsPolicy.BASE)
              .toJsonText());
    }
    PruneRequest loop =
        PruneRequest.of(Goal.threshold(0.65))
            .withSearch(new SearchSettings(null, null, null, null, 4, null, 1, null, null, null));
    PruneRequest size = PruneRequest.of(Goal.layers(6)).withFit(furtherText());
    Map<String, PruneRequest> jobs = new LinkedHashMap<>();
    jobs.put("`--threshold 0.65 --merge-layers 4 --rule replace`, no merge accepted", loop);
    jobs.put("the same with `--rule rdsc`", loop.withRule("rdsc"));
    jobs.put("`--target-layers 6 --rule drop`", size.withRule("drop"));
    for (String rule : List.of("fit", "refine")) {
      jobs.put(
          "`--from-plan` (layers 5 and 6 removed), `--rule " + rule + "`",
          size.withRule(rule).withFromPlan(plan));
    }
    jobs.put(
        "`--from-plan`, `--rule drop --heal-tokens 4096 --rate 1e-4`",
        PruneRequest.of(Goal.layers(6)).withRule("drop").withFromPlan(plan).withHeal(training()));
    List<String> rows = new ArrayList<>();
    jobs.forEach((name, request) -> rows.add("| " + name + " | " + asked(request) + " |"));
    String documented =
        Files.readString(TABLE)
            .lines()
            .filter(
                line -> jobs.keySet().stream().anyMatch(job -> line.startsWith("| " + job + " |")))
            .collect(Collectors.joining("\n"));
    assertEquals(documented, String.join("\n", rows), TABLE.toString());
  }

  /** The cells of a row. */
  private static String asked(PruneRequest request) {
    Map<String, Long> before = counted();
    prune(request);
    Map<String, Long> after = counted();
    ToLongFunction<String> work =
        name -> after.getOrDefault(name, 0L) - before.getOrDefault(name, 0L);
    return String.format(
        Locale.ROOT,
        "%,d | %,d | %,d | %,d | %,d | %,.1f MB | %,.1f | %,.1f | %,.1f",
        work.applyAsLong("launches"),
        work.applyAsLong("products"),
        work.applyAsLong("waits"),
        work.applyAsLong("allocations"),
        work.applyAsLong("downloads"),
        work.applyAsLong("downloaded bytes") / 1e6,
        work.applyAsLong("operations of products in 16 bits") / 1e12,
        work.applyAsLong("operations of products in f32") / 1e12,
        work.applyAsLong("operations of systems in f64") / 1e12);
  }

  private static FitSettings furtherText() {
    return new FitSettings(folder.resolve("fit.json"), null);
  }

  private static HealSettings training() {
    return new HealSettings(
        List.of(folder.resolve("fit.json")), 0L, 4096L, null, 1e-4, null, null, null, null);
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
