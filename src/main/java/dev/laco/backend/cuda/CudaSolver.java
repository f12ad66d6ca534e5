package dev.laco.backend.cuda;

import dev.laco.ResourceException;
import dev.laco.Setting;
import dev.laco.backend.LinearSolver;
import dev.laco.backend.LinearSystem;
import dev.laco.backend.OpChecks;
import dev.laco.backend.Tensor;
import dev.laco.linalg.NotPositiveDefiniteException;
import dev.laco.model.DType;
import java.lang.foreign.MemorySegment;
import java.util.Locale;

/**
 * Solves linear systems on the device: cuSOLVER factors, cuBLAS solves the triangular systems, and
 * our kernels do the rest ({@code cuda/linear_system.cu}).
 */
final class CudaSolver implements LinearSolver {
  private static final int BLOCK = 256;
  private static final int WARP = 32;

  /** Bytes in front of the workspace of cuSOLVER, which hold the status of the factorisation. */
  private static final long INFO_BYTES = 256;

  private final CudaContext context;
  private final CudaStream stream;
  private final Launcher launcher;
  private final Staging staging;
  private final Cublas cublas;
  private final Cusolver cusolver;
  private final String name;
  private final Scratch workspace;

  CudaSolver(
      CudaContext context,
      CudaStream stream,
      Launcher launcher,
      Staging staging,
      Cublas cublas,
      Cusolver cusolver,
      String version) {
    this.context = context;
    this.stream = stream;
    this.launcher = launcher;
    this.staging = staging;
    this.cublas = cublas;
    this.cusolver = cusolver;
    this.name = "cuSOLVER " + version + " on the device";
    this.workspace = new Scratch(context, "cuSOLVER");
  }

  @Override
  public String name() {
    return name;
  }

  /**
   * {@inheritDoc} The workspace of cuSOLVER is included; what cuSOLVER allocates itself is small.
   */
  @Override
  public long bytes(long n, long rightHandSides) {
    context.enter();
    return n * (n + rightHandSides) * Double.BYTES + workspaceBytes(order(n, rightHandSides));
  }

  private long workspaceBytes(int n) {
    return INFO_BYTES + (long) cusolver.workspace(n) * Double.BYTES;
  }

  /**
   * The order of a system as the libraries take it. They count in 32 bits, and perhaps also the
   * elements of a matrix.
   */
  private static int order(long n, long rightHandSides) {
    if (n > Integer.MAX_VALUE / n || n > Integer.MAX_VALUE / rightHandSides) {
      throw new ResourceException(
          String.format(
              Locale.ROOT,
              "a system of %,d unknowns and %,d right-hand sides is more than cuSOLVER takes;"
                  + " LACO_JAVA_OPTIONS=-Dlaco.native.cusolver=none solves on the host, or use %s cpu",
              n,
              rightHandSides,
              Setting.of("device")));
    }
    return (int) n;
  }

  @Override
  public LinearSystem system(long n, long rightHandSides) {
    context.enter();
    workspace.atLeast(workspaceBytes(order(n, rightHandSides)));
    return new CudaSystem(n, rightHandSides);
  }

  private final class CudaSystem implements LinearSystem {
    private final DeviceBuffer matrix;
    private final DeviceBuffer right;

    CudaSystem(long n, long rightHandSides) {
      matrix = new DeviceBuffer(context, n * n * Double.BYTES, "a linear system");
      right = new DeviceBuffer(context, n * rightHandSides * Double.BYTES, "right-hand sides");
    }

    @Override
    public void ridge(Difference gram, Difference cross, double lambda, double floor, Tensor out) {
      OpChecks.ridge(gram, cross, out);
      context.enter();
      long n = out.columns();
      long a = room(matrix, n * n);
      long b = room(right, out.elements());
      load(gram, a);
      addToDiagonal(a, n, lambda, lambda * floor, 0);
      factor(a, n);
      load(cross, b);
      cublas.solveTriangular((int) n, (int) out.rows(), a, b, true);
      cublas.solveTriangular((int) n, (int) out.rows(), a, b, false);
      store(b, 1, out);
    }

    @Override
    public void whitening(Tensor gram, long count, double floor, Tensor out) {
      OpChecks.whitening(gram, out);
      context.enter();
      long n = out.columns();
      long a = room(matrix, n * n);
      long b = room(right, n * n);
      load(new Difference(gram, null), a);
      addToDiagonal(a, n, 0, floor, 0);
      factor(a, n);
      context.driver().zero(b, n * n * Double.BYTES, stream.handle());
      addToDiagonal(b, n, 0, 0, 1);
      cublas.solveTriangular((int) n, (int) n, a, b, true);
      // (G / count)^-1 is count G^-1.
      store(b, Math.sqrt((double) count), out);
    }

    /** The address of a buffer, after a check that {@code elements} f64 fit. */
    private static long room(DeviceBuffer buffer, long elements) {
      if (elements * Double.BYTES > buffer.bytes()) {
        throw new IllegalArgumentException(
            String.format(
                Locale.ROOT,
                "%,d elements in room for %,d",
                elements,
                buffer.bytes() / Double.BYTES));
      }
      return buffer.address();
    }

    private void load(Difference from, long to) {
      Tensor less = from.less();
      launcher
          .of(Kernel.WIDEN_DIFFERENCE, DType.F32)
          .pointer(CudaTensor.of(from.all()).input())
          .pointer(less == null ? 0 : CudaTensor.of(less).input())
          .pointer(to)
          .int64(from.all().elements())
          .run(blocks(from.all()), BLOCK);
    }

    /** {@code a_ii += share a_ii + mean tr(a) / n + constant}. */
    private void addToDiagonal(long a, long n, double share, double mean, double constant) {
      launcher
          .of(Kernel.ADD_TO_DIAGONAL, DType.F32)
          .pointer(a)
          .int64(n)
          .float64(share)
          .float64(mean)
          .float64(constant)
          .run(1, BLOCK);
    }

    /** Replaces {@code a} by its Cholesky factor, and waits for the status of the factorisation. */
    private void factor(long a, long n) {
      int elements = cusolver.workspace((int) n);
      long info = workspace.atLeast(INFO_BYTES + (long) elements * Double.BYTES);
      cusolver.factor((int) n, a, info + INFO_BYTES, elements, info);
      launcher.of(Kernel.CHECK_PIVOTS, DType.F32).pointer(a).int64(n).pointer(info).run(1, WARP);
      int[] order = new int[1];
      staging.download(info, MemorySegment.ofArray(order), stream);
      if (order[0] != 0) {
        throw new NotPositiveDefiniteException(order[0], n);
      }
    }

    private void store(long from, double scale, Tensor out) {
      launcher
          .of(Kernel.ROUND, DType.F32)
          .pointer(from)
          .pointer(CudaTensor.of(out).output())
          .float64(scale)
          .int64(out.elements())
          .run(blocks(out), BLOCK);
    }

    /** Blocks of an elementwise kernel, whose blocks take 1024 elements each. */
    private static long blocks(Tensor tensor) {
      return Math.ceilDiv(tensor.elements(), 1024);
    }

    @Override
    public void close() {
      right.close();
      matrix.close();
    }
  }
}
