package dev.laco.evaluate;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.checkpoint.Sha256;
import dev.laco.measure.ContinuationMeasure.Likelihood;
import java.nio.charset.StandardCharsets;
import java.util.List;

/**
 * Results of tasks in the form of lm-evaluation-harness 0.4: {@code results} has for each task
 * {@code acc,none}, {@code acc_stderr,none} and so on; {@code group_subtasks}, {@code groups},
 * {@code configs}, {@code versions}, {@code n-shot}, {@code higher_is_better} and {@code n-samples}
 * are the other keys.
 */
final class HarnessJson {
  private static final String NO_FILTER = "none";
  private static final String ALIAS = "alias";
  private static final String ERROR = "_stderr";

  private HarnessJson() {}

  static ObjectNode of(TaskResults result, List<Task.Group> named) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    ObjectNode results = json.putObject("results");
    ObjectNode groups = json.putObject("groups");
    ObjectNode subtasks = json.putObject("group_subtasks");
    ObjectNode configs = json.putObject("configs");
    ObjectNode versions = json.putObject("versions");
    ObjectNode shots = json.putObject("n-shot");
    ObjectNode higher = json.putObject("higher_is_better");
    ObjectNode samples = json.putObject("n-samples");
    for (TaskResult task : result.tasks()) {
      String name = task.task().name();
      results.set(name, metrics(task));
      configs
          .putObject(name)
          .put("task", name)
          .put("dataset_path", task.source())
          .put("output_type", task.task().kind().outputType())
          .put("num_fewshot", task.shots());
      versions.put(name, task.task().version());
      shots.put(name, task.shots());
      ObjectNode directions = higher.putObject(name);
      task.metrics().forEach(metric -> directions.put(metric.harnessName(), metric.isShare()));
      samples.putObject(name).put("original", task.available()).put("effective", task.items());
    }
    for (Task.Group group : named) {
      ObjectNode mean =
          JsonNodeFactory.instance
              .objectNode()
              .put(ALIAS, group.name())
              .put(key(Metric.ACCURACY, ""), result.accuracy(group));
      results.set(group.name(), mean);
      groups.set(group.name(), mean);
      group.tasks().forEach(subtasks.putArray(group.name())::add);
    }
    return json;
  }

  private static ObjectNode metrics(TaskResult task) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put(ALIAS, task.task().name()).put("sample_len", task.items());
    for (Metric metric : task.metrics()) {
      json.put(key(metric.name(), ""), metric.value());
      double error = metric.standardError();
      if (Double.isNaN(error)) {
        // As the harness writes what it cannot compute.
        json.put(key(metric.name(), ERROR), "N/A");
      } else {
        json.put(key(metric.name(), ERROR), error);
      }
    }
    return json;
  }

  /** The filter that finds the answer in a text, in the harness's words; "none" for none. */
  private static String filter(String metric) {
    return Gsm8k.FILTERS.contains(metric) ? metric : NO_FILTER;
  }

  private static String key(String metric, String suffix) {
    return Metric.harnessName(metric) + suffix + "," + filter(metric);
  }

  /**
   * What a model made of one item, as the harness writes it into a file of samples: an object for
   * each filter.
   */
  static List<ObjectNode> of(Task task, List<String> metrics, TaskRun.Sample sample) {
    return metrics.stream()
        .map(HarnessJson::filter)
        .distinct()
        .map(filter -> of(task, metrics, sample, filter))
        .toList();
  }

  private static ObjectNode of(
      Task task, List<String> metrics, TaskRun.Sample sample, String filter) {
    TaskItem item = sample.item();
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("doc_id", sample.index());
    json.set("doc", item.document().json());
    json.put("target", item.target());
    if (task.kind() == Task.Kind.TEXT) {
      double sum = sample.likelihoods().stream().mapToDouble(Likelihood::logProbability).sum();
      json.putObject("arguments").putObject("gen_args_0").put("arg_0", item.target());
      json.putArray("resps").addArray().add(Double.toString(sum));
      json.putArray("filtered_resps").add(Double.toString(sum));
    } else if (task.kind().isGenerated()) {
      putText(json, sample, filter);
    } else {
      putAnswers(json, sample);
    }
    json.put("filter", filter);
    ArrayNode named = json.putArray("metrics");
    for (String metric : metrics) {
      if (filter(metric).equals(filter)) {
        named.add(Metric.harnessName(metric));
      }
    }
    json.put("doc_hash", sha256(item.document().json().toString()));
    json.put("prompt_hash", sha256(item.asked().getFirst().context()));
    json.put("target_hash", sha256(item.target()));
    for (int i = 0; i < metrics.size(); i++) {
      if (filter(metrics.get(i)).equals(filter)) {
        json.put(Metric.harnessName(metrics.get(i)), sample.values()[i]);
      }
    }
    return json;
  }

  private static void putText(ObjectNode json, TaskRun.Sample sample, String filter) {
    TaskItem.Asked asked = sample.item().asked().getFirst();
    json.putObject("arguments").putObject("gen_args_0").put("arg_0", asked.context());
    json.putArray("resps").addArray().add(sample.text());
    json.putArray("filtered_resps")
        .add(filter.equals(NO_FILTER) ? sample.text() : Gsm8k.answer(filter, sample.text()));
  }

  private static void putAnswers(ObjectNode json, TaskRun.Sample sample) {
    ObjectNode arguments = json.putObject("arguments");
    for (TaskItem.Asked asked : sample.item().asked()) {
      arguments
          .putObject("gen_args_" + arguments.size())
          .put("arg_0", asked.context())
          .put("arg_1", asked.continuation());
    }
    ArrayNode responses = json.putArray("resps");
    ArrayNode filtered = json.putArray("filtered_resps");
    for (Likelihood likelihood : sample.likelihoods()) {
      // The harness writes both as text, so that tables have one type a column.
      ArrayNode response = filtered.addArray();
      response.add(Double.toString(likelihood.logProbability()));
      response.add(likelihood.greedy() ? "True" : "False");
      responses.addArray().add(response);
    }
  }

  private static String sha256(String text) {
    return new Sha256().update(text.getBytes(StandardCharsets.UTF_8)).hex();
  }
}
