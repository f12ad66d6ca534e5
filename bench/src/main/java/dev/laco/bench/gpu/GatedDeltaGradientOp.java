package dev.laco.bench.gpu;

import static dev.laco.model.DType.F32;

import dev.laco.backend.DeltaSpec;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.bench.gpu.GatedDeltaOp.Inputs;
import dev.laco.model.PackedSequences;
import java.util.List;
import java.util.stream.Stream;

/**
 * {@code gated_delta_gradient}: the kernels of the gradients of linear attention, all of them one
 * after the other, and each alone. Each reads what the ones before wrote, so that all have run
 * before one of them is timed.
 */
final class GatedDeltaGradientOp implements Op {
  private static final String FILE = "gated_delta_gradient";
  private static final int BLOCK = 256;

  /** Warps of a block. */
  private static final int WARPS = 8;

  /** The kernels, in the order in which they run. */
  private static final List<String> KERNELS = List.of("values", "keys", "heads", "decays");

  @Override
  public String name() {
    return "gated_delta_gradient";
  }

  /** All kernels, then each alone. */
  @Override
  public List<Variant> variants() {
    Stream<String> each = KERNELS.stream().map(kernel -> "laco_" + FILE + "_" + kernel + "_%s_v1");
    return Stream.concat(Stream.of(FILE + "_%s_v1"), each)
        .flatMap(pattern -> Variant.ofLibrary(pattern, F32).stream())
        .toList();
  }

  /**
   * Bytes that kernels must read and write.
   *
   * @param kernel index of one; below 0 for all of them
   */
  private static Job moves(Job job, int kernel, Inputs in, DeltaSpec spec, Tensor errors) {
    long tokens = in.heads().rows();
    double values = RowOps.bytes(errors);
    double byHead = RowOps.bytes(in.decay());
    double keys = byHead * spec.key();
    double ofToken = 2.0 * Float.BYTES * tokens * spec.keys();
    double inputs = RowOps.bytes(in.heads(), in.decay(), in.rate()) + 2 * values;
    return switch (kernel) {
      case 0 -> job.moves(inputs, values + keys + 2 * byHead);
      case 1 -> job.moves(inputs + keys + byHead, 2 * keys + byHead);
      case 2 -> job.moves(ofToken + 2 * keys, ofToken);
      case 3 -> job.moves(2 * byHead, 2 * byHead);
      default -> job.moves(inputs, RowOps.bytes(in.heads()) + 3 * byHead);
    };
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
    List<Runnable> all =
        new Steps(packed, offsets, spec, in, lab)
            .of(errors, gradient, byHeads, byDecay, byRate, byLogDecay);
    int kernel = variants().indexOf(variant) - 1;
    if (kernel >= 0) {
      all.forEach(Runnable::run);
    }
    Job job =
        moves(
            new Job(lab).calls(kernel < 0 ? () -> all.forEach(Runnable::run) : all.get(kernel)),
            kernel,
            in,
            spec,
            errors);
    if (kernel < 2) {
      job.multiplies(F32, (kernel < 0 ? 20.0 : 10.0) * tokens * spec.states());
    }
    return job.expects(
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

  /** The launches of the kernels, in their order. */
  private record Steps(PackedSequences packed, long offsets, DeltaSpec spec, Inputs in, Lab lab) {
    List<Runnable> of(
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
      return List.of(values, keys, units, decays);
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
