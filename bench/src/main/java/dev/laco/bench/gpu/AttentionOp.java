package dev.laco.bench.gpu;

import static dev.laco.model.DType.BF16;
import static dev.laco.model.DType.F16;
import static dev.laco.model.DType.F32;

import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.bench.Target;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** {@code attention}: causal, over packed sequences. */
final class AttentionOp implements Op {
  /** Of the product in the same dtype, causal operations counted once. */
  private static final double TARGET = 0.35;

  @Override
  public String name() {
    return "attention";
  }

  @Override
  public List<Variant> variants() {
    return Stream.of("_v1", "_v2", "_v4", "_v3")
        .map(version -> "laco_attention_%s" + version)
        .flatMap(
            pattern ->
                Variant.of(
                    "attention",
                    pattern,
                    pattern.endsWith("_v1") ? new DType[] {F32} : new DType[] {F16, BF16})
                    .stream())
        .toList();
  }

  /** The versions for tensor cores take heads up to a width each. */
  @Override
  public boolean takes(Variant variant, Sizes sizes) {
    return variant.dtype() == F32 || sizes.config().headDim() <= Version.of(variant).width();
  }

  /**
   * How a version for tensor cores is launched, as {@code cuda/attention.cu} has it.
   *
   * @param width of the widest heads
   * @param threads of a block
   */
  private record Version(int width, int threads, int sharedBytes) {
    static Version of(Variant variant) {
      return switch (variant.name().charAt(variant.name().length() - 1)) {
        case '2' -> new Version(64, 256, 24 << 10);
        case '3' -> new Version(128, 128, 48 << 10);
        default -> new Version(256, 256, 96 << 10);
      };
    }
  }

  @Override
  public List<Sizes> timed(Sizes trial, Sizes large) {
    return List.of(trial, large);
  }

  @Override
  public @Nullable Target target(Variant variant, Sizes sizes, BenchDevice card) {
    return variant.name().endsWith("_bf16_v3") && sizes.isLarge() ? Target.ofCeiling(TARGET) : null;
  }

  @Override
  public Job prepare(Variant variant, Sizes sizes, Lab lab) {
    ModelConfig config = sizes.config();
    PackedSequences packed = sizes.packed();
    AttentionSpec spec =
        new AttentionSpec(
            config.numAttentionHeads(),
            config.numKeyValueHeads(),
            config.headDim(),
            sizes.window(),
            new LogitSpec(1 / Math.sqrt(config.headDim()), 0),
            variant.dtype());
    long width = (long) spec.numHeads() * spec.headDim();
    long keyWidth = (long) spec.numKeyValueHeads() * spec.headDim();
    int sequences = sizes.lengths().size();
    int keys = packed.keyOffsets()[sequences];
    Tensor query = lab.random(F32, sizes.tokens(), width, 1);
    Tensor key = lab.random(variant.dtype(), keys, keyWidth, 1);
    Tensor value = lab.random(variant.dtype(), keys, keyWidth, 1);
    Tensor out = lab.random(F32, sizes.tokens(), width, 1);
    return new Job(lab)
        .samples(Samples.ofLastQueries(packed, query, out).keysOf(packed, key, value))
        .launches(
            grid(variant, spec, sizes),
            new Arguments()
                .pointer(query)
                .pointer(key)
                .pointer(value)
                .pointer(out)
                .pointer(0)
                .pointer(0)
                .pointer(lab.table(packed.offsets()))
                .pointer(lab.table(packed.keyOffsets()))
                .pointer(lab.table(packed.past()))
                .pointer(0)
                .int32(spec.numHeads())
                .int32(spec.numKeyValueHeads())
                .int32(spec.headDim())
                .int32(spec.slidingWindow())
                .float32(spec.scores().scale())
                .float32(spec.scores().softCap()))
        .moves(
            4.0 * query.elements() + 2.0 * variant.dtype().byteSize() * key.elements(),
            4.0 * out.elements())
        .multiplies(variant.dtype(), operations(sizes, spec))
        .expects(
            reference -> {
              try (TokenBatch batch = reference.batch(packed)) {
                reference
                    .backend()
                    .attention(
                        reference.of(query),
                        reference.widened(reference.of(key)),
                        reference.widened(reference.of(value)),
                        null,
                        spec,
                        batch,
                        reference.of(out));
              }
            },
            tolerance(variant.dtype()),
            out);
  }

  private static Grid grid(Variant variant, AttentionSpec spec, Sizes sizes) {
    long rows = (long) sizes.longest() * spec.numHeads() / spec.numKeyValueHeads();
    int sequences = sizes.lengths().size();
    if (variant.dtype() == F32) {
      int shared = 192 * 32 * Math.ceilDiv(spec.headDim(), 32) + 512;
      return new Grid(Math.ceilDiv(rows, 16), spec.numKeyValueHeads(), sequences, 128, shared);
    }
    Version version = Version.of(variant);
    return new Grid(
        Math.ceilDiv(rows, 128),
        spec.numKeyValueHeads(),
        sequences,
        version.threads(),
        version.sharedBytes());
  }

  /** Scores, and weighted values, of every query with the keys that it sees. */
  private static double operations(Sizes sizes, AttentionSpec spec) {
    double pairs = sizes.lengths().stream().mapToDouble(n -> n * (n + 1.0) / 2).sum();
    return pairs * spec.numHeads() * 4 * spec.headDim();
  }

  /**
   * Inputs and weights are rounded to the dtype, whose last place this is, on average a part of it.
   */
  private static double tolerance(DType dtype) {
    return switch (dtype) {
      case F32 -> 5e-6;
      case F16 -> 1e-3;
      case BF16 -> 8e-3;
    };
  }
}
