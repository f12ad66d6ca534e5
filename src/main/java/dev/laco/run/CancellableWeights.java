package dev.laco.run;

import dev.laco.Cancellation;
import dev.laco.model.HostTensor;
import dev.laco.model.TensorSource;
import java.util.List;

/**
 * The weights of a job that may be cancelled. A walk over layers calls {@link #release} before each
 * layer, and {@code release} ends the job if it was cancelled.
 */
public record CancellableWeights(TensorSource weights, Cancellation cancellation)
    implements TensorSource {
  @Override
  public HostTensor tensor(String name) {
    return weights.tensor(name);
  }

  @Override
  public long byteSize(String name) {
    return weights.byteSize(name);
  }

  @Override
  public void prefetch(List<String> names) {
    weights.prefetch(names);
  }

  @Override
  public boolean fits(List<String> names) {
    return weights.fits(names);
  }

  @Override
  public long spare() {
    return weights.spare();
  }

  @Override
  public void release() {
    cancellation.check();
    weights.release();
  }
}
