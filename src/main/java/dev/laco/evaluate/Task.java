package dev.laco.evaluate;

import dev.laco.Setting;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A benchmark as lm-evaluation-harness 0.4 has it, with the harness's name and version, or a {@link
 * Probe}: where its items come from, how an item becomes a prompt, and what is measured.
 */
public final class Task {
  /** How the items of a task are scored. */
  enum Kind {
    /** The answer whose log-likelihood is highest. */
    MULTIPLE_CHOICE,
    /** The same, and the highest for each character and for each byte of the answer. */
    NORMALISED_CHOICE,
    /** The question in front of one ending that makes the ending most likely. */
    ENDING_CHOICE,
    /** Whether each token of a continuation is the most likely one, and its likelihood. */
    CONTINUATION,
    /** The likelihood of whole texts. */
    TEXT,
    /** A text that the model writes, in which the answer is looked for. */
    GENERATED_ANSWER,
    /** How much a text that the model writes repeats itself. */
    REPETITION;

    /** The kind's name in lm-evaluation-harness. */
    String outputType() {
      return switch (this) {
        case MULTIPLE_CHOICE, NORMALISED_CHOICE, ENDING_CHOICE -> "multiple_choice";
        case CONTINUATION -> "loglikelihood";
        case TEXT -> "loglikelihood_rolling";
        case GENERATED_ANSWER, REPETITION -> "generate_until";
      };
    }

    /** Whether the likelihoods of answers are compared. */
    boolean hasAnswers() {
      return this == MULTIPLE_CHOICE || this == NORMALISED_CHOICE;
    }

    /** Whether the model writes a text. */
    boolean isGenerated() {
      return this == GENERATED_ANSWER || this == REPETITION;
    }

    List<String> metrics() {
      return switch (this) {
        case MULTIPLE_CHOICE, ENDING_CHOICE -> List.of(Metric.ACCURACY);
        case NORMALISED_CHOICE -> List.of(Metric.ACCURACY, Metric.BY_CHARACTERS, Metric.BY_BYTES);
        case CONTINUATION -> List.of(Metric.PERPLEXITY, Metric.ACCURACY);
        case TEXT -> List.of(Metric.WORD_PERPLEXITY, Metric.BYTE_PERPLEXITY, Metric.BITS);
        case GENERATED_ANSWER -> List.of(Metric.STRICT, Metric.FLEXIBLE);
        case REPETITION -> List.of(Metric.REPETITION);
      };
    }
  }

  /** How lm-evaluation-harness chooses the examples in front of a prompt. */
  enum Sampling {
    /** Drawn from all. */
    ANY,
    /** One more is drawn, and the item itself left out. */
    OTHERS,
    /** The first ones. */
    FIRST
  }

  /**
   * A place where the files of a task may lie, in a folder of data sets. In the name of a file
   * {@code *} stands for any characters, so that there may be several.
   *
   * @param items a file of JSON objects, one a line, a table, or a parquet file
   * @param labels a file with the right answer of each item, one a line; null where the items have
   *     it
   * @param examples the file of the items from which examples are taken
   * @param exampleLabels as {@code labels}
   */
  record Place(
      String items, @Nullable String labels, String examples, @Nullable String exampleLabels) {
    static Place of(String items, String examples) {
      return new Place(items, null, examples, null);
    }
  }

  /**
   * A data set of Hugging Face's hub.
   *
   * @param id its owner and its name
   * @param config which of its parts that have names; null where it has one part
   * @param split the part that is measured; empty until a task says so
   */
  public record DataSet(String id, @Nullable String config, String split) {
    /** Folders of the files of a data set that has one part. */
    private static final List<String> OF_ONE = List.of("data", "default");

    static DataSet of(String id) {
      return new DataSet(id, null, "");
    }

    static DataSet of(String id, String config) {
      return new DataSet(id, config, "");
    }

    DataSet measuredBy(String measured) {
      return new DataSet(id, config, measured);
    }

