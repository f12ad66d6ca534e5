package dev.laco.bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.Score;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSource;
import dev.laco.model.TensorSpec;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.transformer.RunningModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/**
 * A whole trial: fold two layers into a base, run the layers that differ from the original on the
 * calibration set, compare. SmolLM2-135M itself where {@code interop/make_smollm2.py} has made it,
 * else random weights of its shapes.
 */
public class TrialBenchmark extends Case {
  private static final int FOLLOWERS = 2;

  /** Tokens for the comparison with the reference backend, which is slow. */
  private static final int VERIFIED_TOKENS = 12;

  @Param("SmolLM2-135M")
  public String model;

  @Param({"bf16", "bf16-as-f32"})
  public String precision;

  @Param({"replace", "rdsc"})
  public String rule;

  /** Base layer: how many layers run depends on it. */
  @Param({"1", "27"})
  public int base;

  private TimedBackend timed;
  private TensorSource source;
  private ModelConfig config;
  private CollapsePlan original;
  private CollapsePlan candidate;
  private SweepScorer scorer;
  private Score score;
  private long trials;

  @Setup(Level.Trial)
  public void prepare() throws IOException {
    Precision dtypes = Precision.of(precision);
    timed = new TimedBackend(open(dtypes.compute()));
    openModel(dtypes.weights());
    original =
        CollapsePlan.identity(
            new CollapsePlan.Source(
                config.architecture().className(), config.numHiddenLayers(), "sha256:none"));
    MergeRule merge = MergeRule.parse(rule);
    candidate = original.fold(base, FOLLOWERS, merge, merge.defaultNorms());
    PackedSequences calibration = calibration();
    verify(calibration);
    scorer = scorer(timed.backend(), calibration);
    score = scorer.score(List.of(candidate)).getFirst();
    describe(calibration, Device.of(device).product(dtypes));
    timed.reset();
  }

  private void openModel(DType dtype) {
    Path directory = home().resolve("build").resolve(model);
    if (Files.isDirectory(directory)) {
      Checkpoint checkpoint = Checkpoint.open(directory);
      config = checkpoint.config();
      source = checkpoint;
    } else {
      config = ModelShape.of(model);
      source = new MadeUpModel(config, dtype, arena);
    }
  }

  private static Path home() {
    return Path.of(System.getProperty("laco.bench.home", "."));
  }

  private static PackedSequences calibration() throws IOException {
    Path file = home().resolve("src/test/resources/smollm2/tokens.json");
    return PackedSequences.of(
        Arrays.asList(
            new ObjectMapper()
                .convertValue(
                    new ObjectMapper().readTree(file.toFile()).get("calib"), int[][].class)));
  }

  private SweepScorer scorer(Backend on, PackedSequences sequences) {
    return new SweepScorer(
        new RunningModel(on, config, source), original.source(), sequences, SweepOptions.of(1));
  }

  private void verify(PackedSequences calibration) {
    PackedSequences few =
        PackedSequences.of(List.of(Arrays.copyOf(calibration.tokens(), VERIFIED_TOKENS)));
    double tolerance = Precision.of(precision) == Precision.BF16 ? 2e-3 : 1e-4;
    try (ReferenceBackend reference = new ReferenceBackend(timed.backend().compute());
        SweepScorer expected = scorer(reference, few);
        SweepScorer actual = scorer(timed.backend(), few)) {
      Values.requireClose(
          "similarity",
          actual.score(List.of(candidate)).getFirst().mean(),
          expected.score(List.of(candidate)).getFirst().mean(),
          tolerance);
    }
  }

  /** What a trial must do, and the same products by the library alone. */
  private void describe(PackedSequences calibration, DType product) {
    int from = candidate.sharedPrefix();
    int tokens = calibration.size();
    List<Ceilings.Product> products = new ArrayList<>();
    Map<Long, MemoryTensor> inputs = new HashMap<>();
    double bytes = 0;
    double operations = 0;
    for (var mix : candidate.layers().subList(from, candidate.depth())) {
      for (TensorSpec spec : config.architecture().layerTensors(config, mix.base())) {
        if (spec.isMatrix()) {
          HostTensor tensor = source.tensor(config.architecture().tensorName(mix.base(), spec));
          MemoryTensor x =
              inputs.computeIfAbsent(
                  spec.shape().getLast(),
                  width -> Values.random(arena, product, tokens, width, 1, width));
          products.add(new Ceilings.Product(x, in(product, MemoryTensor.of(tensor))));
          bytes += (double) tensor.data().byteSize() * mix.of(spec.group()).terms().size();
          operations += products.getLast().operations();
        }
      }
      for (int s = 0; s < calibration.sequences(); s++) {
        double pairs = calibration.length(s) * (calibration.length(s) + 1.0) / 2;
        operations += pairs * config.numAttentionHeads() * 4 * config.headDim();
      }
    }
    work(bytes, operations);
    ceilings().products("same products, library alone", products).largeProduct(product);
  }

  private MemoryTensor in(DType dtype, MemoryTensor weight) {
    if (weight.dtype() == dtype) {
      return weight;
    }
    MemoryTensor converted = arena.allocate(dtype, weight.rows(), weight.columns());
    for (long i = 0; i < weight.elements(); i++) {
      converted.set(i, weight.get(i));
    }
    return converted;
  }

  @Benchmark
  public Score trial() {
    trials++;
    Score again = scorer.score(List.of(candidate)).getFirst();
    if (!again.equals(score)) {
      throw new AssertionError("the score changed from " + score + " to " + again);
    }
    return again;
  }

  @Override
  Map<String, Double> seconds() {
    return timed.nanoseconds().entrySet().stream()
        .collect(Collectors.toMap(Map.Entry::getKey, e -> e.getValue() / 1e9 / trials));
  }

  @TearDown(Level.Trial)
  public void close() {
    scorer.close();
    if (source instanceof Checkpoint checkpoint) {
      checkpoint.close();
    }
  }
}
