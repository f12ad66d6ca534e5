package dev.laco.backend.cpu;

import dev.laco.backend.GramPanels;
import dev.laco.backend.MemoryTensor;
import dev.laco.ffi.NativeLibrary;
import dev.laco.model.DType;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Matrix products. {@code x weight^T} is computed in the fastest way for the weight's dtype, the
 * processor and the number of rows:
 *
 * <ul>
 *   <li>of few rows by our kernel, which reads the weight once and widens it in registers;
 *   <li>with an f32 weight by oneDNN, and with a bf16 weight, too, if products are to be in bf16;
 *       {@code x} is then rounded to bf16;
 *   <li>otherwise by oneDNN in f32, on one panel of the weight after the other, widened into
 *       scratch memory that stays in the cache. An f16 weight is widened as well: on processors
 *       that multiply f16, doing so was only 8 % faster, and {@code x} would have to be rounded.
 * </ul>
 *
 * <p>{@code gradient weight} is computed in the same ways, but for the first. {@code a^T b} is
 * always computed by oneDNN, in bf16 if products are to be in bf16.
 */
final class CpuProducts implements AutoCloseable {
  /** Bytes of a widened panel for each thread: they fit into the second-level cache of a core. */
  private static final long PANEL_BYTES = 1L << 20;

  /**
   * Rows that {@link #cross} multiplies at once. Products of more rows are not faster, and would
   * need more memory for the rounded factors.
   */
  private static final long CROSS_ROWS = 1024;

  /**
   * How many oneDNN products are kept that have code of their own, which takes up to 10 ms to
   * generate and 0.9 MB (AMX).
   */
  private static final int WITH_OWN_CODE = 512;

  /** How many are kept that share their code; one takes some kilobytes and 0.2 ms to make. */
  private static final int WITH_SHARED_CODE = 4096;

  private final CpuKernels kernels;
  private final OneDnn oneDnn;
  private final CpuTier tier;
  private final boolean bf16;
  private final long panelBytes;
  private final Scratch panel = new Scratch();
  private final Scratch narrowed = new Scratch();
  private final Scratch narrowedOther = new Scratch();
  private final Scratch scratchpad = new Scratch();
  private final Map<OneDnn.Shape, OneDnn.Product> withOwnCode = cache(WITH_OWN_CODE);
  private final Map<OneDnn.Shape, OneDnn.Product> withSharedCode = cache(WITH_SHARED_CODE);

  /**
   * Products on this many threads.
   *
   * @param bf16Weights the type in which to multiply by bf16 weights: bf16 or f32
   */
  CpuProducts(
      NativeLibrary library, CpuKernels kernels, DType bf16Weights, CpuTier tier, int threads) {
    this.kernels = kernels;
    this.oneDnn = new OneDnn(library);
    this.tier = tier;
    this.panelBytes = Math.min(threads, 32) * PANEL_BYTES;
    this.bf16 = bf16Weights == DType.BF16;
  }

  /** The dtype to which {@link #apply} rounds {@code x} of so many rows. */
  DType inputType(MemoryTensor weight, long rows) {
    boolean direct = direct(weight);
    return direct && rows > fewRows(weight.dtype(), true) ? weight.dtype() : DType.F32;
  }

  /** The dtype to which {@link #applyTransposed} rounds {@code x}. */
  DType gradientType(MemoryTensor weight) {
    return direct(weight) ? weight.dtype() : DType.F32;
  }

  /**
   * {@code out = x weight^T}: {@code x [R, in]} f32 or of the {@link #inputType}, {@code weight [O,
   * in]}, {@code out [R, O]} f32.
   */
  void apply(MemoryTensor x, MemoryTensor weight, MemorySegment out) {
    long rows = x.rows();
    long width = weight.rows();
    DType dtype = weight.dtype();
    boolean direct = direct(weight);
    if (rows <= fewRows(dtype, direct)) {
      kernels.linearRows(x.data(), weight.data(), dtype, rows, x.columns(), width, out);
    } else if (!direct) {
      widened(x, weight, out);
    } else if (dtype == DType.F32) {
      run(OneDnn.linear(dtype, rows, width, x.columns(), width), x.data(), weight.data(), out);
    } else {
      MemorySegment narrow = narrow(x, narrowed);
      run(OneDnn.linear(dtype, rows, width, x.columns(), width), narrow, weight.data(), out);
    }
  }

