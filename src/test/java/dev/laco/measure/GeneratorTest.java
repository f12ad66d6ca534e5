package dev.laco.measure;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.text.TextChunks;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Continuations do not depend on what else runs at the same time. */
class GeneratorTest {
  private static final int LONGEST = 30;
  private static final int MOST = 12;

  private final Backend backend = CpuBackend.open(Compute.F32, 2);
  private final Checkpoint checkpoint = Checkpoint.open(Fixtures.model("llama_untied_gqa"));
  private final CausalLm model =
      new RunningModel(backend, checkpoint.config(), checkpoint).original();

  @AfterEach
  void close() {
    checkpoint.close();
    backend.close();
  }

  /** More prompts than run at a time, of different lengths, which end after different numbers. */
  @Test
  void manyAtOnceAreContinuedAsEachAlone() {
    List<int[]> prompts = prompts(80);
    List<int[]> together = continued(prompts, Set.of());
    for (int i = 0; i < prompts.size(); i++) {
      assertEquals(most(prompts.get(i)), together.get(i).length);
      assertArrayEquals(
          continued(List.of(prompts.get(i)), Set.of()).getFirst(), together.get(i), "prompt " + i);
    }
  }

  /** The pass over prompt and continuation, without a cache, finds the same most likely tokens. */
  @Test
  void eachTokenIsTheMostLikelyOne() {
    List<int[]> prompts = prompts(5);
    List<int[]> found = continued(prompts, Set.of());
    List<Boolean> greedy = new ArrayList<>();
    try (ContinuationMeasure measure = new ContinuationMeasure(model, LONGEST + MOST, true)) {
      for (int i = 0; i < prompts.size(); i++) {
        int before = prompts.get(i).length;
        int[] whole = Arrays.copyOf(prompts.get(i), before + found.get(i).length);
        System.arraycopy(found.get(i), 0, whole, before, found.get(i).length);
        measure.add(TextChunks.continuation(whole, before), one -> greedy.add(one.greedy()));
      }
      measure.flush();
    }
    assertEquals(List.of(true, true, true, true, true), greedy);
  }

  /**
   * Layers with linear attention or a convolution have a state for each continuation: each token is
   * the one that a model gives which has read the text in front of it at once.
   */
  @ParameterizedTest
  @ValueSource(strings = {"qwen3_5", "lfm2"})
  void statesAreThoseOfEachContinuation(String fixture) {
    try (Checkpoint linear = Checkpoint.open(Fixtures.model(fixture))) {
      CausalLm lm = new RunningModel(backend, linear.config(), linear).original();
      List<int[]> prompts = new ArrayList<>();
      for (int i = 0; i < 70; i++) {
        prompts.add(new Random(i).ints(1 + i % 9, 3, 90).toArray());
      }
      int most = 12;
      List<List<Integer>> together = continued(lm, prompts, most);
      for (int i = 0; i < prompts.size(); i++) {
        int[] text = Arrays.copyOf(prompts.get(i), prompts.get(i).length + most);
        List<Integer> found = new ArrayList<>();
        for (int length = prompts.get(i).length; length < text.length; length++) {
          int next = continued(lm, List.of(Arrays.copyOf(text, length)), 1).getFirst().getFirst();
          found.add(next);
          text[length] = next;
        }
        assertEquals(found, together.get(i), "prompt " + i);
      }
    }
  }

  /**
   * LongRoPE rotates all tokens of a text by other factors once it has some length: each token is
   * the one that a model gives which has read the text in front of it at once.
   */
  @Test
  void aTextThatOutgrowsTheFirstFactorsOfLongRopeIsReadAnew() {
    Path file = Fixtures.RESOURCES.resolve("gguf/phi3_long_rope.f16.gguf");
    try (Checkpoint longRope = Checkpoint.openAny(file)) {
      CausalLm lm = new RunningModel(backend, longRope.config(), longRope).original();
      int anew = longRope.config().rotatedAnew().iterator().next();
      List<int[]> prompts = new ArrayList<>();
      for (int length : new int[] {anew - 9, 1, anew - 9, anew - 2, anew - 1, anew, anew + 9}) {
        prompts.add(new Random(prompts.size()).ints(length, 3, 60).toArray());
      }
      int most = 20;
      List<List<Integer>> together = continued(lm, prompts, most);
      for (int i = 0; i < prompts.size(); i++) {
        int[] text = Arrays.copyOf(prompts.get(i), prompts.get(i).length + most);
        List<Integer> found = new ArrayList<>();
        for (int length = prompts.get(i).length; length < text.length; length++) {
          int next = continued(lm, List.of(Arrays.copyOf(text, length)), 1).getFirst().getFirst();
          found.add(next);
          text[length] = next;
        }
        assertEquals(found, together.get(i), "prompt " + i);
      }
      assertEquals(together.getFirst(), continued(lm, prompts.subList(0, 1), most).getFirst());
    }
  }

