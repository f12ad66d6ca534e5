package dev.laco.eval;

import dev.laco.backend.TokenBatch;
import dev.laco.model.PackedSequences;
import dev.laco.text.TextWindows.Window;
import dev.laco.transformer.CausalLm;
import java.util.ArrayList;
import java.util.List;

/** Windows of a text packed into batches. */
final class WindowBatches {
  /** The most tokens of a batch of several windows: enough for matrix products to be efficient. */
  private static final int BATCH_TOKENS = 1024;

  private WindowBatches() {}

  /** The windows in their order, cut into batches; a longer window is a batch of its own. */
  static List<List<Window>> of(List<Window> windows) {
    List<List<Window>> batches = new ArrayList<>();
    int room = 0;
    for (Window window : windows) {
      if (window.length() > room) {
        batches.add(new ArrayList<>());
        room = BATCH_TOKENS;
      }
      batches.getLast().add(window);
      room -= window.length();
    }
    return batches;
  }

  /** Tokens of the largest batch. */
  static int maxTokens(List<Window> windows) {
    return of(windows).stream()
        .mapToInt(batch -> batch.stream().mapToInt(Window::length).sum())
        .max()
        .orElse(1);
  }

  /** Scored tokens of the batch that has most. */
  static int maxScored(List<Window> windows) {
    return of(windows).stream()
        .mapToInt(batch -> batch.stream().mapToInt(WindowBatches::scored).sum())
        .max()
        .orElse(1);
  }

  /** Windows packed into one batch of a model. */
  static TokenBatch packed(CausalLm model, List<Window> together) {
    return model.batch(PackedSequences.of(together.stream().map(Window::ids).toList()));
  }

  /**
   * Sum over the scored tokens of a batch.
   *
   * @param byRow a value for each row of the batch, about the token after that row
   */
  static double sumScored(List<Window> batch, double[] byRow) {
    double sum = 0;
    int start = 0;
    for (Window window : batch) {
      for (int i = window.firstScored(); i < window.length(); i++) {
        sum += byRow[start + i - 1];
      }
      start += window.length();
    }
    return sum;
  }

  /** Scored tokens of a window. */
  static int scored(Window window) {
    return window.length() - window.firstScored();
  }
}