  /** Whether oneDNN multiplies by a weight as the weight lies in memory. */
  private boolean direct(MemoryTensor weight) {
    DType dtype = weight.dtype();
    // oneDNN may assume that the address of an element is a multiple of its size.
    boolean aligned = weight.data().address() % dtype.byteSize() == 0;
    return aligned && (dtype == DType.F32 || (dtype == DType.BF16 && bf16));
  }

  /**
   * {@code out = x weight}, or {@code out += x weight}: {@code x [R, o]} f32 or of the {@link
   * #gradientType}, {@code weight [o, i]}, {@code out [R, i]} f32.
   */
  void applyTransposed(MemoryTensor x, MemoryTensor weight, boolean add, MemorySegment out) {
    DType dtype = weight.dtype();
    long rows = x.rows();
    long outputs = weight.rows();
    long inputs = weight.columns();
    if (direct(weight)) {
      MemorySegment left = dtype == DType.F32 ? x.data() : narrow(x, narrowed);
      OneDnn.Shape shape = OneDnn.gradient(dtype, rows, inputs, outputs, outputs, add);
      run(shape, left, weight.data(), out);
      return;
    }
    long panelRows = panelRows(weight);
    MemorySegment wide = panel.atLeast(panelRows * inputs * Float.BYTES);
    for (long first = 0; first < outputs; first += panelRows) {
      MemoryTensor part = weight.slice(first, Math.min(outputs, first + panelRows));
      kernels.widen(part.data(), part.dtype(), part.elements(), wide);
      run(
          OneDnn.gradient(DType.F32, rows, inputs, part.rows(), outputs, add || first > 0),
          x.data().asSlice(first * Float.BYTES),
          wide,
          out);
    }
  }

  /**
   * {@code out = x x^T}: {@code x [R, in]} f32, or bf16 if products are to be in bf16; {@code out
   * [R, R]} f32.
   */
  void rowsByRows(MemoryTensor x, MemorySegment out) {
    OneDnn.Shape shape = OneDnn.linear(x.dtype(), x.rows(), x.rows(), x.columns(), x.rows());
    run(shape, x.data(), x.data(), out);
  }

  /**
   * {@code out += a^T b}: {@code a [R, m]} and {@code b [R, n]} f32, or bf16 if products are to be
   * in bf16, {@code out [m, n]} f32.
   */
  void cross(MemoryTensor a, MemoryTensor b, MemorySegment out) {
    for (long first = 0; first < a.rows(); first += CROSS_ROWS) {
      long last = Math.min(a.rows(), first + CROSS_ROWS);
      crossOfRows(a.slice(first, last), b.slice(first, last), out);
    }
  }

  private void crossOfRows(MemoryTensor a, MemoryTensor b, MemorySegment out) {
    if (bf16) {
      MemorySegment left = narrow(a, narrowed);
      MemorySegment right = b.equals(a) ? left : narrow(b, narrowedOther);
      run(OneDnn.cross(DType.BF16, a.columns(), b.columns(), a.rows()), left, right, out);
    } else {
      run(OneDnn.cross(DType.F32, a.columns(), b.columns(), a.rows()), a.data(), b.data(), out);
    }
  }

