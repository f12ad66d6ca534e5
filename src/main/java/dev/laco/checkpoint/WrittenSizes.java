package dev.laco.checkpoint;

import dev.laco.model.DType;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The most bytes that the tensors of a model take when they are written.
 *
 * @param outside bytes of all tensors outside the layers
 * @param layers bytes of the tensors of each layer
 */
public record WrittenSizes(long outside, List<Long> layers) {
  public WrittenSizes {
    layers = List.copyOf(layers);
  }

  /**
   * The sizes in a folder.
   *
   * @param dtype of all weights; null for the types in which they are read
   */
  public static WrittenSizes inFolder(Checkpoint model, @Nullable DType dtype) {
    List<Long> layers = new ArrayList<>();
    long outside =
        bytes(model, model.weightNames(), dtype) + bytes(model, model.besideNames(), dtype);
    for (int layer = 0; layer < model.config().numHiddenLayers(); layer++) {
      long bytes =
          bytes(model, model.config().architecture().tensorNames(layer, model.config()), dtype);
      layers.add(bytes);
      outside -= bytes;
    }
    return new WrittenSizes(outside, layers);
  }

  private static long bytes(Checkpoint model, List<String> names, @Nullable DType dtype) {
    return names.stream()
        .mapToLong(
            name ->
                dtype == null
                    ? model.byteSize(name)
                    : model.file(name).info(name).elements() * dtype.byteSize())
        .sum();
  }

  /** The most bytes of a model of {@code depth} of the layers, whichever these are. */
  public long most(int depth) {
    return outside
        + layers.stream()
            .sorted(Comparator.reverseOrder())
            .limit(depth)
            .mapToLong(Long::longValue)
            .sum();
  }
}
