package dev.laco.evaluate;

import dev.laco.DeviceSettings;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.Passages;
import dev.laco.backend.Device;
import dev.laco.measure.LastWordMeasure;
import dev.laco.run.JobEstimate;
import dev.laco.run.JobTexts;
import dev.laco.run.MemoryPlan;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.text.ClozeSet;
import dev.laco.transformer.CausalLm;
import java.util.function.Consumer;

/** Whether one model knows the last words of passages. */
final class LastWordJob extends ModelJob<LastWordJob> {
  private final String stage;
  private final ClozeSet set;

  /**
   * Reads the passages with the model's tokenizer.
   *
   * @param whose what the name of the stage ends with; empty where one model is measured
   * @throws dev.laco.BadInputException if the file of the passages is wrong, or the model has no
   *     tokenizer that fits the model
   */
  LastWordJob(Model model, DeviceSettings device, String whose, Passages passages) {
    super(model, device);
    this.stage = "last word" + whose;
    this.set = JobTexts.passages(model, passages);
  }

  /** Names the passages for people. */
  String name() {
    return set.name();
  }

  /** Tells the progress how long the job is expected to take. */
  void expect(Device backend) {
    progress()
        .expect(
            stage,
            new JobEstimate(model, backend).pass(set.items(), model.config().numHiddenLayers()));
  }

  /**
   * Measures the model.
   *
   * @param opened is told of the device
   * @return of each passage, whether its last word is known
   */
  boolean[] run(Consumer<Device> opened) {
    model.textsAreRead();
    try (OpenDevice device = openDevice(false)) {
      CausalLm lm =
          runningModel(
                  device.backend(),
                  MemoryPlan.Beside.buffers(
                      LastWordMeasure.bytes(device.backend(), model.config(), set.items())),
                  1,
                  "use shorter passages")
              .original();
      opened.accept(device.backend());
      try (JobProgress.Stage running = progress().begin(stage)) {
        return LastWordMeasure.byPassage(lm, set.items(), running::update);
      }
    }
  }
}
