package dev.laco.cli;

import dev.laco.Model;
import dev.laco.Passages;
import dev.laco.UsageException;
import dev.laco.apply.PlanApplier;
import dev.laco.evaluate.EvaluateJob;
import dev.laco.evaluate.EvaluateJson;
import dev.laco.evaluate.EvaluateRequest;
import dev.laco.evaluate.EvaluateResult;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/**
 * Measures the perplexity of a model, how often it knows a last word, or how good it is at tasks.
 */
@HelpSection.In(HelpSection.MEASURE)
@Command(
    name = "eval",
    description =
        "Measure perplexity on a text or on token-id lists, knowledge of last words, or tasks.",
    mixinStandardHelpOptions = true,
    customSynopsis = "laco eval MODEL [OPTIONS]",
    versionProvider = Version.class,
    footer = {
      "",
      "Example:",
      "  laco eval models/storyteller --text models/storyteller/evaluation.txt",
      "  laco eval MODEL --against PRUNED --tasks qa5 --data FOLDER",
      "  laco eval MODEL --against PRUNED --throughput"
    })
final class EvalCommand implements Callable<Integer> {
  @Parameters(paramLabel = "MODEL", description = LacoCommand.MODEL)
  Path model;

  @ArgGroup @Nullable Source source;

  @Option(
      names = "--max-length",
      paramLabel = "N",
      description = "Tokens of a chunk. Default: the smaller of max_position_embeddings and 2048.")
  @Nullable Integer maxLength;

  @Option(
      names = "--stride",
      paramLabel = "N",
      description = "Tokens from one chunk or window to the next. Default: its length.")
  @Nullable Integer stride;

  @Option(
      names = "--window",
      paramLabel = "N",
      description =
          "Perplexity as papers have it: documents joined by blank lines, windows of N tokens"
              + " (2048) without BOS of their own, a last one that is not full left out.")
  @Nullable Integer window;

  @Option(
      names = "--data",
      paramLabel = "FOLDER",
      description = "The folder of the tasks' files, under the names of their publications.")
  @Nullable Path data;

  @Option(
      names = "--limit",
      paramLabel = "N",
      description = "Measure the first N items of each task. Default: all.")
  @Nullable Integer limit;

  @Option(
      names = "--within",
      paramLabel = "TIME",
      description =
          "The time that the whole command may take: 90s, 10m, 1.5h. Where it does not suffice for"
              + " all items, measure the same share of each task, chosen by hashes of the items.")
  @Nullable TimeSpan within;

  @Option(
      names = "--shots",
      paramLabel = "N",
      description =
          "Put N answered examples in front of each prompt. Default: 5 for gsm8k, else none. Probes"
              + " have examples of their own, wikitext has none.")
  @Nullable Integer shots;

  @Option(
      names = "--mutual-information",
      description = "Measure answers without their question, too, for the metric acc_mutual_info.")
  boolean mutualInformation;

  @Option(
      names = "--against",
      paramLabel = "MODEL",
      arity = "1..*",
      description = "Measure these models, too, and compare each with the first on the same items.")
  List<Path> against = List.of();

  @Option(
      names = "--out",
      paramLabel = "FOLDER",
      description =
          "Write results.json and samples_TASK.jsonl of each model, in the form of"
              + " lm-evaluation-harness, and model-index.md and eval_results.yaml for Hugging"
              + " Face's hub.")
  @Nullable Path out;

  @Option(
      names = "--dump",
      paramLabel = "FILE.safetensors",
      description =
          "Write <i>.final_hidden and <i>.logits of every list or chunk, and <i>.tokens of a"
              + " chunk, f32. For one model, without --against.")
  @Nullable Path dump;

  /** What picocli gives for {@code --last-word} alone. */
  private static final Path BUILT_IN = Path.of("");

  @Mixin DeviceOptions device;
  @Mixin PageOption html;
  @Mixin OutputOptions output;

  /** What to score. */
  @HelpSection.In(HelpSection.MEASURE)
  static final class Source {
    @Option(
        names = "--text",
        paramLabel = "FILE",
        description =
            "A text file, or documents as .jsonl (text or chats). Default: the model's"
                + " evaluation.txt, else a built-in text.")
    @Nullable Path text;

    @Option(
        names = "--tokens",
        paramLabel = "FILE.json",
        description =
            "A list of token-id lists; each is scored on its own, all but its first token.")
    @Nullable Path tokens;

    @Option(
        names = "--last-word",
        paramLabel = "FILE.jsonl",
        arity = "0..1",
        fallbackValue = "",
        description =
            "Measure instead how often the last word of a passage is known. Objects a line: the"
                + " passage without it (text), and the word (last). Default: built-in passages.")
    @Nullable Path lastWord;

    @Option(
        names = "--tasks",
        paramLabel = "NAME",
        split = ",",
        completionCandidates = Tasks.class,
        description =
            "Measure instead tasks as lm-evaluation-harness scores them, of"
                + " ${COMPLETION-CANDIDATES}.")
    @Nullable List<String> tasks;

    @Option(
        names = "--throughput",
        description =
            "Measure instead tokens per second of prefill and of decoding, of all models in turn,"
                + " and tell the bytes of weights and of the KV cache.")
    boolean throughput;
  }

