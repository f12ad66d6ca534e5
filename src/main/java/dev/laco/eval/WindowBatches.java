package dev.laco.eval;

import dev.laco.backend.TokenBatch;
import dev.laco.model.PackedSequences;
import dev.laco.text.TextWindows.Window;
import dev.laco.transformer.CausalLm;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

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

  /** Windows packed into one batch of a model. */
  static TokenBatch packed(CausalLm model, List<Window> together) {
    return model.batch(PackedSequences.of(together.stream().map(Window::ids).toList()));
  }

  /** The rows of a batch whose next tokens are scored. */
  static IntStream scoredRows(List<Window> batch) {
    IntStream.Builder rows = IntStream.builder();
    int start = 0;
    for (Window window : batch) {
      for (int i = window.firstScored(); i < window.length(); i++) {
        rows.add(start + i - 1);
      }
      start += window.length();
    }
    return rows.build();
  }

  /** Scored tokens of a window. */
  static int scored(Window window) {
    return window.length() - window.firstScored();
  }
}
