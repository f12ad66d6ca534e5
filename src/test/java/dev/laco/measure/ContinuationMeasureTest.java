package dev.laco.measure;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.measure.ContinuationMeasure.Likelihood;
import dev.laco.text.TextChunks;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Likelihoods of continuations do not depend on what else is in their batch. */
class ContinuationMeasureTest {
  private static final int LONGEST = 40;

  private final Backend backend = CpuBackend.open(Compute.F32, 2);
  private final Checkpoint checkpoint = Checkpoint.open(Fixtures.model("llama_untied_gqa"));
  private final CausalLm model =
      new RunningModel(backend, checkpoint.config(), checkpoint).original();

  @AfterEach
  void close() {
    checkpoint.close();
    backend.close();
  }

  @Test
  void anyBatchGivesTheSame() {
    List<Chunk> chunks = chunks();
    List<Likelihood> alone = measured(chunks, 1);
    assertEquals(chunks.size(), alone.size());
    for (int batchTokens : new int[] {64, 1024}) {
      List<Likelihood> found = measured(chunks, batchTokens);
      for (int i = 0; i < alone.size(); i++) {
        double expected = alone.get(i).logProbability();
        assertEquals(expected, found.get(i).logProbability(), 1e-6 * Math.abs(expected));
        assertEquals(alone.get(i).greedy(), found.get(i).greedy());
      }
    }
  }

  /** The sum over a chunk is that of perplexity, whose tokens each have a row of their own. */
  @Test
  void aLikelihoodIsTheSumOverTheScoredTokens() {
    for (Chunk chunk : chunks()) {
      double nll =
          PerplexityMeasure.measure(model, List.of(chunk), (done, total) -> {}).meanNll()
              * (chunk.length() - chunk.firstScored());
      assertEquals(-nll, measured(List.of(chunk), 1).getFirst().logProbability(), 1e-5 * nll);
    }
  }

  @Test
  void theMostLikelyContinuationAloneIsGreedy() {
    int[] context = new Random(2).ints(9, 0, model.config().vocabSize()).toArray();
    List<Chunk> answers = new ArrayList<>();
    for (int token = 0; token < model.config().vocabSize(); token++) {
      answers.add(chunk(context, token));
    }
    List<Likelihood> found = measured(answers, 1024);
    double best = found.stream().mapToDouble(Likelihood::logProbability).max().orElseThrow();
    double total = found.stream().mapToDouble(one -> Math.exp(one.logProbability())).sum();
    assertEquals(1, total, 1e-5, "probabilities of all tokens");
    for (Likelihood one : found) {
      assertEquals(one.logProbability() == best, one.greedy());
    }
  }

  /** Contexts with one and several scored tokens, and answers that share their context. */
  private List<Chunk> chunks() {
    Random random = new Random(1);
    List<Chunk> chunks = new ArrayList<>();
    for (int i = 0; i < 8; i++) {
      int[] context = random.ints(2 + 3L * i, 0, model.config().vocabSize()).toArray();
      chunks.add(TextChunks.continuation(context, 1 + i % (context.length - 1)));
      chunks.add(chunk(context, 3));
      chunks.add(chunk(context, 5));
    }
    assertTrue(chunks.stream().mapToInt(Chunk::length).max().orElseThrow() <= LONGEST);
    return chunks;
  }

  private static Chunk chunk(int[] context, int answer) {
    int[] ids = Arrays.copyOf(context, context.length + 1);
    ids[context.length] = answer;
    return TextChunks.continuation(ids, context.length);
  }

  private List<Likelihood> measured(List<Chunk> chunks, int batchTokens) {
    List<Likelihood> found = new ArrayList<>();
    try (ContinuationMeasure measure = new ContinuationMeasure(model, LONGEST, true, batchTokens)) {
      chunks.forEach(chunk -> measure.add(chunk, found::add));
      measure.flush();
    }
    return found;
  }
}
