package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import dev.laco.BadInputException;
import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.ResourceException;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/**
 * A CUDA device as the bench uses it: kernels by file and name, launched with any arguments and
 * timed by events. In the engine's package for its driver, memory and modules, which are not
 * public. Like them it belongs to the thread that opened it.
 */
public final class BenchDevice implements AutoCloseable {
  private static final int L2_BYTES = 38;
  private static final int MULTIPROCESSORS = 16;
  private static final int SHARED_BYTES = 97;
  private static final int FILL_BLOCK = 256;

  /** The kernels of {@code bench/cuda}. */
  private static final String OWN = "streams";

  private static final int BLOCKS_PER_MULTIPROCESSOR = 8;

  /** Dynamic shared memory that a kernel may have without asking. */
  private static final int UNASKED_SHARED_BYTES = 48 << 10;

  /** So much is written that nothing of what was there before is still cached. */
  private static final int FLUSHES = 2;

  private final CudaContext context;
  private final CudaBinding binding;
  private final KernelImages images;
  private final CublasLibrary library;
  private final CudaStream stream;
  private final Staging staging;
  private final Cublas cublas;
  private final EventTimer timer;
  private final DeviceBuffer cacheful;
  private final Map<String, CudaModule> modules = new HashMap<>();
  private final Arena arguments = Arena.ofShared();

  /**
   * A kernel that was found.
   *
   * @param handle of the driver
   */
  public record Function(String name, long handle) {}

  private BenchDevice(
      CudaContext context, CudaBinding binding, KernelImages images, CublasLibrary library) {
    this.context = context;
    this.binding = binding;
    this.images = images;
    this.library = library;
    this.stream = new CudaStream(context);
    this.staging = new Staging(context);
    this.cublas =
        library.open(binding, stream, new DeviceBuffer(context, Cublas.WORKSPACE_BYTES, "cuBLAS"));
    this.timer = new EventTimer(context.driver().library());
    this.cacheful =
        new DeviceBuffer(context, (long) FLUSHES * attribute(L2_BYTES), "flushing the cache");
  }

  /**
   * Opens a device on the calling thread.
   *
   * @param ordinal as the driver counts
   * @throws dev.laco.ResourceException if this machine or this build cannot
   */
  public static BenchDevice open(CudaBinding binding, int ordinal) {
    CudaDriver driver = CudaProbe.driver(binding);
    CudaDevice device = CudaProbe.device(driver, ordinal);
    KernelImages images = KernelImages.forDriver(driver.version());
    CublasLibrary library = CublasLibrary.find(driver.version());
    CudaContext context = new CudaContext(driver, device);
    try {
      return new BenchDevice(context, binding, images, library);
    } catch (RuntimeException e) {
      context.close();
      throw e;
    }
  }

  /** {@code NVIDIA H100 80GB HBM3}. */
  public String card() {
    return context.device().name();
  }

  /** {@code 9.0}. */
  public String capability() {
    return context.device().major() + "." + context.device().minor();
  }

  /** The CUDA version that the driver supports, {@code 13.0}. */
  public String driverVersion() {
    return CudaProbe.version(context.driver().version());
  }

  /** {@code 13.1.0}. */
  public String cublasVersion() {
    return library.version() + "." + library.patch();
  }

  public CudaBinding binding() {
    return binding;
  }

