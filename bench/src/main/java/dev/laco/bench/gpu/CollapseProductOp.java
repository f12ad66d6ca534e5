package dev.laco.bench.gpu;

import static dev.laco.model.DType.BF16;
import static dev.laco.model.DType.F16;
import static dev.laco.model.DType.F32;

import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorMix;
import dev.laco.model.DType;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;
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
  private static final int SHARED_BYTES = 139_264;

  /** Of the version for one candidate. */
  private static final int SHARED_BYTES_OF_ONE = 106_496;

  private static final int CANDIDATES = 4;

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
            Variant.of("collapse_product", "laco_collapse_product_%s_v2", F16, BF16),
            Variant.of("collapse_product", "laco_collapse_product_%s_v1", F16, BF16))
        .flatMap(List::stream)
        .toList();
  }

  @Override
  public boolean takes(Variant variant, Sizes sizes) {
    return !isOfOne(variant) || sizes.candidates() == 1;
  }

  private static boolean isOfOne(Variant variant) {
    return variant.name().endsWith("_v2");
  }

  @Override
  public List<Sizes> timed(Sizes trial, Sizes large) {
    return trial.isTrial()
        ? List.of(trial, trial.withCandidates(CANDIDATES), trial.withLengths(MORE_TOKENS))
        : List.of(trial, trial.withCandidates(CANDIDATES));
  }

  @Override
  public Job prepare(Variant variant, Sizes sizes, Lab lab) {
    DType dtype = variant.dtype();
    int candidates = sizes.candidates();
    long rows = sizes.tokens();
    double scale = Math.sqrt(3.0 / sizes.hidden());
    List<Tensor> weights = lab.random(MixOp.SOURCES, dtype, sizes.inner(), sizes.hidden(), scale);
    List<Tensor> x = lab.random(candidates, dtype, rows, sizes.hidden(), 1);
    List<Tensor> y = lab.random(candidates, F32, rows, sizes.inner(), 1);
    double matrix = (double) sizes.inner() * sizes.hidden();
    List<Long> tokens = Samples.of(rows);
    List<Long> columns = Samples.of(sizes.inner());
    Samples samples = new Samples();
    x.forEach(tensor -> samples.rows(tokens, tensor));
    weights.forEach(tensor -> samples.rows(columns, tensor));
    y.forEach(tensor -> samples.block(tokens, columns, tensor));
    Job job = new Job(lab).samples(samples);
    if (variant.isKernel()) {
      launches(job, lab, isOfOne(variant) ? SHARED_BYTES_OF_ONE : SHARED_BYTES, weights, x, y);
      job.expects(
          reference -> expected(reference, weights, x, y), TOLERANCE, y.toArray(Tensor[]::new));
    } else {
      List<Tensor> mixed = lab.random(candidates, dtype, sizes.inner(), sizes.hidden(), 1);
      mixed.forEach(tensor -> samples.rows(columns, tensor));
      calls(job, lab, weights, mixed, x, y);
      job.expects(
          reference -> {
            List<MemoryTensor> copies = mixed.stream().map(reference::of).toList();
            mix(reference, weights, copies);
            products(reference, x, copies, y);
          },
          TOLERANCE,
          Stream.concat(y.stream(), mixed.stream()).toArray(Tensor[]::new));
    }
    return job.moves(
            dtype.byteSize() * (MixOp.SOURCES * matrix + candidates * rows * sizes.hidden()),
            4.0 * candidates * rows * sizes.inner())
        .multiplies(dtype, 2.0 * rows * matrix * candidates);
  }

  private static void launches(
      Job job, Lab lab, int sharedBytes, List<Tensor> weights, List<Tensor> x, List<Tensor> y) {
    Tensor weight = weights.getFirst();
    long rows = x.getFirst().rows();
    double[] coefficients =
        IntStream.range(0, x.size())
            .mapToObj(MixOp::coefficients)
            .flatMapToDouble(Arrays::stream)
            .toArray();
    job.launches(
        new Grid(
            Math.ceilDiv(weight.rows(), COLUMNS), Math.ceilDiv(rows, ROWS), 1, BLOCK, sharedBytes),
        new Arguments()
            .pointer(lab.pointers(weights))
            .pointer(lab.table(coefficients))
            .pointer(lab.pointers(x))
            .pointer(lab.pointers(y))
            .int64(rows)
            .int64(weight.rows())
            .int64(weight.columns())
            .int32(weights.size())
            .int32(x.size()));
  }

  private static void calls(
      Job job, Lab lab, List<Tensor> weights, List<Tensor> mixed, List<Tensor> x, List<Tensor> y) {
    BenchDevice device = lab.device();
    String mix = String.format(Locale.ROOT, "laco_mix_%s_v2", mixed.getFirst().dtype().shortName());
    List<MixOp.Merge> merge = List.of(new MixOp.Merge(weights, mixed));
    Runnable step =
        device.launch(device.function("mix", mix), MixOp.grid(merge), MixOp.arguments(merge, lab));
    job.calls(
        () -> {
          step.run();
          for (int c = 0; c < x.size(); c++) {
            device.product(x.get(c), mixed.get(c), y.get(c));
          }
        });
  }

  private static void expected(
      Reference reference, List<Tensor> weights, List<Tensor> x, List<Tensor> y) {
    MemoryTensor weight = reference.of(weights.getFirst());
    List<MemoryTensor> mixed =
        y.stream()
            .map(ignored -> reference.zeros(weight.dtype(), weight.rows(), weight.columns()))
            .toList();
    mix(reference, weights, mixed);
    products(reference, x, mixed, y);
  }

  private static void mix(Reference reference, List<Tensor> weights, List<MemoryTensor> outs) {
    for (int c = 0; c < outs.size(); c++) {
      reference
          .backend()
          .mix(
              List.of(
                  new TensorMix(
                      outs.get(c),
                      MixOp.coefficients(c),
                      weights.stream().<Tensor>map(reference::of).toList())));
    }
  }

  private static void products(
      Reference reference, List<Tensor> x, List<MemoryTensor> weights, List<Tensor> y) {
    for (int c = 0; c < x.size(); c++) {
      reference
          .backend()
          .linear(
              reference.widened(reference.of(x.get(c))),
              weights.get(c),
              null,
              reference.of(y.get(c)));
    }
  }
}
