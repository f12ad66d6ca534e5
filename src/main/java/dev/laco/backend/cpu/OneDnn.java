package dev.laco.backend.cpu;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.ResourceException;
import dev.laco.ffi.Downcalls;
import dev.laco.ffi.NativeLibrary;
import dev.laco.model.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * The part of oneDNN's C API (version 3, {@code dnnl.h}) that matrix products need. An instance has
 * an engine, a stream, and makes products that use both.
 */
final class OneDnn implements AutoCloseable {
  private static final int CPU_ENGINE = 1;
  private static final int IN_ORDER = 1;
  private static final int USER_SCRATCHPAD = 1;
  private static final int TYPE_OF_OUTPUT = 0;
  private static final int QUERY_IMPLEMENTATION = 8;
  private static final int QUERY_SCRATCHPAD = 136;
  private static final int MAX_DIMENSIONS = 12;

  /** {@code DNNL_RUNTIME_DIM_VAL}: an extent that the matrices of an execution tell. */
  private static final long RUNTIME = Long.MIN_VALUE;

  private static final int OUT_OF_MEMORY = 1;

  private static final int ARG_SRC = 1;
  private static final int ARG_DST = 17;
  private static final int ARG_WEIGHTS = 33;
  private static final int ARG_SCRATCHPAD = 80;

  /** {@code const dnnl_version_t *dnnl_version(void)}; the struct begins with three ints. */
  private static final MethodHandle VERSION = Downcalls.ofAddress();

  /** {@code dnnl_status_t dnnl_set_max_cpu_isa(dnnl_cpu_isa_t isa)}. */
  private static final MethodHandle SET_MAX_CPU_ISA = Downcalls.ofInt(JAVA_INT);

  /**
   * {@code dnnl_status_t dnnl_engine_create(dnnl_engine_t *, dnnl_engine_kind_t, size_t index)}.
   */
  private static final MethodHandle ENGINE_CREATE = Downcalls.ofInt(ADDRESS, JAVA_INT, JAVA_LONG);

  /** {@code dnnl_status_t dnnl_stream_create(dnnl_stream_t *, dnnl_engine_t, unsigned flags)}. */
  private static final MethodHandle STREAM_CREATE = Downcalls.ofInt(ADDRESS, ADDRESS, JAVA_INT);

  /**
   * {@code dnnl_status_t dnnl_memory_desc_create_with_strides(dnnl_memory_desc_t *, int ndims,
   * const dnnl_dims_t dims, dnnl_data_type_t, const dnnl_dims_t strides)}.
   */
  private static final MethodHandle MEMORY_DESC_CREATE =
      Downcalls.ofInt(ADDRESS, JAVA_INT, ADDRESS, JAVA_INT, ADDRESS);

  /** {@code size_t dnnl_memory_desc_get_size(const_dnnl_memory_desc_t)}. */
  private static final MethodHandle MEMORY_DESC_SIZE = Downcalls.ofLong(ADDRESS);

  /** {@code dnnl_status_t dnnl_primitive_attr_create(dnnl_primitive_attr_t *)}. */
  private static final MethodHandle ATTR_CREATE = Downcalls.ofInt(ADDRESS);

  /**
   * {@code dnnl_status_t dnnl_primitive_attr_set_scratchpad_mode(dnnl_primitive_attr_t,
   * dnnl_scratchpad_mode_t)}.
   */
  private static final MethodHandle ATTR_SCRATCHPAD = Downcalls.ofInt(ADDRESS, JAVA_INT);

  /** {@code dnnl_status_t dnnl_post_ops_create(dnnl_post_ops_t *)}. */
  private static final MethodHandle POST_OPS_CREATE = Downcalls.ofInt(ADDRESS);

  /**
   * {@code dnnl_status_t dnnl_post_ops_append_sum(dnnl_post_ops_t, float scale, int32_t zero_point,
   * dnnl_data_type_t)}.
   */
  private static final MethodHandle POST_OPS_SUM =
      Downcalls.ofInt(ADDRESS, JAVA_FLOAT, JAVA_INT, JAVA_INT);

  /**
   * {@code dnnl_status_t dnnl_primitive_attr_set_post_ops(dnnl_primitive_attr_t,
   * const_dnnl_post_ops_t)}.
   */
  private static final MethodHandle ATTR_POST_OPS = Downcalls.ofInt(ADDRESS, ADDRESS);

