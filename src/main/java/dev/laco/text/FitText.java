package dev.laco.text;

import dev.laco.BadInputException;
import java.nio.IntBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * The text on which rules fit weights: many short chunks. Each chunk has the number of its
 * document, so that whole documents can be held out.
 *
 * <p>The order of the chunks is the base-2 van der Corput sequence of their places in the text. Any
 * number of first chunks is therefore spread evenly over all documents: fewer tokens have the same
 * mix of registers, and a smaller text is a part of every larger one.
 *
 * @param name where the text comes from, for people: a file name or {@code built-in}
 * @param chunks at least one
 */
public record FitText(String name, List<Chunk> chunks) {
  /** Tokens of a chunk, those before a text included; fewer where the model has fewer positions. */
  public static final int CHUNK_TOKENS = 256;

  private static final Pattern SEPARATOR = Pattern.compile("\\f|(?m:^-{3,}[ \\t]*$\\R?)");

  public FitText {
    chunks = List.copyOf(chunks);
  }

  /** A piece of a document that a model runs as one sequence. */
  public static final class Chunk {
    private final int[] ids;
    private final int document;
    private final String domain;

    /**
     * A chunk of token ids.
     *
     * @param ids the ids to run, with those that the tokenizer puts before a text
     * @param document the number of the document, counted from 0 in the order of the text
     * @param domain what kind of text it is, for people: the name of a file or of a register
     */
    public Chunk(int[] ids, int document, String domain) {
      this.ids = ids.clone();
      this.document = document;
      this.domain = domain;
    }

    /** What kind of text it is, for people. */
    public String domain() {
      return domain;
    }

    /** The ids to run, with those that the tokenizer puts before a text, such as BOS. */
    public int[] ids() {
      return ids.clone();
    }

    /** Number of ids. */
    public int length() {
      return ids.length;
    }

    /**
     * The number of the document that the chunk is from, counted from 0 in the order of the text.
     */
    public int document() {
      return document;
    }
  }

  /** A document, and what kind of text it is. */
  record Document(InputText content, String domain) {
    String text() {
      return content.text();
    }
  }

  /**
   * Reads files: {@code .txt} with documents that are separated by form feeds or by lines of three
   * or more dashes, {@code .jsonl} with an object a line whose {@code text} is a document or whose
   * {@code messages} are a chat, {@code .json} with a list of token-id lists. A document is cut
   * into chunks, each with the tokens in front that the model's tokenizer puts before a text; a
   * token-id list is one chunk as it is. The name of a file is the domain of its chunks.
   *
   * @param files at least one
   * @throws BadInputException if a file is none of these, holds nothing, does not fit vocabulary or
   *     positions, or is text and the model has no tokenizer
   */
  public static FitText read(List<Path> files, CalibrationSet.Target target) {
    List<Chunk> chunks = new ArrayList<>();
    for (Path file : files) {
      int first = chunks.isEmpty() ? 0 : chunks.getLast().document + 1;
      List<Chunk> more = chunks(file, first, target);
      if (more.isEmpty()) {
        throw new BadInputException(file + ": holds no text");
      }
      chunks.addAll(more);
    }
    String names =
        files.stream()
            .map(file -> String.valueOf(file.getFileName()))
            .collect(Collectors.joining(", "));
    return new FitText(names, spread(chunks));
  }

  /** Reads one file, as {@link #read(List, CalibrationSet.Target)}. */
  public static FitText read(Path file, CalibrationSet.Target target) {
    return read(List.of(file), target);
  }

  private static List<Chunk> chunks(Path file, int first, CalibrationSet.Target target) {
    String name = String.valueOf(file.getFileName());
    String lower = name.toLowerCase(Locale.ROOT);
    if (lower.endsWith(".json")) {
      return ofLists(name, file, first, target);
    }
    List<InputText> documents;
    if (lower.endsWith(".txt")) {
      documents = TextFile.samples(file.toString(), split(TextFile.read(file)));
    } else if (lower.endsWith(".jsonl")) {
      documents =
          JsonLines.texts(file, () -> target.requireTokenizer(file.toString(), "fitText"), false);
    } else {
      throw new BadInputException(
          file
              + ": expected .txt (documents separated by lines of ---), .jsonl (objects with"
              + " \"text\") or .json (a list of token-id lists)");
    }
    return ofDocuments(
        file.toString(),
        documents.stream().map(document -> new Document(document, name)).toList(),
        first,
        target);
  }

  /**
   * The built-in text, whose domains are its registers.
   *
   * @throws BadInputException if the model has no tokenizer, or one that does not fit it
   */
  public static FitText builtIn(CalibrationSet.Target target) {
    List<Chunk> chunks = ofDocuments("built-in fit text", BuiltInText.fitDocuments(), 0, target);
    return new FitText("built-in", spread(chunks));
  }

