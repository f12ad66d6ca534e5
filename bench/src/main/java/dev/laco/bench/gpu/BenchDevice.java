package dev.laco.bench.gpu;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import dev.laco.BadInputException;
import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.ResourceException;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.cuda.CudaBackend;
import dev.laco.backend.cuda.GraphReplay;
import dev.laco.backend.cuda.KernelRunner;
import dev.laco.model.DType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/**
 * A CUDA device as the bench uses it: kernels by file and name, launched with any arguments and
 * timed by events. A device must be used on the thread that opened it.
 */
final class BenchDevice implements AutoCloseable {
  private static final int L2_BYTES = 38;
  private static final int MULTIPROCESSORS = 16;
  private static final int SHARED_BYTES = 97;
  private static final int FILL_BLOCK = 256;

  /** The kernels of {@code bench/cuda}. */
  private static final String OWN = "streams";

  private static final int BLOCKS_PER_MULTIPROCESSOR = 8;

  /** So much is read that nothing of what was there before is still cached. */
  private static final int FLUSHES = 2;

  /** Bytes that a block of the stream of reads takes at once. */
  private static final int PART_BYTES = 256 * 4 * 16;

  private final KernelRunner runner;
  private final TensorArena cacheful;
  private final Launch flush;
  private final Arena arguments = Arena.ofShared();

  /**
   * A kernel that was found.
   *
   * @param handle of the driver
   */
  record Function(String name, long handle) {}

  private BenchDevice(KernelRunner runner) {
    this.runner = runner;
    this.cacheful = runner.arena();
    long parts = Math.ceilDiv((long) FLUSHES * runner.attribute(L2_BYTES), PART_BYTES);
    Tensor read = cacheful.allocate(DType.F32, parts, PART_BYTES / Float.BYTES);
    this.flush =
        launch(
            ownFunction("laco_bench_stream_1_0_v1"),
            Grid.of(parts, FILL_BLOCK),
            new Arguments().pointer(read).pointer(read).int64(parts * PART_BYTES / 16));
  }

  /**
   * Opens a device on the calling thread.
   *
   * @param ordinal as the driver counts
   * @throws dev.laco.ResourceException if this machine or this build cannot
   */
  static BenchDevice open(CudaBinding binding, int ordinal) {
    KernelRunner runner = KernelRunner.open(binding, ordinal);
    try {
      return new BenchDevice(runner);
    } catch (RuntimeException e) {
      runner.close();
      throw e;
    }
  }

  /** {@code NVIDIA H100 80GB HBM3}. */
  String card() {
    return runner.card();
  }

  /** {@code cuda:0}. */
  String name() {
    return "cuda:" + runner.ordinal();
  }

  /** {@code 9.0}. */
  String capability() {
    return runner.capability();
  }

  /** The CUDA version that the driver supports, {@code 13.0}. */
  String driverVersion() {
    return runner.driverVersion();
  }

  /** {@code 13.1.0}. */
  String cublasVersion() {
    return runner.cublasVersion();
  }

  CudaBinding binding() {
    return runner.binding();
  }

  /** True for the stand-in, whose times mean nothing for a GPU. */
  boolean isEmulated() {
    return card().toLowerCase(Locale.ROOT).contains("emulated");
  }

  /** Device and libraries, for people. */
  @Override
  public String toString() {
    String text =
        String.format(
            Locale.ROOT,
            "%s, compute capability %s, driver for CUDA %s, cuBLAS %s, %s",
            card(),
            capability(),
            driverVersion(),
            cublasVersion(),
            binding());
    return isEmulated() ? text + "; EMULATED, its times say nothing about a GPU" : text;
  }

  /** True if f64 is at least a quarter as fast as f32, by which the engine chooses how to mix. */
  boolean hasFastF64() {
    return runner.hasFastF64();
  }

  /** Where it is among the devices of this machine, {@code 0000:17:00.0}. */
  String busId() {
    return runner.busId();
  }

  int multiprocessors() {
    return runner.attribute(MULTIPROCESSORS);
  }

  /** The engine's backend on the same device. */
  CudaBackend backend(Compute compute) {
    return CudaBackend.open(compute, runner.ordinal(), binding());
  }

  // ---- memory

  /** Tensors of zeros. */
  TensorArena arena() {
    return runner.arena();
  }

  /** Where a tensor of this or of the engine's backend lies, to read it or to write to it. */
  static long address(Tensor tensor) {
    return KernelRunner.address(tensor);
  }

  /** Pinned memory of the host, until this device is closed. */
  MemorySegment pinned(long bytes) {
    return runner.pinned(bytes);
  }