  /**
   * {@code dnnl_status_t dnnl_matmul_primitive_desc_create(dnnl_primitive_desc_t *, dnnl_engine_t,
   * const_dnnl_memory_desc_t src, const_dnnl_memory_desc_t weights, const_dnnl_memory_desc_t bias,
   * const_dnnl_memory_desc_t dst, const_dnnl_primitive_attr_t)}.
   */
  private static final MethodHandle MATMUL_CREATE =
      Downcalls.ofInt(ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS);

  /**
   * {@code dnnl_status_t dnnl_primitive_desc_query(const_dnnl_primitive_desc_t, dnnl_query_t, int
   * index, void *result)}.
   */
  private static final MethodHandle QUERY = Downcalls.ofInt(ADDRESS, JAVA_INT, JAVA_INT, ADDRESS);

  /**
   * {@code const_dnnl_memory_desc_t dnnl_primitive_desc_query_md(const_dnnl_primitive_desc_t,
   * dnnl_query_t, int index)}.
   */
  private static final MethodHandle QUERY_MEMORY_DESC =
      Downcalls.ofAddress(ADDRESS, JAVA_INT, JAVA_INT);

  /**
   * {@code dnnl_status_t dnnl_primitive_create(dnnl_primitive_t *, const_dnnl_primitive_desc_t)}.
   */
  private static final MethodHandle PRIMITIVE_CREATE = Downcalls.ofInt(ADDRESS, ADDRESS);

  /**
   * {@code dnnl_status_t dnnl_memory_create(dnnl_memory_t *, const_dnnl_memory_desc_t,
   * dnnl_engine_t, void *handle)}.
   */
  private static final MethodHandle MEMORY_CREATE =
      Downcalls.ofInt(ADDRESS, ADDRESS, ADDRESS, ADDRESS);

  /** {@code dnnl_status_t dnnl_memory_set_data_handle(dnnl_memory_t, void *handle)}. */
  private static final MethodHandle MEMORY_SET = Downcalls.ofInt(ADDRESS, ADDRESS);

  /**
   * {@code dnnl_status_t dnnl_primitive_execute(const_dnnl_primitive_t, dnnl_stream_t, int nargs,
   * const dnnl_exec_arg_t *args)}.
   */
  private static final MethodHandle EXECUTE = Downcalls.ofInt(ADDRESS, ADDRESS, JAVA_INT, ADDRESS);

  /** {@code dnnl_status_t dnnl_<kind>_destroy(dnnl_<kind>_t)}. */
  private static final MethodHandle DESTROY = Downcalls.ofInt(ADDRESS);

  private final NativeLibrary library;
  private final MemorySegment memorySet;
  private final MemorySegment execute;
  private final MemorySegment engine;
  private final MemorySegment stream;
  private final MemorySegment attributes;
  private final MemorySegment addingAttributes;
  private boolean closed;

  OneDnn(NativeLibrary library) {
    this.library = library;
    this.memorySet = library.function("dnnl_memory_set_data_handle");
    this.execute = library.function("dnnl_primitive_execute");
    this.engine =
        create(
            "dnnl_engine_create",
            (function, made) -> (int) ENGINE_CREATE.invokeExact(function, made, CPU_ENGINE, 0L));
    this.stream =
        create(
            "dnnl_stream_create",
            (function, made) -> (int) STREAM_CREATE.invokeExact(function, made, engine, IN_ORDER));
    this.attributes = attributes();
    this.addingAttributes = attributes();
    MemorySegment sum =
        create(
            "dnnl_post_ops_create",
            (function, made) -> (int) POST_OPS_CREATE.invokeExact(function, made));
    // With f32 in place of the type of the output, which is f32, oneDNN has only reference code for
    // products of bf16 whose sums have any number of terms.
    call(
        "dnnl_post_ops_append_sum",
        function -> (int) POST_OPS_SUM.invokeExact(function, sum, 1f, 0, TYPE_OF_OUTPUT));
    call(
        "dnnl_primitive_attr_set_post_ops",
        function -> (int) ATTR_POST_OPS.invokeExact(function, addingAttributes, sum));
    destroy("post_ops", sum);
  }

  private MemorySegment attributes() {
    MemorySegment attributes =
        create(
            "dnnl_primitive_attr_create",
            (function, made) -> (int) ATTR_CREATE.invokeExact(function, made));
    call(
        "dnnl_primitive_attr_set_scratchpad_mode",
        function -> (int) ATTR_SCRATCHPAD.invokeExact(function, attributes, USER_SCRATCHPAD));
    return attributes;
  }

