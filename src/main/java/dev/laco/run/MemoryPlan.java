package dev.laco.run;

import dev.laco.ByteSize;
import dev.laco.DeviceInfo;
import dev.laco.DeviceSettings;
import dev.laco.ResourceException;
import dev.laco.Setting;
import dev.laco.SystemMemory;
import dev.laco.backend.Device;
import dev.laco.backend.DeviceMemory;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.WeightPool;
import dev.laco.checkpoint.WeightReader;
import dev.laco.collapse.FitRule;
import dev.laco.fit.CarryOver;
import dev.laco.model.Architecture;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSource;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.jspecify.annotations.Nullable;

/**
 * Which part of a model's weights stays in memory while the model runs. It is decided before work
 * starts: all weights if they fit beside the buffers, else a pool that the layers stream through.
 *
 * @param host what stays in the memory of this process
 * @param device what stays on a GPU; without one, the same as {@code host}
 * @param beside bytes beside the weights
 */
public record MemoryPlan(Checkpoint checkpoint, Pool host, Pool device, Beside beside) {
  /**
   * The share of the free memory that is left to other processes where the settings give no bound.
   */
  private static final double MARGIN = 0.1;

  /**
   * Bytes of {@link DeviceSettings#hostMemory} that Java itself takes: heap, classes, compiled
   * code, threads.
   */
  public static final long JAVA_BYTES = 160_000_000;

  /**
   * Bytes that are needed beside the original's weights.
   *
   * @param buffers bytes of the buffers on the device that computes
   * @param held bytes of other tensors on that device, of which no op makes rounded copies
   * @param weights bytes of the weights of another model that stay in memory
   * @param newWeights at most the bytes of the tensors that a fit makes, which lie in this process
   *     and on the device
   */
  public record Beside(long buffers, long held, long weights, long newWeights) {
    /** Buffers and new weights. */
    public Beside(long buffers, long newWeights) {
      this(buffers, 0, 0, newWeights);
    }

    /** Buffers alone, where nothing is fitted. */
    public static Beside buffers(long bytes) {
      return new Beside(bytes, 0);
    }

    long bytes() {
      return tensors() + weights + newWeights;
    }

    long tensors() {
      return buffers + held;
    }
  }

  /**
   * Memory for weights.
   *
   * @param bytes the most bytes of weights, at least those that are in use at the same time
   * @param where what sets the bound, as a message says it before the number of bytes: {@code "free
   *     are "}
   */
  public record Pool(long bytes, String where) {}

  /**
   * Plans the run of a model.
   *
   * @param mixed the most original layers that one layer is mixed from; 1 where layers are used as
   *     they are
   * @param helps what a user can do to need less memory beside the weights, for the message of an
   *     error
   * @throws ResourceException if the memory does not suffice; the message says how much is needed,
   *     how much there is, and what helps
   */
  public static MemoryPlan of(
      Device backend,
      Checkpoint checkpoint,
      DeviceSettings settings,
      Beside beside,
      int mixed,
      String helps) {
    Needs needs = Needs.of(checkpoint, mixed);
    DeviceInfo info = backend.info();
    DeviceInfo.Memory own = info.memory();
    if (own != null) {
      Beside onDevice =
          new Beside(
              beside.buffers + backend.scratchBytes(beside.buffers),
              beside.held,
              beside.weights,
              beside.newWeights);
      Pool device =
          settings.memory() != null
              ? pool(needs, onDevice, settings.memory(), Setting.of("memory") + " gives ", helps)
              : pool(
                  needs,
                  onDevice,
                  spare(own.free()),
                  "free on " + info.name() + " are ",
                  helps + ", or " + Setting.of("device") + " cpu");
      // Buffers lie on the device; the memory that is pinned for copies is little.
      Beside here = new Beside(0, 0, beside.weights, beside.newWeights);
      return new MemoryPlan(checkpoint, host(needs, here, settings, helps), device, beside);
    }
    if (settings.memory() != null) {
      require(
          "buffers need ",
          beside.tensors(),
          Setting.of("memory") + " gives ",
          settings.memory(),
          helps);
    }
    Pool host = host(needs, beside, settings, helps);
    return new MemoryPlan(checkpoint, host, host, beside);
  }

