package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.collapse.FitRule;
import dev.laco.run.JobTexts;
import dev.laco.text.FitText;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Quick fits compare what is not made up for by a training. */
final class QuickFitsTest {
  @Test
  void strengthsAreComparedWhereNoTrainingMakesUpForThem() {
    assertEquals(3, QuickFits.of(FitRule.ALIGN, false).strengths().size());
    assertEquals(List.of(), QuickFits.of(FitRule.ALIGN, true).strengths());
    assertEquals(List.of(), QuickFits.of(FitRule.REFINE, false).strengths());
    assertTrue(QuickFits.of(FitRule.ALIGN, true).isNeedless(1));
    assertFalse(QuickFits.of(FitRule.ALIGN, true).isNeedless(2));
    assertFalse(QuickFits.of(FitRule.ALIGN, false).isNeedless(1));
  }

  @Test
  void strengthsOfWhichModelsDifferLessAreComparedOnMoreText() {
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      FitText text = JobTexts.fit(JobTexts.fitSource(model, null), model, 1 << 17);
      QuickFits layers = QuickFits.of(FitRule.ALIGN, true);
      QuickFits strengths = QuickFits.of(FitRule.ALIGN, false);
      assertTrue(
          layers.seen(model.config(), text).tokens()
              < 0.6 * strengths.seen(model.config(), text).tokens());
      assertTrue(layers.judged(text).tokens() < strengths.judged(text).tokens());
      QuickFits trained = QuickFits.of(FitRule.RECONSTRUCT, false);
      assertTrue(
          trained.seen(model.config(), text).tokens()
              < 0.6 * layers.seen(model.config(), text).tokens());
      // Of refine, layers are told apart by what it solves at gaps.
      QuickFits refine = QuickFits.of(FitRule.REFINE, false);
      assertEquals(
          layers.seen(model.config(), text).tokens(), refine.seen(model.config(), text).tokens());
    }
  }
}