  /** Copies pinned memory; returns before that is done. */
  void uploadPinned(MemorySegment from, long to) {
    runner.uploadPinned(from, to);
  }

  /** Copies any memory, as the engine brings weights up. */
  void upload(MemorySegment from, long to) {
    runner.upload(from, to);
  }

  void download(long from, MemorySegment to) {
    runner.download(from, to);
  }

  void copy(long from, long to, long bytes) {
    runner.copy(from, to, bytes);
  }

  /** Fills a tensor with uniform values in {@code (-scale, scale)}. */
  void fill(Tensor tensor, double scale, int seed) {
    filling(tensor, scale, seed).run();
  }

  /** What fills a tensor so, with the same values at each run. */
  Launch filling(Tensor tensor, double scale, int seed) {
    Function fill =
        function(
            OWN, String.format(Locale.ROOT, "laco_bench_fill_%s_v1", tensor.dtype().shortName()));
    long blocks = Math.ceilDiv(tensor.elements(), FILL_BLOCK);
    long most = (long) BLOCKS_PER_MULTIPROCESSOR * multiprocessors();
    return launch(
        fill,
        Grid.of(Math.min(blocks, most), FILL_BLOCK),
        new Arguments().pointer(tensor).int64(tensor.elements()).float32(scale).int32(seed));
  }

  // ---- kernels

  /** A kernel of the bench's own. */
  Function ownFunction(String name) {
    return function(OWN, name);
  }

  /**
   * A kernel of ours.
   *
   * @param file its source's name without suffix
   */
  Function function(String file, String name) {
    return new Function(name, runner.kernel(file, name));
  }

  /**
   * A user's kernel.
   *
   * @param image a cubin, a fatbin or PTX
   * @throws BadInputException if the file cannot be read
   * @throws dev.laco.ResourceException if the driver does not take it, or has no kernel of the name
   */
  Function function(Path image, String name) {
    if (!Files.isRegularFile(image)) {
      throw new BadInputException("there is no file " + image);
    }
    try (Arena arena = Arena.ofConfined()) {
      byte[] bytes = Files.readAllBytes(image);
      // The zero behind ends an image that is text.
      MemorySegment memory = arena.allocate(bytes.length + 1L, 64).asSlice(0, bytes.length);
      MemorySegment.copy(bytes, 0, memory, JAVA_BYTE, 0, bytes.length);
      return new Function(name, runner.kernel(image.toString(), memory, name));
    } catch (IOException e) {
      throw new BadInputException("cannot read " + image + ": " + e.getMessage());
    }
  }

  /**
   * A kernel with its grid and arguments, to be launched any number of times.
   *
   * @throws ResourceException if the card has less shared memory
   */
  Launch launch(Function function, Grid grid, Arguments with) {
    int most = runner.attribute(SHARED_BYTES);
    if (grid.sharedBytes() > most) {
      throw new ResourceException(
          String.format(
              Locale.ROOT,
              "%s needs %,d bytes of shared memory, of which this card has %,d",
              function.name(),
              grid.sharedBytes(),
              most));
    }
    if (grid.sharedBytes() > 0) {
      // Without that, static and dynamic memory together may have 48 KB.
      runner.allowSharedBytes(function.handle(), grid.sharedBytes());
    }
    return new Launch(runner, function, grid, with.pack(arguments));
  }

  /** {@code x += y} in one block as the engine launches it: with new arguments, checked. */
  void addAsTheEngineDoes(Tensor x, Tensor y) {
    runner.add(x, y);
  }

  /** {@code out = x weight^T} by cuBLAS: f32 {@code out}, the others of one dtype. */
  void product(Tensor x, Tensor weight, Tensor out) {
    runner.product(x, weight, out);
  }

  /** Launches as one graph, so that the device does not wait for the host between them. */
  GraphReplay capture(Runnable launches) {
    return runner.capture(launches);
  }

  // ---- time

  /** Waits for everything. */
  void synchronize() {
    runner.synchronize();
  }

  /**
   * Reads so much that the caches hold nothing of before. Had it been written, the kernel that is
   * measured next would pay for writing those lines back to memory.
   */
  void flush() {
    flush.run();
  }

  /**
   * Seconds that the device works, measured by events on the stream.
   *
   * @param before done each time, not measured; what it takes hides how long the host needs to
   *     launch
   */
  double[] seconds(int repetitions, Runnable before, Runnable work) {
    return runner.seconds(repetitions, before, work);
  }

  @Override
  public void close() {
    cacheful.close();
    runner.close();
    arguments.close();
  }
}
