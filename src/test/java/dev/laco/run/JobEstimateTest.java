package dev.laco.run;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.DeviceInfo;
import dev.laco.Fixtures;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.backend.Backend;
import dev.laco.checkpoint.SparseCheckpoint;
import dev.laco.collapse.BlockSettings;
import dev.laco.collapse.FitRule;
import dev.laco.fit.QuickFits;
import dev.laco.model.DType;
import dev.laco.text.FitText;
import dev.laco.text.TextChunks;
import dev.laco.text.TextChunks.Chunk;
import java.io.IOException;
import java.lang.reflect.Proxy;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** How long a job is said to take, by the rates of devices that are not there. */
class JobEstimateTest {
  /** Two threads of a Xeon with AMX. */
  private static final double RATE = 1e12;

  private Model model;

  @BeforeEach
  void open() {
    model = Model.open(Fixtures.STORYTELLER);
  }

  @AfterEach
  void close() {
    model.close();
  }

  /** A device that can only say how fast it is: a processor of two threads. */
  private static Backend processor(double rate) {
    return device(DeviceInfo.inHostMemory(DeviceInfo.Kind.CPU, "cpu"), rate);
  }

  private static Backend device(DeviceInfo info, double rate) {
    return device(info, rate, rate / 3);
  }

  private static Backend device(DeviceInfo info, double rate, double f64) {
    return (Backend)
        Proxy.newProxyInstance(
            JobEstimateTest.class.getClassLoader(),
            new Class<?>[] {Backend.class},
            (proxy, method, arguments) ->
                switch (method.getName()) {
                  case "operationsPerSecond" -> rate;
                  case "productType", "keyValueType" -> DType.BF16;
                  case "f64OperationsPerSecond" -> f64;
                  case "info" -> info;
                  case "hostThreads" -> 2;
                  default -> throw new UnsupportedOperationException(method.getName());
                });
  }

  @Test
  void aSmallModelTakesLongerThanItsProducts() {
    DeviceInfo gpu =
        new DeviceInfo(DeviceInfo.Kind.CUDA, "cuda", new DeviceInfo.Memory(1L << 30, 3e12));
    double layers = new JobEstimate(model, processor(RATE)).fit(FitRule.ALIGN, 10_000, 15, true);
    double products =
        new JobEstimate(model, device(gpu, RATE)).fit(FitRule.ALIGN, 10_000, 15, true);
    assertTrue(layers > 1.8 * products, layers + " and " + products);
    // However fast products are.
    assertTrue(new JobEstimate(model, processor(1e18)).pass(1_000_000, 16) > 10);
  }

  /** The systems of the search in closed form are solved in f64. */
  @Test
  void aCardWhoseF64IsSlowSearchesLonger() {
    DeviceInfo gpu =
        new DeviceInfo(DeviceInfo.Kind.CUDA, "cuda", new DeviceInfo.Memory(1L << 30, 1e12));
    BlockSettings blocks = new BlockSettings(1, 16, 1, 3);
    FitText text = JobTexts.fit(JobTexts.fitSource(model, null), model, 1 << 17);
    double usual = new JobEstimate(model, device(gpu, 5e13)).blocks(blocks, text);
    double slow = new JobEstimate(model, device(gpu, 5e13, 5e13 / 64)).blocks(blocks, text);
    assertTrue(slow > 1.5 * usual, slow + " and " + usual);
  }

  @Test
  void normsAreTrainedWhereNoTrainingFollows() {
    JobEstimate estimate = new JobEstimate(model, processor(RATE));
    double trained = estimate.fit(FitRule.REFINE, 131_072, 12, true);
    double alone = estimate.fit(FitRule.REFINE, 131_072, 12, false);
    assertTrue(alone > 1.02 * trained && alone < 1.5 * trained, alone + " and " + trained);
    // A short text is left to the layers, and other rules train nothing.
    assertEquals(
        estimate.fit(FitRule.REFINE, 20_000, 12, true),
        estimate.fit(FitRule.REFINE, 20_000, 12, false));
    assertEquals(
        estimate.fit(FitRule.ALIGN, 131_072, 12, true),
        estimate.fit(FitRule.ALIGN, 131_072, 12, false));
  }

  /** On two threads with products of f32 at that rate, choice and fit took 40 to 49 s. */
  @Test
  void theFirstExampleOfTheReadmeIsReckonedRight() {
    JobEstimate estimate = new JobEstimate(model, processor(0.13e12));
    FitText text = JobTexts.fit(JobTexts.fitSource(model, null), model, 1 << 17);
    JobProgress job = new JobProgress(System::nanoTime, JobProgress.StageListener.NONE);
    estimate.expectFit(job, "", QuickFits.of(FitRule.REFINE, false), 3, text, text.tokens(), 12);
    String said = job.expectation().orElseThrow();
    int seconds = Integer.parseInt(said.replaceFirst("about (\\d+) seconds: .*", "$1"));
    assertTrue(seconds >= 25 && seconds <= 65, said);
  }

