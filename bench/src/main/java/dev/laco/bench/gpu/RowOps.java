package dev.laco.bench.gpu;

import static dev.laco.model.DType.BF16;
import static dev.laco.model.DType.F16;
import static dev.laco.model.DType.F32;

import dev.laco.backend.KernelCode;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.cuda.CudaBackend;
import dev.laco.bench.Target;
import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import dev.laco.model.NormSpec;
import dev.laco.model.PackedSequences;
import dev.laco.model.RotaryPairs;
import dev.laco.model.RouterSpec;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** The ops that go through their data once, in rows of a token each. */
final class RowOps {
  static final double EPS = 1e-5;
  static final NormSpec NORM = new NormSpec(EPS, 1);

  /** A copy, or one operation that is rounded correctly. */
  private static final double EXACT = 0;

  /** A handful of f32 operations an element, as the engine's contract test has it. */
  private static final double ELEMENTWISE = 1e-6;

  /** Sums of up to some thousand f32 products. */
  static final double SUMS = 5e-6;

  /** Of the stream: what norms, rotation and activation are to reach. */
  private static final double TARGET = 0.85;

  static final int BLOCK = 256;
  private static final int WARP = 32;

  /** Experts of a layer, and those that a token is given to, as in Qwen3-30B-A3B. */
  private static final int EXPERTS = 128;

  private static final int CHOSEN = 8;

  /** Elements that a block of an elementwise kernel takes. */
  static final long ELEMENTS = 1024;

  /** Columns that a block of their sums takes. */
  static final long COLUMNS = 32;

  /** Bytes that a block takes which looks for NaN. */
  private static final long CHECKED_BYTES = 16384;

  /** Tokens that a convolution reads for one, and tokens that a thread of it takes. */
  static final int CONVOLVED = 4;

  static final int RUN = 16;

  /** Elements that a block of a conversion takes. */
  private static final long CONVERTED = 2048;

  private RowOps() {}

  static List<Op> all() {
    DType[] weights = {F32, F16, BF16};
    return List.of(
        new RowOp("embed", null, RowOps::embed, of("embed", weights)),
        rowwise("rms_norm", TARGET, RowOps::rmsNorm, of("norm", "rms_norm", weights)),
        rowwise("add_rms_norm", TARGET, RowOps::addRmsNorm, of("norm", "add_rms_norm", weights)),
        rowwise("layer_norm", TARGET, RowOps::layerNorm, of("norm", "layer_norm", weights)),
        rowwise(
            "add_layer_norm", TARGET, RowOps::addLayerNorm, of("norm", "add_layer_norm", weights)),
        rowwise("inverse_rms", TARGET, RowOps::inverseRms, of("norm", "inverse_rms", weights)),
        rowwise("rope", TARGET, rope(RotaryPairs.HALVES), of("rope", F32)),
        rowwise(
            "rope_neighbours",
            TARGET,
            rope(RotaryPairs.NEIGHBOURS),
            of("rope", "rope_neighbours", F32)),
        rowwise("norm_rope", TARGET, RowOps::normRope, of("rope", "norm_rope", weights)),
        rowwise("gated_activation", TARGET, RowOps::gatedActivation, of("gated_activation", F32)),
        rowwise(
            "clamped_gate", null, RowOps::clampedGate, of("gated_activation", "clamped_gate", F32)),
        rowwise("route", null, RowOps::route, of("route", F32)),
        rowwise("add_rows", null, RowOps::addRows, of("add_rows", F32)),
        rowwise(
            "append_key_values",
            null,
            RowOps::appendKeyValues,
            Variant.of("append_key_values", "laco_append_key_values_v1", BF16)),
        rowwise("add", null, RowOps::add, of("add", F32)),
        rowwise("add_bias", null, RowOps::addBias, of("add", "add_bias", weights)),
        rowwise("logits", null, RowOps::logits, Variant.of("logits", "laco_logits_%s_v2", F32)),
        new RowOp(
            "causal_convolution", null, RowOps::causalConvolution, of("causal_convolution", F32)),
        new RowOp("copy_columns", null, RowOps::copyColumns, of("copy_columns", F32)),
        new RowOp("gather_columns", null, RowOps::gatherColumns, of("gather_columns", weights)),
        new RowOp("non_finite", null, RowOps::nonFinite, of("non_finite", weights)),
        rowwise("multiply", null, RowOps::multiply, of("multiply", F32)),
        rowwise("scaled_difference", null, RowOps::scaledDifference, of("scaled_difference", F32)),
        new RowOp("add_squares", null, RowOps::addSquares, of("column_sums", "add_squares", F32)),
        rowwise("widen", null, RowOps::widen, of("convert", "widen", F16, BF16)),
        rowwise(
            "narrow", null, RowOps::narrow, Variant.of("convert", "laco_narrow_%s_v2", F16, BF16)));
  }