  private static List<List<Integer>> continued(CausalLm lm, List<int[]> prompts, int most) {
    List<List<Integer>> tokens = new ArrayList<>();
    int longest = prompts.stream().mapToInt(prompt -> prompt.length).max().orElseThrow();
    try (Generator generator =
        new Generator(lm, Sampler.GREEDY, Set.of(), prompts.size(), longest, most)) {
      for (int[] prompt : prompts) {
        List<Integer> own = new ArrayList<>();
        tokens.add(own);
        generator.add(prompt, own::add);
      }
      generator.finish();
    }
    return tokens;
  }

  @Test
  void endsBeforeAStopToken() {
    List<int[]> prompts = prompts(8);
    int[] free = continued(prompts, Set.of()).getLast();
    int stop = free[free.length / 2];
    int before = 0;
    while (free[before] != stop) {
      before++;
    }
    assertArrayEquals(
        Arrays.copyOf(free, before), continued(prompts, Set.of(stop)).getLast(), "before " + stop);
  }

  /** With so high a penalty a token comes again only where nothing else is likely. */
  @Test
  void aPenaltyKnowsThePromptAndTheTextOfEachContinuation() {
    List<int[]> prompts = prompts(80);
    Sampler penal = new Sampler(0, 0, 1, 0, 100, new Random(1));
    List<int[]> together = continued(prompts, Set.of(), penal);
    int repeats = 0;
    for (int i = 0; i < prompts.size(); i++) {
      Set<Integer> text = Arrays.stream(prompts.get(i)).boxed().collect(Collectors.toSet());
      for (int token : together.get(i)) {
        assertTrue(text.add(token), () -> token + " comes again");
      }
      int[] free = continued(List.of(prompts.get(i)), Set.of()).getFirst();
      repeats += Arrays.equals(free, together.get(i)) ? 0 : 1;
    }
    assertTrue(repeats > 0);
  }

  private List<int[]> prompts(int count) {
    Random random = new Random(3);
    List<int[]> prompts = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      prompts.add(random.ints(1 + i * 7L % LONGEST, 0, model.config().vocabSize()).toArray());
    }
    return prompts;
  }

  /** How many tokens are wanted behind a prompt. */
  private static int most(int[] prompt) {
    return 1 + prompt.length * 5 % MOST;
  }

  private List<int[]> continued(List<int[]> prompts, Set<Integer> stops) {
    return continued(prompts, stops, Sampler.GREEDY);
  }

  private List<int[]> continued(List<int[]> prompts, Set<Integer> stops, Sampler sampler) {
    List<List<Integer>> tokens = new ArrayList<>();
    List<Boolean> ended = new ArrayList<>();
    try (Generator generator =
        new Generator(model, sampler, stops, prompts.size(), LONGEST, MOST)) {
      for (int[] prompt : prompts) {
        List<Integer> own = new ArrayList<>();
        tokens.add(own);
        generator.add(
            prompt,
            new Generator.Continuation() {
              @Override
              public boolean add(int token) {
                own.add(token);
                return own.size() < most(prompt);
              }

              @Override
              public void end() {
                ended.add(true);
              }
            });
      }
      generator.finish();
    }
    assertEquals(prompts.size(), ended.size());
    assertTrue(tokens.stream().noneMatch(List::isEmpty) || !stops.isEmpty());
    return tokens.stream().map(own -> own.stream().mapToInt(Integer::intValue).toArray()).toList();
  }
}
