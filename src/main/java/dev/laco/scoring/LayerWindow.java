package dev.laco.scoring;

import dev.laco.backend.Backend;
import dev.laco.model.Architecture;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSource;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.function.Consumer;

/** Tells the backend which original layers a pass comes to, and which it is done with. */
final class LayerWindow {
  private final Backend backend;
  private final ModelConfig config;
  private final TensorSource source;
  private final boolean streaming;
  private final Consumer<List<HostTensor>> firstRead;

  /** Layers that were entered and not left, ascending. */
  private final Deque<Integer> open = new ArrayDeque<>();

  private boolean first = true;

  LayerWindow(Backend backend, ModelConfig config, TensorSource source, SweepOptions options) {
    this.backend = backend;
    this.config = config;
    this.source = source;
    this.streaming = options.streaming();
    this.firstRead = options.firstRead();
  }

  /** False where weights stay and nothing need be told. */
  boolean isStreaming() {
    return streaming;
  }

  /** The pass comes to a layer. */
  void enter(int layer) {
    if (first) {
      firstRead.accept(tensors(layer));
    }
    if (streaming) {
      if (open.isEmpty()) {
        backend.prefetch(tensors(layer));
      }
      open.add(layer);
      if (layer + 1 < config.numHiddenLayers()) {
        backend.prefetch(tensors(layer + 1));
      }
    }
  }

  /** No candidate needs a layer before this one any more. */
  void leaveBefore(int layer) {
    while (!open.isEmpty() && open.getFirst() < layer) {
      backend.release(tensors(open.removeFirst()));
    }
  }

  /** The pass is over. */
  void end() {
    leaveBefore(config.numHiddenLayers());
    first = false;
  }

  private List<HostTensor> tensors(int layer) {
    Architecture architecture = config.architecture();
    return architecture.layerTensors(config).stream()
        .map(spec -> source.tensor(architecture.layerPrefix(layer) + spec.suffix()))
        .toList();
  }
}