  /** One whose rows are made of the rows at the same place. */
  static RowOp rowwise(
      String name, @Nullable Double share, Preparation preparation, List<Variant> variants) {
    return new RowOp(
        name,
        share,
        (dtype, sizes, lab) ->
            preparation.prepare(dtype, sizes, lab).samples(Samples.ofTokens(sizes, lab)),
        variants);
  }

  private static List<Variant> of(String file, DType... dtypes) {
    return of(file, file, dtypes);
  }

  static List<Variant> of(String file, String op, DType... dtypes) {
    return Variant.of(file, "laco_" + op + "_%s_v1", dtypes);
  }

  /** Makes the job of an op. */
  interface Preparation {
    Job prepare(DType dtype, Sizes sizes, Lab lab);
  }

  /**
   * One of them.
   *
   * @param share of the stream at many tokens that it is to reach
   */
  record RowOp(String name, @Nullable Double share, Preparation preparation, List<Variant> variants)
      implements Op {
    @Override
    public List<Sizes> timed(Sizes trial, Sizes large) {
      return List.of(trial, large);
    }

    @Override
    public Job prepare(Variant variant, Sizes sizes, Lab lab) {
      return preparation.prepare(variant.dtype(), sizes, lab);
    }

    @Override
    public @Nullable Target target(Variant variant, Sizes sizes, BenchDevice card) {
      return share != null && sizes.isLarge() ? Target.ofCeiling(share) : null;
    }
  }

  private static Job embed(DType dtype, Sizes sizes, Lab lab) {
    Tensor table = lab.random(dtype, sizes.config().vocabSize(), sizes.hidden(), 1);
    Tensor out = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    int[] tokens = sizes.packed().tokens();
    List<Long> looked =
        Samples.of(tokens.length).stream().map(at -> (long) tokens[at.intValue()]).toList();
    return new Job(lab)
        .samples(Samples.ofTokens(sizes, lab).rows(looked, table))
        .launches(
            Grid.of(sizes.tokens(), BLOCK),
            new Arguments()
                .pointer(table)
                .pointer(lab.table(tokens))
                .pointer(out)
                .int64(sizes.hidden())
                .float32(1)
                .int32(KernelCode.of(F32)))
        .moves((double) out.elements() * dtype.byteSize(), bytes(out))
        .expects(
            reference -> {
              try (TokenBatch batch = reference.batch(sizes.packed())) {
                reference.backend().embed(reference.of(table), batch, 1, reference.of(out));
              }
            },
            EXACT,
            out);
  }

  private static Job rmsNorm(DType dtype, Sizes sizes, Lab lab) {
    Tensor x = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor weight = lab.random(dtype, 1, sizes.hidden(), 1);
    Tensor out = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    return new Job(lab)
        .launches(
            Grid.of(x.rows(), CudaBackend.rowBlock(x.columns())),
            new Arguments()
                .pointer(x)
                .pointer(weight)
                .pointer(out)
                .int64(x.columns())
                .float32(NORM.eps())
                .float32(NORM.offset())
                .int32(KernelCode.of(F32)))
        .moves(bytes(x, weight), bytes(out))
        .expects(
            reference ->
                reference
                    .backend()
                    .rmsNorm(reference.of(x), reference.of(weight), NORM, reference.of(out)),
            ELEMENTWISE,
            out);
  }

  /** As a layer calls it, with the result in place of the second summand. */
  private static Job addRmsNorm(DType dtype, Sizes sizes, Lab lab) {
    Tensor x = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor y = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor weight = lab.random(dtype, 1, sizes.hidden(), 1);
    return new Job(lab)
        .launches(
            Grid.of(x.rows(), CudaBackend.rowBlock(x.columns())),
            new Arguments()
                .pointer(x)
                .pointer(y)
                .pointer(weight)
                .pointer(y)
                .int64(x.columns())
                .float32(NORM.eps())
                .float32(NORM.offset())
                .int32(KernelCode.of(F32)))
        .moves(bytes(x, y, weight), bytes(x, y))
        .expects(
            reference ->
                reference
                    .backend()
                    .addRmsNorm(
                        reference.of(x),
                        reference.of(y),
                        reference.of(weight),
                        NORM,
                        reference.of(y)),
            ELEMENTWISE,
            x,
            y);
  }

