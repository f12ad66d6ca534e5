package dev.laco.run;

import dev.laco.backend.DeviceMemory;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.model.HostTensor;
import dev.laco.model.TensorSource;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * The weights of a checkpoint for a device that looks for NaN and infinity itself, when it has
 * copied them to its memory. What it found is known once a result has come to the host, and {@link
 * #release}, which is called before a result is used, then gives the error that the checkpoint
 * gives elsewhere.
 */
final class CheckedOnDevice extends ForwardedWeights {
  private final DeviceMemory backend;
  private final Checkpoint checkpoint;
  private final Set<String> asked = new HashSet<>();
  private final List<String> damaged = new ArrayList<>();

  /**
   * Weights that nobody has looked at.
   *
   * @param weights gives the tensors of {@link Checkpoint#unchecked}
   */
  CheckedOnDevice(DeviceMemory backend, Checkpoint checkpoint, TensorSource weights) {
    super(weights);
    this.backend = backend;
    this.checkpoint = checkpoint;
  }

  @Override
  public HostTensor tensor(String name) {
    HostTensor tensor = super.tensor(name);
    if (!checkpoint.isKnownFinite(name) && asked.add(name)) {
      backend.checkFinite(
          tensor,
          finite -> {
            if (finite) {
              checkpoint.foundFinite(name);
            } else {
              damaged.add(name);
            }
          });
    }
    return tensor;
  }

  /**
   * {@inheritDoc}
   *
   * @throws dev.laco.BadInputException also if a tensor is known by now to hold NaN or infinity;
   *     the message names file, tensor and index of the first
   */
  @Override
  public void release() {
    super.release();
    damaged.forEach(checkpoint::requireFinite);
  }
}
