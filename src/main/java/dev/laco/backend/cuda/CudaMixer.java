package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.backend.KernelCode;
import dev.laco.backend.TensorMix;
import dev.laco.model.DType;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Mixes the tensors of merged layers. All tensors of a call are made by one launch, or by one
 * launch for each dtype of sources. Destinations that are mixed from the same sources become one
 * job, which reads the sources once.
 */
final class CudaMixer {
  /** Elements that one block makes. */
  private static final long BLOCK_ELEMENTS = 4096;

  private static final int BLOCK = 256;

  // Offsets of the fields of MixJob in cuda/mix.cu.
  private static final long JOB_BYTES = 64;
  private static final long ELEMENTS = 0;
  private static final long FIRST_BLOCK = 8;
  private static final long SOURCES = 16;
  private static final long SOURCE_TYPES = 24;
  private static final long COEFFICIENTS = 32;
  private static final long OUTS = 40;
  private static final long SOURCE_COUNT = 48;
  private static final long OUT_COUNT = 52;
  private static final long OUT_TYPE = 56;

  private final Launcher launcher;
  private final ArgumentRing arguments;
  private final Kernel uniformKernel;

  CudaMixer(Launcher launcher, ArgumentRing arguments, CudaDevice device) {
    this.launcher = launcher;
    this.arguments = arguments;
    this.uniformKernel = device.hasFastF64() ? Kernel.MIX : Kernel.MIX_IN_F32;
  }

  /** See {@link dev.laco.backend.ForwardOps#mix}. */
  void mix(List<TensorMix> tensors) {
    Map<Inputs, Job> jobs = new LinkedHashMap<>();
    for (TensorMix tensor : tensors) {
      List<CudaTensor> sources = tensor.sources().stream().map(CudaTensor::of).toList();
      CudaTensor out = CudaTensor.of(tensor.out());
      // A kernel that makes several destinations in one reading of the sources must not overwrite a
      // source.
      CudaTensor alone = sources.contains(out) ? out : null;
      jobs.computeIfAbsent(new Inputs(sources, out.dtype(), alone), Job::new)
          .add(out, tensor.coefficients());
    }
    Map<Variant, List<Job>> byVariant = new LinkedHashMap<>();
    for (Job job : jobs.values()) {
      byVariant.computeIfAbsent(job.variant(uniformKernel), variant -> new ArrayList<>()).add(job);
    }
    byVariant.forEach(this::launch);
  }

  private void launch(Variant variant, List<Job> jobs) {
    long bytes = jobs.stream().mapToLong(job -> JOB_BYTES + job.tableBytes()).sum();
    ArgumentRing.Table table = arguments.table(bytes);
    long tables = jobs.size() * JOB_BYTES;
    long block = 0;
    for (int i = 0; i < jobs.size(); i++) {
      Job job = jobs.get(i);
      job.write(table, i * JOB_BYTES, tables, block);
      tables += job.tableBytes();
      block += job.blocks();
    }
    table.send();
    launcher
        .of(variant.kernel, variant.dtype)
        .pointer(table.address())
        .int32(jobs.size())
        .run(block, BLOCK);
  }

  /**
   * What the destinations of a job have in common.
   *
   * @param alone the destination, if it is one of the sources and so must be the only one of its
   *     job
   */
  private record Inputs(List<CudaTensor> sources, DType outType, @Nullable CudaTensor alone) {}

  /** A kernel, and the dtype that it is compiled for. */
  private record Variant(Kernel kernel, DType dtype) {}

  /** Destinations of one dtype from the same sources. */
  private static final class Job {
    private final Inputs inputs;
    private final List<CudaTensor> outs = new ArrayList<>();
    private final List<double[]> coefficients = new ArrayList<>();

    Job(Inputs inputs) {
      this.inputs = inputs;
    }

    void add(CudaTensor out, double[] ofOut) {
      outs.add(out);
      coefficients.add(ofOut);
    }

    Variant variant(Kernel uniformKernel) {
      DType first = inputs.sources.getFirst().dtype();
      boolean uniform =
          inputs.sources.stream().allMatch(source -> source.dtype() == first)
              && (inputs.outType == first || inputs.outType == DType.F32);
      return uniform ? new Variant(uniformKernel, first) : new Variant(Kernel.MIX_ANY, DType.F32);
    }

    long elements() {
      return outs.getFirst().elements();
    }

    long blocks() {
      return Math.ceilDiv(elements(), BLOCK_ELEMENTS);
    }

    /**
     * Bytes of the tables that a job points to: addresses of sources and destinations,
     * coefficients, and the dtypes of the sources, padded to a multiple of 8 bytes.
     */
    long tableBytes() {
      long sources = inputs.sources.size();
      return 8 * (sources + outs.size() + sources * outs.size() + Math.ceilDiv(sources, 2));
    }

    /**
     * Writes the job.
     *
     * @param at offset of the job in the table
     * @param start offset of the tables that the job points to
     * @param firstBlock number of the first block of the grid that works on the job
     */
    void write(ArgumentRing.Table table, long at, long start, long firstBlock) {
      int count = inputs.sources.size();
      MemorySegment memory = table.memory();
      long outTable = start + 8L * count;
      long coefficientTable = outTable + 8L * outs.size();
      long typeTable = coefficientTable + 8L * count * outs.size();
      memory.set(JAVA_LONG, at + ELEMENTS, elements());
      memory.set(JAVA_LONG, at + FIRST_BLOCK, firstBlock);
      memory.set(JAVA_LONG, at + SOURCES, table.address() + start);
      memory.set(JAVA_LONG, at + SOURCE_TYPES, table.address() + typeTable);
      memory.set(JAVA_LONG, at + COEFFICIENTS, table.address() + coefficientTable);
      memory.set(JAVA_LONG, at + OUTS, table.address() + outTable);
      memory.set(JAVA_INT, at + SOURCE_COUNT, count);
      memory.set(JAVA_INT, at + OUT_COUNT, outs.size());
      memory.set(JAVA_INT, at + OUT_TYPE, KernelCode.of(inputs.outType));
      for (int j = 0; j < count; j++) {
        CudaTensor source = inputs.sources.get(j);
        memory.set(JAVA_LONG, start + 8L * j, source.input());
        memory.set(JAVA_INT, typeTable + 4L * j, KernelCode.of(source.dtype()));
      }
      for (int o = 0; o < outs.size(); o++) {
        memory.set(JAVA_LONG, outTable + 8L * o, outs.get(o).output());
        MemorySegment.copy(
            coefficients.get(o), 0, memory, JAVA_DOUBLE, coefficientTable + 8L * count * o, count);
      }
    }
  }
}
