package dev.laco.backend.cuda;

import dev.laco.Compute;
import dev.laco.backend.GramPanels;
import dev.laco.model.DType;
import java.util.ArrayList;
import java.util.List;
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

  /** Tensors that one launch rounds. */
  private static final int ROUNDED_TOGETHER = 4;

  /** Alignment of device memory. */
  private static final long ALIGNMENT = 256;

  private static final int BLOCK = 256;

  private final Launcher launcher;
  private final Cublas cublas;
  private final Compute compute;
  private final Scratch panel;
  private final Scratch narrowed;
  private final Scratch crossed;
  private final Scratch widened;
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
    this.widened = new Scratch(context, "widened vectors");
  }

  /** As the other one, with a result of f32. */
  void apply(CudaTensor x, CudaTensor weight, long out) {
    apply(x, weight, DType.F32, out);
  }

  /**
   * {@code out = x weight^T}: {@code x [R, in]} f32 or of the dtype to which it is rounded, {@code
   * weight [O, in]}, {@code out [R, O]}.
   *
   * @param type of the result: f32, or the weight's where products are in that type
   * @param out device address of the result
   */
  void apply(CudaTensor x, CudaTensor weight, DType type, long out) {
    DType dtype = weight.dtype();
    if (dtype == DType.F32) {
      run(dtype, x, x.input(), weight.rows(), weight.input(), type, out, weight.rows());
    } else if (compute == Compute.F32) {
      widened(x, weight, out);
    } else {
      long halves = narrowed(x, dtype);
      run(dtype, x, halves, weight.rows(), weight.input(), type, out, weight.rows());
    }
  }

  /**
   * {@code out = x weight}: {@code x [R, in]} f32, {@code weight [in, O]}, {@code out [R, O]} f32.
   *
   * @param out device address of the result
   */
  void applyTransposed(CudaTensor x, CudaTensor weight, long out) {
    DType dtype = weight.dtype();
    if (dtype == DType.F32 || compute == Compute.F32) {
      back(x.dtype(), x.input(), x.rows(), weight, false, out);
    } else {
      long halves = narrowed(x, dtype);
      back(dtype, x.rows(), weight, halves, weight.rows(), weight.input(), false, out);
    }
  }

  /** The device address of the elements of a small tensor in f32, valid until the next call. */
  long wide(CudaTensor tensor) {
    if (tensor.dtype() == DType.F32) {
      return tensor.input();
    }
    long wide = widened.atLeast(tensor.elements() * Float.BYTES);
    launcher
        .of(Kernel.WIDEN, tensor.dtype())
        .pointer(tensor.input())
        .pointer(wide)
        .int64(tensor.elements())
        .run(blocks(tensor.elements()), BLOCK);
    return wide;
  }

  private void widened(CudaTensor x, CudaTensor weight, long out) {
    forEachPanel(
        weight,
        (first, rows, wide) ->
            run(
                DType.F32,
                x,
                x.input(),
                rows,
                wide,
                DType.F32,
                out + first * Float.BYTES,
                weight.rows()));
  }

  /** Takes rows of a weight, widened to f32. */
  private interface Panel {
    /**
     * Takes one panel.
     *
     * @param first its first row in the weight
     * @param wide device address of its elements, until the next panel
     */
    void take(long first, long rows, long wide);
  }

  private static long panelRows(CudaTensor weight) {
    long fits = PANEL_BYTES / Float.BYTES / weight.columns() / PANEL_ROWS * PANEL_ROWS;
    return Math.min(weight.rows(), Math.max(PANEL_ROWS, fits));
  }

  private void forEachPanel(CudaTensor weight, Panel action) {
    long panelRows = panelRows(weight);
    long wide = panel.atLeast(panelRows * weight.columns() * Float.BYTES);
    for (long first = 0; first < weight.rows(); first += panelRows) {
      CudaTensor part = weight.slice(first, Math.min(weight.rows(), first + panelRows));
      launcher
          .of(Kernel.WIDEN, part.dtype())
          .pointer(part.input())
          .pointer(wide)
          .int64(part.elements())
          .run(blocks(part.elements()), BLOCK);
      action.take(first, part.rows(), wide);
    }
  }

  /**
   * {@code out = gradient weight}, or {@code out += gradient weight}: {@code gradient [R, O]},
   * {@code weight [O, in]}, {@code out [R, in]} f32. {@link Compute#AUTO} rounds the gradient to
   * bf16 where the weight has 16 bits. An f16 weight is rounded to bf16 then, too: f16 has no
   * numbers as small as gradients are.
   *
   * @param given dtype of the gradient: f32, or bf16 where it would be rounded to bf16
   * @param gradient device address
   * @param out device address of the result
   */
  void back(DType given, long gradient, long rows, CudaTensor weight, boolean adds, long out) {
    long width = weight.rows();
    if (weight.dtype() == DType.F32) {
      back(DType.F32, rows, weight, gradient, weight.rows(), weight.input(), adds, out);
      return;
    }
    if (compute == Compute.F32) {
      forEachPanel(
          weight,
          (first, panelRows, wide) ->
              back(
                  DType.F32,
                  rows,
                  weight,
                  gradient + first * Float.BYTES,
                  panelRows,
                  wide,
                  adds || first > 0,
                  out));
      return;
    }
    boolean rounds = given == DType.F32;
    boolean converts = weight.dtype() != DType.BF16;
    long start = rounds ? alignedBytes(rows * width) : 0;
    long bytes = start + (converts ? alignedBytes(panelRows(weight) * weight.columns()) : 0);
    long room = bytes == 0 ? 0 : crossed.atLeast(bytes);
    long halves = rounds ? room : gradient;
    if (rounds) {
      narrow(gradient, rows * width, DType.BF16, halves);
    }
    if (!converts) {
      back(DType.BF16, rows, weight, halves, width, weight.input(), adds, out);
      return;
    }
    forEachPanel(
        weight,
        (first, panelRows, wide) -> {
          narrow(wide, panelRows * weight.columns(), DType.BF16, room + start);
          back(
              DType.BF16,
              rows,
              weight,
              halves + first * DType.BF16.byteSize(),
              panelRows,
              room + start,
              adds || first > 0,
              out);
        });
  }

  /** The product with {@code width} rows of the weight, whose elements begin at {@code factor}. */
  private void back(
      DType dtype,
      long rows,
      CudaTensor weight,
      long gradient,
      long width,
      long factor,
      boolean adds,
      long out) {
    cublas.backProduct(
        dtype,
        Math.toIntExact(rows),
        Math.toIntExact(width),
        Math.toIntExact(weight.columns()),
        gradient,
        Math.toIntExact(weight.rows()),
        factor,
        adds,
        out);
  }

  /**
   * {@code out += a^T b}: {@code a [R, m]} and {@code b [R, n]} f32, or bf16 where they would be
   * rounded, {@code out [m, n]} f32.
   */
  void cross(CudaTensor a, CudaTensor b, CudaTensor out) {
    if (compute == Compute.F32) {
      cross(DType.F32, a, a.input(), b, b.input(), out);
      return;
    }
    long[] factors = rounded(b.equals(a) ? List.of(a) : List.of(a, b));
    cross(DType.BF16, a, factors[0], b, factors[factors.length - 1], out);
  }

  /**
   * {@code out += a^T a} up to the diagonal: {@code a [R, n]} f32, or bf16 where it would be
   * rounded, {@code out [n, n]} f32.
   */
  void gram(CudaTensor a, CudaTensor out) {
    DType type = compute == Compute.F32 ? DType.F32 : DType.BF16;
    long factor = type == DType.F32 ? a.input() : rounded(List.of(a))[0];
    long n = a.columns();
    long panelColumns = GramPanels.columns(n);
    for (long first = 0; first < n; first += panelColumns) {
      cublas.addGramPanel(
          type,
          Math.toIntExact(a.rows()),
          Math.toIntExact(n - first),
          Math.toIntExact(Math.min(panelColumns, n - first)),
          Math.toIntExact(n),
          factor + first * type.byteSize(),
          out.output() + first * (n + 1) * Float.BYTES);
    }
  }

  /**
   * {@code x_r . out_r = x_r G x_r^T} for {@code G [n, n]}, of which the blocks up to the diagonal
   * are read: {@code x} and {@code out [R, n]}, all f32. The panels of columns are those of {@link
   * #gram}; each is twice the product with the blocks below the diagonal, plus that with the block
   * on it.
   */
  void quadraticForms(CudaTensor x, CudaTensor symmetric, CudaTensor out) {
    int rows = Math.toIntExact(x.rows());
    int n = Math.toIntExact(x.columns());
    int most = Math.toIntExact(GramPanels.columns(n));
    long to = out.output();
    for (int first = 0; first < n; first += most) {
      int end = Math.min(n, first + most);
      boolean below = end < n;
      if (below) {
        cublas.blockProduct(
            rows,
            n - end,
            end - first,
            n,
            true,
            at(x.input(), end),
            at(symmetric.input(), (long) end * n + first),
            false,
            at(to, first));
      }
      cublas.blockProduct(
          rows,
          end - first,
          end - first,
          n,
          false,
          at(x.input(), first),
          at(symmetric.input(), (long) first * n + first),
          below,
          at(to, first));
    }
  }

  /**
   * {@code out = R R^T} for {@code R [n, n]} with zeros below the diagonal, both f32: in panels of
   * rows up to the diagonal block, and of columns above it, without the products with zeros.
   */
  void squareOfTriangle(CudaTensor triangle, CudaTensor out) {
    int n = Math.toIntExact(triangle.rows());
    int most = Math.toIntExact(GramPanels.columns(n));
    long from = triangle.input();
    long to = out.output();
    for (int first = 0; first < n; first += most) {
      int end = Math.min(n, first + most);
      long panel = at(from, (long) first * n + first);
      cublas.blockCrossProduct(
          end - first, n - first, end, n, panel, at(from, first), at(to, (long) first * n));
      if (first > 0) {
        cublas.blockCrossProduct(
            first, n - first, end - first, n, at(from, first), panel, at(to, first));
      }
    }
  }

  /** The device address of an element of f32. */
  private static long at(long address, long element) {
    return address + element * Float.BYTES;
  }

  /**
   * The device addresses of tensors in bf16, until the next product: their own, or memory to which
   * they are rounded.
   */
  long[] rounded(List<CudaTensor> factors) {
    long bytes =
        factors.stream()
            .filter(factor -> factor.dtype() != DType.BF16)
            .mapToLong(factor -> alignedBytes(factor.elements()))
            .sum();
    return rounded(factors, DType.BF16, bytes == 0 ? 0 : crossed.atLeast(bytes));
  }

  /**
   * The device addresses of up to {@value #ROUNDED_TOGETHER} tensors in a dtype: their own where
   * they have it, or memory to which they are rounded in one launch.
   *
   * @param room memory for those that are rounded, {@link #alignedBytes} for each
   */
  long[] rounded(List<CudaTensor> tensors, DType dtype, long room) {
    long[] addresses = new long[tensors.size()];
    List<Rounding> roundings = new ArrayList<>();
    for (int i = 0; i < addresses.length; i++) {
      CudaTensor tensor = tensors.get(i);
      addresses[i] = tensor.input();
      if (tensor.dtype() != dtype) {
        roundings.add(new Rounding(addresses[i], tensor.elements(), room));
        addresses[i] = room;
        room += alignedBytes(tensor.elements());
      }
    }
    if (!roundings.isEmpty()) {
      narrow(roundings, dtype);
    }
    return addresses;
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
    if (x.dtype() == dtype) {
      return x.input();
    }
    long address = narrowed.atLeast(x.elements() * dtype.byteSize());
    long version = x.memory().version();
    if (!x.equals(narrowedFrom) || narrowedTo != dtype || narrowedVersion != version) {
      narrow(x.input(), x.elements(), dtype, address);
      narrowedFrom = x;
      narrowedTo = dtype;
      narrowedVersion = version;
    }
    return address;
  }

  /** Elements of f32 that are rounded, and where they go. */
  private record Rounding(long from, long elements, long to) {
    static final Rounding NOTHING = new Rounding(0, 0, 0);
  }

  /** Rounds elements of f32 to a dtype of 16 bits. */
  void narrow(long from, long elements, DType dtype, long to) {
    narrow(List.of(new Rounding(from, elements, to)), dtype);
  }

  /** The same of at most {@value #ROUNDED_TOGETHER} tensors, in one launch. */
  private void narrow(List<Rounding> tensors, DType dtype) {
    List<Rounding> four = new ArrayList<>(tensors);
    while (four.size() < ROUNDED_TOGETHER) {
      four.add(Rounding.NOTHING);
    }
    Launcher arguments = launcher.of(Kernel.NARROW, dtype);
    four.forEach(one -> arguments.pointer(one.from));
    four.forEach(one -> arguments.pointer(one.to));
    four.forEach(one -> arguments.int64(one.elements));
    long most = four.stream().mapToLong(Rounding::elements).max().orElseThrow();
    arguments.run(blocks(most), tensors.size(), 1, BLOCK, 0);
  }

  /** Bytes of elements of 16 bits, up to where other elements may begin. */
  static long alignedBytes(long elements) {
    return Math.ceilDiv(elements * DType.BF16.byteSize(), ALIGNMENT) * ALIGNMENT;
  }

  private void run(
      DType dtype,
      CudaTensor x,
      long from,
      long width,
      long weight,
      DType type,
      long out,
      long outStride) {
    cublas.product(
        dtype,
        Math.toIntExact(x.rows()),
        Math.toIntExact(width),
        Math.toIntExact(x.columns()),
        from,
        weight,
        type,
        out,
        Math.toIntExact(outStride));
  }
}
