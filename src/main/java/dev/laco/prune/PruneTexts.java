package dev.laco.prune;

import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.collapse.FitRule;
import dev.laco.fit.HeldOutChoice;
import dev.laco.fit.QuickFits;
import dev.laco.fit.WholeText;
import dev.laco.heal.HealSettings;
import dev.laco.heal.HealStage;
import dev.laco.measure.Continuations;
import dev.laco.model.PackedSequences;
import dev.laco.run.EvaluationText;
import dev.laco.run.JobTexts;
import dev.laco.text.CalibrationSet;
import dev.laco.text.FitText;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * The texts of a prune as token ids.
 *
 * @param calibration the text that candidates are scored on
 * @param sequences the sentences of that text, one after another
 * @param evaluation the text that perplexity is measured on; null where there is none
 * @param fit the text on which models are compared after quick fits; null where no weights are
 *     fitted
 * @param fitSource all of the text from which the tokens of a fit are taken, without the documents
 *     on which a training is measured; null where no weights are fitted
 * @param choice the text on which the best models of a search are compared once more; null where
 *     they are not
 * @param heal the stage in which the pruned model is trained, with its text; null where there is
 *     none
 * @param prompts what both models continue for the report
 */
record PruneTexts(
    CalibrationSet calibration,
    PackedSequences sequences,
    @Nullable EvaluationText evaluation,
    @Nullable FitText fit,
    @Nullable FitText fitSource,
    @Nullable FitText choice,
    @Nullable HealStage heal,
    List<int[]> prompts) {
  /**
   * Reads the texts that a request names, or those that stand in for texts it does not name.
   *
   * @param search what is done with them
   * @param samples the number of prompts
   * @throws dev.laco.BadInputException if a text cannot be used with the model
   * @throws UsageException if the request names a text for a fit and there is no fit
   */
  static PruneTexts read(PruneRequest request, SearchChoice search, Model model, int samples) {
    CalibrationSet calibration = JobTexts.calibration(model, request.texts().calibration());
    EvaluationText evaluation =
        JobTexts.evaluation(
            model, request.texts().evaluation(), request.texts().evaluationTokens());
    FitText source = fitSource(request, search.fit(), model);
    FitText fit = source == null ? null : JobTexts.fit(source, model, request.fit().tokens());
    HealStage heal = healing(request, source, fit, search, model);
    PruneTexts texts =
        new PruneTexts(
            calibration,
            PackedSequences.of(calibration.sequences()),
            evaluation,
            fit,
            source == null || heal == null
                ? source
                : fitBeside(source, heal.text(), request.fit().tokens()),
            choiceText(request, search, model),
            heal,
            evaluation == null || samples == 0
                ? List.of()
                : model
                    .tokenizer()
                    .map(
                        tokenizer -> Continuations.prompts(evaluation.chunks(), tokenizer, samples))
                    .orElse(List.of()));
    model.textsAreRead();
    return texts;
  }

  /** How pruned models are compared that are fitted by a rule. */
  QuickFits quickFits(FitRule rule) {
    return QuickFits.of(rule, trains());
  }

  /** Whether the fitted model is trained. */
  boolean trains() {
    return heal != null;
  }

  /**
   * All of the text from which the tokens of a fit are taken; null where there is no fit.
   *
   * @throws dev.laco.BadInputException if it cannot be used with the model
   */
  private static @Nullable FitText fitSource(
      PruneRequest request, @Nullable FitRule rule, Model model) {
    if (rule == null) {
      return null;
    }
    Path file = request.fit().file();
    // A fit that nobody asked for is left out where there is no text for it.
    return request.rule() == null
        ? JobTexts.fitSourceOrNull(model, file)
        : JobTexts.fitSource(model, file);
  }

  /**
   * The stage in which the model is trained; null where it is not. A training for which no text is
   * named is on that of the fit.
   *
   * @param source all of the text of the fit
   * @param fit the part of it that models are fitted on
   */
  private static @Nullable HealStage healing(
      PruneRequest request,
      @Nullable FitText source,
      @Nullable FitText fit,
      SearchChoice search,
      Model model) {
    HealSettings settings = request.healing();
    if (request.leavesLengthOpen()) {
      HealSettings how = Objects.requireNonNullElse(settings, HealSettings.DEFAULT);
      HealStage shortly = ShortTraining.of(how, source, fit, search, model);
      if (shortly != null) {
        return shortly;
      }
    }
    if (settings == null) {
      return null;
    }
    Path file = request.fit().file();
    List<Path> files =
        settings.texts().isEmpty() && file != null ? List.of(file) : settings.texts();
    FitText text =
        settings.texts().isEmpty() && source != null
            ? JobTexts.trainable(source)
            : JobTexts.heal(model, files);
    return HealStage.of(settings, model, text, request.within() != null);
  }

  /** What a user should know of a training that the request leaves open, and that there is not. */
  Optional<String> untrained(PruneRequest request, SearchChoice search, Model model) {
    boolean open = request.leavesTrainingOpen() && request.fit().tokens() == null;
    return open && heal == null && fitSource != null && fit != null
        ? ShortTraining.tooLarge(fitSource, fit, ShortTraining.trained(search, model))
        : Optional.empty();
  }

  private static FitText fitBeside(FitText source, FitText training, @Nullable Integer tokens) {
    FitText all = JobTexts.fitBeside(source, training);
    return tokens == null ? all : all.limit(tokens);
  }

  /** The same texts, read for a fit, for a search whose time does not suffice for one. */
  PruneTexts of(SearchChoice search) {
    return fit == null || search.fit() != null
        ? this
        : new PruneTexts(
            calibration,
            sequences,
            evaluation,
            null,
            null,
            fit.limit(HeldOutChoice.FEW_TOKENS),
            heal,
            prompts);
  }

  /** The same texts for a training with other settings; null where there is none. */
  PruneTexts training(@Nullable HealSettings settings) {
    return heal == null || settings == null ? this : with(heal.with(settings));
  }

  /** The same texts without a training. */
  PruneTexts untrained() {
    return with(null);
  }

  private PruneTexts with(@Nullable HealStage other) {
    return new PruneTexts(
        calibration, sequences, evaluation, fit, fitSource, choice, other, prompts);
  }

  /** The text on which the chosen model is usually fitted; null where no weights are fitted. */
  @Nullable FitText wholeFit() {
    return fit == null || fitSource == null ? null : fitSource.limit(fit.tokens());
  }

  /**
   * The same text, with what follows of it for the norms.
   *
   * @param rule by which the chosen model is fitted
   */
  @Nullable WholeText wholeText(FitRule rule) {
    return WholeText.orNull(fitSource, fit, rule, trains());
  }

  /** The tokens of {@link #wholeFit}; 0 where no weights are fitted. */
  int wholeFitTokens() {
    return fit == null || fitSource == null ? 0 : Math.min(fit.tokens(), fitSource.tokens());
  }

  private static @Nullable FitText choiceText(
      PruneRequest request, SearchChoice search, Model model) {
    if (search.choosesUnfitted()) {
      return JobTexts.choiceOrNull(model, request.fit().file(), request.fit().tokens());
    }
    if (search.fit() == null && !request.fit().equals(FitSettings.DEFAULT)) {
      throw new UsageException(
          Setting.of("fitText")
              + " and "
              + Setting.of("fitTokens")
              + " go with a "
              + Setting.of("rule")
              + " that fits: "
              + String.join(", ", FitRule.labels())
              + " or auto; or with "
              + Setting.of("search")
              + " greedy or beam, which choose on that text");
    }
    return null;
  }

  /** A hash of all texts that the pruned model depends on, as token ids. */
  String digest() {
    return JobTexts.digest(
        calibration, Arrays.asList(fit, fitSource, choice, heal == null ? null : heal.text()));
  }

  /** The event that the calibration text is read. */
  PruneEvent.CalibrationRead calibrationRead() {
    return new PruneEvent.CalibrationRead(
        calibration.name(), sequences.sequences(), sequences.size());
  }

  /**
   * What a user should know of the texts, a sentence each.
   *
   * @param rule by which the chosen model is fitted; null where it is not
   */
  List<String> warnings(Model model, @Nullable FitRule rule) {
    List<String> warnings = new ArrayList<>(calibration.warnings());
    if (model.config().architecture().isMultimodal()) {
      warnings.add(
          "layers are chosen and measured on text alone: what images or sounds lose is not known");
    }
    if (model.checkpoint().hasPredictionLayers()) {
      warnings.add(
          "the layers that predict tokens beyond the next one stay as they are: how often their drafts are right"
              + " behind the pruned model is not known");
    }
    if (evaluation != null) {
      List<FitText> learnt = new ArrayList<>();
      if (heal != null) {
        learnt.add(heal.text());
      }
      // A fit on the same text sees a part of it.
      WholeText whole = rule == null ? null : wholeText(rule);
      if (whole != null && (heal == null || !heal.text().name().equals(whole.layers().name()))) {
        learnt.add(whole.all());
      }
      warnings.addAll(evaluation.warnings(model, learnt));
    }
    return warnings;
  }
}