  /** The version of the library: {@code 3.11.0}. */
  static String version(NativeLibrary library) {
    MemorySegment function = library.function("dnnl_version");
    MemorySegment version =
        Downcalls.call(() -> (MemorySegment) VERSION.invokeExact(function)).reinterpret(12);
    return String.format(
        Locale.ROOT,
        "%d.%d.%d",
        version.getAtIndex(JAVA_INT, 0),
        version.getAtIndex(JAVA_INT, 1),
        version.getAtIndex(JAVA_INT, 2));
  }

  /**
   * Limits the library to the instructions of a tier; to be called before the first product of the
   * process.
   */
  static void limit(NativeLibrary library, CpuTier tier) {
    int isa =
        switch (tier) {
          case PORTABLE -> 0x1; // dnnl_cpu_isa_sse41
          case AVX2 -> 0x7; // dnnl_cpu_isa_avx2
          case AVX512 -> 0x0; // dnnl_cpu_isa_default: no limit
        };
    call(
        library,
        "dnnl_set_max_cpu_isa",
        function -> (int) SET_MAX_CPU_ISA.invokeExact(function, isa));
  }

  /**
   * A product {@code out = left right} or {@code out += left right}: {@code left [m, k]} and {@code
   * right [k, n]} of one dtype, {@code out [m, n]} f32.
   *
   * @param rows the extent that is a number of tokens
   */
  record Shape(
      DType dtype,
      long m,
      long n,
      long k,
      Rows rows,
      Strides left,
      Strides right,
      long outStride,
      boolean adds) {
    /** How many tokens the product is of. */
    long tokens() {
      return rows == Rows.OF_OUTPUT ? m : k;
    }

    /**
     * Whether the code of the product is that of any number of tokens, which oneDNN generates once.
     * With AMX that takes up to 10 ms and 0.9 MB for each shape, and a training has steps of
     * hundreds of lengths. Such code is as fast, but for a few tokens and, with AMX, for very many;
     * for these code of its own pays where the weight is large.
     */
    boolean sharesCode() {
      boolean own =
          rows == Rows.OF_OUTPUT && dtype == DType.BF16 && m >= VERY_MANY && n * k >= LARGE_WEIGHT;
      return tokens() >= MANY && !own;
    }

    /** The shape of any number of tokens. */
    private Shape ofAnyTokens() {
      return new Shape(
          dtype,
          rows == Rows.OF_OUTPUT ? RUNTIME : m,
          n,
          rows == Rows.SUMMED ? RUNTIME : k,
          rows,
          left,
          right,
          outStride,
          adds);
    }
  }

  /** Which extent of a product is a number of tokens: {@code m}, or {@code k}. */
  enum Rows {
    OF_OUTPUT,
    SUMMED
  }

  /** The fewest tokens of a product that shares its code. */
  private static final long MANY = 256;

  /** The fewest tokens of a product by a large weight in bf16 that does not. */
  private static final long VERY_MANY = 1024;

  /** Elements of a weight from which on it is large. */
  private static final long LARGE_WEIGHT = 1 << 22;

  /** Elements from one row to the next, and from one column to the next. */
  record Strides(long row, long column) {}

  /**
   * {@code out = x weight^T}: {@code x [m, k]}, {@code weight [n, k]} contiguous, {@code out [m,
   * n]} with rows {@code outStride} apart.
   */
  static Shape linear(DType dtype, long m, long n, long k, long outStride) {
    return new Shape(
        dtype, m, n, k, Rows.OF_OUTPUT, new Strides(k, 1), new Strides(1, k), outStride, false);
  }

  /** {@code out += a^T b}: {@code a [k, m]}, {@code b [k, n]}, {@code out [m, n]} contiguous. */
  static Shape cross(DType dtype, long m, long n, long k) {
    return new Shape(dtype, m, n, k, Rows.SUMMED, new Strides(1, m), new Strides(n, 1), n, true);
  }

  /**
   * {@code out += a^T b}: {@code a [k, m]}, {@code b [k, n]}, {@code out [m, n]}, all with rows
   * {@code stride} apart.
   */
  static Shape gram(DType dtype, long m, long n, long k, long stride) {
    return new Shape(
        dtype, m, n, k, Rows.SUMMED, new Strides(1, stride), new Strides(stride, 1), stride, true);
  }

