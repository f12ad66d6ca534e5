package dev.laco.cli;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.Model;
import dev.laco.evaluate.EvaluateJson;
import dev.laco.evaluate.EvaluateResult;
import dev.laco.evaluate.Task;
import dev.laco.evaluate.TaskComparison;
import dev.laco.evaluate.TaskResults;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.HashMap;
import java.util.Map;

/**
 * The folder into which results of tasks are written as lm-evaluation-harness lays them out: a
 * folder for each model, with its name on the command line, in which {@code results.json} and a
 * file {@code samples_TASK.jsonl} for each task are; beside them the results as {@link HubResults}.
 */
final class TaskFolder {
  private static final String OPTION = "--out";

  private final Path folder;
  private final SideFiles files;
  private final Map<Path, String> names;
  private final Map<Path, OfModel> results = new HashMap<>();

  /** The files of a model's results. */
  private record OfModel(
      String name,
      SideFiles.SideFile results,
      SideFiles.SideFile modelIndex,
      SideFiles.SideFile evalResults) {}

  /**
   * A folder in which nothing is written yet.
   *
   * @param files gives the files their names when all are written
   * @param names the name of each model on the command line, by its folder
   */
  TaskFolder(Path folder, SideFiles files, Map<Path, String> names) throws IOException {
    this.folder = folder;
    this.files = files;
    this.names = names;
    for (Map.Entry<Path, String> model : names.entrySet()) {
      OwnJson.RESULTS.requireOwnFolder(OPTION, place(model.getKey(), "results.json"));
      results.put(
          model.getKey(),
          new OfModel(
              Model.name(Path.of(model.getValue())),
              add(model.getKey(), "results.json"),
              add(model.getKey(), "model-index.md"),
              add(model.getKey(), "eval_results.yaml")));
    }
  }

  private SideFiles.SideFile add(Path model, String file) throws IOException {
    return files.add(OPTION, place(model, file));
  }

  private Path place(Path model, String file) {
    String given = String.valueOf(names.get(model));
    // As the harness makes a name of a file of a model's name; "." and ".." are no names.
    String name =
        (given.matches("\\.{1,2}") ? Model.name(model) : given)
            .replaceAll("[\"<>:/|\\\\?*\\[\\]]+", "__");
    return folder.resolve(name).resolve(file);
  }

  /** Begins the file of a task's samples; they go to the path that is returned. */
  Path samples(Model model, Task task) {
    try {
      return add(model.directory(), "samples_" + task + ".jsonl").begin();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Writes the results of every model. */
  void write(EvaluateResult.OfTasks result) {
    write(result.results(), EvaluateJson.of(result.results(), result.groups()));
    for (TaskComparison comparison : result.against()) {
      ObjectNode json = EvaluateJson.of(comparison.pruned(), result.groups());
      json.set("comparison", EvaluateJson.of(comparison));
      write(comparison.pruned(), json);
    }
  }

  private void write(TaskResults of, ObjectNode json) {
    OfModel model = results.get(of.model());
    if (model == null) {
      return;
    }
    model.results.write(json.toPrettyString() + "\n");
    if (of.tasks().stream().anyMatch(HubResults::has)) {
      model.modelIndex.write(HubResults.modelIndex(of.tasks(), model.name));
      model.evalResults.write(HubResults.evalResults(of.tasks(), LocalDate.now(ZoneOffset.UTC)));
    }
  }
}
