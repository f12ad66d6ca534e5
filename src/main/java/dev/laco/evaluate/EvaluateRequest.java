package dev.laco.evaluate;

import com.fasterxml.jackson.annotation.JsonSubTypes;
import com.fasterxml.jackson.annotation.JsonTypeInfo;
import dev.laco.Model;
import dev.laco.Passages;
import dev.laco.Request;
import dev.laco.Setting;
import dev.laco.UsageException;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * What is measured of a model. As JSON: {@code {"text":{"file":"a.txt"}}}, {@code
 * {"tokens":{"file":"a.json"}}}, {@code {"lastWords":{}}} or {@code
 * {"tasks":{"names":["piqa"],"data":"folder"}}}; how fast it is by {@code {"throughput":{}}}.
 */
@JsonTypeInfo(use = JsonTypeInfo.Id.NAME, include = JsonTypeInfo.As.WRAPPER_OBJECT)
@JsonSubTypes({
  @JsonSubTypes.Type(value = EvaluateRequest.Text.class, name = "text"),
  @JsonSubTypes.Type(value = EvaluateRequest.Tokens.class, name = "tokens"),
  @JsonSubTypes.Type(value = EvaluateRequest.LastWords.class, name = "lastWords"),
  @JsonSubTypes.Type(value = EvaluateRequest.Tasks.class, name = "tasks"),
  @JsonSubTypes.Type(value = EvaluateRequest.Speed.class, name = "throughput")
})
public sealed interface EvaluateRequest extends Request {
  /**
   * The perplexity of a text, which is cut into chunks.
   *
   * @param file the text; null for the model's own {@code evaluation.txt} if it has one, else the
   *     built-in text
   * @param maxLength tokens of a chunk; null for the smaller of the model's positions and 2048
   * @param stride tokens from one chunk to the next; null for the length of a chunk
   * @param window tokens of a window, where documents are joined by a blank line and cut as
   *     published perplexities have it; {@code stride} then is from one window to the next; null
   *     for chunks
   */
  record Text(
      @Nullable Path file,
      @Nullable Integer maxLength,
      @Nullable Integer stride,
      @Nullable Integer window)
      implements EvaluateRequest {
    /** The model's own text or the built-in one, in chunks of the usual length. */
    public static final Text OWN = new Text(null, null, null, null);

    /**
     * A request of all values.
     *
     * @throws UsageException if {@code maxLength} or {@code stride} is below 1, {@code window}
     *     below 2 or {@code stride}, or {@code maxLength} is there beside {@code window}
     */
    public Text {
      requirePositive("maxLength", maxLength);
      requirePositive("stride", stride);
      if (window != null) {
        if (maxLength != null) {
          throw new UsageException(
              Setting.of("maxLength") + " and " + Setting.of("window") + " are two ways to cut");
        }
        if (window < 2) {
          throw Setting.of("window").refuse(window, "at least 2");
        }
        if (stride != null && stride > window) {
          throw Setting.of("stride").refuse(stride, "1 to " + Setting.of("window") + ", " + window);
        }
      }
    }

    /** The same request with the model's own text in the place of no text, where it has one. */
    Text of(Model model) {
      return file != null
          ? this
          : new Text(model.ownFile("evaluation.txt"), maxLength, stride, window);
    }

    /** Tokens of a window; 0 where there are none. */
    int windowLength() {
      return window == null ? 0 : window;
    }

    /** Tokens from one window to the next; 0 where there are none. */
    int windowStride() {
      return stride == null ? windowLength() : stride;
    }

    private static void requirePositive(String setting, @Nullable Integer value) {
      if (value != null && value < 1) {
        throw Setting.of(setting).refuse(value, "at least 1");
      }
    }
  }

  /**
   * The perplexity of token-id lists, each scored on its own.
   *
   * @param file a JSON list of lists of token ids
   */
  record Tokens(Path file) implements EvaluateRequest {
    /**
     * A request of a file.
     *
     * @throws UsageException if {@code file} is null
     */
    public Tokens {
      if (file == null) {
        throw new UsageException("file is missing: name a JSON list of token-id lists");
      }
    }
  }

  /**
   * How often the last word of a passage is known.
   *
   * @param passages the passages; those that come with the engine where a request names none
   */
  record LastWords(Passages passages) implements EvaluateRequest {
    /** A request of passages; null stands for those that come with the engine. */
    public LastWords {
      passages = Objects.requireNonNullElse(passages, Passages.BUILT_IN);
    }
  }

  /**
   * How good a model is at benchmarks, as lm-evaluation-harness scores them.
   *
   * @param names names of {@linkplain Task#names() tasks} and of {@linkplain Task#groups() groups}
   *     of tasks, at least one; beside them {@link #PERPLEXITY} for that of the model's own or the
   *     built-in text, and {@link #THROUGHPUT} for that of all models
   * @param data the folder of data sets, in which the files of the tasks are found by the names
   *     under which they are published
   * @param limit the number of items of each task that are measured, the first ones; null for all
   * @param shots the number of answered examples in front of each prompt; null for the number of
   *     lm-evaluation-harness, which is 5 for gsm8k and 0 for the other tasks
   * @param mutualInformation whether answers are also measured without their question, for the
   *     metric {@code acc_mutual_info}; null for not
   * @param within seconds that the whole job may take, in which an {@link ItemSample} is measured
   *     where they do not suffice for all items; null for all
   */
  record Tasks(
      List<String> names,
      @Nullable Path data,
      @Nullable Integer limit,
      @Nullable Integer shots,
      @Nullable Boolean mutualInformation,
      @Nullable Double within)
      implements EvaluateRequest {
    /** The name that stands for the perplexity of a text. */
    public static final String PERPLEXITY = "perplexity";

    /** The name that stands for the throughput of all models. */
    public static final String THROUGHPUT = "throughput";

    private static final Set<String> BESIDE = Set.of(PERPLEXITY, THROUGHPUT);

    /**
     * A request of all values.
     *
     * @throws UsageException if there is no task of a name, or no name, or {@code limit} is below 1
     *     or {@code shots} below 0, or {@code within} not above 0
     */
    public Tasks {
      if (names == null || names.isEmpty()) {
        throw new UsageException("names is missing: name a task, such as piqa");
      }
      names = List.copyOf(names);
      if (Task.named(ofTasks(names)).isEmpty()) {
        throw Setting.of("tasks")
            .refuse(
                String.join(",", names),
                "a task beside it; perplexity alone is measured without "
                    + Setting.of("tasks")
                    + ", throughput alone by "
                    + Setting.of("throughput"));
      }
      if (limit != null && limit < 1) {
        throw Setting.of("limit").refuse(limit, "at least 1");
      }
      if (shots != null && shots < 0) {
        throw Setting.of("shots").refuse(shots, "at least 0");
      }
      if (within != null && !(within > 0 && within < 1e9)) {
        throw Setting.of("within").refuse(within, "a time above 0");
      }
    }

    /** The tasks. */
    List<Task> tasks() {
      return Task.named(ofTasks(names));
    }

    /** Whether the perplexity of a text is measured, too. */
    boolean hasPerplexity() {
      return names.contains(PERPLEXITY);
    }

    /** Whether the throughput of all models is measured, too. */
    boolean hasThroughput() {
      return names.contains(THROUGHPUT);
    }

    private static List<String> ofTasks(List<String> names) {
      return names.stream().filter(name -> !BESIDE.contains(name)).toList();
    }
  }

  /** How fast a model reads and writes. */
  record Speed() implements EvaluateRequest {}
}