  private static Job layerNorm(DType dtype, Sizes sizes, Lab lab) {
    Tensor x = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor weight = lab.random(dtype, 1, sizes.hidden(), 1);
    Tensor bias = lab.random(dtype, 1, sizes.hidden(), 1);
    Tensor out = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    return new Job(lab)
        .launches(
            Grid.of(x.rows(), CudaBackend.rowBlock(x.columns())),
            new Arguments()
                .pointer(x)
                .pointer(weight)
                .pointer(bias)
                .pointer(out)
                .int64(x.columns())
                .int32(1)
                .float32(EPS)
                .float32(NORM.offset())
                .int32(KernelCode.of(F32)))
        .moves(bytes(x, weight, bias), bytes(out))
        .expects(
            reference ->
                reference
                    .backend()
                    .layerNorm(
                        reference.of(x),
                        reference.of(weight),
                        reference.of(bias),
                        NORM,
                        reference.of(out)),
            ELEMENTWISE,
            out);
  }

  private static Job addLayerNorm(DType dtype, Sizes sizes, Lab lab) {
    Tensor x = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor y = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor weight = lab.random(dtype, 1, sizes.hidden(), 1);
    Tensor bias = lab.random(dtype, 1, sizes.hidden(), 1);
    return new Job(lab)
        .launches(
            Grid.of(x.rows(), CudaBackend.rowBlock(x.columns())),
            new Arguments()
                .pointer(x)
                .pointer(y)
                .pointer(weight)
                .pointer(bias)
                .pointer(y)
                .int64(x.columns())
                .float32(EPS)
                .float32(NORM.offset())
                .int32(KernelCode.of(F32)))
        .moves(bytes(x, y, weight, bias), bytes(x, y))
        .expects(
            reference ->
                reference
                    .backend()
                    .addLayerNorm(
                        reference.of(x),
                        reference.of(y),
                        reference.of(weight),
                        reference.of(bias),
                        NORM,
                        reference.of(y)),
            ELEMENTWISE,
            x,
            y);
  }

  private static Job inverseRms(DType dtype, Sizes sizes, Lab lab) {
    Tensor x = lab.random(dtype, sizes.tokens(), sizes.hidden(), 1);
    Tensor out = lab.random(F32, sizes.tokens(), 1, 1);
    return new Job(lab)
        .launches(
            Grid.of(x.rows(), CudaBackend.rowBlock(x.columns())),
            new Arguments().pointer(x).pointer(out).int64(x.columns()).float32(EPS))
        .moves(bytes(x), bytes(out))
        .expects(
            reference -> {
              for (long r = 0; r < reference.of(x).rows(); r++) {
                double squares = 0;
                for (long i = r * x.columns(); i < (r + 1) * x.columns(); i++) {
                  double value = reference.of(x).get(i);
                  squares += value * value;
                }
                double mean = Math.max(squares / x.columns(), EPS);
                reference.of(out).set(r, 1 / Math.sqrt(mean));
              }
            },
            ELEMENTWISE,
            out);
  }

  private static Preparation rope(RotaryPairs layout) {
    return (_, sizes, lab) -> rope(layout, sizes, lab);
  }

  private static Job rope(RotaryPairs layout, Sizes sizes, Lab lab) {
    Heads heads = new Heads(sizes, lab);
    return new Job(lab)
        .launches(
            Grid.of(heads.x.rows(), BLOCK),
            new Arguments()
                .pointer(heads.x)
                .pointer(heads.cosine)
                .pointer(heads.sine)
                .pointer(heads.x)
                .int32(heads.count)
                .int32(heads.width)
                .int32(heads.width / 2)
                .float32(1)
                .int32(KernelCode.of(F32)))
        .moves(bytes(heads.x, heads.cosine, heads.sine), bytes(heads.x))
        .consumes(heads.x)
        .expects(
            reference -> {
              try (TokenBatch batch = reference.batch(sizes.packed(), heads.cosine, heads.sine)) {
                MemoryTensor x = reference.of(heads.x);
                reference.backend().rope(x, layout, heads.width, 0, batch, x);
              }
            },
            ELEMENTWISE,
            heads.x);
  }