  /** True for the stand-in, whose times mean nothing for a GPU. */
  public boolean isEmulated() {
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
            binding);
    return isEmulated() ? text + "; EMULATED, its times say nothing about a GPU" : text;
  }

  /** True if f64 is at least a quarter as fast as f32, by which the engine chooses how to mix. */
  public boolean hasFastF64() {
    return context.device().hasFastF64();
  }

  public int multiprocessors() {
    return attribute(MULTIPROCESSORS);
  }

  private int attribute(int attribute) {
    return context.driver().attribute(attribute, context.device().handle());
  }

  /** The engine's backend on the same device. */
  public CudaBackend backend(Compute compute) {
    return CudaBackend.open(compute, context.device().ordinal(), binding);
  }

  // ---- memory

  /** Tensors of zeros. */
  public TensorArena arena() {
    return new CudaArena(context, stream);
  }

  /** Where a tensor of this or of the engine's backend lies, to read it or to write to it. */
  public static long address(Tensor tensor) {
    return CudaTensor.of(tensor).output();
  }

  /** Pinned memory of the host, until this device is closed. */
  public MemorySegment pinned(long bytes) {
    return new PinnedBuffer(context, bytes, "the bench").segment();
  }

  /** Copies pinned memory; returns before that is done. */
  public void uploadPinned(MemorySegment from, long to) {
    context.driver().copyToDevice(to, from, stream.handle());
  }

  /** Copies any memory, as the engine brings weights up. */
  public void upload(MemorySegment from, long to) {
    staging.upload(from, to, stream);
  }

  public void download(long from, MemorySegment to) {
    staging.download(from, to, stream);
  }

  public void copy(long from, long to, long bytes) {
    context.driver().copy(to, from, bytes, stream.handle());
  }

  /** Fills a tensor with uniform values in {@code (-scale, scale)}. */
  public void fill(Tensor tensor, double scale, int seed) {
    Function fill =
        function(
            OWN, String.format(Locale.ROOT, "laco_bench_fill_%s_v1", tensor.dtype().shortName()));
    long blocks = Math.ceilDiv(tensor.elements(), FILL_BLOCK);
    long most = (long) BLOCKS_PER_MULTIPROCESSOR * multiprocessors();
    launch(
            fill,
            Grid.of(Math.min(blocks, most), FILL_BLOCK),
            new Arguments().pointer(tensor).int64(tensor.elements()).float32(scale).int32(seed))
        .run();
  }

  // ---- kernels

  /** A kernel of the bench's own. */
  public Function ownFunction(String name) {
    return function(OWN, name);
  }

  /**
   * A kernel of ours.
   *
   * @param file its source's name without suffix
   */
  public Function function(String file, String name) {
    CudaModule module = modules.get(file);
    if (module == null) {
      try (Arena arena = Arena.ofConfined()) {
        module = new CudaModule(context, file, images.load(file, arena));
      }
      modules.put(file, module);
    }
    return new Function(name, module.function(name));
  }

  /**
   * A user's kernel.
   *
   * @param image a cubin, a fatbin or PTX
   * @throws BadInputException if the file cannot be read
   * @throws dev.laco.ResourceException if the driver does not take it, or has no kernel of the name
   */
  public Function function(Path image, String name) {
    if (!Files.isRegularFile(image)) {
      throw new BadInputException("there is no file " + image);
    }
    try (Arena arena = Arena.ofConfined()) {
      byte[] bytes = Files.readAllBytes(image);
      // The zero behind ends an image that is text.
      MemorySegment memory = arena.allocate(bytes.length + 1L, 64).asSlice(0, bytes.length);
      MemorySegment.copy(bytes, 0, memory, JAVA_BYTE, 0, bytes.length);
      CudaModule module = new CudaModule(context, image.toString(), memory);
      return new Function(name, module.function(name));
    } catch (IOException e) {
      throw new BadInputException("cannot read " + image + ": " + e.getMessage());
    }
  }

  /**
   * A kernel with its grid and arguments, to be launched any number of times.
   *
   * @throws ResourceException if the card has less shared memory
   */
  public Launch launch(Function function, Grid grid, Arguments with) {
    int most = attribute(SHARED_BYTES);
    if (grid.sharedBytes() > most) {
      throw new ResourceException(
          String.format(
              Locale.ROOT,
              "%s needs %,d bytes of shared memory, of which this card has %,d",
              function.name(),
              grid.sharedBytes(),
              most));
    }
    if (grid.sharedBytes() > UNASKED_SHARED_BYTES) {
      context.driver().allowSharedBytes(function.handle(), grid.sharedBytes());
    }
    return new Launch(context.driver(), stream, function, grid, with.pack(arguments));
  }

  /** Threads that the engine gives a row of a norm. */
  public static int rowBlock(long columns) {
    return CudaBackend.rowBlock(columns);
  }

  /** Blocks that the engine gives each sequence of a cosine. */
  public static int cosineParts(long tokens, long columns) {
    return CudaBackend.cosineParts(tokens, columns);
  }

  /** A launch in the engine's own way. */
  public EngineLaunch launchAsTheEngineDoes(Tensor x, Tensor y) {
    return new EngineLaunch(context, new Launcher(context, images, stream), x, y);
  }

  /** {@code out = x weight^T} by cuBLAS: f32 {@code out}, the others of one dtype. */
  public void product(Tensor x, Tensor weight, Tensor out) {
    cublas.product(
        x.dtype(),
        Math.toIntExact(x.rows()),
        Math.toIntExact(weight.rows()),
        Math.toIntExact(x.columns()),
        address(x),
        address(weight),
        address(out),
        Math.toIntExact(out.columns()));
  }

  // ---- time

  /** Waits for everything. */
  public void synchronize() {
    stream.synchronize();
  }

  /** Writes so much that the caches hold nothing of before. */
  public void flush() {
    context.driver().zero(cacheful.address(), cacheful.bytes(), stream.handle());
  }

  /**
   * Seconds that the device works, measured by events on the stream.
   *
   * @param before done each time, not measured; what it takes hides how long the host needs to
   *     launch
   */
  public double[] seconds(int repetitions, Runnable before, Runnable work) {
    return timer.seconds(stream, repetitions, before, work);
  }

  @Override
  public void close() {
    timer.close();
    cublas.close();
    context.close();
    arguments.close();
  }
}
