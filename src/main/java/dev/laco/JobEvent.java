package dev.laco;

import dev.laco.report.Perplexity;
import java.nio.file.Path;

/**
 * What a job tells its listener. Every job sends the events of this interface, in the order in
 * which they stand here unless they say otherwise; each kind of job has further events of its own.
 * The {@code follower} of a job is told with each event how far the job has come.
 */
public interface JobEvent {
  /**
   * The device was opened.
   *
   * @param kind the kind of device
   * @param description for people: its name, the type of its products, and why it was chosen
   */
  record DeviceOpened(DeviceInfo.Kind kind, String description) implements JobEvent {}

  /**
   * The model was opened.
   *
   * @param directory the folder of the checkpoint
   * @param description for people: its architecture and size
   */
  record ModelOpened(Path directory, String description) implements JobEvent {}

  /**
   * Something that a user should know and that does not end the job. Sent at any time.
   *
   * @param template the message with the marks of {@link Setting}s
   */
  record Warned(String template) implements JobEvent {
    /** The message, in which settings are called by their names in requests. */
    public String message() {
      return Setting.show(template, name -> name);
    }
  }

  /**
   * The memory plan was made: how many bytes weights and buffers take, and whether weights stream.
   *
   * @param description for people
   */
  record MemoryPlanned(String description) implements JobEvent {}

  /**
   * The time of the whole job was estimated; not of a job of less than two seconds.
   *
   * @param description for people: {@code about 12 minutes: search 3, fit 9}
   */
  record TimeEstimated(String description) implements JobEvent {}

  /**
   * The perplexity of a model was measured.
   *
   * @param stage of which model: {@code perplexity, dense} or {@code perplexity, pruned}; where
   *     each is measured by itself, the stage of the job has the same name
   * @param text names the text for people
   */
  record Measured(String stage, String text, Perplexity perplexity) implements JobEvent {}

  /**
   * A checkpoint or another file was written completely, and has its name.
   *
   * @param path the folder of a checkpoint, or the file
   * @param bytes bytes of the tensors in it
   */
  record FileWritten(Path path, long bytes) implements JobEvent {}
}
