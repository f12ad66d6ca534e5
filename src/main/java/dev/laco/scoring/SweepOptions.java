package dev.laco.scoring;

import dev.laco.model.HostTensor;
import java.util.List;
import java.util.function.Consumer;

/**
 * How a {@link SweepScorer} works.
 *
 * @param candidates at most so many plans are carried through one pass, at least 1
 * @param bytes what buffers may take; what one candidate needs is taken in any case
 * @param language whether scores tell of next tokens, too
 * @param streaming whether the backend is told which layers come next and which are done with
 * @param firstRead told of each layer's tensors as the first pass comes to them
 */
public record SweepOptions(
    int candidates,
    long bytes,
    boolean language,
    boolean streaming,
    Consumer<List<HostTensor>> firstRead) {
  public SweepOptions {
    if (candidates < 1 || bytes < 0) {
      throw new IllegalArgumentException(candidates + " candidates in " + bytes + " bytes");
    }
  }

  /** So many candidates of similarity alone, with weights that stay and all the buffers wanted. */
  public static SweepOptions of(int candidates) {
    return new SweepOptions(candidates, Long.MAX_VALUE, false, false, tensors -> {});
  }

  /** The same with buffers of at most so many bytes. */
  public SweepOptions withBytes(long most) {
    return new SweepOptions(candidates, most, language, streaming, firstRead);
  }

  /** The same with next tokens. */
  public SweepOptions withLanguage() {
    return new SweepOptions(candidates, bytes, true, streaming, firstRead);
  }

  /** The same for weights that do not all stay where they are read. */
  public SweepOptions withStreaming(Consumer<List<HostTensor>> onFirstRead) {
    return new SweepOptions(candidates, bytes, language, true, onFirstRead);
  }
}
