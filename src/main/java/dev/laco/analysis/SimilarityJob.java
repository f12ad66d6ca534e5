package dev.laco.analysis;

import dev.laco.DeviceSettings;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.analysis.SimilarityRequest.Part;
import dev.laco.analysis.SimilarityResult.Parameters;
import dev.laco.analysis.SimilarityResult.Removals;
import dev.laco.analysis.SimilarityResult.Span;
import dev.laco.analysis.SimilarityResult.States;
import dev.laco.analysis.SimilarityResult.Update;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.Device;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Score;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.run.FiniteResults;
import dev.laco.run.JobEstimate;
import dev.laco.run.JobTexts;
import dev.laco.run.MemoryPlan;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.scoring.KernelAlignment;
import dev.laco.scoring.ResidualStream;
import dev.laco.scoring.StreamSimilarity;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.scoring.UpdateSizes;
import dev.laco.text.CalibrationSet;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** One measurement of how alike the layers of a model are. The job writes no file. */
@SuppressWarnings("exports")
public final class SimilarityJob extends ModelJob<SimilarityJob> {
  private static final String PARAMETERS = "parameters";
  private static final String STATES = "hidden states";
  private static final String REMOVALS = "removals";
  private static final Setting PARTS = Setting.of("parts");

  private final SimilarityRequest request;
  private final ModelConfig config;
  private final int longestSpan;

  /**
   * Prepares a measurement.
   *
   * @throws dev.laco.UsageException if the model has not so many layers as a span, or a setting is
   *     given for a part that is not asked for
   */
  public SimilarityJob(Model model, DeviceSettings device, SimilarityRequest request) {
    super(model, device);
    this.request = request;
    config = model.config();
    int depth = config.numHiddenLayers();
    Integer longest = request.longestSpan();
    if (longest != null && longest >= depth) {
      throw Setting.of("longestSpan").refuse(longest, "below the number of layers, " + depth);
    }
    List<Part> parts = request.parts();
    if (longest != null && !parts.contains(Part.REMOVALS)) {
      throw Setting.of("longestSpan")
          .refuse(longest, " is of removals: ", "leave it out, or add removals to " + PARTS);
    }
    if (request.calibration() != null && parts.equals(List.of(Part.PARAMETERS))) {
      throw Setting.of("calibration")
          .refuse(
              request.calibration(),
              " is a text, and parameters are compared without one: ",
              "leave it out, or add states or removals to " + PARTS);
    }
    longestSpan = longest == null ? depth / 2 : longest;
  }

  /**
   * Runs the job.
   *
   * @throws dev.laco.BadInputException if the text cannot be used, or the model's weights are
   *     damaged
   * @throws dev.laco.ResourceException if the device or the memory does not suffice
   * @throws dev.laco.CancelledException if it was cancelled
   */
  public SimilarityResult run() {
    begin();
    if (request.parts().contains(Part.REMOVALS) && !asks(Part.REMOVALS)) {
      warn("what the loss of a layer costs is not measured: the model has only one");
    }
    CalibrationSet text =
        asks(Part.STATES) || asks(Part.REMOVALS)
            ? JobTexts.calibration(model, request.calibration())
            : null;
    if (text != null) {
      text.warnings().forEach(this::warn);
    }
    PackedSequences sequences = text == null ? null : PackedSequences.of(text.sequences());
    model.textsAreRead();
    try (OpenDevice opened = openDevice(false)) {
      RunningModel running = running(opened.backend(), sequences);
      model.checkpoint().requireFiniteOutsideLayers();
      List<CollapsePlan> plans = asks(Part.REMOVALS) ? plans() : List.of();
      expect(opened.backend(), plans, sequences);
      return new SimilarityResult(
          model.directory(),
          config.numHiddenLayers(),
          text == null ? null : text.name(),
          asks(Part.PARAMETERS) ? parameters(running) : new LinkedHashMap<>(),
          sequences != null && asks(Part.STATES) ? states(running, sequences) : null,
          sequences != null && asks(Part.REMOVALS) ? removals(running, sequences, plans) : null,
          warnings());
    }
  }

  /** Whether a part is asked for and can be measured: of one layer nothing can be removed. */
  private boolean asks(Part part) {
    return request.parts().contains(part) && (part != Part.REMOVALS || longestSpan > 0);
  }

  private RunningModel running(Backend backend, @Nullable PackedSequences sequences) {
    long buffers = 0;
    if (sequences != null && asks(Part.STATES)) {
      buffers = ResidualStream.bytes(config, sequences) + KernelAlignment.bytes(config, sequences);
    }
    if (sequences != null && asks(Part.REMOVALS)) {
      buffers = Math.max(buffers, SweepScorer.bytes(config, sequences.size(), options()));
    }
    return runningModel(
        backend,
        MemoryPlan.Beside.buffers(buffers),
        asks(Part.PARAMETERS) ? config.numHiddenLayers() : 1,
        "leave out some of " + PARTS);
  }