  /** Whether the memory suffices, as {@link #of} wants it. */
  public static boolean suffices(
      Device backend, Checkpoint checkpoint, DeviceSettings settings, Beside beside, int mixed) {
    try {
      of(backend, checkpoint, settings, beside, mixed, "");
      return true;
    } catch (ResourceException e) {
      return false;
    }
  }

  /** The least bytes of a checkpoint's weights by which {@link #streamed} can do. */
  public static long leastBytes(Checkpoint checkpoint) {
    Needs needs = Needs.of(checkpoint, 1);
    return Math.min(needs.all, needs.atOnce);
  }

  /**
   * The weights of another model than the one that is planned for, of which at most so many bytes
   * stay in memory.
   *
   * @param reader of the other model, made for this device by {@link #reader}
   */
  public static TensorSource streamed(
      DeviceMemory backend, Checkpoint checkpoint, WeightReader reader, long bytes) {
    Pool pool = new Pool(bytes, "planned are ");
    return new MemoryPlan(checkpoint, pool, pool, Beside.buffers(0)).weights(backend, reader);
  }

  /**
   * Bytes that {@link DeviceSettings#memory} leaves to buffers whose size can be chosen: on a GPU
   * half of the memory beside the weights that are in use at the same time, else all of it.
   */
  public static long forBuffers(Device backend, Checkpoint checkpoint, long memory, int mixed) {
    return backend.info().copiesWeights()
        ? (memory - backend.scratchBytes(0) - Needs.of(checkpoint, mixed).atOnce) / 2
        : memory;
  }

  /** Whether the weights alone need more memory than the device that computes may use for them. */
  public static boolean streams(Device backend, Checkpoint checkpoint, DeviceSettings settings) {
    long room;
    DeviceInfo.Memory own = backend.info().memory();
    if (own != null) {
      room = settings.memory() != null ? settings.memory() : spare(own.free());
    } else {
      room =
          settings.hostMemory() != null
              ? settings.hostMemory() - JAVA_BYTES
              : spare(SystemMemory.available());
    }
    return checkpoint.weightBytes() > room;
  }

  /**
   * Weights of a model.
   *
   * @param all bytes
   * @param atOnce bytes that are needed at the same time
   */
  private record Needs(long all, long atOnce) {
    static Needs of(Checkpoint checkpoint, int mixed) {
      Architecture architecture = checkpoint.config().architecture();
      long all = bytes(checkpoint, checkpoint.weightNames());
      long outside = 0;
      for (String name : List.of(architecture.embedding(), architecture.head())) {
        if (checkpoint.weightNames().contains(name)) {
          List<String> together = new ArrayList<>(architecture.finalNormTensors());
          together.add(name);
          outside = Math.max(outside, bytes(checkpoint, together));
        }
      }
      // Where the originals of a mixed layer do not fit, the layer is mixed tensor by tensor.
      long mixes = mixed == 1 ? 0 : (mixed + 1) * largestTensor(checkpoint);
      return new Needs(
          all, LongStream.of(layerBytes(checkpoint), mixes, outside).max().orElseThrow());
    }
  }

  private static Pool host(Needs needs, Beside beside, DeviceSettings settings, String helps) {
    return settings.hostMemory() != null
        ? pool(
            needs,
            beside,
            settings.hostMemory() - JAVA_BYTES,
            Setting.of("hostMemory") + ", less " + ByteSize.show(JAVA_BYTES) + " for Java, gives ",
            helps)
        : pool(needs, beside, spare(SystemMemory.available()), "free are ", helps);
  }

  private static Pool pool(Needs needs, Beside beside, long budget, String where, String helps) {
    require(
        beside.newWeights == 0
            ? "buffers and the weights that are in use at once need "
            : String.format(
                Locale.ROOT,
                "buffers, new weights (%s) and the weights that are in use at once need ",
                ByteSize.show(beside.newWeights)),
        beside.bytes() + Math.min(needs.all, needs.atOnce),
        where,
        budget,
        "give more memory, or " + helps);
    return new Pool(budget - beside.bytes(), where);
  }

