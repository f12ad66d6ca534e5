package dev.laco.evaluate;

import dev.laco.Setting;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * A benchmark as lm-evaluation-harness 0.4 has it: where its files lie, how an item of a file
 * becomes a prompt, and what is measured. Names and versions are those of the harness.
 */
public final class Task {
  /** How the items of a task are scored. */
  enum Kind {
    /** The answer whose log-likelihood is highest. */
    MULTIPLE_CHOICE,
    /** The same, and the highest for each character and for each byte of the answer. */
    NORMALISED_CHOICE,
    /** Whether each token of a continuation is the most likely one, and its likelihood. */
    CONTINUATION;

    /** The kind's name in lm-evaluation-harness. */
    String outputType() {
      return this == CONTINUATION ? "loglikelihood" : "multiple_choice";
    }

    List<String> metrics() {
      return switch (this) {
        case MULTIPLE_CHOICE -> List.of(Metric.ACCURACY);
        case NORMALISED_CHOICE -> List.of(Metric.ACCURACY, Metric.BY_CHARACTERS, Metric.BY_BYTES);
        case CONTINUATION -> List.of(Metric.PERPLEXITY, Metric.ACCURACY);
      };
    }
  }

  /**
   * A place where the items of a task may lie, in a folder of data sets.
   *
   * @param items a file of JSON objects, one a line
   * @param labels a file with the right answer of each item, one a line; null where the items have
   *     it
   */
  record Place(String items, @Nullable String labels) {
    static Place of(String items) {
      return new Place(items, null);
    }
  }

  private final String name;
  private final String version;
  private final Kind kind;
  private final Function<Document, TaskItem> format;
  private final List<Place> places;

  Task(
      String name,
      String version,
      Kind kind,
      Function<Document, TaskItem> format,
      List<Place> places) {
    this.name = name;
    this.version = version;
    this.kind = kind;
    this.format = format;
    this.places = List.copyOf(places);
  }

  /** A mean of tasks that papers on pruning report. */
  public record Group(String name, List<String> tasks) {
    public Group {
      tasks = List.copyOf(tasks);
    }
  }

  /** The groups that stand for several tasks. */
  private static final List<Group> GROUPS =
      List.of(
          new Group("qa5", List.of("arc_challenge", "arc_easy", "hellaswag", "piqa", "winogrande")),
          new Group(
              "qa7",
              List.of(
                  "arc_challenge",
                  "arc_easy",
                  "boolq",
                  "hellaswag",
                  "openbookqa",
                  "piqa",
                  "winogrande")),
          new Group(
              "qa9",
              List.of(
                  "arc_challenge",
                  "arc_easy",
                  "boolq",
                  "copa",
                  "hellaswag",
                  "piqa",
                  "race",
                  "winogrande",
                  "wsc273")));

  /** The names of all tasks. */
  public static List<String> names() {
    return Benchmarks.all().stream().map(Task::name).toList();
  }

  /** The groups of tasks that have names. */
  public static List<Group> groups() {
    return GROUPS;
  }

  /** The group of a name, if it is one. */
  static Optional<Group> group(String name) {
    return GROUPS.stream().filter(group -> group.name.equals(name)).findFirst();
  }

  /**
   * The tasks that names stand for, each once, in the order in which they are named.
   *
   * @param names names of tasks and of groups
   * @throws dev.laco.UsageException if there is no task and no group of a name
   */
  public static List<Task> named(List<String> names) {
    Set<Task> tasks = new LinkedHashSet<>();
    for (String name : names) {
      List<String> members = group(name).map(Group::tasks).orElse(List.of(name));
      members.forEach(member -> tasks.add(one(member)));
    }
    return List.copyOf(tasks);
  }

  private static Task one(String name) {
    return Benchmarks.all().stream()
        .filter(task -> task.name.equals(name))
        .findFirst()
        .orElseThrow(
            () -> {
              List<String> known = new ArrayList<>(names());
              GROUPS.forEach(group -> known.add(group.name));
              return Setting.of("tasks").refuse(name, "one of " + String.join(", ", known));
            });
  }

  /** The task's name in lm-evaluation-harness. */
  public String name() {
    return name;
  }

  /** The version of the prompts and of the scoring in lm-evaluation-harness. */
  public String version() {
    return version;
  }

  Kind kind() {
    return kind;
  }

  /**
   * The item of a document.
   *
   * @throws dev.laco.BadInputException that names file, line and field, if the document is none of
   *     this task
   */
  TaskItem item(Document document) {
    return format.apply(document);
  }

  /** Where the items may lie, in the order in which the places are looked at. */
  List<Place> places() {
    return places;
  }

  /** The name. */
  @Override
  public String toString() {
    return name;
  }
}
