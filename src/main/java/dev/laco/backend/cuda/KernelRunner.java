package dev.laco.backend.cuda;

import dev.laco.CudaBinding;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A CUDA device below the ops of a backend, for programs that measure kernels: any kernel by file
 * and name, launched with any grid and arguments on memory that the caller has allocated, and timed
 * by events. All work goes to one stream. A runner must be used on the thread that opened it.
 */
public final class KernelRunner implements AutoCloseable {
  private static final int ADD_BLOCK = 256;

  /** {@code CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR}. */
  private static final int MAX_THREADS_PER_MULTIPROCESSOR = 39;

  private final CudaContext context;
  private final CudaBinding binding;
  private final KernelImages images;
  private final CublasLibrary library;
  private final CudaStream stream;
  private final Staging staging;
  private final Cublas cublas;
  private final EventTimer timer;
  private final DriverQueries queries;
  private final ExtendedLaunch extended;
  private final Map<String, CudaModule> modules = new HashMap<>();
  private @Nullable Launcher launcher;

  private KernelRunner(
      CudaContext context, CudaBinding binding, KernelImages images, CublasLibrary library) {
    this.context = context;
    this.binding = binding;
    this.images = images;
    this.library = library;
    this.stream = context.stream();
    this.staging = new Staging(context);
    this.cublas =
        library.open(binding, stream, new DeviceBuffer(context, Cublas.WORKSPACE_BYTES, "cuBLAS"));
    this.timer = new EventTimer(context.driver().library());
    this.queries = new DriverQueries(context.driver().library());
    this.extended = new ExtendedLaunch(context.driver().library());
  }

  /**
   * Opens a device for use on the calling thread.
   *
   * @param ordinal number of the device, as the driver counts
   * @throws NoCudaException if this machine or this build has no usable CUDA device
   */
  public static KernelRunner open(CudaBinding binding, int ordinal) {
    CudaDriver driver = CudaProbe.driver(binding);
    CudaDevice device = CudaProbe.device(driver, ordinal);
    KernelImages images = KernelImages.forDriver(driver.version());
    images.require();
    CublasLibrary library = CublasLibrary.find(driver.version());
    CudaContext context = new CudaContext(driver, device);
    try {
      return new KernelRunner(context, binding, images, library);
    } catch (RuntimeException e) {
      context.close();
      throw e;
    }
  }

  // ---- the device

  public CudaBinding binding() {
    return binding;
  }

  public int ordinal() {
    return context.device().ordinal();
  }

  /** {@code NVIDIA H100 80GB HBM3}. */
  public String card() {
    return context.device().name();
  }

  /** {@code 9.0}. */
  public String capability() {
    return context.device().major() + "." + context.device().minor();
  }

  /** The newest CUDA version that the driver supports, {@code 13.0}. */
  public String driverVersion() {
    return CudaProbe.version(context.driver().version());
  }

  /** {@code 13.1.0}. */
  public String cublasVersion() {
    return library.version() + "." + library.patch();
  }

  /** Whether the engine mixes layers as on a device whose f64 is fast. */
  public boolean hasFastF64() {
    return context.device().hasFastF64();
  }

  /**
   * What the driver says of the device.
   *
   * @param attribute a {@code CUdevice_attribute}
   */
  public int attribute(int attribute) {
    return context.driver().attribute(attribute, context.device().handle());
  }

  /** Where the device is among those of the machine, {@code 0000:17:00.0}. */
  public String busId() {
    return queries.busId(context.device().handle());
  }

  // ---- memory

  /** A new arena on the device; its tensors are zeros at first. */
  public TensorArena arena() {
    return new CudaArena(context);
  }

  /**
   * The device address of a tensor, to read it or to write to it.
   *
   * @param tensor of an arena of this runner, or of a backend on the same device
   */
  public static long address(Tensor tensor) {
    return CudaTensor.of(tensor).output();
  }

  /** Allocates pinned memory of the host, which is freed when this runner is closed. */
  public MemorySegment pinned(long bytes) {
    return new PinnedBuffer(context, bytes, "measurements").segment();
  }

  /** Queues a copy of pinned memory to the device. */
  public void uploadPinned(MemorySegment from, long to) {
    context.driver().copyToDevice(to, from, stream.handle());
  }

  /** Copies any memory of the host to the device, as the engine copies weights. */
  public void upload(MemorySegment from, long to) {
    staging.upload(from, to, stream);
  }

  /** Copies memory of the device to the host. */
  public void download(long from, MemorySegment to) {
    staging.download(from, to, stream);
  }

