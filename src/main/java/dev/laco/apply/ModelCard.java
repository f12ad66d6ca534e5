package dev.laco.apply;

import dev.laco.LacoVersion;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.KeptLayers;
import dev.laco.model.Architecture;
import dev.laco.model.Loader;
import dev.laco.model.ModelConfig;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.SequencedMap;
import java.util.SequencedSet;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * The model card of a pruned checkpoint. The card says how the model was made from the original,
 * and how to make it again. It takes licence and origin from the original's card. Its text depends
 * only on the plan, the original's card, the options of the write and laco's version: it has no
 * date, and no path, since cards are published.
 */
final class ModelCard {
  /** The name of the file in which hubs look for a model card. */
  static final String FILE = "README.md";

  /**
   * The name under which the original's card is kept beside the new one; what it says of depth and
   * quality is not true of the pruned model.
   */
  static final String ORIGINAL = "README.original.md";

  /** Keys of the original's front matter whose values hold for the pruned model, too. */
  private static final List<String> CARRIED =
      List.of("base_model", "language", "license", "license_link", "license_name");

  private static final String TAGS = "tags";

  private static final String SIMPLE = "([\"']?)[A-Za-z0-9][A-Za-z0-9 ._/+-]{0,95}\\%d";
  private static final Pattern SCALAR =
      Pattern.compile("([a-z_]+):[ ]+(" + String.format(Locale.ROOT, SIMPLE, 3) + ")");
  private static final Pattern LIST = Pattern.compile("([a-z_]+):");
  private static final Pattern ITEM =
      Pattern.compile(" *- +(" + String.format(Locale.ROOT, SIMPLE, 2) + ")");
  private static final Pattern TITLE =
      Pattern.compile("# +([\\p{L}\\p{N}][\\p{L}\\p{N} ._/+()-]{0,95})");
  private static final Pattern TEXT = Pattern.compile("[A-Za-z0-9][A-Za-z0-9 ._+-]{0,95}");
  private static final int MOST_ITEMS = 100;

  private ModelCard() {}

  /**
   * The card.
   *
   * @param original the original's card, empty if it has none
   * @param options what a command must name to write the same files: names and values
   */
  static String of(
      CollapsePlan plan,
      ModelConfig config,
      String original,
      SequencedMap<String, String> options) {
    List<String> lines = Arrays.stream(original.split("\\R", -1)).map(String::strip).toList();
    CollapsePlan.Source source = plan.source();
    StringBuilder card = new StringBuilder();
    String name =
        String.format(
            Locale.ROOT, "%s%d of %d layers", title(lines), plan.depth(), source.layers());
    frontMatter(card, carried(lines), modelIndex(name, plan.results()));
    card.append(
        String.format(
            Locale.ROOT,
            """
        # %s

        A `%s` of %d layers, made by %s from %s of %d layers.

        - Layers, in the original's numbers from 0: %s.
        - Weights: %s.
        %s- The same files again, from the original and the plan: `laco apply laco_plan.json ORIGINAL OUT%s`.

        ## How to load it

        %s
        ## Limits

        Removing layers costs quality, first in arithmetic, long contexts and rare knowledge: measure what matters to you.
        %s%s
        """,
            name,
            source.architecture(),
            plan.depth(),
            LacoVersion.text(),
            original.isEmpty()
                ? "a model"
                : String.format(
                    Locale.ROOT, "the model that [%s](%s) describes,", ORIGINAL, ORIGINAL),
            source.layers(),
            KeptLayers.of(plan).describe(),
            weights(plan),
            measured(plan.results()),
            options.entrySet().stream()
                .map(
                    option ->
                        String.format(Locale.ROOT, " --%s %s", option.getKey(), option.getValue()))
                .collect(Collectors.joining()),
            howToLoad(config),
            config.architecture().isMultimodal()
                ? "What images or sounds lose was not measured.\n"
                : "",
            original.isEmpty()
                ? "The original's licence and terms of use hold for this model, too."
                : "The original's licence and terms of use hold for this model, too; what its card says of depth, size and quality does not."));
    return card.toString();
  }

  private static String weights(CollapsePlan plan) {
    CollapsePlan.NewTensors tensors = plan.tensors();
    return tensors == null
        ? "the original's, or mixed from them"
        : "the original's, or mixed from them; tensors fitted to what the original computes: "
            + tensors.names().size();
  }