  /**
   * {@code out = gradient weight}: {@code gradient [m, k]} with rows {@code gradientStride} apart,
   * {@code weight [k, n]} and {@code out [m, n]} contiguous.
   *
   * @param adds whether the product is added to what {@code out} holds
   */
  static Shape gradient(DType dtype, long m, long n, long k, long gradientStride, boolean adds) {
    return new Shape(
        dtype, m, n, k, Rows.OF_OUTPUT, new Strides(gradientStride, 1), new Strides(n, 1), n, adds);
  }

  /** Makes a product of a shape. */
  Product product(Shape shape) {
    List<MemorySegment> descriptors = new ArrayList<>();
    try {
      Matrices matrices = describe(descriptors, shape);
      Matrices generated =
          shape.sharesCode() ? describe(descriptors, shape.ofAnyTokens()) : matrices;
      MemorySegment operation = operation(generated, shape.adds);
      if (shape.sharesCode() && isReference(operation)) {
        destroy("primitive_desc", operation);
        operation = operation(matrices, shape.adds);
      }
      try {
        return product(matrices, operation);
      } finally {
        destroy("primitive_desc", operation);
      }
    } finally {
      descriptors.forEach(descriptor -> destroy("memory_desc", descriptor));
    }
  }

  private Product product(Matrices matrices, MemorySegment operation) {
    MemorySegment query = library.function("dnnl_primitive_desc_query_md");
    MemorySegment size = library.function("dnnl_memory_desc_get_size");
    MemorySegment scratchpad =
        Downcalls.call(
            () ->
                (MemorySegment)
                    QUERY_MEMORY_DESC.invokeExact(query, operation, QUERY_SCRATCHPAD, 0));
    return new Product(
        create(
            "dnnl_primitive_create",
            (function, made) -> (int) PRIMITIVE_CREATE.invokeExact(function, made, operation)),
        memory(matrices.left),
        memory(matrices.right),
        memory(matrices.out),
        memory(scratchpad),
        Downcalls.call(() -> (long) MEMORY_DESC_SIZE.invokeExact(size, scratchpad)));
  }

  private MemorySegment operation(Matrices matrices, boolean adds) {
    MemorySegment how = adds ? addingAttributes : attributes;
    return create(
        "dnnl_matmul_primitive_desc_create",
        (function, made) ->
            (int)
                MATMUL_CREATE.invokeExact(
                    function,
                    made,
                    engine,
                    matrices.left,
                    matrices.right,
                    MemorySegment.NULL,
                    matrices.out,
                    how));
  }