  @Override
  public Integer call() throws IOException {
    EvaluateRequest request = request();
    Console console = output.console();
    List<Model> others = new ArrayList<>();
    try (Model open = Model.open(model);
        SideFiles files = new SideFiles(null, open.directory())) {
      for (Path path : against) {
        Model other = Model.open(path);
        others.add(other);
        files.protect("the model of --against " + path, other.directory());
      }
      EvaluateJob job = new EvaluateJob(open, device.settings(), request).against(others);
      SideFiles.SideFile dumpFile = dump == null ? null : DumpFile.add(files, dump);
      if (dumpFile != null) {
        job.dumpTo(dumpFile.begin());
      }
      SideFiles.SideFile htmlFile = html.add(files);
      TaskFolder folder = out == null ? null : new TaskFolder(out, files, names(open, others));
      if (folder != null) {
        job.samplesTo(folder::samples);
      }
      EvaluateResult result =
          job.listener(event -> JobLines.say(console, event)).progressOf(console.job()).run();
      if (folder != null && result instanceof EvaluateResult.OfTasks tasks) {
        folder.write(tasks);
      }
      if (htmlFile != null) {
        htmlFile.write(page(open, result, console, request).html());
      }
      files.publish();
      if (dumpFile != null) {
        console.line("dump", "%s", dumpFile.file());
      }
      say(console, result);
      if (out != null) {
        console.line("wrote", "%s", out);
      }
      if (htmlFile != null) {
        console.resultLine("page", "%s", htmlFile.file());
      }
      console.next(next(open));
    } finally {
      others.forEach(Model::close);
    }
    return 0;
  }

  private PicturesPage page(
      Model open, EvaluateResult result, Console console, EvaluateRequest request) {
    PicturesPage.Made made = PicturesPage.Made.by(output, console, request);
    PicturesPage.Next next =
        against.isEmpty()
            ? new PicturesPage.Next("What people do with a measured model:", next(open))
            : new PicturesPage.Next(
                "Train the pruned model for a short time, so that it wins back some of its loss:",
                String.format(
                    Locale.ROOT,
                    "laco heal %s OUT --teacher %s",
                    Shell.quoted(against.getFirst()),
                    Shell.quoted(model)));
    String name = open.name();
    return switch (result) {
      case EvaluateResult.OfThroughput speed -> ThroughputLines.page(speed, name, made, next);
      case EvaluateResult.OfTasks tasks -> TasksPage.of(tasks, made, next);
      case EvaluateResult.OfText text -> TextPage.of(text, open.directory(), made, next);
      case EvaluateResult.OfPassages words -> LastWordLines.page(words, name, made, next);
    };
  }

  /** What the models are called on the command line. */
  private Map<Path, String> names(Model open, List<Model> others) {
    Map<Path, String> names = new LinkedHashMap<>();
    names.put(open.directory(), model.toString());
    for (int i = 0; i < others.size(); i++) {
      if (names.put(others.get(i).directory(), against.get(i).toString()) != null) {
        throw new UsageException("--against " + against.get(i) + ": is named twice");
      }
    }
    return names;
  }

  private EvaluateRequest request() {
    if (dump != null && !against.isEmpty()) {
      throw new UsageException("--dump is of one model: dump each without --against");
    }
    EvaluateRequest.Text text =
        new EvaluateRequest.Text(source == null ? null : source.text, maxLength, stride, window);
    boolean cut = maxLength != null || stride != null || window != null;
    if (source != null && source.tasks != null) {
      if (cut || dump != null) {
        throw new UsageException(
            "--max-length, --stride, --window and --dump do not go with --tasks");
      }
      return new EvaluateRequest.Tasks(
          source.tasks,
          data,
          limit,
          shots,
          mutualInformation ? true : null,
          within == null ? null : within.seconds());
    }
    if (data != null
        || limit != null
        || within != null
        || shots != null
        || mutualInformation
        || out != null) {
      throw new UsageException(
          "--data, --limit, --within, --shots, --mutual-information and --out go with --tasks");
    }
    if (source != null && source.throughput) {
      if (cut || dump != null) {
        throw new UsageException(
            "--max-length, --stride, --window and --dump do not go with --throughput");
      }
      return new EvaluateRequest.Speed();
    }
    if (source != null && source.lastWord != null) {
      if (cut || dump != null) {
        throw new UsageException(
            "--max-length, --stride, --window and --dump do not go with --last-word");
      }
      return new EvaluateRequest.LastWords(passages(source.lastWord));
    }
    if (source != null && source.tokens != null) {
      if (cut) {
        throw new UsageException(
            "--max-length, --stride and --window cut text; token-id lists are never cut");
      }
      return new EvaluateRequest.Tokens(source.tokens);
    }
    return text;
  }

  /** What people do with a model that they have measured: one of ours speaks, another is pruned. */
  private String next(Model open) {
    String word = Shell.quoted(model);
    return Files.exists(open.directory().resolve(PlanApplier.PLAN))
        ? "laco generate " + word + " --prompt \"Once upon a time\""
        : "laco prune " + word + " OUT";
  }

  /** The passages that {@code --last-word} names, the built-in ones where it names none. */
  static Passages passages(Path file) {
    return file.equals(BUILT_IN) ? Passages.BUILT_IN : new Passages(file);
  }

  private void say(Console console, EvaluateResult result) {
    if (output.json) {
      console.document(EvaluateJson.of(result));
    } else {
      console.result(lines(result));
    }
  }

  private static String lines(EvaluateResult result) {
    return switch (result) {
      case EvaluateResult.OfThroughput throughput -> ThroughputLines.of(throughput);
      case EvaluateResult.OfTasks tasks -> TaskLines.of(tasks);
      case EvaluateResult.OfText text -> TextLines.of(text);
      case EvaluateResult.OfPassages words -> LastWordLines.of(words);
    };
  }
}
