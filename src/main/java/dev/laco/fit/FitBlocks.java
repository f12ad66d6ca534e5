package dev.laco.fit;

import dev.laco.backend.TokenBatch;
import dev.laco.model.PackedSequences;
import dev.laco.text.FitText;
import dev.laco.transformer.CausalLm;
import java.util.ArrayList;
import java.util.List;

/**
 * The fit text on a device, in blocks of whole windows: those of every eighth document at the end,
 * to choose on what the equations have not seen.
 */
final class FitBlocks implements AutoCloseable {
  /** Enough rows to keep matrix products busy. */
  private static final int BLOCK_TOKENS = 2048;

  /** One document of so many is held out. */
  private static final int HELD_OUT = 8;

  private final List<Block> blocks = new ArrayList<>();
  private int tokens;

  /**
   * Rows {@code [from, to)} of matrices over all tokens.
   *
   * @param seen whether equations are made of it
   */
  record Block(TokenBatch batch, int from, int to, boolean seen) {}

  FitBlocks(CausalLm model, List<FitText.Window> windows) {
    List<int[]> seen = new ArrayList<>();
    List<int[]> unseen = new ArrayList<>();
    boolean documents = windows.stream().anyMatch(window -> window.document() > 0);
    for (int i = 0; i < windows.size(); i++) {
      FitText.Window window = windows.get(i);
      boolean held = (documents ? window.document() : i) % HELD_OUT == HELD_OUT - 1;
      (held ? unseen : seen).add(window.ids());
    }
    if (unseen.isEmpty()) {
      unseen.add(seen.getLast());
    }
    pack(model, seen, true);
    pack(model, unseen, false);
  }

  private void pack(CausalLm model, List<int[]> windows, boolean seen) {
    List<int[]> sequences = new ArrayList<>();
    int room = BLOCK_TOKENS;
    for (int[] window : windows) {
      if (window.length > room && !sequences.isEmpty()) {
        add(model, sequences, seen);
        sequences.clear();
        room = BLOCK_TOKENS;
      }
      sequences.add(window);
      room -= window.length;
    }
    add(model, sequences, seen);
  }

  private void add(CausalLm model, List<int[]> sequences, boolean seen) {
    TokenBatch batch = model.batch(PackedSequences.of(sequences));
    int size = batch.sequences().size();
    blocks.add(new Block(batch, tokens, tokens + size, seen));
    tokens += size;
  }

  List<Block> list() {
    return blocks;
  }

  /** Tokens of all blocks. */
  int tokens() {
    return tokens;
  }

  /** Tokens of the largest block. */
  int largest() {
    return blocks.stream().mapToInt(block -> block.to - block.from).max().orElse(1);
  }

  @Override
  public void close() {
    blocks.forEach(block -> block.batch.close());
  }
}
