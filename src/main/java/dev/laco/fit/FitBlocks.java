package dev.laco.fit;

import dev.laco.backend.Device;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.text.FitText;
import dev.laco.text.Packing;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.stream.IntStream;

/**
 * The fit text on a device, in blocks of whole chunks. The chunks of every eighth document are held
 * out of the fit; their blocks come last. Further text, to which nothing is fitted, may lie behind.
 */
final class FitBlocks implements AutoCloseable {
  /** Enough rows to keep matrix products busy. */
  private static final int BLOCK_TOKENS = 2048;

  /** One document of so many is held out. */
  private static final int HELD_OUT = 8;

  /** Tokens of a step of training. */
  static final int STEP_TOKENS = 512;

  private final CausalLm model;
  private final List<FitText.Chunk> seen;
  private final List<FitText.Chunk> heldOut;
  private final List<FitText.Chunk> further;
  private final List<Block> blocks;

  /** Made when they are first asked for. */
  private final List<Block> wide = new ArrayList<>();

  /** Made when they are first asked for: most fits take no steps. */
  private final List<Block> steps = new ArrayList<>();

  private final List<Block> wideFurther = new ArrayList<>();
  private final List<Block> furtherSteps = new ArrayList<>();

  /**
   * A block: rows {@code [from, to)} of matrices over all tokens.
   *
   * @param seen whether weights are fitted to it; false if it is held out
   */
  record Block(TokenBatch batch, int from, int to, boolean seen) {
    int tokens() {
      return to - from;
    }

    /** The block's rows of a matrix over all tokens. */
    Tensor rows(Tensor all) {
      return all.slice(from, to);
    }

    /** The block's rows of a matrix that begins with the rows of another block. */
    Tensor rows(Tensor all, Block first) {
      return all.slice(from - first.from, to - first.from);
    }
  }

  /** A fit text, and further text. */
  FitBlocks(CausalLm model, WholeText text) {
    this(
        model,
        split(text.layers().chunks(), false),
        split(text.layers().chunks(), true),
        text.norms());
  }

  /**
   * The beginning of a fit text, of which is held out what is held out of the whole text. If that
   * is nothing, a part of the beginning is held out as if it was the whole.
   */
  FitBlocks(CausalLm model, FitText beginning, FitText whole) {
    this(
        model,
        split(beginning.chunks(), whole.chunks(), false),
        split(beginning.chunks(), whole.chunks(), true));
  }

  FitBlocks(CausalLm model, List<FitText.Chunk> seen, List<FitText.Chunk> heldOut) {
    this(model, seen, heldOut, List.of());
  }

  private FitBlocks(
      CausalLm model,
      List<FitText.Chunk> seen,
      List<FitText.Chunk> heldOut,
      List<FitText.Chunk> further) {
    this.model = model;
    this.seen = List.copyOf(seen);
    this.heldOut = List.copyOf(heldOut);
    this.further = List.copyOf(further);
    blocks = packed(BLOCK_TOKENS);
  }

  /**
   * The chunks held out, or the others. If there are fewer than eight documents, every eighth chunk
   * is held out instead.
   */
  static List<FitText.Chunk> split(List<FitText.Chunk> chunks, boolean heldOut) {
    return split(chunks, chunks, heldOut);
  }

  private static List<FitText.Chunk> split(
      List<FitText.Chunk> beginning, List<FitText.Chunk> whole, boolean heldOut) {
    BitSet ofWhole = heldOut(whole).get(0, beginning.size());
    BitSet places = ofWhole.isEmpty() ? heldOut(beginning) : ofWhole;
    return IntStream.range(0, beginning.size())
        .filter(i -> places.get(i) == heldOut)
        .mapToObj(beginning::get)
        .toList();
  }

  /** The places of the chunks held out. */
  private static BitSet heldOut(List<FitText.Chunk> chunks) {
    boolean documents =
        chunks.stream().mapToInt(FitText.Chunk::document).distinct().count() >= HELD_OUT
            && chunks.stream().anyMatch(chunk -> isHeldOut(chunk.document()));
    BitSet places = new BitSet();
    for (int i = 0; i < chunks.size(); i++) {
      int number = documents ? chunks.get(i).document() : i;
      boolean last = chunks.size() < HELD_OUT && i == chunks.size() - 1;
      places.set(i, isHeldOut(number) || last);
    }
    return places;
  }

  private static boolean isHeldOut(int number) {
    return number % HELD_OUT == HELD_OUT - 1;
  }

  /** Tokens of the largest block that these chunks can make. */
  static int largest(List<FitText.Chunk> chunks) {
    return Math.max(BLOCK_TOKENS, longest(chunks));
  }