  /**
   * {@code out += a^T a} up to the diagonal: {@code a [R, n]} f32, or bf16 if products are to be in
   * bf16, {@code out [n, n]} f32. A product makes a panel of columns, from its first row that
   * reaches the diagonal on.
   */
  void gram(MemoryTensor a, MemorySegment out) {
    long n = a.columns();
    long panelColumns = GramPanels.columns(n);
    for (long from = 0; from < a.rows(); from += CROSS_ROWS) {
      MemoryTensor rows = a.slice(from, Math.min(a.rows(), from + CROSS_ROWS));
      DType type = bf16 ? DType.BF16 : DType.F32;
      MemorySegment factor = bf16 ? narrow(rows, narrowed) : rows.data();
      for (long first = 0; first < n; first += panelColumns) {
        long columns = Math.min(panelColumns, n - first);
        MemorySegment part = factor.asSlice(first * type.byteSize());
        run(
            OneDnn.gram(type, n - first, columns, rows.rows(), n),
            part,
            part,
            out.asSlice(first * (n + 1) * Float.BYTES));
      }
    }
  }

  private MemorySegment narrow(MemoryTensor x, Scratch scratch) {
    if (x.dtype() == DType.BF16) {
      return x.data();
    }
    MemorySegment narrow = scratch.atLeast(x.elements() * DType.BF16.byteSize());
    kernels.narrow(x.data(), x.elements(), narrow, DType.BF16);
    return narrow;
  }

  /**
   * The largest number of rows for which our kernel is faster than oneDNN. The numbers were
   * measured with weights of 2048 x 4096 and 1536 x 576 on a Xeon with AMX.
   *
   * @param direct whether oneDNN reads the weight without widening
   */
  private long fewRows(DType dtype, boolean direct) {
    return switch (tier) {
      case PORTABLE -> direct ? 2 : 4;
      case AVX2 -> direct ? 4 : 16;
      case AVX512 -> direct ? (dtype == DType.F32 ? 8 : 4) : 48;
    };
  }

  /** Rows of a panel of a weight that is widened panel by panel. */
  private long panelRows(MemoryTensor weight) {
    return Math.min(weight.rows(), Math.max(16, panelBytes / Float.BYTES / weight.columns()));
  }

  private void widened(MemoryTensor x, MemoryTensor weight, MemorySegment out) {
    long width = weight.rows();
    long panelRows = panelRows(weight);
    MemorySegment wide = panel.atLeast(panelRows * x.columns() * Float.BYTES);
    for (long first = 0; first < width; first += panelRows) {
      MemoryTensor part = weight.slice(first, Math.min(width, first + panelRows));
      kernels.widen(part.data(), part.dtype(), part.elements(), wide);
      run(
          OneDnn.linear(DType.F32, x.rows(), part.rows(), x.columns(), width),
          x.data(),
          wide,
          out.asSlice(first * Float.BYTES));
    }
  }

  private void run(OneDnn.Shape shape, MemorySegment left, MemorySegment right, MemorySegment out) {
    Map<OneDnn.Shape, OneDnn.Product> cache = shape.sharesCode() ? withSharedCode : withOwnCode;
    OneDnn.Product product = cache.get(shape);
    if (product == null) {
      product = oneDnn.product(shape);
      cache.put(shape, product);
    }
    product.run(left, right, out, scratchpad.atLeast(product.scratchpadBytes()));
  }

  /** Keeps the products that were used last. */
  private static Map<OneDnn.Shape, OneDnn.Product> cache(int capacity) {
    return new LinkedHashMap<>(16, 0.75f, true) {
      private static final long serialVersionUID = 1L;

      @Override
      protected boolean removeEldestEntry(Map.Entry<OneDnn.Shape, OneDnn.Product> eldest) {
        if (size() > capacity) {
          eldest.getValue().close();
          return true;
        }
        return false;
      }
    };
  }

  @Override
  public void close() {
    for (Map<OneDnn.Shape, OneDnn.Product> cache : List.of(withOwnCode, withSharedCode)) {
      cache.values().forEach(OneDnn.Product::close);
      cache.clear();
    }
    oneDnn.close();
    panel.close();
    narrowed.close();
    narrowedOther.close();
    scratchpad.close();
  }
}
