package dev.laco.bench.gpu;

import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.bench.Values;
import dev.laco.bench.gpu.BenchDevice.Function;
import dev.laco.bench.gpu.Lab.Guarded;
import dev.laco.model.DType;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/** An op on the data of a lab: its launch, what it must move and compute, what must come out. */
final class Job {
  private final Lab lab;
  private final Map<Tensor, Double> outputs = new HashMap<>();
  private Consumer<Reference> expected = reference -> {};
  private Consumer<Reference> check = reference -> {};
  private @Nullable Grid grid;
  private @Nullable Arguments arguments;
  private @Nullable Runnable library;
  private double read;
  private double written;
  private double operations;
  private @Nullable DType multiplied;
  private boolean cached;
  private @Nullable Samples samples;
  private List<Tensor> consumed = List.of();

  Job(Lab lab) {
    this.lab = lab;
  }

  /** Launches a kernel. */
  Job launches(Grid with, Arguments and) {
    grid = with;
    arguments = and;
    return this;
  }

  /** Calls something that is no kernel of ours alone. */
  Job calls(Runnable call) {
    library = call;
    return this;
  }

  /** Bytes that must be read and written at least, each once. */
  Job moves(double bytesRead, double bytesWritten) {
    read = bytesRead;
    written = bytesWritten;
    return this;
  }

  /**
   * Operations of matrix products, a multiplication and an addition counting two, bounded by the
   * library's product in a dtype.
   */
  Job multiplies(DType dtype, double count) {
    multiplied = dtype;
    operations = count;
    return this;
  }

  /** Its data is in the cache where the engine calls it. */
  Job cached() {
    cached = true;
    return this;
  }

  /**
   * What must come out. Everything else must stay as it is.
   *
   * @param reference does the op on the copies
   * @param tolerance of the largest magnitude; 0 for the same bits
   * @param results what the op writes to
   */
  Job expects(Consumer<Reference> reference, double tolerance, Tensor... results) {
    expected = reference;
    return within(tolerance, results);
  }

  /** Further results, which must have the same bits as those of the reference. */
  Job exactly(Tensor... results) {
    return within(0, results);
  }

  /** Further results, with a tolerance of their own. */
  Job within(double tolerance, Tensor... results) {
    for (Tensor result : results) {
      outputs.put(result, tolerance);
    }
    return this;
  }

  /** Looks at results that are no tensors. */
  Job checks(Consumer<Reference> results) {
    check = results;
    return this;
  }

  /**
   * Results in the place of inputs, of which run after run would leave zeros or infinities: they
   * begin anew before each run that is timed.
   */
  Job consumes(Tensor... inputs) {
    consumed = List.of(inputs);
    return this;
  }

  /** What is held against the reference where all of it would take too long. */
  Job samples(Samples chosen) {
    samples = chosen;
    return this;
  }

  double read() {
    return read;
  }

  double written() {
    return written;
  }

  double operations() {
    return operations;
  }

  /** The dtype of its products, null if it is bound by memory. */
  @Nullable DType multiplied() {
    return multiplied;
  }

  /**
   * What is checked at the size at which the work is timed: {@code all}, {@code samples}, or no.
   */
  String checked() {
    return samples == null ? "no" : samples.equals(Samples.ALL) ? "all" : "samples";
  }

  boolean isCached() {
    return cached;
  }

  /**
   * The work, to be run any number of times.
   *
   * @param function the kernel, null where none is launched
   */
  Runnable work(@Nullable Function function) {
    return work(function, UnaryOperator.identity());
  }

  /** As {@link #work(Function)}, for a kernel that is launched with other extents. */
  Runnable work(@Nullable Function function, UnaryOperator<Grid> extents) {
    if (library != null) {
      return library;
    }
    if (function == null || grid == null || arguments == null) {
      throw new IllegalStateException("nothing to launch");
    }
    return lab.device().launch(function, extents.apply(grid), arguments);
  }

  /** Gives what the work consumes the values again that it began with. */
  void renew() {
    for (Guarded tensor : lab.tensors()) {
      if (consumed.contains(tensor.part())) {
        tensor.filling().run();
      }
    }
  }

  /**
   * Runs the work once and holds it against the reference.
   *
   * @throws AssertionError that says what differs
   */
  void verify(Runnable work) {
    verify(work, Samples.ALL);
  }

  /** As {@link #verify(Runnable)}, of samples alone; nothing where the job has none. */
  void verifySamples(Runnable work) {
    if (samples != null) {
      verify(work, samples);
    }
  }

  private void verify(Runnable work, Samples chosen) {
    try (Reference reference = new Reference(lab, chosen);
        MemoryArena memory = new MemoryArena()) {
      expected.accept(reference);
      work.run();
      for (Guarded tensor : lab.tensors()) {
        MemoryTensor actual = chosen.download(lab, tensor.whole(), memory);
        MemoryTensor wanted = reference.ofWhole(tensor.whole());
        Double tolerance = outputs.get(tensor.part());
        if (tolerance == null || tolerance == 0) {
          Values.requireSame(
              tolerance == null ? "what is not written to" : "result", actual, wanted);
        } else {
          requireClose(tensor, actual, wanted, tolerance);
        }
      }
      check.accept(reference);
    }
  }

  private static void requireClose(
      Guarded tensor, MemoryTensor actual, MemoryTensor wanted, double tolerance) {
    long before = (tensor.whole().rows() - tensor.part().rows()) / 2;
    long rows = wanted.rows() - 2 * before;
    Values.requireClose(
        "result",
        actual.slice(before, before + rows),
        wanted.slice(before, before + rows),
        tolerance);
    if (before > 0) {
      Values.requireSame("the row before", actual.slice(0, 1), wanted.slice(0, 1));
      Values.requireSame(
          "the row behind", actual.slice(rows + 1, rows + 2), wanted.slice(rows + 1, rows + 2));
    }
  }
}
