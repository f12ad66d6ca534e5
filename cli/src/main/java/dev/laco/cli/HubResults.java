package dev.laco.cli;

import dev.laco.LacoVersion;
import dev.laco.evaluate.Metric;
import dev.laco.evaluate.Task;
import dev.laco.evaluate.TaskResult;
import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.snakeyaml.engine.v2.api.Dump;
import org.snakeyaml.engine.v2.api.DumpSettings;
import org.snakeyaml.engine.v2.common.FlowStyle;
import org.snakeyaml.engine.v2.common.ScalarStyle;
import org.snakeyaml.engine.v2.nodes.Tag;
import org.snakeyaml.engine.v2.representer.StandardRepresenter;

/**
 * Results of tasks as Hugging Face's hub reads them, in YAML. Tasks whose items are in no data set
 * of the hub are left out. Shares are in percent, as on the hub.
 */
final class HubResults {
  private static final String NAME = "name";
  private static final String TYPE = "type";
  private static final String VALUE = "value";
  private static final int DIGITS = 6;

  private HubResults() {}

  /**
   * The results as the front matter of a model card, with the key {@code model-index}
   * (huggingface/hub-docs, modelcard.md).
   *
   * @param model the model's name
   */
  static String modelIndex(List<TaskResult> results, String model) {
    List<Object> entries = new ArrayList<>();
    for (TaskResult result : results) {
      Task.DataSet set = result.task().dataSet();
      if (set != null) {
        List<Object> metrics = new ArrayList<>();
        for (Metric metric : result.metrics()) {
          if (Double.isFinite(metric.value())) {
            metrics.add(map(TYPE, metric.harnessName(), NAME, metric.name(), VALUE, value(metric)));
          }
        }
        Map<String, Object> data = map(NAME, result.task().name(), TYPE, set.id());
        if (set.config() != null) {
          data.put("config", set.config());
        }
        data.put("split", set.split());
        Map<String, Object> args = map("num_few_shot", result.shots());
        if (result.items() < result.available()) {
          args.put("items", result.items());
          args.put("of", result.available());
        }
        data.put("args", args);
        entries.add(
            map(
                "task",
                map(TYPE, "text-generation", NAME, "Text Generation"),
                "dataset",
                data,
                "metrics",
                metrics));
      }
    }
    return "---\n"
        + yaml(map("model-index", List.of(map(NAME, model, "results", entries))))
        + "---\n";
  }

  /**
   * The results as an {@code eval_results.yaml}, with one metric of each task
   * (huggingface/hub-docs, eval_results.yaml).
   *
   * @param date when they were measured
   */
  static String evalResults(List<TaskResult> results, LocalDate date) {
    List<Object> entries = new ArrayList<>();
    for (TaskResult result : results) {
      Task.DataSet set = result.task().dataSet();
      Metric metric = result.headline();
      if (set != null && Double.isFinite(metric.value())) {
        entries.add(
            map(
                "dataset",
                map("id", set.id(), "task_id", result.task().name()),
                VALUE,
                value(metric),
                "date",
                date.toString(),
                "notes",
                notes(result, metric)));
      }
    }
    return yaml(entries);
  }

  private static String notes(TaskResult result, Metric metric) {
    double error = metric.standardError() * unit(metric);
    return String.format(
        Locale.ROOT,
        "%s, %d-shot, %s, %sby %s",
        metric.name(),
        result.shots(),
        result.items() < result.available()
            ? String.format(Locale.ROOT, "%d of %d items", result.items(), result.available())
            : String.format(Locale.ROOT, "items: %d", result.items()),
        // One item has none.
        Double.isFinite(error)
            ? String.format(Locale.ROOT, "standard error %s, ", rounded(error))
            : "",
        LacoVersion.text());
  }

  /** Whether a task has a data set on the hub. */
  static boolean has(TaskResult result) {
    return result.task().dataSet() != null;
  }

  private static double unit(Metric metric) {
    return metric.isShare() ? 100 : 1;
  }

  private static double value(Metric metric) {
    return rounded(metric.value() * unit(metric)).doubleValue();
  }

  private static BigDecimal rounded(double value) {
    return new BigDecimal(value).round(new MathContext(DIGITS, RoundingMode.HALF_EVEN));
  }

  private static Map<String, Object> map(Object... keysAndValues) {
    Map<String, Object> map = new LinkedHashMap<>();
    for (int i = 0; i < keysAndValues.length; i += 2) {
      map.put((String) keysAndValues[i], keysAndValues[i + 1]);
    }
    return map;
  }

  private static String yaml(Object value) {
    DumpSettings settings =
        DumpSettings.builder()
            .setDefaultFlowStyle(FlowStyle.BLOCK)
            .setDereferenceAliases(true)
            .setSplitLines(false)
            .build();
    return new Dump(settings, new Representer(settings)).dumpToString(value);
  }

  /** Quotes each text that a reader of YAML 1.1, as Python's is, might take for something else. */
  private static final class Representer extends StandardRepresenter {
    private static final Pattern PLAIN =
        Pattern.compile("[A-Za-z]|[A-Za-z][A-Za-z0-9 ,._/()-]*[A-Za-z0-9)]");
    private static final Set<String> WORDS =
        Set.of("y", "n", "yes", "no", "on", "off", "true", "false", "null");

    Representer(DumpSettings settings) {
      super(settings);
      representers.put(
          String.class, text -> representScalar(Tag.STR, (String) text, style((String) text)));
    }

    private static ScalarStyle style(String text) {
      return PLAIN.matcher(text).matches() && !WORDS.contains(text.toLowerCase(Locale.ROOT))
          ? ScalarStyle.PLAIN
          : ScalarStyle.DOUBLE_QUOTED;
    }
  }
}