  /** Queues a copy from device memory to device memory. */
  public void copy(long from, long to, long bytes) {
    context.driver().copy(to, from, bytes, stream.handle());
  }

  // ---- kernels

  /**
   * The handle of a kernel of this build.
   *
   * @param file name of the kernel's source without suffix
   */
  public long kernel(String file, String name) {
    CudaModule module = modules.get(file);
    if (module == null) {
      try (Arena arena = Arena.ofConfined()) {
        module = new CudaModule(context, file, images.load(file, arena));
      }
      modules.put(file, module);
    }
    return module.function(name);
  }

  /**
   * The handle of a kernel of an image: a cubin, a fatbin or PTX.
   *
   * @param file where the image comes from, for messages
   * @param image the image, with a zero behind it in case it is text
   * @throws dev.laco.ResourceException if the driver does not take the image, or the image has no
   *     kernel of the name
   */
  public long kernel(String file, MemorySegment image, String name) {
    return new CudaModule(context, file, image).function(name);
  }

  /** Allows a kernel to be launched with up to {@code bytes} of dynamic shared memory. */
  public void allowSharedBytes(long kernel, int bytes) {
    context.driver().allowSharedBytes(kernel, bytes);
  }

  /**
   * What a kernel takes of a multiprocessor of the device.
   *
   * @param kernel the handle
   * @param sharedBytes dynamic shared memory of a block
   */
  public KernelResources resources(long kernel, Dim3 block, int sharedBytes) {
    return queries.resources(kernel, block, sharedBytes, attribute(MAX_THREADS_PER_MULTIPROCESSOR));
  }

  /**
   * Queues the launch of a kernel.
   *
   * @param kernel the handle
   * @param name for messages
   * @param cluster blocks of a cluster; {@link Dim3#ONE} for none
   * @param arguments the {@code extra} array of {@code cuLaunchKernel}
   */
  public void launch(
      long kernel,
      String name,
      Dim3 grid,
      Dim3 block,
      Dim3 cluster,
      int sharedBytes,
      MemorySegment arguments) {
    try {
      if (block.count() > block.x() || !cluster.equals(Dim3.ONE)) {
        extended.run(kernel, grid, block, cluster, sharedBytes, stream, arguments);
      } else {
        context
            .driver()
            .launch(
                kernel,
                grid.x(),
                grid.y(),
                grid.z(),
                block.x(),
                sharedBytes,
                stream.handle(),
                arguments);
      }
    } catch (CudaException e) {
      throw e.about(
          String.format(
              Locale.ROOT,
              "kernel %s, grid %s, block %s, cluster %s, %d bytes of dynamic shared memory",
              name,
              grid,
              block,
              cluster,
              sharedBytes));
    }
  }

  /**
   * Captures work of this runner as a graph, without doing the work.
   *
   * @param work launches kernels and waits for nothing
   */
  public GraphReplay capture(Runnable work) {
    return new GraphReplay(context.driver().library(), stream, work);
  }

  /**
   * Queues {@code x += y} in one block as a backend launches its ops, with packing and checks of
   * the arguments.
   */
  public void add(Tensor x, Tensor y) {
    context.enter();
    if (launcher == null) {
      launcher = new Launcher(context, images, stream);
    }
    launcher
        .of(Kernel.ADD, DType.F32)
        .pointer(address(x))
        .pointer(address(y))
        .int64(x.elements())
        .run(1, ADD_BLOCK);
  }

  /**
   * Queues {@code out = x weight^T} by cuBLAS: both factors of one dtype, {@code out} of f32 or of
   * this dtype.
   */
  public void product(Tensor x, Tensor weight, Tensor out) {
    cublas.product(
        x.dtype(),
        Math.toIntExact(x.rows()),
        Math.toIntExact(weight.rows()),
        Math.toIntExact(x.columns()),
        address(x),
        address(weight),
        out.dtype(),
        address(out),
        Math.toIntExact(out.columns()));
  }

  // ---- time

  /** Waits until all queued work is done. */
  public void synchronize() {
    stream.synchronize();
  }

  /**
   * Seconds that the device takes for queued work, measured by events on the stream.
   *
   * @param before work that is queued each time before what is measured, and hides how long the
   *     host takes to queue that
   * @param work the work that is measured
   */
  public double[] seconds(int repetitions, Runnable before, Runnable work) {
    return timer.seconds(stream, repetitions, before, work);
  }

  @Override
  public void close() {
    timer.close();
    cublas.close();
    context.close();
  }
}