  /** This text and more chunks, in the order of a text of all. */
  public FitText with(String more, List<Chunk> others) {
    // The places in the text are those of the documents.
    List<Chunk> all = new ArrayList<>(chunks);
    all.addAll(others);
    all.sort(Comparator.comparingInt(Chunk::document));
    return new FitText(name + ", " + more, spread(all));
  }

  /** This text without the chunks that are among others, which may be those of another text. */
  public FitText without(List<Chunk> others) {
    Set<IntBuffer> ids =
        others.stream().map(chunk -> IntBuffer.wrap(chunk.ids)).collect(Collectors.toSet());
    return new FitText(
        name, chunks.stream().filter(chunk -> !ids.contains(IntBuffer.wrap(chunk.ids))).toList());
  }

  /** Number of tokens of all chunks. */
  public int tokens() {
    return tokens(chunks);
  }

  /** Number of tokens of some chunks. */
  public static int tokens(List<Chunk> chunks) {
    return chunks.stream().mapToInt(Chunk::length).sum();
  }

  /**
   * The first chunks, which have {@code tokens} tokens together; the last of them is cut. All
   * chunks if they have no more tokens.
   */
  public FitText limit(int tokens) {
    if (tokens < 1) {
      throw new IllegalArgumentException("tokens is " + tokens);
    }
    List<Chunk> kept = new ArrayList<>();
    int room = tokens;
    for (Chunk chunk : chunks) {
      if (room == 0) {
        break;
      }
      int length = Math.min(room, chunk.length());
      kept.add(new Chunk(Arrays.copyOf(chunk.ids, length), chunk.document, chunk.domain));
      room -= length;
    }
    return new FitText(name, kept);
  }

  /** The documents of a text file without blank ones. */
  static List<String> documents(String text) {
    return split(text).filter(document -> !document.isBlank()).toList();
  }

  private static Stream<String> split(String text) {
    return SEPARATOR.splitAsStream(text).map(String::strip);
  }

  private static List<Chunk> ofDocuments(
      String where, List<Document> documents, int first, CalibrationSet.Target target) {
    Tokenizer tokenizer = target.requireTokenizer(where, "fitText");
    int[] prefix = tokenizer.prefix();
    int least = Math.max(2, prefix.length + 1);
    int length = Math.max(least, Math.min(CHUNK_TOKENS, target.maxPositions()));
    List<Chunk> chunks = new ArrayList<>();
    for (int d = 0; d < documents.size(); d++) {
      Document document = documents.get(d);
      int[] ids = tokenizer.encodeWithoutSpecial(document.content);
      TokenLists.requireInVocabulary(where + ": document " + d, ids, target.vocabularySize());
      chunks.addAll(cut(ids, first + d, document.domain, prefix, length));
    }
    return chunks;
  }

  private static List<Chunk> ofLists(
      String name, Path file, int first, CalibrationSet.Target target) {
    List<Chunk> chunks = new ArrayList<>();
    for (int[] ids : TokenLists.read(file, target.vocabularySize())) {
      if (ids.length > target.maxPositions()) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: list %d has %d tokens, the model's max_position_embeddings is %d: cut it",
                file,
                chunks.size(),
                ids.length,
                target.maxPositions()));
      }
      chunks.add(new Chunk(ids, first + chunks.size(), name));
    }
    return chunks;
  }

  private static List<Chunk> cut(int[] ids, int document, String domain, int[] prefix, int length) {
    int front = prefix.length;
    List<Chunk> chunks = new ArrayList<>();
    for (int start = 0; start < ids.length; start += length - front) {
      int end = Math.min(start + length - front, ids.length);
      int[] chunk = Arrays.copyOf(prefix, front + end - start);
      System.arraycopy(ids, start, chunk, front, end - start);
      chunks.add(new Chunk(chunk, document, domain));
    }
    return chunks;
  }

  /**
   * The chunks in van der Corput order: place {@code i} gets the chunk whose index is {@code i}
   * with its bits reversed.
   */
  private static List<Chunk> spread(List<Chunk> chunks) {
    int places = Integer.highestOneBit(Math.max(1, 2 * chunks.size() - 1));
    int shift = Integer.numberOfLeadingZeros(places) + 1;
    List<Chunk> spread = new ArrayList<>();
    for (int i = 0; i < places; i++) {
      int index = places == 1 ? 0 : Integer.reverse(i) >>> shift;
      if (index < chunks.size()) {
        spread.add(chunks.get(index));
      }
    }
    return spread;
  }
}
