package dev.laco.eval;

import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.KeyValueCache;
import dev.laco.transformer.Workspace;
import java.util.Set;
import java.util.function.IntConsumer;

/** Continues a prompt token by token, with a KV cache. */
public final class Generator {
  private final CausalLm model;
  private final Sampler sampler;
  private final Set<Integer> stopTokens;

  /**
   * @param stopTokens generation ends before the first of these tokens
   */
  public Generator(CausalLm model, Sampler sampler, Set<Integer> stopTokens) {
    this.model = model;
    this.sampler = sampler;
    this.stopTokens = Set.copyOf(stopTokens);
  }

  /**
   * Continues {@code prompt}, at least one token, by at most {@code maxTokens}.
   *
   * @param onToken is called with each new token
   * @return number of new tokens
   */
  public int generate(int[] prompt, int maxTokens, IntConsumer onToken) {
    int capacity = Math.addExact(prompt.length, maxTokens);
    try (TensorArena arena = model.backend().arena();
        KeyValueCache cache =
            new KeyValueCache(model.backend(), model.config(), model.depth(), capacity);
        Workspace work = new Workspace(model.backend(), model.config(), prompt.length)) {
      Tensor states = arena.allocate(DType.F32, prompt.length, model.config().hiddenSize());
      Tensor logits = arena.allocate(DType.F32, 1, model.config().vocabSize());
      float[] host = new float[model.config().vocabSize()];
      int[] next = prompt;
      for (int generated = 0; generated < maxTokens; generated++) {
        step(next, cache, states.slice(0, next.length), work, logits);
        model.backend().download(logits, host);
        int token = sampler.choose(host);
        if (stopTokens.contains(token)) {
          return generated;
        }
        onToken.accept(token);
        next = new int[] {token};
      }
      return maxTokens;
    }
  }

  /** Bytes of buffers that {@link #generate} needs for a prompt of {@code prompt} tokens. */
  public static long bytes(ModelConfig config, int prompt, int maxTokens) {
    long states = (long) prompt * config.hiddenSize() + config.vocabSize();
    return KeyValueCache.bytes(config, (long) prompt + maxTokens)
        + Workspace.bytes(config, prompt)
        + states * DType.F32.byteSize();
  }

  private void step(
      int[] tokens, KeyValueCache cache, Tensor states, Workspace work, Tensor logits) {
    try (TokenBatch batch = model.batch(PackedSequences.continuation(tokens, cache.length()))) {
      model.embed(batch, states);
      for (int index = 0; index < model.depth(); index++) {
        model.layer(index, states, batch, work, cache);
      }
      cache.advance(tokens.length);
      Tensor last = states.slice(tokens.length - 1, tokens.length);
      model.finalNorm(last, last);
      model.logits(last, logits);
      model.release();
    }
  }
}
