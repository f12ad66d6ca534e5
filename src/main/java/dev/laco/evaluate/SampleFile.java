package dev.laco.evaluate;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.checkpoint.OutputFiles;
import java.io.IOException;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** Writes what a model made of each item of a task, a line of JSON for each filter. */
final class SampleFile implements AutoCloseable {
  private final Task task;
  private final List<String> metrics;
  private final Path file;
  private final Writer writer;

  /**
   * Begins a file.
   *
   * @throws dev.laco.ResourceException if it cannot be written
   */
  SampleFile(Task task, List<String> metrics, Path file) {
    this.task = task;
    this.metrics = metrics;
    this.file = file;
    try {
      this.writer = Files.newBufferedWriter(file);
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(file, e);
    }
  }

  void write(TaskRun.Sample sample) {
    try {
      for (ObjectNode line : HarnessJson.of(task, metrics, sample)) {
        writer.write(line.toString());
        writer.write('\n');
      }
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(file, e);
    }
  }

  @Override
  public void close() {
    try {
      writer.close();
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(file, e);
    }
  }
}
