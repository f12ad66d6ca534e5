package dev.laco.backend.cuda;

import dev.laco.Compute;
import dev.laco.model.DType;
import org.jspecify.annotations.Nullable;

/**
 * Matrix products by cuBLAS. For {@code x weight^T}, {@link Compute#AUTO} rounds {@code x} to the
 * weight's dtype, and {@link Compute#F32} widens the weight panel by panel into scratch memory. For
 * {@code a^T b}, {@link Compute#AUTO} rounds both factors to bf16.
 */
final class CudaProducts {
  /** Bytes of a widened panel: enough for a product that keeps the whole device busy. */
  static final long PANEL_BYTES = 64L << 20;

  /** Panels begin at multiples of this number of rows, so that they are aligned for wide loads. */
  private static final long PANEL_ROWS = 64;

  /** Alignment of device memory. */
  private static final long ALIGNMENT = 256;

  private static final int BLOCK = 256;

  private final Launcher launcher;
  private final Cublas cublas;
  private final Compute compute;
  private final Scratch panel;
  private final Scratch narrowed;
  private final Scratch crossed;
  private @Nullable CudaTensor narrowedFrom;
  private DType narrowedTo = DType.F32;
  private long narrowedVersion;

  CudaProducts(CudaContext context, Launcher launcher, Cublas cublas, Compute compute) {
    this.launcher = launcher;
    this.cublas = cublas;
    this.compute = compute;
    this.panel = new Scratch(context, "widened weights");
    this.narrowed = new Scratch(context, "narrowed activations");
    this.crossed = new Scratch(context, "narrowed factors");
  }

  /**
   * {@code out = x weight^T}: {@code x [R, in]} f32, {@code weight [O, in]}, {@code out [R, O]}
   * f32.
   *
   * @param out device address of the result
   */
  void apply(CudaTensor x, CudaTensor weight, long out) {
    DType dtype = weight.dtype();
    if (dtype == DType.F32) {
      run(dtype, x, x.input(), weight.rows(), weight.input(), out, weight.rows());
    } else if (compute == Compute.F32) {
      widened(x, weight, out);
    } else {
      long halves = narrowed(x, dtype);
      run(dtype, x, halves, weight.rows(), weight.input(), out, weight.rows());
    }
  }

  private void widened(CudaTensor x, CudaTensor weight, long out) {
    long fits = PANEL_BYTES / Float.BYTES / weight.columns() / PANEL_ROWS * PANEL_ROWS;
    long panelRows = Math.min(weight.rows(), Math.max(PANEL_ROWS, fits));
    long wide = panel.atLeast(panelRows * weight.columns() * Float.BYTES);
    for (long first = 0; first < weight.rows(); first += panelRows) {
      CudaTensor part = weight.slice(first, Math.min(weight.rows(), first + panelRows));
      launcher
          .of(Kernel.WIDEN, part.dtype())
          .pointer(part.input())
          .pointer(wide)
          .int64(part.elements())
          .run(blocks(part.elements()), BLOCK);
      run(DType.F32, x, x.input(), part.rows(), wide, out + first * Float.BYTES, weight.rows());
    }
  }

  /** {@code out += a^T b}: {@code a [R, m]}, {@code b [R, n]}, {@code out [m, n]}, all f32. */
  void cross(CudaTensor a, CudaTensor b, CudaTensor out) {
    if (compute == Compute.F32) {
      cross(DType.F32, a, a.input(), b, b.input(), out);
      return;
    }
    long bytes = a.elements() * DType.BF16.byteSize();
    long start = Math.ceilDiv(bytes, ALIGNMENT) * ALIGNMENT;
    boolean same = b.equals(a);
    long left = crossed.atLeast(same ? bytes : start + b.elements() * DType.BF16.byteSize());
    long right = same ? left : left + start;
    narrow(a, DType.BF16, left);
    if (!same) {
      narrow(b, DType.BF16, right);
    }
    cross(DType.BF16, a, left, b, right, out);
  }

  private void cross(
      DType dtype, CudaTensor a, long left, CudaTensor b, long right, CudaTensor out) {
    cublas.addCrossProduct(
        dtype,
        Math.toIntExact(a.rows()),
        Math.toIntExact(a.columns()),
        Math.toIntExact(b.columns()),
        left,
        right,
        out.output());
  }

  /** Blocks of a conversion kernel, whose blocks take 2048 elements each. */
  static long blocks(long elements) {
    return Math.ceilDiv(elements, 2048);
  }

  /**
   * The device address of {@code x}, rounded to {@code dtype}. The projections of queries, keys and
   * values have the same input, and so have gate and up: {@code x} is rounded once, and again only
   * if its memory may have been written to since.
   */
  long narrowed(CudaTensor x, DType dtype) {
    long address = narrowed.atLeast(x.elements() * dtype.byteSize());
    long version = x.memory().version();
    if (!x.equals(narrowedFrom) || narrowedTo != dtype || narrowedVersion != version) {
      narrow(x, dtype, address);
      narrowedFrom = x;
      narrowedTo = dtype;
      narrowedVersion = version;
    }
    return address;
  }

  private void narrow(CudaTensor x, DType dtype, long to) {
    launcher
        .of(Kernel.NARROW, dtype)
        .pointer(x.input())
        .pointer(to)
        .int64(x.elements())
        .run(blocks(x.elements()), BLOCK);
  }

  private void run(
      DType dtype, CudaTensor x, long from, long width, long weight, long out, long outStride) {
    cublas.product(
        dtype,
        Math.toIntExact(x.rows()),
        Math.toIntExact(width),
        Math.toIntExact(x.columns()),
        from,
        weight,
        out,
        Math.toIntExact(outStride));
  }
}
