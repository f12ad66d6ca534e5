package dev.laco.cli;

import dev.laco.evaluate.EvaluateRequest;
import dev.laco.evaluate.Task;
import java.util.Iterator;
import java.util.stream.Stream;

/** The names of tasks and of groups of tasks, as picocli completes and lists them. */
final class Tasks implements Iterable<String> {
  @Override
  public Iterator<String> iterator() {
    return Stream.of(
            Task.names().stream(),
            Task.groups().stream().map(Task.Group::name),
            Stream.of(EvaluateRequest.Tasks.PERPLEXITY, EvaluateRequest.Tasks.THROUGHPUT))
        .flatMap(names -> names)
        .iterator();
  }
}