  /** Whether oneDNN would compute an operation by its reference code, which is very slow. */
  private boolean isReference(MemorySegment operation) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = arena.allocate(ADDRESS);
      call(
          "dnnl_primitive_desc_query",
          function -> (int) QUERY.invokeExact(function, operation, QUERY_IMPLEMENTATION, 0, name));
      return name.get(ADDRESS, 0).reinterpret(Integer.MAX_VALUE).getString(0).startsWith("ref");
    }
  }

  @Override
  public void close() {
    if (!closed) {
      closed = true;
      destroy("primitive_attr", attributes);
      destroy("primitive_attr", addingAttributes);
      destroy("stream", stream);
      destroy("engine", engine);
    }
  }

  /** A matrix product of one shape. */
  final class Product implements AutoCloseable {
    private final MemorySegment primitive;
    private final MemorySegment left;
    private final MemorySegment right;
    private final MemorySegment out;
    private final MemorySegment scratchpad;
    private final long scratchpadBytes;
    private final Arena arena = Arena.ofConfined();
    private final MemorySegment arguments;
    private boolean closed;

    private Product(
        MemorySegment primitive,
        MemorySegment left,
        MemorySegment right,
        MemorySegment out,
        MemorySegment scratchpad,
        long scratchpadBytes) {
      this.primitive = primitive;
      this.left = left;
      this.right = right;
      this.out = out;
      this.scratchpad = scratchpad;
      this.scratchpadBytes = scratchpadBytes;
      // dnnl_exec_arg_t {int arg; dnnl_memory_t memory;}
      this.arguments = arena.allocate(64, 8);
      argument(0, ARG_SRC, left);
      argument(1, ARG_WEIGHTS, right);
      argument(2, ARG_DST, out);
      argument(3, ARG_SCRATCHPAD, scratchpad);
    }

    /** Bytes of scratch memory that {@link #run} needs. */
    long scratchpadBytes() {
      return scratchpadBytes;
    }

    /** Computes the product of two matrices into {@code toOut}. */
    void run(
        MemorySegment fromLeft,
        MemorySegment fromRight,
        MemorySegment toOut,
        MemorySegment scratch) {
      set(left, fromLeft);
      set(right, fromRight);
      set(out, toOut);
      set(scratchpad, scratch);
      // On a CPU engine the call returns when the product is done.
      check(
          "dnnl_primitive_execute",
          Downcalls.call(
              () -> (int) EXECUTE.invokeExact(execute, primitive, stream, 4, arguments)));
    }

    @Override
    public void close() {
      if (!closed) {
        closed = true;
        destroy("primitive", primitive);
        List.of(left, right, out, scratchpad).forEach(memory -> destroy("memory", memory));
        arena.close();
      }
    }

    private void argument(int index, int kind, MemorySegment memory) {
      arguments.setAtIndex(JAVA_INT, index * 4L, kind);
      arguments.setAtIndex(ADDRESS, index * 2L + 1, memory);
    }

    private void set(MemorySegment memory, MemorySegment data) {
      check(
          "dnnl_memory_set_data_handle",
          Downcalls.call(() -> (int) MEMORY_SET.invokeExact(memorySet, memory, data)));
    }
  }

  /** Descriptors of the matrices of a product. */
  private record Matrices(MemorySegment left, MemorySegment right, MemorySegment out) {}

  private Matrices describe(List<MemorySegment> descriptors, Shape shape) {
    return new Matrices(
        describe(descriptors, shape.dtype, shape.m, shape.k, shape.left),
        describe(descriptors, shape.dtype, shape.k, shape.n, shape.right),
        describe(descriptors, DType.F32, shape.m, shape.n, new Strides(shape.outStride, 1)));
  }

  private MemorySegment describe(
      List<MemorySegment> descriptors, DType dtype, long rows, long columns, Strides elements) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment extents = arena.allocate(JAVA_LONG, MAX_DIMENSIONS);
      extents.setAtIndex(JAVA_LONG, 0, rows);
      extents.setAtIndex(JAVA_LONG, 1, columns);
      MemorySegment strides = arena.allocate(JAVA_LONG, MAX_DIMENSIONS);
      strides.setAtIndex(JAVA_LONG, 0, elements.row);
      strides.setAtIndex(JAVA_LONG, 1, elements.column);
      MemorySegment descriptor =
          create(
              "dnnl_memory_desc_create_with_strides",
              (function, made) ->
                  (int)
                      MEMORY_DESC_CREATE.invokeExact(
                          function, made, 2, extents, code(dtype), strides));
      descriptors.add(descriptor);
      return descriptor;
    }
  }

  /** {@code dnnl_data_type_t}. */
  private static int code(DType dtype) {
    return switch (dtype) {
      case F16 -> 1;
      case BF16 -> 2;
      case F32 -> 3;
    };
  }

  private MemorySegment memory(MemorySegment descriptor) {
    return create(
        "dnnl_memory_create",
        (function, made) ->
            (int)
                MEMORY_CREATE.invokeExact(function, made, descriptor, engine, MemorySegment.NULL));
  }

  /** A call of the function at an address, which returns its status. */
  @FunctionalInterface
  private interface Call {
    int of(MemorySegment function) throws Throwable;
  }

  /** The same of a function that writes a pointer to {@code made}. */
  @FunctionalInterface
  private interface Creation {
    int of(MemorySegment function, MemorySegment made) throws Throwable;
  }

  /** The pointer that a function writes. */
  private MemorySegment create(String name, Creation creation) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment made = arena.allocate(ADDRESS);
      call(name, function -> creation.of(function, made));
      return made.get(ADDRESS, 0);
    }
  }

  private void destroy(String kind, MemorySegment object) {
    call("dnnl_" + kind + "_destroy", function -> (int) DESTROY.invokeExact(function, object));
  }

  private void call(String name, Call call) {
    call(library, name, call);
  }

  private static void call(NativeLibrary library, String name, Call call) {
    MemorySegment function = library.function(name);
    check(name, Downcalls.call(() -> call.of(function)));
  }

  private static void check(String function, int status) {
    if (status == OUT_OF_MEMORY) {
      throw new ResourceException(function + ": out of memory");
    }
    if (status != 0) {
      throw new IllegalStateException(function + " failed with status " + status);
    }
  }
}
