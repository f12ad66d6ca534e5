package dev.laco.prune;

import dev.laco.DeviceSettings;
import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.backend.Backend;
import dev.laco.collapse.BlockSettings;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import dev.laco.fit.BlockMeasure;
import dev.laco.fit.FittedChoice;
import dev.laco.fit.HeldOutChoice;
import dev.laco.heal.HealStage;
import dev.laco.measure.Continuations;
import dev.laco.measure.FidelityMeasure;
import dev.laco.run.MemoryPlan;
import dev.laco.scoring.PassCost;
import dev.laco.scoring.ResidualStream;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.training.Residence;
import java.util.Objects;
import java.util.stream.LongStream;

/**
 * How much memory the parts of a prune need on a device.
 *
 * @param search what is searched for, and how
 * @param texts the texts of the prune
 */
record PruneMemory(
    Model model, DeviceSettings device, Backend backend, SearchChoice search, PruneTexts texts) {
  /**
   * What one pass of the search carries. It does not depend on how much memory is free: a run would
   * not give the same result again.
   */
  SweepOptions sweep() {
    int tokens = texts.sequences().size();
    boolean streaming = MemoryPlan.streams(backend, model.checkpoint(), device);
    double passCost = PassCost.of(backend, model.weightType(), tokens, streaming);
    SweepOptions wanted =
        SweepOptions.of(search.candidates().applyAsInt(passCost)).withPassCost(passCost);
    if (device.memory() != null) {
      long most =
          MemoryPlan.forBuffers(
              backend, model.checkpoint(), device.memory(), search.mergedAtOnce());
      wanted = wanted.withBytes(Math.max(0, most - mixedLayer()));
    }
    return wanted.with(search.objective());
  }

  /** What one pass of the choice among models carries of which none is fitted. */
  SweepOptions choice(SweepOptions sweep) {
    return HeldOutChoice.options(model.config(), sweep, texts.sequences().size());
  }

  /** What lies beside the weights: the buffers of the greediest stage, and new tensors. */
  MemoryPlan.Beside beside(SweepOptions sweep, Residence residence) {
    long searching = SweepScorer.bytes(model.config(), texts.sequences().size(), sweep);
    long measuring =
        texts.evaluation() == null
            ? 0
            : Math.max(
                FidelityMeasure.bytes(backend, model.config(), texts.evaluation().chunks()),
                Continuations.bytes(
                    backend, model.config(), model.weightType(), texts.prompts().size()));
    long fitting =
        texts.fit() == null
            ? 0
            : FittedChoice.bytes(
                backend,
                model.config(),
                texts.fit(),
                Objects.requireNonNull(texts.wholeText(Objects.requireNonNull(search.fit()))));
    MemoryPlan.Beside healing = healing(residence);
    long most =
        LongStream.of(searching + blocks(), choosing(sweep), measuring, fitting, healing.buffers())
            .max()
            .orElseThrow();
    // The tensors of a training take the place of the buffers of all stages before it.
    long held = Math.max(0, healing.buffers() + healing.held() - most);
    return new MemoryPlan.Beside(
        most + mixedLayer(),
        held,
        0,
        (texts.fit() == null ? 0 : search.mostNewBytes(model)) + healing.newWeights());
  }

  /** As much of a training stays in memory as there is room for. */
  Residence residence(SweepOptions sweep) {
    return Residence.most(residence -> suffices(beside(sweep, residence)));
  }

  /** Whether there is room for all of a training beside all of the model's weights. */
  boolean trainsBesideWeights(SweepOptions sweep) {
    MemoryPlan.Beside training = beside(sweep, Residence.EVERYTHING);
    return suffices(
        new MemoryPlan.Beside(
            training.buffers(),
            training.held(),
            training.weights() + model.checkpoint().weightBytes(),
            training.newWeights()));
  }

  private boolean suffices(MemoryPlan.Beside beside) {
    return MemoryPlan.suffices(backend, model.checkpoint(), device, beside, search.mergedAtOnce());
  }

  /** What of a training does not lie in memory, as people read it behind the plan. */
  String elsewhere(Residence residence) {
    HealStage heal = texts.heal();
    return heal == null
        ? ""
        : heal.elsewhere(backend, model.config(), search.depthSought(model), residence);
  }

  /** What training takes where the first gap lies in front. */
  private MemoryPlan.Beside healing(Residence residence) {
    HealStage heal = texts.heal();
    return heal == null
        ? MemoryPlan.Beside.buffers(0)
        : heal.memory(backend, model.checkpoint(), search.depthSought(model), residence);
  }

  /** What a search in closed form needs beside the scorer of its models. */
  private long blocks() {
    BlockSettings blocks = search.blocks();
    return blocks == null || texts.fit() == null
        ? 0
        : BlockMeasure.bytes(backend, model.config(), texts.fit(), blocks);
  }

  /** What the choice among the models of a search needs beside a fit. */
  private long choosing(SweepOptions sweep) {
    boolean peers = search.peers() != null && (texts.fit() != null || texts.choice() != null);
    return Math.max(
        peers ? ResidualStream.bytes(model.config(), texts.sequences()) : 0,
        texts.choice() == null
            ? 0
            : SweepScorer.bytes(model.config(), texts.choice().tokens(), choice(sweep)));
  }

  /** What a user can do where that is too much. */
  String helps() {
    if (texts.fit() == null) {
      return "use fewer or shorter calibration sentences";
    }
    FitRule quick = FitRule.quick(model.config());
    String drop = MergeRule.DROP.label();
    return "use fewer "
        + Setting.of("fitTokens")
        + ", or "
        + Setting.of("rule")
        + (quick == null
            ? " " + drop + ", which makes no weights anew"
            : " " + quick.label() + " or " + drop + ", which make fewer weights anew");
  }

  /** Bytes of a mixed layer, at most in f32; none where layers are used as they are. */
  private long mixedLayer() {
    return search.mergedAtOnce() == 1 ? 0 : model.config().layerParameters() * Float.BYTES;
  }
}
