package dev.laco.bench;

import static dev.laco.bench.Ceiling.Unit.BYTES;
import static dev.laco.bench.Ceiling.Unit.OPERATIONS;

import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.cpu.LibraryProduct;
import dev.laco.model.DType;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * The ceilings of one benchmark, and what they need. The first is the one that its target names.
 */
final class Ceilings implements AutoCloseable {
  /** A block is more than what a cache keeps for us. */
  private static final long BLOCK = 512L << 20;

  private static final int TRIES = 3;
  private static final long LARGE_ROWS = 1024;
  private static final long LARGE = 4096;

  private final int threads;
  private final MemoryArena arena = new MemoryArena();
  private final Map<Shape, LibraryProduct> products = new HashMap<>();
  private final List<Ceiling> all = new ArrayList<>();

  /** None yet. */
  Ceilings(int threads) {
    this.threads = threads;
  }

  /**
   * STREAM's copy, bytes read and written: the quicker of the C library's and one that stores past
   * the caches.
   */
  Ceilings copy() {
    MemorySegment from = block(1);
    MemorySegment to = block(2);
    Ceiling library =
        new Ceiling("copy", BYTES, 2.0 * BLOCK, () -> NativeCeiling.copy(to, from, BLOCK, threads));
    Ceiling streaming =
        new Ceiling(
            "copy",
            BYTES,
            2.0 * BLOCK,
            () -> NativeCeiling.copyStreaming(to, from, BLOCK, threads));
    return add(
        Stream.of(library, streaming)
            .max(Comparator.comparingDouble(Ceilings::best))
            .orElseThrow());
  }

  /** Memory that is only read. */
  Ceilings read() {
    MemorySegment from = block(3);
    return add(new Ceiling("read", BYTES, BLOCK, () -> NativeCeiling.read(from, BLOCK, threads)));
  }

  /** {@code count} blocks read and one written, as a merge of so many layers does. */
  Ceilings combine(int count) {
    long bytes = BLOCK / 2;
    MemorySegment from = Values.random(arena, DType.F32, count, bytes / 4, 1, 4).data();
    MemorySegment to = block(5);
    return add(
        new Ceiling(
            count + " reads, 1 write",
            BYTES,
            (count + 1.0) * bytes,
            () -> NativeCeiling.combine(to, from, count, bytes, threads)));
  }

  /** The library's product at a size where it is at its best. */
  Ceilings largeProduct(DType dtype) {
    return products(
        "large product",
        List.of(
            new Product(
                Values.random(arena, dtype, LARGE_ROWS, LARGE, 1, 6),
                Values.random(arena, dtype, LARGE, LARGE, 1, 7))));
  }

  /**
   * A matrix product.
   *
   * @param x {@code [m, k]}
   * @param weight {@code [n, k]} of the same dtype
   */
  record Product(MemoryTensor x, MemoryTensor weight) {
    double operations() {
      return 2.0 * x.rows() * weight.elements();
    }
  }

  /** The library's products alone, one after the other, into one buffer as a forward pass does. */
  Ceilings products(String name, List<Product> list) {
    long largest =
        list.stream().mapToLong(p -> p.x().rows() * p.weight().rows()).max().orElseThrow();
    MemoryTensor buffer = arena.allocate(DType.F32, 1, largest);
    List<Runnable> runs = new ArrayList<>();
    double operations = 0;
    for (Product product : list) {
      MemoryTensor x = product.x();
      MemoryTensor weight = product.weight();
      Shape shape = new Shape(x.dtype(), x.rows(), weight.rows(), x.columns());
      LibraryProduct library = products.computeIfAbsent(shape, s -> s.product(threads));
      MemoryTensor out = first(buffer, x.rows(), weight.rows());
      runs.add(() -> library.run(x, weight, out));
      operations += product.operations();
    }
    return add(new Ceiling(name, OPERATIONS, operations, () -> runs.forEach(Runnable::run)));
  }

  private static MemoryTensor first(MemoryTensor buffer, long rows, long columns) {
    long bytes = MemoryTensor.byteSize(buffer.dtype(), rows, columns);
    return new MemoryTensor(buffer.dtype(), rows, columns, buffer.data().asSlice(0, bytes));
  }

  private record Shape(DType dtype, long m, long n, long k) {
    LibraryProduct product(int threads) {
      return new LibraryProduct(dtype, m, n, k, threads);
    }
  }

  /** Samples every ceiling. */
  void sample() {
    all.forEach(Ceiling::sample);
  }

  List<Note.Rates> rates() {
    return all.stream().map(Ceiling::rates).toList();
  }

  @Override
  public void close() {
    products.values().forEach(LibraryProduct::close);
    arena.close();
  }

  private Ceilings add(Ceiling ceiling) {
    all.add(ceiling);
    return this;
  }

  private MemorySegment block(long seed) {
    return Values.random(arena, DType.F32, 1, BLOCK / 4, 1, seed).data();
  }

  private static double best(Ceiling ceiling) {
    return Stream.generate(ceiling::rate).limit(TRIES).max(Double::compare).orElseThrow();
  }
}
