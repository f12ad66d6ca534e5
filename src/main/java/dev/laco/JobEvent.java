package dev.laco;

import dev.laco.report.Perplexity;
import java.nio.file.Path;

/**
 * What a job tells its listener. Every job sends the events of this interface, in the order in
 * which they stand here unless they say otherwise; each kind of job has further events of its own.
 * How far a job has come is asked of {@link ModelJob#progress}.
 */
public interface JobEvent {
  /**
   * The device was opened.
   *
   * @param description for people: the device's name, the type of its products, and why it was
   *     chosen
   */
  record DeviceOpened(DeviceInfo.Kind kind, String description) implements JobEvent {}

  /** The model was opened. */
  record ModelOpened(Path directory, String description) implements JobEvent {}

  /**
   * Something that a user should know and that does not end the job. Sent at any time.
   *
   * @param template the message with {@link Setting}s as they were put into it
   */
  record Warned(String template) implements JobEvent {
    /** The message, in which settings are called by their names in requests. */
    public String message() {
      return Setting.show(template, name -> name);
    }
  }

  /**
   * The memory plan was made: how many bytes weights and buffers take, and whether weights stream.
   */
  record MemoryPlanned(String description) implements JobEvent {}

  /** How long a job of more than two seconds takes: {@code about 12 minutes: search 3, fit 9}. */
  record TimeEstimated(String description) implements JobEvent {}

  /**
   * The perplexity of a model was measured.
   *
   * @param stage the stage of the job, which says of which model: {@code perplexity, dense}
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
