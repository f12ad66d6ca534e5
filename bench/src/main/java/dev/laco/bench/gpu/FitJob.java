package dev.laco.bench.gpu;

import dev.laco.Compute;
import dev.laco.DeviceSettings;
import dev.laco.Model;
import dev.laco.collapse.FitRule;
import dev.laco.prune.FitSettings;
import dev.laco.prune.Goal;
import dev.laco.prune.PruneJob;
import dev.laco.prune.PruneRequest;
import dev.laco.prune.TextSettings;
import dev.laco.report.FitReport;
import java.util.Collections;

/** Prunes of a made-up model to three quarters of its layers, for what their fits take. */
final class FitJob implements AutoCloseable {
  private final MadeUpCheckpoint checkpoint;
  private final Model model;
  private final DeviceSettings device;
  private final PruneRequest request;

  /**
   * Makes the model and the texts.
   *
   * @param device the device that is pruned on
   * @param documents of the text of the fit, which are independent of each other
   * @param length tokens of a document
   */
  FitJob(BenchDevice device, Sizes sizes, int documents, int length) {
    this.checkpoint = new MadeUpCheckpoint(sizes.config());
    try {
      this.device =
          new DeviceSettings(device.name(), Compute.AUTO, null, device.binding(), null, null);
      int layers = sizes.config().numHiddenLayers();
      this.request =
          PruneRequest.of(Goal.layers(layers - layers / 4))
              .withTexts(
                  new TextSettings(
                      checkpoint.text("calibration.json", sizes.lengths()), null, null))
              .withFit(
                  new FitSettings(
                      checkpoint.text("fit.json", Collections.nCopies(documents, length)),
                      documents * length));
      this.model = Model.open(checkpoint.folder());
    } catch (RuntimeException e) {
      checkpoint.close();
      throw e;
    }
  }

  /**
   * Prunes with a rule.
   *
   * @return how the weights were fitted, and what that took
   */
  FitReport run(FitRule rule) {
    try (PruneJob job = new PruneJob(model, device, request.withRule(rule.label()))) {
      FitReport fit = job.run().report().fit();
      if (fit == null || fit.tokens() == 0) {
        throw new AssertionError("the prune kept no fit by " + rule.label() + ": " + fit);
      }
      return fit;
    }
  }

  @Override
  public void close() {
    model.close();
    checkpoint.close();
  }
}
