package dev.laco.evaluate;

import dev.laco.BadInputException;
import dev.laco.Model;
import dev.laco.run.EvaluationText;
import dev.laco.text.BuiltInText;
import dev.laco.text.InputText;
import dev.laco.text.TextChunks;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.text.TextFile;
import dev.laco.text.TokenLists;
import dev.laco.text.Tokenizer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.function.Supplier;
import java.util.stream.Collectors;

/**
 * A text of which the perplexity is measured, in parts that are independent of each other as far as
 * the text allows: documents, or windows of one text.
 *
 * @param name names the text for people
 * @param chunks what the model runs over
 * @param parts for each chunk the number of its part, ascending from 0
 * @param part what a part is: {@code document}, {@code window} or {@code list}
 * @param tokens number of tokens of the text, special ones left out; 0 of token lists. A document
 *     without a token that is scored has no part in it
 * @param bytes number of bytes of the same text in UTF-8; 0 of token lists
 */
record ScoredText(
    String name, List<Chunk> chunks, List<Integer> parts, String part, long tokens, long bytes) {
  /** What stands between two documents that are cut into windows. */
  private static final String BETWEEN = "\n\n";

  ScoredText {
    chunks = List.copyOf(chunks);
    parts = List.copyOf(parts);
  }

  /** Token lists, each of which is a part. */
  static ScoredText of(EvaluateRequest.Tokens request, Model model) {
    EvaluationText lists = EvaluationText.tokens(request.file(), model);
    return new ScoredText(lists.name(), lists.chunks(), each(lists.chunks()), "list", 0, 0);
  }

  /**
   * A text as a request says.
   *
   * @throws BadInputException if it cannot be used with the model
   * @throws dev.laco.UsageException if a length is out of range
   */
  static ScoredText of(EvaluateRequest.Text request, Model model) {
    Path file = request.of(model).file();
    if (file != null) {
      String name = String.valueOf(file.getFileName());
      Supplier<Tokenizer> tokenizer = () -> EvaluationText.tokenizer(file.toString(), model);
      return request.window() == null
          ? cut(request, name, file.toString(), TextFile.documents(file, tokenizer), model)
          : windows(request, name, file.toString(), TextFile.rows(file, tokenizer), model);
    }
    String name = EvaluationText.BUILT_IN;
    String where = EvaluationText.WHERE_BUILT_IN;
    List<InputText> text = List.of(InputText.of(BuiltInText.evaluation()));
    return request.window() == null
        ? cut(request, name, where, text, model)
        : windows(request, name, where, text, model);
  }

  /**
   * Documents each of which is cut into chunks; the chunks of a single one are parts. Documents
   * without a token to score are left out, such as one of a single token without BOS.
   */
  private static ScoredText cut(
      EvaluateRequest.Text request,
      String name,
      String where,
      List<InputText> documents,
      Model model) {
    Tokenizer tokenizer = EvaluationText.tokenizer(where, model);
    List<Chunk> chunks = new ArrayList<>();
    List<Integer> parts = new ArrayList<>();
    int document = 0;
    long tokens = 0;
    long bytes = 0;
    for (InputText text : documents) {
      List<Chunk> own =
          text.text().isBlank()
              ? List.of()
              : EvaluationText.chunks(where, text, model, request.maxLength(), request.stride());
      if (!own.isEmpty()) {
        chunks.addAll(own);
        parts.addAll(Collections.nCopies(own.size(), document++));
        tokens += tokenizer.encodeWithoutSpecial(text).length;
        bytes += utf8(text.text());
      }
    }
    if (chunks.isEmpty()) {
      throw new BadInputException(where + ": holds no token to score");
    }
    return document == 1
        ? new ScoredText(name, chunks, each(chunks), "window", tokens, bytes)
        : new ScoredText(name, chunks, parts, "document", tokens, bytes);
  }

  /** Documents that are joined and cut into windows, as published perplexities have it. */
  private static ScoredText windows(
      EvaluateRequest.Text request,
      String name,
      String where,
      List<InputText> documents,
      Model model) {
    Tokenizer tokenizer = EvaluationText.tokenizer(where, model);
    InputText text =
        new InputText(
            documents.stream().map(InputText::text).collect(Collectors.joining(BETWEEN)),
            !documents.isEmpty() && documents.getFirst().behindPrefix());
    int[] ids = tokenizer.encode(text);
    TokenLists.requireInVocabulary(where, ids, model.config().vocabSize());
    List<Chunk> windows = TextChunks.windows(ids, request.windowLength(), request.windowStride());
    if (windows.isEmpty()) {
      throw new BadInputException(where + ": holds no token to score");
    }
    long tokens = tokenizer.encodeWithoutSpecial(text).length;
    return new ScoredText(name, windows, each(windows), "window", tokens, utf8(text.text()));
  }

  private static List<Integer> each(List<Chunk> chunks) {
    List<Integer> numbers = new ArrayList<>();
    chunks.forEach(chunk -> numbers.add(numbers.size()));
    return numbers;
  }

  private static long utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8).length;
  }

  /** Number of parts. */
  int count() {
    return parts.getLast() + 1;
  }

  /** Whether two models run over the same token ids. */
  boolean isSameAs(ScoredText other) {
    if (chunks.size() != other.chunks.size()) {
      return false;
    }
    for (int i = 0; i < chunks.size(); i++) {
      if (!Arrays.equals(chunks.get(i).ids(), other.chunks.get(i).ids())) {
        return false;
      }
    }
    return true;
  }

  /**
   * The log-likelihoods of the parts as a metric.
   *
   * @param nll the summed negative log-likelihood of each chunk
   */
  Metric metric(double[] nll) {
    double[] logs = new double[count()];
    double[] scored = new double[count()];
    for (int i = 0; i < nll.length; i++) {
      logs[parts.get(i)] -= nll[i];
      scored[parts.get(i)] += chunks.get(i).length() - chunks.get(i).firstScored();
    }
    return new Metric(Metric.PERPLEXITY, logs, scored);
  }
}
