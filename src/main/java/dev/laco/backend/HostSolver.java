package dev.laco.backend;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;

import dev.laco.ResourceException;
import dev.laco.linalg.Cholesky;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * Solves linear systems in the memory of this process, by LAPACK of OpenBLAS. Tensors are copied
 * there and back row by row, so that no second copy of a matrix exists in f32.
 */
public final class HostSolver implements LinearSolver {
  private final DeviceMemory device;
  private final String name;

  /**
   * A solver of systems whose tensors lie in a device's memory.
   *
   * @param name what {@link LinearSolver#name} says
   * @throws ResourceException if there is no OpenBLAS
   */
  public HostSolver(DeviceMemory device, String name) {
    this.device = device;
    this.name = name;
    Cholesky.library();
  }

  /** Why there is no OpenBLAS, and what helps; null if there is one. */
  public static @Nullable String missing() {
    try {
      Cholesky.library();
      return null;
    } catch (ResourceException e) {
      return e.template();
    }
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public long bytes(long n, long rightHandSides) {
    return n * (n + rightHandSides) * Double.BYTES;
  }

  @Override
  public LinearSystem system(long n, long rightHandSides) {
    return new HostSystem(n, rightHandSides);
  }

  private final class HostSystem implements LinearSystem {
    private final MemoryArena memory = new MemoryArena();
    private final MemorySegment matrix;
    private final MemorySegment right;

    HostSystem(long n, long rightHandSides) {
      matrix = memory.allocate(n * n * Double.BYTES);
      right = memory.allocate(n * rightHandSides * Double.BYTES);
    }

    @Override
    public void ridge(Difference gram, Difference cross, double lambda, double floor, Tensor out) {
      OpChecks.ridge(gram, cross, out);
      long n = out.columns();
      MemorySegment a = load(gram, matrix);
      double least = floor * trace(a, n) / n;
      for (long i = 0; i < n; i++) {
        long diagonal = i * (n + 1);
        double value = a.getAtIndex(JAVA_DOUBLE, diagonal);
        a.setAtIndex(JAVA_DOUBLE, diagonal, value + lambda * (value + least));
      }
      // LAPACK counts by columns: it sees the row-major [outputs, n] as n x outputs.
      MemorySegment b = load(cross, right);
      Cholesky.solve(a, b, n, out.rows(), device.hostThreads());
      store(b, 1, out);
    }

    @Override
    public void whitening(Tensor gram, long count, double floor, Tensor out) {
      OpChecks.whitening(gram, out);
      long n = out.columns();
      MemorySegment a = load(new Difference(gram, null), matrix);
      double more = floor * trace(a, n) / n;
      for (long i = 0; i < n; i++) {
        long diagonal = i * (n + 1);
        a.setAtIndex(JAVA_DOUBLE, diagonal, a.getAtIndex(JAVA_DOUBLE, diagonal) + more);
      }
      MemorySegment factor = right.asSlice(0, a.byteSize());
      Cholesky.inverseFactor(a, factor, n, device.hostThreads());
      // The inverse factor of the sum over all tokens, to that of their mean.
      store(factor, Math.sqrt((double) count), out);
    }

    private static double trace(MemorySegment matrix, long n) {
      double trace = 0;
      for (long i = 0; i < n; i++) {
        trace += matrix.getAtIndex(JAVA_DOUBLE, i * (n + 1));
      }
      return trace;
    }

    /** Writes a difference of tensors, in f64, to the beginning of {@code room}. */
    private MemorySegment load(Difference from, MemorySegment room) {
      Tensor all = from.all();
      @Nullable Tensor part = from.less();
      MemorySegment to = room.asSlice(0, all.elements() * Double.BYTES);
      float[] row = new float[Math.toIntExact(all.columns())];
      float[] less = row.clone();
      double[] wide = new double[row.length];
      for (long r = 0; r < all.rows(); r++) {
        device.download(all.slice(r, r + 1), row);
        if (part != null) {
          device.download(part.slice(r, r + 1), less);
        }
        subtract(row, less, wide);
        MemorySegment.copy(wide, 0, to, JAVA_DOUBLE, r * wide.length * Double.BYTES, wide.length);
      }
      return to;
    }

    /** Writes f64 numbers times {@code factor} to a tensor. */
    private void store(MemorySegment from, double factor, Tensor to) {
      float[] row = new float[Math.toIntExact(to.columns())];
      double[] wide = new double[row.length];
      for (long r = 0; r < to.rows(); r++) {
        MemorySegment.copy(from, JAVA_DOUBLE, r * wide.length * Double.BYTES, wide, 0, wide.length);
        multiply(wide, factor, row);
        device.upload(row, to.slice(r, r + 1));
      }
    }

    // The JVM compiles a loop sooner where nothing is around it.

    private static void subtract(float[] row, float[] less, double[] difference) {
      for (int i = 0; i < row.length; i++) {
        difference[i] = (double) row[i] - less[i];
      }
    }

    private static void multiply(double[] row, double factor, float[] product) {
      for (int i = 0; i < row.length; i++) {
        product[i] = (float) (factor * row[i]);
      }
    }

    @Override
    public void close() {
      memory.close();
    }
  }
}