  private static Job normRope(DType dtype, Sizes sizes, Lab lab) {
    Heads heads = new Heads(sizes, lab);
    Tensor weight = lab.random(dtype, 1, heads.width, 1);
    return new Job(lab)
        .launches(
            Grid.of(heads.x.rows(), BLOCK),
            new Arguments()
                .pointer(heads.x)
                .pointer(weight)
                .pointer(heads.cosine)
                .pointer(heads.sine)
                .pointer(heads.x)
                .int32(heads.count)
                .int32(heads.width)
                .int32(heads.width / 2)
                .float32(NORM.eps())
                .float32(NORM.offset())
                .int32(KernelCode.of(F32)))
        .moves(bytes(heads.x, heads.cosine, heads.sine, weight), bytes(heads.x))
        .expects(
            reference -> {
              try (TokenBatch batch = reference.batch(sizes.packed(), heads.cosine, heads.sine)) {
                MemoryTensor x = reference.of(heads.x);
                reference
                    .backend()
                    .normRope(x, reference.of(weight), NORM, heads.width, 0, batch, x);
              }
            },
            ELEMENTWISE,
            heads.x);
  }

  /** The queries of a layer with the angles of their tokens. */
  private static final class Heads {
    private final int count;
    private final int width;
    private final Tensor x;
    private final Tensor cosine;
    private final Tensor sine;

    Heads(Sizes sizes, Lab lab) {
      count = sizes.config().numAttentionHeads();
      width = sizes.config().headDim();
      x = lab.random(F32, sizes.tokens(), (long) count * width, 1);
      cosine = lab.random(F32, sizes.tokens(), width / 2, 1);
      sine = lab.random(F32, sizes.tokens(), width / 2, 1);
    }
  }

