package dev.laco.checkpoint.export;

import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.WeightReader;
import dev.laco.model.HostTensor;
import java.io.IOException;
import org.jspecify.annotations.Nullable;

/** The weights of a model that is written as a GGUF file. */
public interface ModelWeights {
  /** Uses a weight. */
  @FunctionalInterface
  interface Use {
    /**
     * Uses a weight, which is there until this returns.
     *
     * @throws IOException if what is made of it cannot be written
     */
    void of(HostTensor weight) throws IOException;
  }

  /**
   * Gets a weight and gives it up after its use.
   *
   * @throws dev.laco.BadInputException if the weight cannot be computed or read
   * @throws IOException if {@code use} fails
   */
  void use(String name, Use use) throws IOException;

  /** The weight of the original that has the bytes of this one; null for one that is computed. */
  @Nullable String original(String name);

  /** The weights of a checkpoint as they are. */
  static ModelWeights of(Checkpoint checkpoint) {
    return new ModelWeights() {
      @Override
      public void use(String name, Use use) throws IOException {
        try (WeightReader reader = checkpoint.reader()) {
          use.of(reader.tensor(name));
          reader.giveUp(name);
        }
      }

      @Override
      public String original(String name) {
        return name;
      }
    };
  }
}