  /** Of a rule with factors on penalties, the best one is chosen of a given model, too. */
  @Test
  void oneModelIsChosenInNoTime() {
    JobEstimate estimate = new JobEstimate(model, processor(RATE));
    FitText text = JobTexts.fit(JobTexts.fitSource(model, null), model, 1 << 17);
    assertEquals(0, estimate.choice(QuickFits.of(FitRule.REFINE, false), 1, text, 12));
    assertTrue(estimate.choice(QuickFits.of(FitRule.REFINE, false), 2, text, 12) > 0);
    assertTrue(estimate.choice(QuickFits.of(FitRule.FIT, false), 1, text, 12) > 0);
    // A training behind the fit makes up for any factor.
    assertEquals(0, estimate.choice(QuickFits.of(FitRule.FIT, true), 1, text, 12));
  }

  /** Linear attention takes no longer for a token of a long text than for one of a short text. */
  @Test
  void aLongTextTakesLongerInLayersWithASoftmaxAlone(@TempDir Path folder) throws IOException {
    double[] each = new double[2];
    double[] more = new double[2];
    for (int interval = 1; interval <= 4; interval += 3) {
      Path path = Files.createDirectory(folder.resolve("every" + interval));
      SparseCheckpoint.write(
          path,
          """
          {"architectures": ["Qwen3_5ForCausalLM"], "model_type": "qwen3_5_text", "hidden_size": 64,
           "intermediate_size": 64, "num_attention_heads": 16, "num_key_value_heads": 4,
           "num_hidden_layers": 4, "vocab_size": 1000, "full_attention_interval": INTERVAL}
          """
              .replace("INTERVAL", Integer.toString(interval)),
          4);
      try (Model opened = Model.open(path)) {
        JobEstimate estimate = new JobEstimate(opened, processor(RATE));
        List<Chunk> text = TextChunks.whole(List.of(new int[1 << 14]));
        each[interval / 4] = estimate.pass(1 << 14, 4);
        more[interval / 4] = estimate.pass(text, 4) - each[interval / 4];
      }
    }
    assertEquals(more[0], 4 * more[1], 1e-6 * more[0]);
    // Three of four layers have states of 32 heads, 128 by 128, in the place of pairs of tokens.
    double states = 2 * 3 * 6 * 32 * 128 * 128 / RATE;
    double pairs = 2 * 3 * 128 * 4 * 16 * 256 / RATE;
    assertEquals((1 << 14) * (states - pairs), each[1] - each[0], 1e-6 * each[0]);
  }

  /** In the shapes of Qwen3-30B-A3B: eight of 128 experts for a token, and all in a step. */
  @Test
  void aStepOfTrainingChangesAllExperts(@TempDir Path folder) throws IOException {
    SparseCheckpoint.write(
        folder,
        """
        {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 2048,
         "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128,
         "num_experts_per_tok": 8, "num_attention_heads": 32, "num_key_value_heads": 4,
         "head_dim": 128, "num_hidden_layers": 4, "vocab_size": 1000}
        """,
        4);
    try (Model mixture = Model.open(folder)) {
      JobEstimate estimate = new JobEstimate(mixture, processor(1e18));
      int tokens = 131_072;
      double steps = tokens / 512.0;
      double others = 120.0 * 3 * 2048 * 768;
      // Two of three layers, each with the values of gradients, means, squares and masters.
      double least = 2 * steps * others * 4 / (2 * 2e9);
      double seconds = estimate.fit(FitRule.RECONSTRUCT, tokens, 3, true);
      assertTrue(seconds > least && seconds < 4 * least, seconds + " and " + least);
    }
  }

  @Test
  void everyFitOfAComparisonIsCounted() {
    JobEstimate estimate = new JobEstimate(model, processor(RATE / 100));
    FitText text = JobTexts.fit(JobTexts.fitSource(model, null), model, 1 << 17);
    JobProgress job = new JobProgress(System::nanoTime, JobProgress.StageListener.NONE);
    estimate.expectFit(
        job, "laco-fit", QuickFits.of(FitRule.FIT, false), 13, text, text.tokens(), 12);
    estimate.expectFit(
        job, "laco-map", QuickFits.of(FitRule.MAP, false), 13, text, text.tokens(), 12);
    assertEquals(
        "choice, laco-fit|fit, laco-fit|choice, laco-map|fit, laco-map",
        job.expectation()
            .orElseThrow()
            .replaceFirst("about .*: ", "")
            .replaceAll(" \\d+(, |$)", "|")
            .replaceFirst("\\|$", ""));
  }
}
