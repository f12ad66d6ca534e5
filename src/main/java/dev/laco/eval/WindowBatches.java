package dev.laco.eval;

import dev.laco.text.TextWindows.Window;
import java.util.ArrayList;
import java.util.List;

/** Windows that are run together. */
final class WindowBatches {
  /** Windows are run together up to so many tokens: enough to keep matrix products busy. */
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

  /**
   * Sum over the scored tokens of windows that are run together.
   *
   * @param ofPrediction by position of the batch, what belongs to the prediction made there
   */
  static double sumScored(List<Window> batch, double[] ofPrediction) {
    double sum = 0;
    int start = 0;
    for (Window window : batch) {
      for (int i = window.firstScored(); i < window.length(); i++) {
        sum += ofPrediction[start + i - 1];
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
