package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.backend.cuda.Kernel.Parameter;
import dev.laco.model.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * Launches kernels on one stream: {@code of(kernel, dtype).pointer(…).int64(…).run(…)}. The
 * arguments are packed into one piece of memory that every launch uses again, since the driver has
 * copied the arguments when a launch returns. The type of each argument is checked against {@link
 * Kernel}.
 */
final class Launcher {
  private static final long SLAB_BYTES = 256;

  // Keys of the array extra of cuLaunchKernel.
  private static final long PARAM_END = 0;
  private static final long PARAM_BUFFER_POINTER = 1;
  private static final long PARAM_BUFFER_SIZE = 2;

  /**
   * Bytes of static and dynamic shared memory that every kernel may have; for more, the driver must
   * be asked.
   */
  private static final int SHARED_BYTES = 48 << 10;

  private final CudaContext context;
  private final CudaStream stream;
  private final MemorySegment slab;
  private final MemorySegment size;
  private final MemorySegment extra;
  private final Map<Kernel, Map<DType, Entry>> entries = new EnumMap<>(Kernel.class);

  private Entry entry = Entry.NONE;
  private int given;
  private long end;

  /** Loads all kernels. */
  Launcher(CudaContext context, KernelImages images, CudaStream stream) {
    this.context = context;
    this.stream = stream;
    this.slab = context.arena().allocate(SLAB_BYTES, 16);
    this.size = context.arena().allocate(JAVA_LONG);
    this.extra = context.arena().allocate(ADDRESS, 5);
    extra.setAtIndex(JAVA_LONG, 0, PARAM_BUFFER_POINTER);
    extra.setAtIndex(ADDRESS, 1, slab);
    extra.setAtIndex(JAVA_LONG, 2, PARAM_BUFFER_SIZE);
    extra.setAtIndex(ADDRESS, 3, size);
    extra.setAtIndex(JAVA_LONG, 4, PARAM_END);
    Map<String, CudaModule> modules = new HashMap<>();
    try (Arena memory = Arena.ofConfined()) {
      for (String file : Kernel.files()) {
        modules.put(file, new CudaModule(context, file, images.load(file, memory)));
      }
    }
    for (Kernel kernel : Kernel.values()) {
      Map<DType, Entry> byDType = new EnumMap<>(DType.class);
      for (DType dtype : kernel.dtypes()) {
        String name = kernel.entry(dtype);
        long function = module(modules, kernel).function(name);
        int dynamic = SHARED_BYTES - context.driver().staticSharedBytes(function);
        byDType.put(dtype, new Entry(name, kernel.parameters(), function, dynamic));
      }
      entries.put(kernel, byDType);
    }
  }

  private static CudaModule module(Map<String, CudaModule> modules, Kernel kernel) {
    CudaModule module = modules.get(kernel.file());
    if (module == null) {
      throw new IllegalStateException("no module " + kernel.file());
    }
    return module;
  }

  /** Begins the launch of a kernel. */
  Launcher of(Kernel kernel, DType dtype) {
    Map<DType, Entry> byDType = entries.get(kernel);
    Entry found = byDType == null ? null : byDType.get(dtype);
    if (found == null) {
      throw new IllegalArgumentException("no kernel " + kernel + " for " + dtype);
    }
    entry = found;
    given = 0;
    end = 0;
    return this;
  }

  /** Adds an argument: a device address, or 0 for none. */
  Launcher pointer(long address) {
    slab.set(JAVA_LONG, place(Parameter.POINTER), address);
    return this;
  }

  /** Adds an argument of 64 bits. */
  Launcher int64(long value) {
    slab.set(JAVA_LONG, place(Parameter.INT64), value);
    return this;
  }

  /** Adds an argument of 32 bits, after a check that the value fits. */
  Launcher int32(long value) {
    slab.set(JAVA_INT, place(Parameter.INT32), Math.toIntExact(value));
    return this;
  }

  /** Adds an f32 argument. */
  Launcher float32(float value) {
    slab.set(JAVA_FLOAT, place(Parameter.FLOAT32), value);
    return this;
  }

  /** Adds an f64 argument. */
  Launcher float64(double value) {
    slab.set(JAVA_DOUBLE, place(Parameter.FLOAT64), value);
    return this;
  }

  /** Launches the kernel on a grid of one dimension. */
  void run(long grid, int block) {
    run(grid, 1, 1, block, 0);
  }

  /**
   * Queues the launch of the kernel on the stream.
   *
   * @param sharedBytes dynamic shared memory
   */
  void run(long gridX, long gridY, long gridZ, int block, int sharedBytes) {
    if (given != entry.parameters.size()) {
      throw new IllegalStateException(
          entry.name + " has " + entry.parameters.size() + " parameters, not " + given);
    }
    size.set(JAVA_LONG, 0, end);
    context.driver().launching(entry.name);
    try {
      if (sharedBytes > entry.sharedBytes) {
        context.driver().allowSharedBytes(entry.function, sharedBytes);
        entry.sharedBytes = sharedBytes;
      }
      context
          .driver()
          .launch(
              entry.function,
              Math.toIntExact(gridX),
              Math.toIntExact(gridY),
              Math.toIntExact(gridZ),
              block,
              sharedBytes,
              stream.handle(),
              extra);
    } catch (CudaException e) {
      throw e.about(describe(entry.name, gridX, gridY, gridZ, block, sharedBytes));
    }
  }

  /** A launch, for messages. */
  static String describe(
      String kernel, long gridX, long gridY, long gridZ, int block, int sharedBytes) {
    return String.format(
        Locale.ROOT,
        "kernel %s, grid %d x %d x %d, block %d, %d bytes of shared memory",
        kernel,
        gridX,
        gridY,
        gridZ,
        block,
        sharedBytes);
  }

  /**
   * The offset of the next argument, after a check that the kernel takes an argument of this type
   * there.
   */
  private long place(Parameter kind) {
    if (given >= entry.parameters.size() || entry.parameters.get(given) != kind) {
      throw new IllegalStateException(
          String.format(
              Locale.ROOT,
              "argument %d of %s %s is no %s",
              given,
              entry.name,
              entry.parameters,
              kind));
    }
    given++;
    long at = (end + kind.byteSize() - 1) & -kind.byteSize();
    end = at + kind.byteSize();
    return at;
  }

  private static final class Entry {
    static final Entry NONE = new Entry("none", List.of(), 0, 0);

    private final String name;
    private final List<Parameter> parameters;
    private final long function;
    private int sharedBytes;

    /**
     * @param sharedBytes the most dynamic shared memory that a launch may have so far
     */
    Entry(String name, List<Parameter> parameters, long function, int sharedBytes) {
      this.name = name;
      this.parameters = parameters;
      this.function = function;
      this.sharedBytes = sharedBytes;
    }
  }
}