  private static void require(String what, long needed, String where, long free, String helps) {
    if (needed > free) {
      throw new ResourceException(
          what
              + ByteSize.show(needed)
              + ", "
              + where
              + ByteSize.show(Math.max(0, free))
              + "; "
              + helps);
    }
  }

  private static long spare(long free) {
    return (long) (free * (1 - MARGIN));
  }

  /** Bytes of the largest layer. */
  public static long layerBytes(Checkpoint checkpoint) {
    return IntStream.range(0, checkpoint.config().numHiddenLayers())
        .mapToLong(checkpoint::layerBytes)
        .max()
        .orElseThrow();
  }

  /**
   * At most the bytes of the tensors that a fit makes; one layer is held twice while it is
   * replaced.
   *
   * @param target the number of layers of the pruned model; null where that is not known
   */
  public static long newWeights(Checkpoint checkpoint, FitRule rule, @Nullable Integer target) {
    int layers = CarryOver.newLayers(rule, checkpoint.config().numHiddenLayers(), target);
    return (layers + 1) * layerBytes(checkpoint);
  }

  /** The largest tensor of a layer, bytes. */
  private static long largestTensor(Checkpoint checkpoint) {
    ModelConfig config = checkpoint.config();
    return IntStream.range(0, config.numHiddenLayers())
        .mapToObj(layer -> config.architecture().tensorNames(layer, config))
        .flatMap(List::stream)
        .mapToLong(checkpoint::byteSize)
        .max()
        .orElseThrow();
  }

  private static long bytes(Checkpoint checkpoint, List<String> names) {
    return names.stream().distinct().mapToLong(checkpoint::byteSize).sum();
  }

  /** A reader of a checkpoint for a device, which may look for NaN and infinity itself. */
  static WeightReader reader(DeviceMemory backend, Checkpoint checkpoint) {
    return backend.info().copiesWeights() ? checkpoint.uncheckedReader() : checkpoint.reader();
  }

  /**
   * The checkpoint's weights, streamed through the pools of this plan.
   *
   * @param reader of the checkpoint, made for this device by {@link #reader}
   */
  public TensorSource weights(DeviceMemory backend, WeightReader reader) {
    TensorSource mapped =
        new WeightPool(checkpoint, reader, host.bytes, host.where, reader::giveUp);
    if (!backend.info().copiesWeights()) {
      return mapped;
    }
    return new CheckedOnDevice(
        backend,
        checkpoint,
        new WeightPool(
            checkpoint,
            mapped,
            device.bytes,
            device.where,
            name -> backend.release(List.of(checkpoint.placeOf(name)))));
  }

  /**
   * The plan for people: {@code 13.5 GB of weights, streaming, window 4 layers, 1.9 GB; 11.9 MB of
   * buffers, at most 8.6 GB of new weights}.
   */
  public String describe(Device backend) {
    long all = bytes(checkpoint, checkpoint.weightNames());
    String weights = ByteSize.show(all) + " of weights ";
    if (all <= device.bytes) {
      String place = backend.info().copiesWeights() ? "on the device" : "mapped";
      return weights + place + ", " + describe(beside);
    }
    long layers = device.bytes / layerBytes(checkpoint);
    return String.format(
        Locale.ROOT,
        "%s, streaming, window %d layer%s, %s; %s",
        weights.strip(),
        layers,
        layers == 1 ? "" : "s",
        ByteSize.show(device.bytes),
        describe(beside));
  }

  private static String describe(Beside beside) {
    String buffers =
        (beside.weights == 0 ? "" : ByteSize.show(beside.weights) + " of the other model's, ")
            + ByteSize.show(beside.tensors())
            + " of buffers";
    return beside.newWeights == 0
        ? buffers
        : buffers + ", at most " + ByteSize.show(beside.newWeights) + " of new weights";
  }
}
