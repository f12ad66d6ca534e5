package dev.laco.bench.gpu;

import static dev.laco.model.DType.BF16;
import static dev.laco.model.DType.F16;
import static dev.laco.model.DType.F32;

import dev.laco.backend.Tensor;
import java.util.List;

/** {@code linear}: the library's product, the gate projection of a layer. */
final class ProductOp implements Op {
  /** Sums of up to some thousand f32 products. */
  private static final double TOLERANCE = 5e-6;

  @Override
  public String name() {
    return "linear";
  }

  @Override
  public List<Variant> variants() {
    return Variant.ofLibrary("cuBLAS, %s", F32, F16, BF16);
  }

  @Override
  public List<Sizes> timed(Sizes trial, Sizes large) {
    return List.of(trial, large);
  }

  @Override
  public Job prepare(Variant variant, Sizes sizes, Lab lab) {
    Tensor x = lab.random(variant.dtype(), sizes.tokens(), sizes.hidden(), 1);
    double scale = Math.sqrt(3.0 / sizes.hidden());
    Tensor weight = lab.random(variant.dtype(), sizes.inner(), sizes.hidden(), scale);
    Tensor out = lab.random(F32, sizes.tokens(), sizes.inner(), 1);
    List<Long> rows = Samples.of(x.rows());
    List<Long> columns = Samples.of(weight.rows());
    return new Job(lab)
        .samples(new Samples().rows(rows, x).rows(columns, weight).block(rows, columns, out))
        .calls(() -> lab.device().product(x, weight, out))
        .moves(
            (double) variant.dtype().byteSize() * (x.elements() + weight.elements()),
            4.0 * out.elements())
        .multiplies(variant.dtype(), 2.0 * sizes.tokens() * weight.elements())
        .expects(
            reference ->
                reference
                    .backend()
                    .linear(
                        reference.widened(reference.of(x)),
                        reference.of(weight),
                        null,
                        reference.of(out)),
            TOLERANCE,
            out);
  }
}
