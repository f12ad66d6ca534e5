package dev.laco.bench.gpu;

import static dev.laco.model.DType.F32;

import dev.laco.backend.DeltaSpec;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import java.util.List;

/** {@code gated_delta}: linear attention over whole sequences, with the heads of the attention. */
final class GatedDeltaOp implements Op {
  /** Sums of up to some thousand f32 products. */
  static final double TOLERANCE = 5e-6;

  private static final int BLOCK = 128;

  /** Columns of values of a block, for keys up to 128 wide. */
  static final int COLUMNS = 32;

  @Override
  public String name() {
    return "gated_delta";
  }

  @Override
  public List<Variant> variants() {
    return Variant.of("gated_delta", "laco_gated_delta_%s_v1", F32);
  }

  @Override
  public List<Sizes> timed(Sizes trial, Sizes large) {
    return List.of(trial, large);
  }

  /** Heads of values as of queries, and of keys as of keys. */
  static DeltaSpec spec(Sizes sizes) {
    ModelConfig config = sizes.config();
    return new DeltaSpec(
        config.numKeyValueHeads(), config.numAttentionHeads(), config.headDim(), config.headDim());
  }

  /** Sequences without earlier tokens. */
  static PackedSequences packed(Sizes sizes) {
    return PackedSequences.of(sizes.lengths().stream().map(length -> new int[length]).toList());
  }

  /** What all kernels of the rule read. */
  record Inputs(Tensor heads, Tensor decay, Tensor rate, Tensor logDecay, Tensor decayBias) {
    static Inputs of(DeltaSpec spec, Sizes sizes, Lab lab) {
      int tokens = sizes.tokens();
      return new Inputs(
          lab.random(F32, tokens, spec.all(), 1),
          lab.random(F32, tokens, spec.valueHeads(), 1),
          lab.random(F32, tokens, spec.valueHeads(), 1),
          lab.random(F32, 1, spec.valueHeads(), 1),
          lab.random(F32, 1, spec.valueHeads(), 1));
    }

    Arguments arguments() {
      return new Arguments()
          .pointer(heads)
          .pointer(decay)
          .pointer(rate)
          .pointer(logDecay)
          .pointer(decayBias);
    }
  }

  /** Adds the extents of heads to the arguments of a kernel. */
  static Arguments extents(Arguments arguments, DeltaSpec spec) {
    return arguments
        .int32(spec.keyHeads())
        .int32(spec.valueHeads())
        .int32(spec.key())
        .int32(spec.value());
  }

  @Override
  public Job prepare(Variant variant, Sizes sizes, Lab lab) {
    PackedSequences packed = packed(sizes);
    DeltaSpec spec = spec(sizes);
    Inputs in = Inputs.of(spec, sizes, lab);
    Tensor out = lab.random(F32, sizes.tokens(), spec.values(), 1);
    long offsets = lab.table(packed.offsets());
    Arguments arguments =
        in.arguments()
            .pointer(offsets)
            .pointer(lab.table(packed.past()))
            .pointer(offsets)
            .pointer(0)
            .pointer(out)
            .pointer(0)
            .int32(1);
    return new Job(lab)
        .launches(
            new Grid(
                Math.ceilDiv(spec.value(), COLUMNS),
                spec.valueHeads(),
                packed.sequences(),
                BLOCK,
                0),
            extents(arguments, spec))
        .moves(RowOps.bytes(in.heads, in.decay, in.rate), RowOps.bytes(out))
        .multiplies(F32, 6.0 * sizes.tokens() * spec.states())
        .expects(
            on -> {
              try (TokenBatch batch = on.batch(packed)) {
                on.backend()
                    .gatedDelta(
                        on.of(in.heads),
                        on.of(in.decay),
                        on.of(in.rate),
                        on.of(in.logDecay),
                        on.of(in.decayBias),
                        spec,
                        batch,
                        null,
                        on.of(out));
              }
            },
            TOLERANCE,
            out)
        .samples(Samples.ofFirstTokens(packed, in.heads, in.decay, in.rate, out));
  }
}
