package dev.laco.cli;

import dev.laco.run.JobProgress;
import java.util.function.LongConsumer;

/** Turns "so many more bytes are written" into progress. */
final class WrittenBytes implements LongConsumer {
  private final JobProgress.Stage progress;
  private final long total;
  private long done;

  WrittenBytes(JobProgress.Stage progress, long total) {
    this.progress = progress;
    this.total = total;
  }

  @Override
  public void accept(long more) {
    done += more;
    progress.update(done, total);
  }
}
