package dev.laco.cli.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.cuda.CudaBackend;
import dev.laco.backend.cuda.EmulatedDevice;
import dev.laco.backend.cuda.FreshDevice;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.WeightPool;
import dev.laco.cli.Laco;
import dev.laco.model.DType;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSource;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.Workspace;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Models that are larger than what the device gives: nothing comes out differently. */
@ExtendWith(FreshDevice.class)
class CudaStreamingTest {
  private static final Pattern NEEDED =
      Pattern.compile(
          "laco: buffers and the weights that are in use at once need ([0-9.]+) (.B), --memory gives"
              + " 1\\.0 kB; give more memory, or use .*\\R");

  @TempDir Path folder;

  @ParameterizedTest
  @CsvSource({
    "llama_tied_rope3, replace, auto",
    "llama_untied_gqa, replace, f32",
    "qwen3_qknorm, rdsc, f32"
  })
  void theSmallestPoolGivesTheSameDecisionsAndFiles(String fixture, String rule, String compute) {
    Object[] options = {
      "--rule",
      rule,
      "--compute",
      compute,
      "--threshold",
      0.6,
      "--interval",
      4,
      "--calibration",
      Fixtures.tokens(folder, fixture, "calib"),
      "--eval-tokens",
      Fixtures.tokens(folder, fixture, "eval")
    };
    ProgramRun expected = prune(fixture, "whole", options);
    ProgramRun refused = prune(fixture, "no", with(options, "--memory", "1KB"));
    Matcher needed = NEEDED.matcher(refused.err());
    assertTrue(needed.matches(), refused.err());
    assertEquals(4, refused.code());
    String budget = Double.parseDouble(needed.group(1)) + 0.3 + needed.group(2);
    ProgramRun found = prune(fixture, "streamed", with(options, "--memory", budget));
    assertEquals(
        Laco.decisions(expected.succeeded().json()), Laco.decisions(found.succeeded().json()));
    TestFiles.assertSameTree(folder.resolve("whole"), folder.resolve("streamed"));
  }

  private ProgramRun prune(String fixture, String out, Object... options) {
    Object[] start = {
      "prune", Fixtures.model(fixture), folder.resolve(out), "--json", "--quiet", "--device", "cuda"
    };
    return Laco.run(with(start, options));
  }

  private static Object[] with(Object[] arguments, Object... more) {
    Object[] all = Arrays.copyOf(arguments, arguments.length + more.length);
    System.arraycopy(more, 0, all, arguments.length, more.length);
    return all;
  }

  @Test
  void oncePastTheFirstLayersPassesAllocateNothing() {
    try (Checkpoint model = Checkpoint.open(Fixtures.model("llama_tied_rope3"));
        CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM)) {
      long layer = model.totalBytes() / model.config().numHiddenLayers();
      WeightPool pool =
          new WeightPool(
              model,
              model,
              3 * layer,
              "given are ",
              name -> backend.release(List.of(model.file(name).tensor(name))));
      List<float[]> whole = passes(backend, model, model);
      List<float[]> streamed = passes(backend, model, pool);
      for (int i = 0; i < whole.size(); i++) {
        assertTrue(Arrays.equals(whole.get(i), streamed.get(i)), "pass " + i);
      }
    }
  }

  /** The last states of three passes from layer 1 on; the last allocates nothing. */
  private static List<float[]> passes(CudaBackend backend, Checkpoint model, TensorSource source) {
    PackedSequences sequences = PackedSequences.of(Fixtures.tokens("llama_tied_rope3", "calib"));
    CausalLm lm = new RunningModel(backend, model.config(), source).original();
    float[] states = new float[sequences.size() * model.config().hiddenSize()];
    try (TensorArena arena = backend.arena();
        Workspace work = new Workspace(backend, model.config(), sequences.size());
        TokenBatch batch = lm.batch(sequences)) {
      Tensor x = arena.allocate(DType.F32, sequences.size(), model.config().hiddenSize());
      lm.embed(batch, x);
      float[][] results = new float[3][];
      for (int pass = 0; pass < results.length; pass++) {
        long allocations = EmulatedDevice.allocations();
        for (int layer = 0; layer < lm.depth(); layer++) {
          lm.layer(layer, x, batch, work, null);
        }
        if (pass == results.length - 1) {
          assertEquals(allocations, EmulatedDevice.allocations());
        }
        backend.download(x, states);
        results[pass] = states.clone();
      }
      return List.of(results);
    }
  }
}