    /** Where its parquet files may lie; people may have left the owner out. */
    Stream<String> folders() {
      return Stream.of(id, id.substring(id.indexOf('/') + 1))
          .flatMap(
              folder ->
                  (config == null ? OF_ONE : List.of(config))
                      .stream().map(part -> folder + "/" + part));
    }
  }

  private final String name;
  private final String version;
  private final Kind kind;
  private final Function<Document, TaskItem> format;
  private final Sampling sampling;
  private final int shots;
  private final String description;
  private final List<Place> places;
  private final @Nullable Items made;
  private final @Nullable DataSet dataSet;

  /**
   * A task.
   *
   * @param shots the number of examples in front of each prompt where none is asked for
   * @param description what stands in front of every prompt
   * @param places where the items may lie
   * @param made the items, where a rule makes them; null where they lie in a file
   * @param dataSet the data set of the hub that has the items; null where a rule makes them
   */
  Task(
      String name,
      String version,
      Kind kind,
      Function<Document, TaskItem> format,
      Sampling sampling,
      int shots,
      String description,
      List<Place> places,
      @Nullable Items made,
      @Nullable DataSet dataSet) {
    this.name = name;
    this.version = version;
    this.kind = kind;
    this.format = format;
    this.sampling = sampling;
    this.shots = shots;
    this.description = description;
    this.places = List.copyOf(places);
    this.made = made;
    this.dataSet = dataSet;
  }

  /**
   * The mean of several tasks.
   *
   * @param bySize whether a task counts as much as it has items; else each counts the same
   */
  public record Group(String name, List<String> tasks, boolean bySize) {
    public Group {
      tasks = List.copyOf(tasks);
    }
  }

  /** The names of all tasks but the subjects of the groups {@code mmlu} and {@code cmmlu}. */
  public static List<String> names() {
    return Stream.concat(Benchmarks.single().stream(), Probe.tasks().stream())
        .map(Task::name)
        .toList();
  }

  /** The groups of tasks that have names. */
  public static List<Group> groups() {
    return Benchmarks.groups();
  }

  /** The group of a name, if it is one. */
  static Optional<Group> group(String name) {
    return groups().stream().filter(group -> group.name.equals(name)).findFirst();
  }

  /**
   * The tasks that names stand for, each once, in the order in which they are named.
   *
   * @param names names of tasks and of groups
   * @throws dev.laco.UsageException if there is no task and no group of a name
   */
  public static List<Task> named(List<String> names) {
    Set<String> single = new LinkedHashSet<>();
    for (String name : names) {
      single.addAll(group(name).map(Group::tasks).orElse(List.of(name)));
    }
    return single.stream().map(Task::one).toList();
  }

  private static Task one(String name) {
    return Benchmarks.all()
        .filter(task -> task.name.equals(name))
        .findFirst()
        .orElseThrow(
            () -> {
              List<String> known = new ArrayList<>(names());
              groups().forEach(group -> known.add(group.name));
              return Setting.of("tasks").refuse(name, "one of " + String.join(", ", known));
            });
  }

  /** The task's name: in lm-evaluation-harness, or one that begins with {@code laco_}. */
  public String name() {
    return name;
  }

  /** The version of the prompts and of the scoring in lm-evaluation-harness. */
  public String version() {
    return version;
  }

  /** The data set of the hub that has the items; null where a rule makes them. */
  public @Nullable DataSet dataSet() {
    return dataSet;
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

  Sampling sampling() {
    return sampling;
  }

  /** The number of examples in front of each prompt where none is asked for. */
  int shots() {
    return shots;
  }

  /** Whether every prompt has {@link #shots} examples, whatever is asked for. */
  boolean hasFixedShots() {
    return made != null || kind == Kind.TEXT;
  }

  String description() {
    return description;
  }

  /** The items, where a rule makes them; null where they lie in a file. */
  @Nullable Items made() {
    return made;
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