  private static SweepOptions options() {
    return SweepOptions.of(SweepOptions.CANDIDATES).with(Objective.KL);
  }

  private void expect(
      Device backend, List<CollapsePlan> plans, @Nullable PackedSequences sequences) {
    JobEstimate estimate = new JobEstimate(model, backend);
    int depth = config.numHiddenLayers();
    if (asks(Part.PARAMETERS)) {
      progress().expect(PARAMETERS, estimate.pairs(ParameterSimilarity.elements(config)));
    }
    if (sequences != null && asks(Part.STATES)) {
      progress().expect(STATES, estimate.pass(sequences.size(), depth));
    }
    if (sequences != null && !plans.isEmpty()) {
      progress()
          .expect(
              REMOVALS,
              estimate.search(
                  plans.size(), depth - longestSpan / 2, Objective.KL, sequences.size()));
    }
    tellExpectation();
  }

  private SequencedMap<String, Parameters> parameters(RunningModel running) {
    try (JobProgress.Stage stage = progress().begin(PARAMETERS)) {
      return new ParameterSimilarity(running).measure(stage);
    }
  }

  private States states(RunningModel running, PackedSequences sequences) {
    StreamSimilarity similarity = new StreamSimilarity(running);
    UpdateSizes sizes = new UpdateSizes(running);
    KernelAlignment alignment = new KernelAlignment(running);
    long total = (long) sequences.size() * config.numHiddenLayers();
    try (JobProgress.Stage stage = progress().begin(STATES)) {
      ResidualStream.read(
          running,
          sequences,
          List.of(similarity, sizes, alignment),
          done -> stage.update(done, total));
    }
    List<Double> norms = LayerMatrix.list(similarity.norms());
    norms.forEach(norm -> FiniteResults.require(model.directory(), "a hidden state", norm));
    double[] influence = similarity.blockInfluence();
    double[] attention = sizes.attention();
    double[] feedForward = sizes.feedForward();
    double[] share = sizes.attentionShare();
    return new States(
        similarity.tokens(),
        LayerMatrix.of(similarity.cosines()),
        LayerMatrix.of(similarity.flattenedCosines()),
        LayerMatrix.of(similarity.angularDistances()),
        LayerMatrix.of(alignment.values()),
        norms,
        IntStream.range(0, influence.length)
            .mapToObj(
                layer ->
                    new Update(
                        influence[layer], attention[layer], feedForward[layer], share[layer]))
            .toList());
  }

  /** The models without one span each, by first layer and then by length. */
  private List<CollapsePlan> plans() {
    CollapsePlan.Source source = PlanApplier.source(model.checkpoint());
    int depth = config.numHiddenLayers();
    List<CollapsePlan> plans = new ArrayList<>();
    for (int first = 0; first < depth; first++) {
      for (int end = first + 1; end <= Math.min(depth, first + longestSpan); end++) {
        int from = first;
        int to = end;
        plans.add(
            new CollapsePlan(
                source,
                IntStream.range(0, depth)
                    .filter(layer -> layer < from || layer >= to)
                    .mapToObj(LayerMix::original)
                    .toList()));
      }
    }
    return plans;
  }

  private Removals removals(
      RunningModel running, PackedSequences sequences, List<CollapsePlan> plans) {
    CollapsePlan original = CollapsePlan.identity(PlanApplier.source(model.checkpoint()));
    List<Span> spans = new ArrayList<>();
    try (JobProgress.Stage stage = progress().begin(REMOVALS);
        SweepScorer scorer = new SweepScorer(running, original.source(), sequences, options())) {
      double nll = Objective.NLL.measured(scorer.score(List.of(original)).getFirst());
      FiniteResults.require(model.directory(), "nll", nll);
      for (int from = 0; from < plans.size(); from += SweepOptions.CANDIDATES) {
        List<CollapsePlan> some =
            plans.subList(from, Math.min(plans.size(), from + SweepOptions.CANDIDATES));
        List<Score> scores = scorer.score(some);
        for (int i = 0; i < scores.size(); i++) {
          spans.add(span(some.get(i), scores.get(i)));
        }
        stage.update(spans.size(), plans.size());
      }
      return new Removals(nll, spans);
    }
  }

  private static Span span(CollapsePlan plan, Score score) {
    return new Span(
        plan.sharedPrefix(),
        plan.source().layers() - plan.depth(),
        Objective.NLL.measured(score),
        Objective.KL.measured(score),
        score.mean());
  }
}
