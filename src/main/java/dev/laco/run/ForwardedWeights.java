package dev.laco.run;

import dev.laco.model.HostTensor;
import dev.laco.model.TensorSource;
import java.util.List;

/** The weights of another source: who extends this class adds to what that source does. */
abstract class ForwardedWeights implements TensorSource {
  private final TensorSource weights;

  /** Forwards everything. */
  ForwardedWeights(TensorSource weights) {
    this.weights = weights;
  }

  @Override
  public HostTensor tensor(String name) {
    return weights.tensor(name);
  }

  @Override
  public final long byteSize(String name) {
    return weights.byteSize(name);
  }

  @Override
  public final void prefetch(List<String> names) {
    weights.prefetch(names);
  }

  @Override
  public final boolean fits(List<String> names) {
    return weights.fits(names);
  }

  @Override
  public final long spare() {
    return weights.spare();
  }

  @Override
  public void release() {
    weights.release();
  }
}
