package dev.laco.cli;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.FilterOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintWriter;
import org.jspecify.annotations.Nullable;

/**
 * Standard output that knows why it could not be written; a {@link PrintWriter} knows only that it
 * could not.
 */
final class StandardOutput extends PrintWriter {
  private final Sink sink;

  StandardOutput(OutputStream target) {
    this(new Sink(target));
  }

  /** Standard output of this process, which nothing else writes to from now on. */
  static StandardOutput claim() {
    return new StandardOutput(ResultDescriptor.claim());
  }

  private StandardOutput(Sink sink) {
    super(sink, false, UTF_8);
    this.sink = sink;
  }

  /** The first error of writing, null if there was none. */
  @Nullable IOException failure() {
    return sink.failure;
  }

  private static final class Sink extends FilterOutputStream {
    private @Nullable IOException failure;

    Sink(OutputStream target) {
      super(target);
    }

    @Override
    public void write(byte[] bytes, int from, int length) throws IOException {
      try {
        out.write(bytes, from, length);
      } catch (IOException e) {
        failure = failure == null ? e : failure;
        throw e;
      }
    }
  }
}
