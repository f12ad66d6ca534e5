package dev.laco.bench.gpu;

import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.bench.Ceiling;
import dev.laco.bench.Note;
import dev.laco.bench.Times;
import dev.laco.bench.gpu.Watch.Watched;
import dev.laco.model.DType;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/** What the device can do, each measured when it is first asked for. */
final class GpuCeilings {
  /** Of each array: more than any cache holds. */
  private static final long BYTES = 512L << 20;

  private static final long QUICK_BYTES = 1L << 15;
  private static final int BLOCK = 256;

  /** Bytes that a block of a stream takes from each array. */
  private static final long PART_BYTES = 16L * 4 * BLOCK;

  /** Blocks of a multiprocessor where a stream's blocks stay and go on. */
  private static final int RESIDENT = 4;

  private static final long PRODUCT = 8192;
  private static final long QUICK_PRODUCT = 16;

  /** The streams that {@code bench/cuda/streams.cu} has. */
  private static final List<Ratio> RATIOS =
      List.of(
          new Ratio(1, 0),
          new Ratio(4, 1),
          new Ratio(3, 1),
          new Ratio(2, 1),
          new Ratio(1, 1),
          new Ratio(1, 2));

  private final Timing timing;
  private final Watch watch;
  private final Map<Ratio, Measured> streams = new HashMap<>();
  private final Map<DType, Measured> products = new EnumMap<>(DType.class);

  /** Arrays that a stream reads, and writes. */
  private record Ratio(int reads, int writes) {
    double share() {
      return (double) reads / (reads + writes);
    }

    boolean isCopy() {
      return reads == 1 && writes == 1;
    }

    String text() {
      return switch (writes) {
        case 0 -> "read";
        case 1 -> reads == 1 ? "copy" : reads + " reads, 1 write";
        default -> reads + " read, " + writes + " writes";
      };
    }
  }

  /**
   * A ceiling.
   *
   * @param bytes moved, 0 for a product
   * @param operations done, 0 for a stream
   * @param card how the card was meanwhile
   */
  record Measured(
      String name, double bytes, double operations, Times times, Optional<Watch.Card> card) {
    Note.Rates rates() {
      boolean moves = operations == 0;
      double work = moves ? bytes : operations;
      return new Note.Rates(
          name,
          moves ? Ceiling.Unit.BYTES : Ceiling.Unit.OPERATIONS,
          times.samples().stream().map(s -> work / s / 1e9).toList());
    }
  }

  GpuCeilings(Timing timing, Watch watch) {
    this.timing = timing;
    this.watch = watch;
  }

  /** What bounds a job: its products first, where it has some, and its memory. */
  List<Note.Rates> of(Job job) {
    Note.Rates memory = stream(job.read(), job.written());
    DType multiplied = job.multiplied();
    return multiplied == null ? List.of(memory) : List.of(product(multiplied).rates(), memory);
  }

  /** Reads and writes in the proportion of these bytes, and nothing else. */
  Note.Rates stream(double read, double written) {
    double share = read / (read + written);
    Ratio nearest =
        RATIOS.stream()
            .min(Comparator.comparingDouble(ratio -> Math.abs(ratio.share() - share)))
            .orElseThrow();
    return stream(nearest).rates();
  }

  /** All streams and the product of 16-bit numbers. */
  List<Measured> all() {
    List<Measured> all = new ArrayList<>(RATIOS.stream().map(this::stream).toList());
    all.add(product(DType.BF16));
    return all;
  }

  /** Those that were measured so far, each with what is measured of it now. */
  Map<Measured, Measured> again() {
    Map<Measured, Measured> again = new LinkedHashMap<>();
    RATIOS.stream()
        .filter(streams::containsKey)
        .forEach(ratio -> again.put(stream(ratio), measure(ratio)));
    products.forEach((dtype, before) -> again.put(before, measure(dtype)));
    return again;
  }

  private Measured stream(Ratio ratio) {
    return streams.computeIfAbsent(ratio, this::measure);
  }

  /**
   * The quickest of two grids, a block for each part and as many as stay on the device, and of the
   * driver's own copy.
   */
  private Measured measure(Ratio ratio) {
    BenchDevice device = timing.device();
    String name =
        String.format(Locale.ROOT, "laco_bench_stream_%d_%d_v1", ratio.reads(), ratio.writes());
    BenchDevice.Function function = device.ownFunction(name);
    long parts = bytes() / PART_BYTES;
    long resident = Math.min(parts, (long) RESIDENT * device.multiprocessors());
    try (TensorArena arena = device.arena()) {
      long from = room(arena, ratio.reads());
      long to = room(arena, Math.max(1, ratio.writes()));
      List<Runnable> ways = new ArrayList<>();
      for (long blocks : new long[] {parts, resident}) {
        Arguments arguments = new Arguments().pointer(from).pointer(to).int64(bytes() / 16);
        ways.add(device.launch(function, Grid.of(blocks, BLOCK), arguments));
      }
      if (ratio.isCopy()) {
        ways.add(() -> device.copy(from, to, bytes()));
      }
      Watched<Times> quickest =
          watch.measure(
              () ->
                  ways.stream()
                      .map(timing::ofMemory)
                      .min(Comparator.comparingDouble(Times::median))
                      .orElseThrow());
      double moved = (double) (ratio.reads() + ratio.writes()) * bytes();
      return new Measured(ratio.text(), moved, 0, quickest.measured(), quickest.card());
    }
  }

  /** cuBLAS where it is at its best. */
  Measured product(DType dtype) {
    return products.computeIfAbsent(dtype, this::measure);
  }

  private Measured measure(DType dtype) {
    long n = timing.isQuick() ? QUICK_PRODUCT : PRODUCT;
    BenchDevice device = timing.device();
    try (TensorArena arena = device.arena()) {
      Tensor x = arena.allocate(dtype, n, n);
      Tensor weight = arena.allocate(dtype, n, n);
      Tensor out = arena.allocate(DType.F32, n, n);
      // Not of zeros: they let a device draw less power and so run faster.
      device.fill(x, 1, 1);
      device.fill(weight, 1, 2);
      Watched<Times> product =
          watch.measure(() -> timing.ofMemory(() -> device.product(x, weight, out)));
      return new Measured(
          dtype.shortName() + " product", 0, 2.0 * n * n * n, product.measured(), product.card());
    }
  }

  private long room(TensorArena arena, int arrays) {
    Tensor tensor = arena.allocate(DType.F32, arrays, bytes() / 4);
    timing.device().fill(tensor, 1, arrays);
    return BenchDevice.address(tensor);
  }

  private long bytes() {
    return timing.isQuick() ? QUICK_BYTES : BYTES;
  }
}
