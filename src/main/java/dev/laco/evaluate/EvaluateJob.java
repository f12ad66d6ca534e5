package dev.laco.evaluate;

import dev.laco.DeviceSettings;
import dev.laco.JobEvent;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.backend.Backend;
import dev.laco.backend.Device;
import dev.laco.eval.ContinuationMeasure;
import dev.laco.eval.LastWordMeasure;
import dev.laco.eval.PerplexityMeasure;
import dev.laco.report.Perplexity;
import dev.laco.run.EvaluationText;
import dev.laco.run.JobEstimate;
import dev.laco.run.JobTexts;
import dev.laco.run.MemoryPlan;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.text.ClozeSet;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.transformer.CausalLm;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** One evaluation of a model as it is. */
@SuppressWarnings("exports")
public final class EvaluateJob extends ModelJob<EvaluateJob> {
  private static final String PERPLEXITY = "perplexity";
  private static final String LAST_WORD = "last word";

  private final EvaluateRequest request;
  private @Nullable Path dump;
  private @Nullable Function<Task, Path> samples;

  /** Prepares an evaluation. */
  public EvaluateJob(Model model, DeviceSettings device, EvaluateRequest request) {
    super(model, device);
    this.request = request;
  }

  /**
   * Writes a file, too, with the final hidden states ({@code <i>.final_hidden}) and the logits
   * ({@code <i>.logits}) of every token list or chunk, and of chunks also the token ids ({@code
   * <i>.tokens}).
   *
   * @param file the file, in the format safetensors, which must not exist
   */
  public EvaluateJob dumpTo(Path file) {
    dump = file;
    return this;
  }

  /**
   * Writes a file for each task, too, with a line of JSON for each item: the prompts, their
   * likelihoods and what the metrics say, in the form of lm-evaluation-harness.
   *
   * @param file gives the file of a task, which is replaced if it exists
   */
  public EvaluateJob samplesTo(Function<Task, Path> file) {
    samples = file;
    return this;
  }

  /**
   * Runs the job.
   *
   * @throws dev.laco.BadInputException if a text cannot be used, or the model's weights are damaged
   * @throws dev.laco.ResourceException if the device or the memory does not suffice
   * @throws dev.laco.CancelledException if it was cancelled
   */
  public EvaluateResult run() {
    return switch (request) {
      case EvaluateRequest.Text text ->
          perplexity(
              EvaluationText.text(text.file(), model, text.maxLength(), text.stride()), true);
      case EvaluateRequest.Tokens tokens ->
          perplexity(EvaluationText.tokens(tokens.file(), model), false);
      case EvaluateRequest.LastWords words -> lastWord(JobTexts.passages(model, words.passages()));
      case EvaluateRequest.Tasks tasks -> tasks(tasks);
    };
  }

  private EvaluateResult perplexity(EvaluationText text, boolean tokenized) {
    model.textsAreRead();
    text.warnings(model, null).forEach(this::warn);
    try (OpenDevice opened = openDevice(false)) {
      CausalLm lm =
          original(
              opened.backend(),
              PerplexityMeasure.bytes(model.config(), text.chunks()),
              "use a smaller " + Setting.of("maxLength"));
      expect(opened.backend(), PERPLEXITY, text.chunks());
      Perplexity result = measure(PERPLEXITY, text, model.directory(), lm);
      if (dump != null) {
        tell(new JobEvent.FileWritten(dump, StateDump.write(lm, text.chunks(), tokenized, dump)));
      }
      return new EvaluateResult.OfText(text.name(), result);
    }
  }

  private EvaluateResult lastWord(ClozeSet set) {
    model.textsAreRead();
    try (OpenDevice opened = openDevice(false)) {
      CausalLm lm =
          original(
              opened.backend(),
              LastWordMeasure.bytes(model.config(), set.items()),
              "use shorter passages");
      expect(opened.backend(), LAST_WORD, set.items());
      try (JobProgress.Stage stage = progress().begin(LAST_WORD)) {
        return new EvaluateResult.OfPassages(
            set.name(), LastWordMeasure.measure(lm, set.items(), stage::update));
      }
    }
  }

  private EvaluateResult tasks(EvaluateRequest.Tasks request) {
    long limit = request.limit() == null ? Long.MAX_VALUE : request.limit();
    PromptTokens prompts = new PromptTokens(model);
    List<TaskFile> files =
        Task.named(request.names()).stream()
            .map(task -> TaskFile.find(task, request.data()))
            .toList();
    List<TaskRun> runs =
        files.stream().map(file -> new TaskRun(file, prompts, limit, this::requireWanted)).toList();
    int longest = runs.stream().mapToInt(TaskRun::longest).max().orElseThrow();
    boolean greedy = samples != null || runs.stream().anyMatch(TaskRun::needsGreedy);
    try (OpenDevice opened = openDevice(false)) {
      CausalLm lm =
          original(
              opened.backend(),
              ContinuationMeasure.bytes(model.config(), longest, greedy),
              "leave out the task with the longest items");
      JobEstimate estimate = new JobEstimate(model, opened.backend());
      int depth = model.config().numHiddenLayers();
      runs.forEach(run -> progress().expect(run.task().name(), estimate.pass(run.tokens(), depth)));
      tellExpectation();
      List<TaskResult> results = new ArrayList<>();
      for (TaskRun run : runs) {
        results.add(measure(run, lm));
      }
      return new EvaluateResult.OfTasks(
          results,
          Task.groups().stream().filter(group -> request.names().contains(group.name())).toList());
    }
  }

  private TaskResult measure(TaskRun run, CausalLm lm) {
    try (JobProgress.Stage stage = progress().begin(run.task().name())) {
      if (samples == null) {
        return run.measure(lm, run.needsGreedy(), stage::update, sample -> {});
      }
      Path file = samples.apply(run.task());
      try (SampleFile out = new SampleFile(run.task(), file)) {
        return run.measure(lm, true, stage::update, out::write);
      }
    }
  }

  private CausalLm original(Backend backend, long buffers, String helps) {
    return runningModel(backend, MemoryPlan.Beside.buffers(buffers), 1, helps).original();
  }

  private void expect(Device backend, String stage, List<Chunk> chunks) {
    JobEstimate estimate = new JobEstimate(model, backend);
    progress().expect(stage, estimate.pass(chunks, model.config().numHiddenLayers()));
    tellExpectation();
  }
}
