package dev.laco.bench.gpu;

import static dev.laco.model.DType.F32;

import dev.laco.backend.DeltaSpec;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.bench.gpu.GatedDeltaOp.Inputs;
import dev.laco.model.PackedSequences;
import java.util.List;

/**
 * {@code gated_delta_gradient}: all kernels of the gradients of linear attention, one after the
 * other, of which each reads what the one before wrote.
 */
final class GatedDeltaGradientOp implements Op {
  private static final String FILE = "gated_delta_gradient";
  private static final int BLOCK = 256;

  /** Warps of a block. */
  private static final int WARPS = 8;

  @Override
  public String name() {
    return "gated_delta_gradient";
  }

  @Override
  public List<Variant> variants() {
    return Variant.ofLibrary("gated_delta_gradient_%s_v1", F32);
  }

  @Override
  public List<Sizes> timed(Sizes trial, Sizes large) {
    return List.of(trial, large);
  }

  @Override
  public Job prepare(Variant variant, Sizes sizes, Lab lab) {
    PackedSequences packed = GatedDeltaOp.packed(sizes);
    DeltaSpec spec = GatedDeltaOp.spec(sizes);
    int tokens = sizes.tokens();
    Inputs in = Inputs.of(spec, sizes, lab);
    Tensor out = lab.random(F32, tokens, spec.values(), 1);
    Tensor errors = lab.random(F32, tokens, spec.values(), 1);
    Tensor gradient = lab.random(F32, tokens, spec.values(), 1);
    Tensor byHeads = lab.random(F32, tokens, spec.all(), 1);
    Tensor byDecay = lab.random(F32, tokens, spec.valueHeads(), 1);
    Tensor byRate = lab.random(F32, tokens, spec.valueHeads(), 1);
    Tensor byLogDecay = lab.random(F32, tokens, spec.valueHeads(), 1);
    long offsets = lab.table(packed.offsets());
    forward(packed, offsets, spec, in, out, errors, lab);
    Runnable step =
        new Steps(packed, offsets, spec, in, lab)
            .of(errors, gradient, byHeads, byDecay, byRate, byLogDecay);
    return new Job(lab)
        .calls(step)
        .moves(
            RowOps.bytes(in.heads(), in.decay(), in.rate(), errors, gradient),
            RowOps.bytes(byHeads, byDecay, byRate, byLogDecay))
        .multiplies(F32, 20.0 * tokens * spec.states())
        .expects(
            on -> {
              try (TokenBatch batch = on.batch(packed)) {
                on.backend()
                    .training()
                    .gatedDeltaGradient(
                        on.of(in.heads()),
                        on.of(in.decay()),
                        on.of(in.rate()),
                        on.of(in.logDecay()),
                        on.of(in.decayBias()),
                        spec,
                        batch,
                        on.of(errors),
                        on.of(gradient),
                        on.of(byHeads),
                        on.of(byDecay),
                        on.of(byRate),
                        on.of(byLogDecay));
              }
            },
            GatedDeltaOp.TOLERANCE,
            byHeads,
            byDecay,
            byRate,
            byLogDecay);
  }

  /** Computes the errors. */
  private static void forward(
      PackedSequences packed,
      long offsets,
      DeltaSpec spec,
      Inputs in,
      Tensor out,
      Tensor errors,
      Lab lab) {
    Arguments arguments =
        in.arguments()
            .pointer(offsets)
            .pointer(lab.table(packed.past()))
            .pointer(offsets)
            .pointer(0)
            .pointer(out)
            .pointer(errors)
            .int32(1);
    lab.device()
        .launch(
            lab.device().function("gated_delta", "laco_gated_delta_f32_v1"),
            new Grid(
                Math.ceilDiv(spec.value(), GatedDeltaOp.COLUMNS),
                spec.valueHeads(),
                packed.sequences(),
                128,
                0),
            GatedDeltaOp.extents(arguments, spec))
        .run();
  }

  /** The launches of all kernels. */
  private record Steps(PackedSequences packed, long offsets, DeltaSpec spec, Inputs in, Lab lab) {
    Runnable of(
        Tensor errors,
        Tensor gradient,
        Tensor byHeads,
        Tensor byDecay,
        Tensor byRate,
        Tensor byLogDecay) {
      long tokens = in.heads().rows();
      int heads = spec.valueHeads();
      long byQueries = lab.room(4 * tokens * heads * spec.key());
      long byKeys = lab.room(4 * tokens * heads * spec.key());
      long terms = lab.room(4 * tokens * heads);
      Grid states = new Grid(heads, packed.sequences(), 1, BLOCK, 0);
      Runnable values =
          launch(
              "values_f32_v1",
              states,
              GatedDeltaOp.extents(
                  begin(errors, gradient)
                      .pointer(byHeads)
                      .pointer(byRate)
                      .pointer(byKeys)
                      .pointer(terms)
                      .int32(0),
                  spec));
      Runnable keys =
          launch(
              "keys_f32_v1",
              states,
              GatedDeltaOp.extents(
                  begin(errors, gradient)
                      .pointer(byHeads)
                      .pointer(byQueries)
                      .pointer(byKeys)
                      .pointer(terms)
                      .int32(0),
                  spec));
      Runnable units =
          launch(
              "heads_f32_v1",
              Grid.of(Math.ceilDiv(tokens * spec.keyHeads(), WARPS), BLOCK),
              GatedDeltaOp.extents(
                  new Arguments()
                      .pointer(in.heads())
                      .pointer(byQueries)
                      .pointer(byKeys)
                      .pointer(byHeads)
                      .int64(tokens)
                      .int32(0)
                      .int32(spec.keyHeads()),
                  spec));
      Runnable decays =
          launch(
              "decays_f32_v1",
              new Grid(Math.ceilDiv(heads, WARPS), packed.sequences(), 1, BLOCK, 0),
              new Arguments()
                  .pointer(terms)
                  .pointer(in.decay())
                  .pointer(in.logDecay())
                  .pointer(in.decayBias())
                  .pointer(offsets)
                  .pointer(byDecay)
                  .pointer(byLogDecay)
                  .int32(0)
                  .int32(heads)
                  .int32(heads));
      return () -> {
        values.run();
        keys.run();
        units.run();
        decays.run();
      };
    }

    private Arguments begin(Tensor errors, Tensor gradient) {
      return in.arguments().pointer(errors).pointer(gradient).pointer(offsets);
    }

    private Runnable launch(String kernel, Grid grid, Arguments with) {
      BenchDevice device = lab.device();
      return device.launch(
          device.function(FILE, "laco_gated_delta_gradient_" + kernel), grid, with);
    }
  }
}
