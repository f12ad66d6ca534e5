package dev.laco.backend;

import java.util.List;

/** The ops that compare models: by hidden states, and by the probabilities of tokens. */
public interface ScoringOps extends DeviceMemory {
  /**
   * The logits of every token of the vocabulary: {@code out = spec(hidden head^T)}, where rows of
   * the head may count {@linkplain Head#unitRows divided by their length}.
   *
   * @param hidden {@code [R, d]}
   * @param out {@code [R, V]}
   */
  void logits(Tensor hidden, Head head, Tensor out);

  /**
   * Cosine similarity of each of {@code K} candidates with one reference, for each sequence. The
   * rows of a sequence count as one vector: {@code a.b / (max(|a|, 1e-8) max(|b|, 1e-8))}. Products
   * are f32 or wider, sums f64.
   *
   * @param reference {@code [T, d]}
   * @param candidates {@code [K * T, d]}: the rows of the first candidate, then of the second, …
   * @return {@code [K * S]}: the similarities of the first candidate's {@code S} sequences, then
   *     those of the second, …
   */
  double[] cosine(Tensor reference, Tensor candidates, TokenBatch batch);

  /**
   * Dot products of {@code K} tensors with each other and with themselves, group by group: the
   * elements of a tensor, row after row, are divided into {@code G} groups of the same size.
   * Products are f32 or wider, sums of more than some thousand products f64.
   *
   * @param tensors all of one shape, of any dtypes
   * @param groups {@code G}, which divides the number of elements; with the number of rows, each
   *     row is a group
   * @return {@code [G * K * K]}: the symmetric matrix of the first group, then of the second, …
   */
  double[] pairProducts(List<Tensor> tensors, int groups);

  /**
   * Natural log-probability of the next token of the sequence, for each row {@code t} of each of
   * {@code K} candidates, under {@code softmax(logits_t)}; 0 for the last token of a sequence. The
   * op never holds the logits of all tokens and the whole vocabulary at once.
   *
   * @param hidden {@code [K * T, d]}, of which the head makes the {@link #logits}: the rows of the
   *     first candidate, then of the second, …
   * @param batch the tokens of every candidate; their ids are below {@code V}
   * @param out {@code [K * T]}
   */
  void logProbability(Tensor hidden, Head head, TokenBatch batch, double[] out);

  /**
   * Kullback-Leibler divergence in nats of each of {@code K} candidates from the reference, for
   * each row, the last of a sequence included: {@code KL(softmax(r_t) || softmax(h_t))}, where
   * {@code r} and {@code h} are the {@link #logits} of {@code reference} and of a candidate. A
   * divergence is never negative. The op never holds the logits of all tokens and the whole
   * vocabulary at once; those of the reference are computed once for all candidates.
   *
   * @param hidden {@code [K * T, d]}: the rows of the first candidate, then of the second, …
   * @param reference {@code [T, d]}
   * @param out {@code [K * T]}
   */
  void klDivergence(Tensor hidden, Tensor reference, Head head, TokenBatch batch, double[] out);

  /**
   * Chooses a token from each row of logits. At a temperature of 0 it is the most likely one, of
   * equals the first. Above, it is the first up to which the probabilities {@code softmax(logits /
   * temperature)}, added up in the order of the vocabulary, pass a share of their sum: a sample,
   * where the share is a random number.
   *
   * @param logits {@code [R, V]}
   * @param temperature finite, at least 0
   * @param shares {@code [R]} of {@code [0, 1)}
   * @param out {@code [R]}: tokens; any of the vocabulary where logits are no numbers
   */
  void sample(Tensor logits, double temperature, double[] shares, int[] out);
}