  /** What was measured of the model, a line each; nothing where nothing was. */
  private static String measured(CollapsePlan.@Nullable Results results) {
    if (results == null) {
      return "";
    }
    CollapsePlan.Training training = results.training();
    String trained =
        training == null
            ? ""
            : String.format(
                Locale.ROOT,
                "- Healed: trained on %,d tokens to predict what the original predicts%s.\n",
                training.tokens(),
                training.before() == null
                    ? ""
                    : String.format(Locale.ROOT, "; perplexity before: %.2f", training.before()));
    return String.format(
            Locale.ROOT,
            "- Measured on %s: perplexity %.2f, of the original %.2f (x%.3f); similarity of the last"
                + " hidden states %.4f; divergence from the original's predictions %.4f nats a"
                + " token.\n",
            text(results),
            results.perplexity(),
            results.dense(),
            results.perplexity() / results.dense(),
            results.similarity(),
            results.divergence())
        + trained;
  }

  private static String text(CollapsePlan.Results results) {
    return TEXT.matcher(results.text()).matches() ? results.text() : "a text";
  }

  /**
   * The measured perplexity as hubs read it (huggingface/hub-docs, modelcard.md); empty where
   * nothing was measured.
   */
  private static String modelIndex(String name, CollapsePlan.@Nullable Results results) {
    return results == null
        ? ""
        : String.format(
            Locale.ROOT,
            """
            model-index:
            - name: "%s"
              results:
              - task:
                  type: text-generation
                dataset:
                  name: "%s"
                  type: text
                metrics:
                - type: perplexity
                  value: %.4f
            """,
            name,
            text(results),
            results.perplexity());
  }

  /** A line for each program that computes the model as its config describes it. */
  private static String howToLoad(ModelConfig config) {
    Architecture family = config.architecture();
    return Arrays.stream(Loader.values())
        .filter(loader -> family.whyNot(loader, config) == null)
        .map(
            loader ->
                switch (loader) {
                  case TRANSFORMERS ->
                      "- transformers: `"
                          + (family.isMultimodal() ? family.className() : "AutoModelForCausalLM")
                          + ".from_pretrained(\"FOLDER\")`\n";
                  case VLLM -> "- vLLM: `vllm serve FOLDER`\n";
                  case LLAMA_CPP ->
                      "- llama.cpp: `laco export FOLDER model.gguf`, then `llama-cli -m model.gguf`"
                          + (family.isMultimodal()
                              ? ", with the original's `mmproj` file for its encoders\n"
                              : "\n");
                  case JLAMA -> "- jlama: `jlama chat FOLDER`\n";
                })
        .collect(Collectors.joining());
  }

  /**
   * The original's name followed by a comma, if the first heading of its card is a simple name;
   * else nothing.
   */
  private static String title(List<String> lines) {
    return lines.stream()
        .map(TITLE::matcher)
        .filter(Matcher::matches)
        .findFirst()
        .map(match -> match.group(1) + ", ")
        .orElse("");
  }

  private static void frontMatter(
      StringBuilder card, SequencedMap<String, List<String>> carried, String modelIndex) {
    card.append("---\n");
    CARRIED.forEach(key -> append(card, key, carried.getOrDefault(key, List.of())));
    card.append("library_name: transformers\n");
    SequencedSet<String> tags = new LinkedHashSet<>(List.of("laco", "pruned"));
    tags.addAll(carried.getOrDefault(TAGS, List.of()));
    append(card, TAGS, List.copyOf(tags));
    card.append(modelIndex).append("---\n\n");
  }

  private static void append(StringBuilder card, String key, List<String> values) {
    if (values.size() == 1) {
      card.append(key).append(": ").append(values.getFirst()).append('\n');
    } else if (!values.isEmpty()) {
      card.append(key).append(":\n");
      values.forEach(value -> card.append("- ").append(value).append('\n'));
    }
  }

  /**
   * The simple scalars and lists of the front matter, the YAML between the first two lines of
   * dashes: values by key.
   */
  private static SequencedMap<String, List<String>> carried(List<String> lines) {
    SequencedMap<String, List<String>> values = new TreeMap<>();
    int end = lines.subList(1, lines.size()).indexOf("---");
    if (!lines.getFirst().equals("---") || end < 0) {
      return values;
    }
    for (int i = 1; i <= end; i++) {
      Matcher scalar = SCALAR.matcher(lines.get(i));
      Matcher list = LIST.matcher(lines.get(i));
      if (scalar.matches()) {
        values.put(scalar.group(1), List.of(scalar.group(2)));
      } else if (list.matches()) {
        List<String> items = new ArrayList<>();
        for (; i < end && items.size() < MOST_ITEMS; i++) {
          Matcher item = ITEM.matcher(lines.get(i + 1));
          if (!item.matches()) {
            break;
          }
          items.add(item.group(1));
        }
        values.put(list.group(1), List.copyOf(items));
      }
    }
    return values;
  }
}
