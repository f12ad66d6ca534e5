package dev.laco.evaluate;

import dev.laco.DeviceSettings;
import dev.laco.JobEvent;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.backend.Device;
import dev.laco.measure.PerplexityMeasure;
import dev.laco.report.Perplexity;
import dev.laco.run.EvaluationText;
import dev.laco.run.FiniteResults;
import dev.laco.run.JobEstimate;
import dev.laco.run.MemoryPlan;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.transformer.CausalLm;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.DoubleStream;
import org.jspecify.annotations.Nullable;

/** The perplexity of a text by one model. */
final class TextJob extends ModelJob<TextJob> {
  private final String stage;
  private final ScoredText text;

  /**
   * A job for a text that was read.
   *
   * @param whose what the name of the stage ends with; empty where one model is measured
   */
  TextJob(Model model, DeviceSettings device, String whose, ScoredText text) {
    super(model, device);
    this.stage = "perplexity" + whose;
    this.text = text;
  }

  /** The seconds of the job as they are estimated. */
  double seconds(Device backend) {
    return new JobEstimate(model, backend).pass(text.chunks(), model.config().numHiddenLayers());
  }

  /** Tells the progress how long the job is expected to take. */
  void expect(Device backend) {
    progress().expect(stage, seconds(backend));
  }

  /**
   * Measures the model.
   *
   * @param dump the file to which states and logits are written, too; null for none
   * @param tokenized whether the dump has the token ids, too
   * @param opened is told of the device
   * @return the summed negative log-likelihood of each chunk
   * @throws dev.laco.BadInputException if the perplexity is not finite
   */
  double[] run(@Nullable Path dump, boolean tokenized, Consumer<Device> opened) {
    model.textsAreRead();
    new EvaluationText(text.name(), text.chunks()).warnings(model, List.of()).forEach(this::warn);
    try (OpenDevice device = openDevice(false)) {
      CausalLm lm =
          runningModel(
                  device.backend(),
                  MemoryPlan.Beside.buffers(
                      PerplexityMeasure.bytes(device.backend(), model.config(), text.chunks())),
                  1,
                  "use a smaller " + Setting.of("maxLength"))
              .original();
      opened.accept(device.backend());
      double[] nll;
      try (JobProgress.Stage running = progress().begin(stage)) {
        nll = PerplexityMeasure.byChunk(lm, text.chunks(), running::update);
      }
      Perplexity perplexity = PerplexityMeasure.of(text.chunks(), DoubleStream.of(nll).sum());
      FiniteResults.require(model.directory(), text.name(), perplexity);
      tell(new JobEvent.Measured(stage, text.name(), perplexity));
      if (dump != null) {
        tell(new JobEvent.FileWritten(dump, StateDump.write(lm, text.chunks(), tokenized, dump)));
      }
      return nll;
    }
  }
}
