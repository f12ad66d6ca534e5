package dev.laco.bench.gpu;

import static dev.laco.model.DType.BF16;
import static dev.laco.model.DType.F32;

import dev.laco.backend.AttentionSpec;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.bench.Target;
import dev.laco.model.LogitSpec;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** {@code attention_gradient}: over whole sequences, of keys and values or of queries. */
final class AttentionGradientOp implements Op {
  /** Of the bf16 product, causal operations counted once, and products of both kernels. */
  private static final double TARGET = 0.3;

  private static final double TOLERANCE = 5e-6;

  /** Of gradients whose factors are rounded to bf16. */
  private static final double BF16_TOLERANCE = 1.2e-2;

  private static final int BLOCK = 128;

  @Override
  public String name() {
    return "attention_gradient";
  }

  @Override
  public List<Variant> variants() {
    return Stream.of("keys", "queries")
        .map(of -> "laco_attention_gradient_" + of)
        .flatMap(
            name ->
                Stream.of(
                    new Variant("attention_gradient", name + "_f32_v1", F32),
                    new Variant("attention_gradient", name + "_bf16_v2", BF16),
                    new Variant("attention_gradient", name + "_bf16_v3", BF16)))
        .toList();
  }

  /** The versions for tensor cores take heads up to a width each. */
  @Override
  public boolean takes(Variant variant, Sizes sizes) {
    return variant.dtype() == F32 || sizes.config().headDim() <= mostWidth(variant);
  }

  private static int mostWidth(Variant variant) {
    return variant.name().endsWith("_v2") ? 64 : 128;
  }

  @Override
  public List<Sizes> timed(Sizes trial, Sizes large) {
    return List.of(trial, large);
  }

  @Override
  public @Nullable Target target(Variant variant, Sizes sizes, BenchDevice card) {
    return variant.name().endsWith("_bf16_v3") && sizes.isLarge() ? Target.ofCeiling(TARGET) : null;
  }

  /** What attention gave, and the logarithms of its sums, are made up. */
  @Override
  public Job prepare(Variant variant, Sizes sizes, Lab lab) {
    boolean ofKeys = variant.name().contains("keys");
    ModelConfig config = sizes.config();
    PackedSequences packed =
        PackedSequences.of(sizes.lengths().stream().map(length -> new int[length]).toList());
    AttentionSpec spec =
        new AttentionSpec(
            config.numAttentionHeads(),
            config.numKeyValueHeads(),
            config.headDim(),
            sizes.window(),
            new LogitSpec(1 / Math.sqrt(config.headDim()), 0),
            variant.dtype());
    int group = spec.numHeads() / spec.numKeyValueHeads();
    long width = (long) spec.numHeads() * spec.headDim();
    long keyWidth = width / group;
    int tokens = sizes.tokens();
    Tensor query = lab.random(variant.dtype(), tokens, width, 1);
    Tensor key = lab.random(variant.dtype(), tokens, keyWidth, 1);
    Tensor value = lab.random(variant.dtype(), tokens, keyWidth, 1);
    Tensor out = lab.random(F32, tokens, width, 1);
    Tensor gradient = lab.random(variant.dtype(), tokens, width, 1);
    Tensor logSums = lab.random(F32, tokens, spec.numHeads(), 1);
    Tensor byQuery = lab.random(F32, tokens, width, 1);
    Tensor byKey = lab.random(F32, tokens, keyWidth, 1);
    Tensor byValue = lab.random(F32, tokens, keyWidth, 1);
    Arguments arguments =
        new Arguments()
            .pointer(query)
            .pointer(key)
            .pointer(value)
            .pointer(gradient)
            .pointer(logSums)
            .pointer(commons(gradient, out, spec, lab));
    if (ofKeys) {
      arguments.pointer(byKey).pointer(byValue);
    } else {
      arguments.pointer(byQuery);
    }
    long offsets = lab.table(packed.offsets());
    arguments
        .pointer(offsets)
        .pointer(offsets)
        .pointer(lab.table(packed.past()))
        .pointer(0)
        .int32(spec.numHeads())
        .int32(spec.numKeyValueHeads())
        .int32(spec.headDim())
        .int32(spec.slidingWindow())
        .float32(spec.scores().scale())
        .float32(spec.scores().softCap());
    long rows = ofKeys ? sizes.longest() : (long) sizes.longest() * group;
    boolean wide = variant.dtype() == F32;
    int own = wide ? 8 : 64;
    int shared =
        wide ? 192 * 32 * Math.ceilDiv(spec.headDim(), 32) + 512 : 512 * mostWidth(variant);
    Tensor[] all = {query, key, value, out, gradient, logSums, byQuery, byKey, byValue};
    Tensor[] results = ofKeys ? new Tensor[] {byKey, byValue} : new Tensor[] {byQuery};
    return new Job(lab)
        .launches(
            new Grid(
                Math.ceilDiv(rows, own),
                spec.numKeyValueHeads(),
                sizes.lengths().size(),
                BLOCK,
                shared),
            arguments)
        .moves(RowOps.bytes(query, key, value, gradient), RowOps.bytes(results))
        .multiplies(variant.dtype(), operations(sizes, spec, ofKeys))
        .expects(
            on -> {
              MemoryTensor unused = on.zeros(F32, on.of(query).rows(), width);
              MemoryTensor unusedKey = on.zeros(F32, on.of(key).rows(), keyWidth);
              try (TokenBatch batch = on.batch(packed)) {
                on.backend()
                    .training()
                    .attentionGradient(
                        on.widened(on.of(query)),
                        on.widened(on.of(key)),
                        on.widened(on.of(value)),
                        spec,
                        batch,
                        on.of(out),
                        on.of(logSums),
                        on.widened(on.of(gradient)),
                        ofKeys ? unused : on.of(byQuery),
                        ofKeys ? on.of(byKey) : unusedKey,
                        ofKeys ? on.of(byValue) : unusedKey);
              }
            },
            wide ? TOLERANCE : BF16_TOLERANCE,
            results)
        .samples(ofKeys ? Samples.ofLastTokens(packed, all) : Samples.ofFirstTokens(packed, all));
  }

  /** The address of {@code gradient . out} of each token and head. */
  private static long commons(Tensor gradient, Tensor out, AttentionSpec spec, Lab lab) {
    float[] commons = new float[Math.toIntExact(gradient.elements() / spec.headDim())];
    try (MemoryArena memory = new MemoryArena()) {
      MemoryTensor by = Samples.ALL.download(lab, gradient, memory);
      MemoryTensor from = Samples.ALL.download(lab, out, memory);
      for (int i = 0; i < commons.length; i++) {
        double sum = 0;
        for (long c = (long) i * spec.headDim(); c < (i + 1L) * spec.headDim(); c++) {
          sum += (double) by.get(c) * from.get(c);
        }
        commons[i] = (float) sum;
      }
    }
    return lab.table(MemorySegment.ofArray(commons));
  }

  /** Products of every query with the keys that it sees: four for keys and values, or three. */
  private static double operations(Sizes sizes, AttentionSpec spec, boolean ofKeys) {
    double pairs = sizes.lengths().stream().mapToDouble(n -> n * (n + 1.0) / 2).sum();
    return pairs * spec.numHeads() * (ofKeys ? 8 : 6) * spec.headDim();
  }
}