  /** Tokens of the largest {@link #wide} block that these chunks can make. */
  static int widest(Device device, ModelConfig config, List<FitText.Chunk> chunks) {
    int tokens = FitText.tokens(chunks);
    return Math.max(largest(chunks), Math.min(tokens, wideTokens(device, config)));
  }

  private static int wideTokens(Device device, ModelConfig config) {
    return device.batchTokens(BLOCK_TOKENS, Workspace.bytes(config, 1));
  }

  /** Tokens of the largest step that these chunks can make. */
  static int largestStep(List<FitText.Chunk> chunks) {
    return Math.max(STEP_TOKENS, longest(chunks));
  }

  /** Tokens of the largest step of further text that these chunks can make. */
  static int largestFurtherStep(List<FitText.Chunk> chunks) {
    return Math.max(STEP_TOKENS / 2, longest(chunks));
  }

  private static int longest(List<FitText.Chunk> chunks) {
    return chunks.stream().mapToInt(FitText.Chunk::length).max().orElse(1);
  }

  private List<Block> packed(int tokens) {
    List<Block> packed = new ArrayList<>();
    pack(seen, true, tokens, 0, packed);
    pack(heldOut, false, tokens, FitText.tokens(seen), packed);
    return packed;
  }

  private void pack(
      List<FitText.Chunk> chunks, boolean areSeen, int tokens, int first, List<Block> packed) {
    int from = first;
    for (List<FitText.Chunk> together : Packing.of(chunks, FitText.Chunk::length, tokens)) {
      PackedSequences sequences =
          PackedSequences.of(together.stream().map(FitText.Chunk::ids).toList());
      int to = from + sequences.size();
      packed.add(new Block(model.batch(sequences), from, to, areSeen));
      from = to;
    }
  }

  List<Block> list() {
    return blocks;
  }

  /**
   * The same tokens in the same rows, in as many as a device should run through a layer at once:
   * for what treats rows one by one. Sums over tokens are made of {@link #list}, so that they are
   * split in the same places on every device.
   */
  List<Block> wide() {
    int tokens = wideTokens(model.backend(), model.config());
    if (tokens <= BLOCK_TOKENS) {
      return blocks;
    }
    if (wide.isEmpty()) {
      wide.addAll(packed(tokens));
    }
    return wide;
  }

  /** The same tokens in the same rows, in blocks of the size of a step of training. */
  List<Block> steps() {
    if (steps.isEmpty()) {
      steps.addAll(packed(STEP_TOKENS));
    }
    return steps;
  }

  /**
   * The further text, in rows behind those of the fit text, in as many tokens as a device should
   * run through a layer at once.
   */
  List<Block> wideFurther() {
    if (wideFurther.isEmpty()) {
      pack(further, false, wideTokens(model.backend(), model.config()), tokens(), wideFurther);
    }
    return wideFurther;
  }

  /** The same tokens in the same rows, in blocks of half the size of a step. */
  List<Block> furtherSteps() {
    if (furtherSteps.isEmpty()) {
      pack(further, false, STEP_TOKENS / 2, tokens(), furtherSteps);
    }
    return furtherSteps;
  }

  /** Tokens of all blocks of the fit text. */
  int tokens() {
    return tokens(blocks);
  }

  /** Tokens of the fit text and of the further text. */
  int allTokens() {
    return tokens() + FitText.tokens(further);
  }

  /** Tokens of the largest block. */
  int largest() {
    return most(blocks);
  }

  /** Tokens of the largest wide block. */
  int widest() {
    return Math.max(most(wide()), most(wideFurther()));
  }

  /** Tokens of the largest step. */
  int largestStep() {
    return most(steps());
  }

  /** Tokens of the largest of some blocks. */
  static int most(List<Block> blocks) {
    return blocks.stream().mapToInt(Block::tokens).max().orElse(1);
  }

  static int tokens(List<Block> blocks) {
    return blocks.stream().mapToInt(Block::tokens).sum();
  }

  /** The first blocks that together hold at least {@code tokens} tokens, or all blocks. */
  static List<Block> beginning(List<Block> blocks, int tokens) {
    List<Block> beginning = new ArrayList<>();
    int room = tokens;
    for (Block block : blocks) {
      if (room <= 0) {
        break;
      }
      beginning.add(block);
      room -= block.tokens();
    }
    return beginning;
  }

  @Override
  public void close() {
    blocks.forEach(block -> block.batch.close());
    wide.forEach(block -> block.batch.close());
    steps.forEach(step -> step.batch.close());
    wideFurther.forEach(block -> block.batch.close());
    furtherSteps.forEach(step -> step.batch.close());
  }
}