  /** As a layer calls it, in place of the gate. */
  private static Job gatedActivation(DType dtype, Sizes sizes, Lab lab) {
    Tensor gate = lab.random(F32, sizes.tokens(), sizes.inner(), 4);
    Tensor up = lab.random(F32, sizes.tokens(), sizes.inner(), 1);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(gate.elements(), ELEMENTS), BLOCK),
            new Arguments()
                .pointer(gate)
                .pointer(up)
                .pointer(gate)
                .int64(gate.elements())
                .int32(KernelCode.of(Activation.SILU))
                .int32(KernelCode.of(F32)))
        .moves(bytes(gate, up), bytes(gate))
        .consumes(gate)
        .expects(
            reference ->
                reference
                    .backend()
                    .gatedActivation(
                        Activation.SILU, reference.of(gate), reference.of(up), reference.of(gate)),
            ELEMENTWISE,
            gate);
  }

  private static Job clampedGate(DType dtype, Sizes sizes, Lab lab) {
    ClampedGate gate = new ClampedGate(1.702, 7);
    Tensor channels = lab.random(F32, sizes.tokens(), 2 * sizes.inner(), 4);
    Tensor out = lab.random(F32, sizes.tokens(), sizes.inner(), 1);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(out.elements(), ELEMENTS), BLOCK),
            new Arguments()
                .pointer(channels)
                .pointer(out)
                .int64(out.elements())
                .float32(gate.slope())
                .float32(gate.limit()))
        .moves(bytes(channels), bytes(out))
        .expects(
            reference ->
                reference.backend().clampedGate(reference.of(channels), gate, reference.of(out)),
            ELEMENTWISE,
            out);
  }

  private static Job route(DType dtype, Sizes sizes, Lab lab) {
    int tokens = sizes.tokens();
    Tensor logits = lab.random(F32, tokens, EXPERTS, 1);
    Tensor indices = lab.random(F32, tokens, CHOSEN, 1);
    Tensor shares = lab.random(F32, tokens, CHOSEN, 1);
    return new Job(lab)
        .launches(
            Grid.of(tokens, WARP),
            new Arguments()
                .pointer(logits)
                .pointer(0)
                .pointer(indices)
                .pointer(shares)
                .int32(EXPERTS)
                .int32(CHOSEN)
                .int32(0)
                .int32(1)
                .float32(1)
                .float32(0)
                .int32(1)
                .int32(1)
                .int32(1))
        .moves(bytes(logits), bytes(indices, shares))
        .expects(
            reference -> {
              float[] expected = new float[Math.toIntExact(reference.of(logits).rows() * CHOSEN)];
              int[] experts = new int[expected.length];
              reference
                  .backend()
                  .route(reference.of(logits), null, RouterSpec.softmax(true), experts, expected);
              reference.backend().upload(expected, reference.of(shares));
              reference.backend().upload(bits(experts), reference.of(indices));
            },
            ELEMENTWISE,
            shares)
        .exactly(indices);
  }

  /** Floats that have the bits of integers. */
  private static float[] bits(int[] integers) {
    float[] floats = new float[integers.length];
    for (int i = 0; i < floats.length; i++) {
      floats[i] = Float.intBitsToFloat(integers[i]);
    }
    return floats;
  }

  /** Every token goes to the expert. */
  private static Job addRows(DType dtype, Sizes sizes, Lab lab) {
    Tensor x = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor y = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor factors = lab.random(F32, sizes.tokens(), 1, 1);
    int[] rows = IntStream.range(0, sizes.tokens()).toArray();
    return new Job(lab)
        .launches(
            Grid.of(sizes.tokens(), BLOCK),
            new Arguments()
                .pointer(x)
                .pointer(y)
                .pointer(lab.table(rows))
                .pointer(factors)
                .int64(sizes.hidden()))
        .moves(bytes(x, y), bytes(x))
        .expects(
            reference -> {
              MemoryTensor to = reference.of(x);
              int[] own = IntStream.range(0, Math.toIntExact(to.rows())).toArray();
              float[] values = new float[own.length];
              reference.backend().download(reference.of(factors), values);
              reference.backend().addRows(to, own, values, reference.of(y));
            },
            ELEMENTWISE,
            x);
  }

  private static Job appendKeyValues(DType dtype, Sizes sizes, Lab lab) {
    PackedSequences packed = sizes.packed();
    long width = (long) sizes.config().numKeyValueHeads() * sizes.config().headDim();
    long keys = packed.keyOffsets()[packed.sequences()];
    Tensor newKey = lab.random(dtype, sizes.tokens(), width, 1);
    Tensor newValue = lab.random(dtype, sizes.tokens(), width, 1);
    Tensor key = lab.random(dtype, keys, width, 1);
    Tensor value = lab.random(dtype, keys, width, 1);
    return new Job(lab)
        .launches(
            new Grid(sizes.tokens(), 2, 1, BLOCK, 0),
            new Arguments()
                .pointer(newKey)
                .pointer(newValue)
                .pointer(lab.table(packed.keyRows()))
                .pointer(key)
                .pointer(value)
                .int64(width * dtype.byteSize()))
        .moves(bytes(newKey, newValue), bytes(newKey, newValue))
        .expects(
            reference -> {
              try (TokenBatch batch = reference.batch(packed)) {
                reference
                    .backend()
                    .appendKeyValues(
                        reference.of(newKey),
                        reference.of(newValue),
                        batch,
                        reference.of(key),
                        reference.of(value));
              }
            },
            EXACT,
            key,
            value);
  }

  private static Job add(DType dtype, Sizes sizes, Lab lab) {
    Tensor x = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor y = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(x.elements(), ELEMENTS), BLOCK),
            new Arguments().pointer(x).pointer(y).int64(x.elements()))
        .moves(bytes(x, y), bytes(x))
        .expects(reference -> reference.backend().add(reference.of(x), reference.of(y)), EXACT, x);
  }

  private static Job addBias(DType dtype, Sizes sizes, Lab lab) {
    Tensor x = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor bias = lab.random(dtype, 1, sizes.hidden(), 1);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(x.elements(), ELEMENTS), BLOCK),
            new Arguments()
                .pointer(x)
                .pointer(bias)
                .pointer(x)
                .int64(x.elements())
                .int64(x.columns())
                .int32(KernelCode.of(F32)))
        .moves(bytes(x, bias), bytes(x))
        .expects(
            reference -> {
              MemoryTensor wide = reference.widened(reference.of(bias));
              for (long row = 0; row < reference.of(x).rows(); row++) {
                reference.backend().add(reference.of(x).slice(row, row + 1), wide);
              }
            },
            EXACT,
            x);
  }

  /** Of a panel as wide as the hidden states, with a factor for each column and a soft-cap. */
  private static Job logits(DType dtype, Sizes sizes, Lab lab) {
    LogitSpec spec = new LogitSpec(1, 30);
    Tensor x = lab.random(F32, sizes.tokens(), sizes.hidden(), 30);
    Tensor factors = lab.random(F32, 1, sizes.hidden(), 1);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(x.elements(), ELEMENTS), BLOCK),
            new Arguments()
                .pointer(x)
                .pointer(factors)
                .int64(x.elements())
                .int64(x.columns())
                .float32(spec.scale())
                .float32(spec.softCap()))
        .moves(bytes(x, factors), bytes(x))
        .consumes(x)
        .expects(
            reference -> {
              for (long i = 0; i < reference.of(x).elements(); i++) {
                double factor = reference.of(factors).get(i % x.columns());
                reference.of(x).set(i, spec.apply(factor * reference.of(x).get(i)));
              }
            },
            ELEMENTWISE,
            x);
  }

  /** In place of the second factor. */
  private static Job multiply(DType dtype, Sizes sizes, Lab lab) {
    Tensor x = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor y = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(x.elements(), ELEMENTS), BLOCK),
            new Arguments().pointer(x).pointer(y).pointer(y).int64(x.elements()))
        .moves(bytes(x, y), bytes(y))
        .consumes(y)
        .expects(
            reference ->
                reference.backend().multiply(reference.of(x), reference.of(y), reference.of(y)),
            EXACT,
            y);
  }

  /** Of whole sequences, as wide as hidden states, by the width that models have. */
  private static Job causalConvolution(DType dtype, Sizes sizes, Lab lab) {
    PackedSequences packed = GatedDeltaOp.packed(sizes);
    Tensor x = lab.random(dtype, sizes.tokens(), sizes.hidden(), 1);
    Tensor weight = lab.random(dtype, sizes.hidden(), CONVOLVED, 1);
    Tensor out = lab.random(dtype, sizes.tokens(), sizes.hidden(), 1);
    long offsets = lab.table(packed.offsets());
    return new Job(lab)
        .launches(
            new Grid(
                Math.ceilDiv(sizes.hidden(), BLOCK),
                Math.ceilDiv(sizes.longest(), RUN),
                packed.sequences(),
                BLOCK,
                0),
            new Arguments()
                .pointer(x)
                .pointer(weight)
                .pointer(offsets)
                .pointer(lab.table(packed.past()))
                .pointer(offsets)
                .pointer(0)
                .pointer(out)
                .int64(sizes.hidden())
                .int32(CONVOLVED)
                .int32(1)
                .int32(RUN))
        .moves(bytes(x, weight), bytes(out))
        .expects(
            on -> {
              try (TokenBatch batch = on.batch(packed)) {
                on.backend().causalConvolution(on.of(x), on.of(weight), batch, null, on.of(out));
              }
            },
            ELEMENTWISE,
            out)
        .samples(Samples.ofFirstTokens(packed, x, out));
  }

  /** The first two thirds of heads of 192 elements: a part of keys that has no rotation. */
  private static Job copyColumns(DType dtype, Sizes sizes, Lab lab) {
    long heads = Math.ceilDiv(sizes.tokens() * sizes.hidden(), 192);
    Tensor x = lab.random(dtype, heads, 256, 1);
    Tensor out = lab.random(dtype, heads, 192, 1);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(heads * 192, ELEMENTS), BLOCK),
            new Arguments()
                .pointer(x)
                .pointer(out)
                .int64(heads * 192)
                .int64(192)
                .int64(128)
                .int64(1)
                .int64(256)
                .int64(192)
                .int32(KernelCode.of(dtype)))
        .moves((double) heads * (128 + 192) * dtype.byteSize(), 0)
        .expects(
            reference ->
                reference.backend().copyColumns(reference.of(x), 0, 128, reference.of(out), 0),
            EXACT,
            out)
        .samples(new Samples().rows(Samples.of(heads), x, out));
  }

  /** As a fit calls it: half of the channels of a down projection, in ascending order. */
  private static Job gatherColumns(DType dtype, Sizes sizes, Lab lab) {
    Tensor x = lab.random(dtype, sizes.hidden(), sizes.inner(), 1);
    Tensor out = lab.random(dtype, sizes.hidden(), sizes.inner(), 1);
    int count = Math.ceilDiv(Math.toIntExact(sizes.inner()), 2);
    int[] columns = IntStream.range(0, count).map(i -> 2 * i).toArray();
    List<Long> rows = Samples.of(sizes.hidden());
    return new Job(lab)
        .launches(
            Grid.of(sizes.hidden(), BLOCK),
            new Arguments()
                .pointer(x)
                .pointer(lab.table(columns))
                .pointer(out)
                .int64(count)
                .int64(x.columns())
                .int64(out.columns()))
        // Of every other column of 16 bits all sectors are read.
        .moves(bytes(x), (double) count * x.rows() * dtype.byteSize())
        .expects(
            reference ->
                reference.backend().gatherColumns(reference.of(x), columns, reference.of(out), 0),
            EXACT,
            out)
        .samples(new Samples().rows(rows, x, out));
  }

  /** Of a weight whose values are all finite, as nearly all are. */
  private static Job nonFinite(DType dtype, Sizes sizes, Lab lab) {
    Tensor x = lab.random(dtype, sizes.inner(), sizes.hidden(), 1);
    long found = lab.room(Integer.BYTES);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(x.elements() * dtype.byteSize(), CHECKED_BYTES), BLOCK),
            new Arguments().pointer(x).int64(x.elements()).pointer(found))
        .moves(bytes(x), 0)
        .checks(
            reference -> {
              int[] word = {-1};
              lab.device().download(found, MemorySegment.ofArray(word));
              if (word[0] != 0) {
                throw new AssertionError("finite values were taken for others: " + word[0]);
              }
            })
        .samples(new Samples().rows(Samples.of(sizes.inner()), x));
  }

  private static Job scaledDifference(DType dtype, Sizes sizes, Lab lab) {
    Tensor a = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor b = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    Tensor scale = lab.random(F32, sizes.tokens(), 1, 1);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(a.elements(), ELEMENTS), BLOCK),
            new Arguments()
                .pointer(a)
                .pointer(b)
                .pointer(scale)
                .pointer(b)
                .int64(a.elements())
                .int64(a.columns()))
        .moves(bytes(a, b, scale), bytes(b))
        .expects(
            reference ->
                reference
                    .backend()
                    .scaledDifference(
                        reference.of(a), reference.of(b), reference.of(scale), reference.of(b)),
            ELEMENTWISE,
            b);
  }

  private static Job addSquares(DType dtype, Sizes sizes, Lab lab) {
    Tensor x = lab.random(F32, sizes.tokens(), sizes.inner(), 1);
    Tensor out = lab.random(F32, 1, sizes.inner(), 1);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(x.columns(), COLUMNS), BLOCK),
            new Arguments().pointer(x).pointer(out).int64(x.rows()).int64(x.columns()))
        .moves(bytes(x, out), bytes(out))
        .expects(
            reference -> reference.backend().addSquares(reference.of(x), reference.of(out)),
            SUMS,
            out)
        .samples(Samples.ALL);
  }

  private static Job widen(DType dtype, Sizes sizes, Lab lab) {
    return convert(dtype, F32, sizes, lab);
  }

  private static Job narrow(DType dtype, Sizes sizes, Lab lab) {
    return convert(F32, dtype, sizes, lab);
  }

  private static Job convert(DType from, DType to, Sizes sizes, Lab lab) {
    Tensor x = lab.random(from, sizes.tokens(), sizes.hidden(), 1);
    Tensor out = lab.random(to, sizes.tokens(), sizes.hidden(), 1);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(x.elements(), CONVERTED), BLOCK),
            from == F32 ? firstOfFour(x, out) : converted(x, out))
        .moves(bytes(x), bytes(out))
        .expects(
            reference -> {
              for (long i = 0; i < reference.of(x).elements(); i++) {
                reference.of(out).set(i, reference.of(x).get(i));
              }
            },
            EXACT,
            out);
  }

  private static Arguments converted(Tensor x, Tensor out) {
    return new Arguments().pointer(x).pointer(out).int64(x.elements());
  }

  /** The arguments of a kernel that takes up to four tensors. */
  private static Arguments firstOfFour(Tensor x, Tensor out) {
    return new Arguments()
        .pointer(x)
        .pointer(0)
        .pointer(0)
        .pointer(0)
        .pointer(out)
        .pointer(0)
        .pointer(0)
        .pointer(0)
        .int64(x.elements())
        .int64(0)
        .int64(0)
        .int64(0);
  }

  static double bytes(Tensor... tensors) {
    return Stream.of(tensors).mapToDouble(t -> (double) t.elements() * t.dtype().byteSize()).sum();
  }
}
