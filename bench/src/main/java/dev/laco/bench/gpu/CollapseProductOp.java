package dev.laco.bench.gpu;

import static dev.laco.model.DType.BF16;
import static dev.laco.model.DType.F16;
import static dev.laco.model.DType.F32;

import dev.laco.backend.KernelCode;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorMix;
import dev.laco.model.DType;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;

/**
 * {@code collapse_product}: {@code y = x (sum_j c_j W_j)^T}, mixed on the way; and the two steps
 * that do the same, {@code mix} and the library's product. The gate projection of a layer.
 */
final class CollapseProductOp implements Op {
  /** Sums of up to some thousand f32 products. */
  private static final double TOLERANCE = 5e-6;

  private static final int BLOCK = 256;
  private static final int COLUMNS = 32;
  private static final int ROWS = 128;
  private static final int SHARED_BYTES = 106_496;

  /** Around what the engine fuses, and beyond. */
  private static final List<Integer> MORE_TOKENS = Collections.nCopies(4, 128);

  @Override
  public String name() {
    return "collapse_product";
  }

  @Override
  public List<Variant> variants() {
    return Stream.of(
            Variant.ofLibrary("laco_mix_%s_v2, cuBLAS", F16, BF16),
            Variant.of("collapse_product", "laco_collapse_product_%s_v2", F16, BF16))
        .flatMap(List::stream)
        .toList();
  }

  @Override
  public boolean takes(Variant variant, Sizes sizes) {
    return sizes.candidates() == 1;
  }

  @Override
  public List<Sizes> timed(Sizes trial, Sizes large) {
    return trial.isTrial() ? List.of(trial, trial.withLengths(MORE_TOKENS)) : List.of(trial);
  }

  @Override
  public Job prepare(Variant variant, Sizes sizes, Lab lab) {
    DType dtype = variant.dtype();
    long rows = sizes.tokens();
    double scale = Math.sqrt(3.0 / sizes.hidden());
    List<Tensor> weights = lab.random(MixOp.SOURCES, dtype, sizes.inner(), sizes.hidden(), scale);
    Tensor x = lab.random(dtype, rows, sizes.hidden(), 1);
    Tensor y = lab.random(F32, rows, sizes.inner(), 1);
    double matrix = (double) sizes.inner() * sizes.hidden();
    List<Long> tokens = Samples.of(rows);
    List<Long> columns = Samples.of(sizes.inner());
    Samples samples = new Samples().rows(tokens, x).block(tokens, columns, y);
    weights.forEach(tensor -> samples.rows(columns, tensor));
    Job job = new Job(lab).samples(samples);
    if (variant.isKernel()) {
      launches(job, lab, weights, x, y);
      job.expects(
          reference -> {
            MemoryTensor weight = reference.of(weights.getFirst());
            MemoryTensor mixed = reference.zeros(weight.dtype(), weight.rows(), weight.columns());
            multiply(reference, weights, mixed, x, y);
          },
          TOLERANCE,
          y);
    } else {
      Tensor mixed = lab.random(dtype, sizes.inner(), sizes.hidden(), 1);
      samples.rows(columns, mixed);
      calls(job, lab, weights, mixed, x, y);
      job.expects(
          reference -> multiply(reference, weights, reference.of(mixed), x, y),
          TOLERANCE,
          y,
          mixed);
    }
    return job.moves(
            dtype.byteSize() * (MixOp.SOURCES * matrix + rows * sizes.hidden()),
            4.0 * rows * sizes.inner())
        .multiplies(dtype, 2.0 * rows * matrix);
  }

  private static void launches(Job job, Lab lab, List<Tensor> weights, Tensor x, Tensor y) {
    Tensor weight = weights.getFirst();
    job.launches(
        new Grid(
            Math.ceilDiv(weight.rows(), COLUMNS),
            Math.ceilDiv(x.rows(), ROWS),
            1,
            BLOCK,
            SHARED_BYTES),
        new Arguments()
            .pointer(lab.pointers(weights))
            .pointer(lab.table(MixOp.coefficients(0)))
            .pointer(x)
            .pointer(y)
            .int64(x.rows())
            .int64(weight.rows())
            .int64(weight.columns())
            .int32(weights.size())
            .int32(KernelCode.of(F32)));
  }

  private static void calls(
      Job job, Lab lab, List<Tensor> weights, Tensor mixed, Tensor x, Tensor y) {
    BenchDevice device = lab.device();
    String mix = String.format(Locale.ROOT, "laco_mix_%s_v2", mixed.dtype().shortName());
    List<MixOp.Merge> merge = List.of(new MixOp.Merge(weights, List.of(mixed)));
    Runnable step =
        device.launch(device.function("mix", mix), MixOp.grid(merge), MixOp.arguments(merge, lab));
    job.calls(
        () -> {
          step.run();
          device.product(x, mixed, y);
        });
  }

  private static void multiply(
      Reference reference, List<Tensor> weights, MemoryTensor mixed, Tensor x, Tensor y) {
    reference
        .backend()
        .mix(
            List.of(
                new TensorMix(
                    mixed,
                    MixOp.coefficients(0),
                    weights.stream().<Tensor>map(reference::of).toList())));
    reference.backend().linear(reference.widened(reference.of(x)), mixed, null, reference.of(y));
  }
}
