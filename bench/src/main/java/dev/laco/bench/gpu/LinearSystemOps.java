package dev.laco.bench.gpu;

import static dev.laco.model.DType.F32;

import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.bench.Values;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/** What stands around a fit's linear systems, of the order of a hidden state. */
final class LinearSystemOps {
  private static final int BLOCK = 256;
  private static final int WARP = 32;

  /** Elements that a block of the elementwise ones takes. */
  private static final long ELEMENTS = 1024;

  /** A sum of some thousand f64. */
  private static final double SUMS = 1e-9;

  private LinearSystemOps() {}

  static List<Op> all() {
    return List.of(
        new SystemOp("widen_difference", LinearSystemOps::widenDifference),
        new SystemOp("add_to_diagonal", LinearSystemOps::addToDiagonal),
        new SystemOp("check_pivots", LinearSystemOps::checkPivots),
        new SystemOp("round", LinearSystemOps::round));
  }

  /** Makes the job of an op. */
  private interface Preparation {
    Job prepare(long order, Lab lab);
  }

  private record SystemOp(String name, Preparation preparation) implements Op {
    @Override
    public List<Variant> variants() {
      return List.of(new Variant("linear_system", "laco_" + name + "_f64_v1", F32));
    }

    @Override
    public List<Sizes> timed(Sizes trial, Sizes large) {
      return List.of(large);
    }

    @Override
    public String describe(Sizes sizes) {
      return "order " + sizes.hidden();
    }

    @Override
    public Job prepare(Variant variant, Sizes sizes, Lab lab) {
      return preparation.prepare(sizes.hidden(), lab).samples(Samples.ALL);
    }
  }

  private static Job widenDifference(long order, Lab lab) {
    Tensor a = lab.random(F32, order, order, 1);
    Tensor b = lab.random(F32, order, order, 1);
    long out = lab.room(8 * a.elements());
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(a.elements(), ELEMENTS), BLOCK),
            new Arguments().pointer(a).pointer(b).pointer(out).int64(a.elements()))
        .moves(8.0 * a.elements(), 8.0 * a.elements())
        .checks(
            on -> {
              double[] found = download(lab, out, a.elements());
              for (int i = 0; i < found.length; i++) {
                double expected = (double) on.of(a).get(i) - on.of(b).get(i);
                Values.requireClose("difference", found[i], expected, 0);
              }
            });
  }

  private static Job addToDiagonal(long order, Lab lab) {
    long matrix = diagonal(order, lab);
    double trace = 0;
    for (long i = 0; i < order; i++) {
      trace += pivot(i);
    }
    double more = trace / (double) order + 1;
    return new Job(lab)
        .launches(
            Grid.of(1, BLOCK),
            new Arguments().pointer(matrix).int64(order).float64(0.5).float64(1).float64(1))
        .moves(8.0 * order, 8.0 * order)
        .checks(
            on -> {
              double[] found = download(lab, matrix, order * order);
              for (long i = 0; i < order; i++) {
                double value = found[Math.toIntExact(i * (order + 1))];
                Values.requireClose("diagonal", value, 1.5 * pivot(i) + more, SUMS);
              }
            });
  }

  /** The last one is none. */
  private static Job checkPivots(long order, Lab lab) {
    long matrix = diagonal(order, lab);
    put(lab, matrix + 8 * (order * order - 1), Double.NaN);
    long info = lab.table(0);
    return new Job(lab)
        .launches(Grid.of(1, WARP), new Arguments().pointer(matrix).int64(order).pointer(info))
        .moves(8.0 * order, 0)
        .checks(
            on -> {
              int[] found = new int[1];
              lab.device().download(info, MemorySegment.ofArray(found));
              Values.requireClose("order", found[0], (double) order, 0);
            });
  }

  private static Job round(long order, Lab lab) {
    long elements = order * order;
    long from;
    try (MemoryArena memory = new MemoryArena()) {
      MemorySegment values = memory.allocate(8 * elements);
      for (long i = 0; i < elements; i++) {
        values.setAtIndex(ValueLayout.JAVA_DOUBLE, i, wide(i));
      }
      from = lab.table(values);
    }
    Tensor out = lab.random(F32, order, order, 1);
    return new Job(lab)
        .launches(
            Grid.of(Math.ceilDiv(elements, ELEMENTS), BLOCK),
            new Arguments().pointer(from).pointer(out).float64(0.5).int64(elements))
        .moves(8.0 * elements, 4.0 * elements)
        .expects(
            on -> {
              MemoryTensor expected = on.of(out);
              for (long i = 0; i < elements; i++) {
                expected.set(i, 0.5 * wide(i));
              }
            },
            0,
            out);
  }

  /** A number that f32 does not have. */
  private static double wide(long i) {
    return 1 / (i + 3.0);
  }

  /** A matrix of zeros but for its pivots. */
  private static long diagonal(long order, Lab lab) {
    long matrix = lab.room(8 * order * order);
    for (long i = 0; i < order; i++) {
      put(lab, matrix + 8 * i * (order + 1), pivot(i));
    }
    return matrix;
  }

  private static double pivot(long i) {
    return 1 + i % 7;
  }

  private static void put(Lab lab, long address, double value) {
    lab.device().upload(MemorySegment.ofArray(new double[] {value}), address);
  }

  private static double[] download(Lab lab, long address, long elements) {
    double[] values = new double[Math.toIntExact(elements)];
    lab.device().download(address, MemorySegment.ofArray(values));
    return values;
  }
}
