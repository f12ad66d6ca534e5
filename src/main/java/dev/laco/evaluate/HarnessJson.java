package dev.laco.evaluate;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.eval.ContinuationMeasure.Likelihood;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;

/**
 * Results of tasks in the form of lm-evaluation-harness 0.4: {@code results} has for each task
 * {@code acc,none}, {@code acc_stderr,none} and so on; {@code group_subtasks}, {@code groups},
 * {@code configs}, {@code versions}, {@code n-shot}, {@code higher_is_better} and {@code n-samples}
 * are the other keys.
 */
final class HarnessJson {
  /** The harness's name of results whose answers went through no filter. */
  private static final String FILTER = ",none";

  private static final String ALIAS = "alias";

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
      task.metrics().forEach(metric -> directions.put(metric.name(), metric.isShare()));
      samples.putObject(name).put("original", task.available()).put("effective", task.items());
    }
    for (Task.Group group : named) {
      ObjectNode mean =
          JsonNodeFactory.instance
              .objectNode()
              .put(ALIAS, group.name())
              .put(Metric.ACCURACY + FILTER, result.accuracy(group));
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
      json.put(metric.name() + FILTER, metric.value());
      double error = metric.standardError();
      if (Double.isNaN(error)) {
        // As the harness writes what it cannot compute.
        json.put(metric.name() + "_stderr" + FILTER, "N/A");
      } else {
        json.put(metric.name() + "_stderr" + FILTER, error);
      }
    }
    return json;
  }

  /** What a model made of one item, as the harness writes a line of a file of samples. */
  static ObjectNode of(Task task, TaskRun.Sample sample) {
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
    } else {
      putAnswers(json, sample);
    }
    json.put("filter", "none");
    List<String> metrics = task.kind().metrics();
    metrics.forEach(json.putArray("metrics")::add);
    json.put("doc_hash", sha256(item.document().json().toString()));
    json.put("prompt_hash", sha256(item.asked().getFirst().context()));
    json.put("target_hash", sha256(item.target()));
    for (int i = 0; i < metrics.size(); i++) {
      json.put(metrics.get(i), sample.values()[i]);
    }
    return json;
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
    try {
      byte[] hash =
          MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
      return HexFormat.of().formatHex(hash);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }
}
