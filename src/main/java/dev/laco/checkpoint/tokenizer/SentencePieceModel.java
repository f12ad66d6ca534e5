package dev.laco.checkpoint.tokenizer;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.BadInputException;
import dev.laco.InputFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * A {@code tokenizer.model} of the library SentencePiece: a message of Protocol Buffers ({@code
 * sentencepiece_model.proto}, {@code ModelProto}). Of its parts those are read that turn a text
 * into pieces.
 */
final class SentencePieceModel {
  /** Most bytes of the file; the largest published ones have five million. */
  private static final int MAX_BYTES = 40 << 20;

  private static final int MAX_PIECES = 1_000_000;

  /** The type of a model that {@code trainer_spec} may name: BPE. */
  private static final long BPE = 2;

  private static final int VARINT = 0;
  private static final int FIXED_64 = 1;
  private static final int BYTES = 2;
  private static final int FIXED_32 = 5;

  private final Path file;
  private final List<String> pieces = new ArrayList<>();
  private final List<Float> scores = new ArrayList<>();
  private final List<Integer> types = new ArrayList<>();
  private long modelType = 1;
  private boolean byteFallback;
  private boolean addsPrefix = true;
  private boolean removesSpaces = true;
  private boolean hasTable;
  private int unknown = 0;

  private SentencePieceModel(Path file) {
    this.file = file;
  }

  /**
   * Reads a model.
   *
   * @throws BadInputException if the file is broken, or is a model of another kind than BPE without
   *     a table of its normalizer
   */
  static SentencePieceModel read(Path file) {
    SentencePieceModel model = new SentencePieceModel(file);
    ByteBuffer bytes =
        ByteBuffer.wrap(InputFile.read(file, MAX_BYTES)).order(ByteOrder.LITTLE_ENDIAN);
    model.readModel(bytes);
    if (model.modelType != BPE || model.hasTable || model.removesSpaces || !model.byteFallback) {
      throw model.bad(
          "is no BPE with bytes as fallback and without a normalizer, as Llama has it; make a"
              + " tokenizer.json of it with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)");
    }
    if (model.unknown < 0 || model.unknown >= model.pieces.size()) {
      throw model.bad("names no piece for what is unknown");
    }
    return model;
  }

  /** The pieces by their ids. */
  List<String> pieces() {
    return pieces;
  }

  /** The scores of the pieces; of two merges the one with the higher score is made first. */
  List<Float> scores() {
    return scores;
  }

  /** The types of the pieces, as {@link TokenizerJson} has them. */
  List<Integer> types() {
    return types;
  }

  /** The id of the piece for what is unknown. */
  int unknown() {
    return unknown;
  }

  /** Whether a blank is put before every text. */
  boolean addsPrefix() {
    return addsPrefix;
  }

  private void readModel(ByteBuffer bytes) {
    while (bytes.hasRemaining()) {
      long tag = varint(bytes);
      switch ((int) (tag >>> 3)) {
        case 1 -> readPiece(message(bytes, tag));
        case 2 -> readTrainer(message(bytes, tag));
        case 3 -> readNormalizer(message(bytes, tag));
        default -> skip(bytes, tag);
      }
    }
  }

  private void readPiece(ByteBuffer bytes) {
    String piece = "";
    float score = 0;
    int type = 1;
    while (bytes.hasRemaining()) {
      long tag = varint(bytes);
      switch ((int) (tag >>> 3)) {
        case 1 -> piece = text(message(bytes, tag));
        case 2 -> {
          require(bytes, tag, FIXED_32);
          score = fixed(bytes, Float.BYTES).getFloat();
        }
        case 3 -> type = (int) number(bytes, tag);
        default -> skip(bytes, tag);
      }
    }
    if (pieces.size() == MAX_PIECES) {
      throw bad(String.format(Locale.ROOT, "has more than %,d pieces", MAX_PIECES));
    }
    pieces.add(piece);
    scores.add(score);
    types.add(type);
  }

  private void readTrainer(ByteBuffer bytes) {
    while (bytes.hasRemaining()) {
      long tag = varint(bytes);
      switch ((int) (tag >>> 3)) {
        case 3 -> modelType = number(bytes, tag);
        case 35 -> byteFallback = number(bytes, tag) != 0;
        case 40 -> unknown = (int) number(bytes, tag);
        default -> skip(bytes, tag);
      }
    }
  }

  private void readNormalizer(ByteBuffer bytes) {
    while (bytes.hasRemaining()) {
      long tag = varint(bytes);
      switch ((int) (tag >>> 3)) {
        case 2 -> hasTable = message(bytes, tag).hasRemaining();
        case 3 -> addsPrefix = number(bytes, tag) != 0;
        case 4 -> removesSpaces = number(bytes, tag) != 0;
        default -> skip(bytes, tag);
      }
    }
  }

  private long number(ByteBuffer bytes, long tag) {
    require(bytes, tag, VARINT);
    return varint(bytes);
  }

  private ByteBuffer message(ByteBuffer bytes, long tag) {
    require(bytes, tag, BYTES);
    return fixed(bytes, varint(bytes));
  }

  private void require(ByteBuffer bytes, long tag, int wire) {
    if ((tag & 7) != wire) {
      throw damaged(bytes);
    }
  }

  private void skip(ByteBuffer bytes, long tag) {
    switch ((int) (tag & 7)) {
      case VARINT -> varint(bytes);
      case FIXED_64 -> fixed(bytes, Long.BYTES);
      case BYTES -> fixed(bytes, varint(bytes));
      case FIXED_32 -> fixed(bytes, Integer.BYTES);
      default -> throw damaged(bytes);
    }
  }

  private ByteBuffer fixed(ByteBuffer bytes, long size) {
    if (size < 0 || size > bytes.remaining()) {
      throw damaged(bytes);
    }
    ByteBuffer part = bytes.slice(bytes.position(), (int) size).order(ByteOrder.LITTLE_ENDIAN);
    bytes.position(bytes.position() + (int) size);
    return part;
  }

  private long varint(ByteBuffer bytes) {
    long value = 0;
    for (int shift = 0; shift < Long.SIZE && bytes.hasRemaining(); shift += 7) {
      byte next = bytes.get();
      value |= (long) (next & 0x7f) << shift;
      if (next >= 0) {
        return value;
      }
    }
    throw damaged(bytes);
  }

  private String text(ByteBuffer bytes) {
    try {
      return UTF_8.newDecoder().decode(bytes).toString();
    } catch (CharacterCodingException e) {
      throw new BadInputException(file + ": has a piece that is not valid UTF-8", e);
    }
  }

  private BadInputException damaged(ByteBuffer bytes) {
    return bad(
        String.format(
            Locale.ROOT,
            "is no model of SentencePiece, or damaged (%d bytes left)",
            bytes.remaining()));
  }

  private BadInputException bad(String problem) {
    return new BadInputException(file + ": " + problem);
  }
}
