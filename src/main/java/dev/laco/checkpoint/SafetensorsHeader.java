package dev.laco.checkpoint;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.util.ByteBufferBackedInputStream;
import dev.laco.BadInputException;
import dev.laco.InputJson;
import dev.laco.Legible;
import dev.laco.checkpoint.table.StoredType;
import dev.laco.checkpoint.table.TableLimits;
import dev.laco.checkpoint.table.TensorInfo;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Reader;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Reads and checks the header of a safetensors file: eight bytes of header length, little-endian,
 * then that many bytes of JSON, then the tensors without gaps. The rules are those of the format
 * description (github.com/huggingface/safetensors); additional limits keep a hostile header of the
 * largest legal size within a small heap.
 */
final class SafetensorsHeader {
  /** The format's limit on the JSON's length. */
  static final long MAX_LENGTH = 100_000_000;

  /** Most entries of {@code __metadata__}. */
  private static final int MAX_METADATA = 100_000;

  /** Most keys of a tensor's entry, unknown ones included. */
  private static final int MAX_KEYS = 16;

  private static final long PREFIX = 8;
  private static final ValueLayout.OfLong LENGTH =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final Map<String, StoredType> TYPES = new HashMap<>();
  private static final JsonFactory JSON =
      JsonFactory.builder()
          .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          // Each name is read once: a table of names would only cost memory.
          .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
          .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
          .build();

  static {
    for (StoredType type : StoredType.values()) {
      TYPES.put(type.name(), type);
    }
  }

  private final Path file;
  private final MemorySegment bytes;
  private final long dataStart;

  private SafetensorsHeader(Path file, MemorySegment bytes) {
    this.file = file;
    this.bytes = bytes;
    if (bytes.byteSize() < PREFIX) {
      throw bad(
          String.format(
              Locale.ROOT,
              "is %d bytes long; a safetensors file begins with 8 bytes of header length",
              bytes.byteSize()));
    }
    long length = bytes.get(LENGTH, 0);
    if (length < 0 || length > MAX_LENGTH) {
      throw bad(
          String.format(
              Locale.ROOT,
              "header length is %s; the format allows at most %d. Is this a safetensors file?",
              Long.toUnsignedString(length),
              MAX_LENGTH));
    }
    if (length > bytes.byteSize() - PREFIX) {
      throw bad(
          String.format(
              Locale.ROOT,
              "header of %d bytes does not fit into a file of %d bytes; the file is truncated",
              length,
              bytes.byteSize()));
    }
    this.dataStart = PREFIX + length;
  }

  /**
   * The tensors of a mapped file by name, ordered by offset.
   *
   * @throws BadInputException if the header breaks a rule; the message names file, tensor and rule
   */
  static Map<String, TensorInfo> read(Path file, MemorySegment bytes) {
    SafetensorsHeader header = new SafetensorsHeader(file, bytes);
    List<TensorInfo> tensors = header.parse();
    tensors.sort(
        Comparator.comparingLong(TensorInfo::offset).thenComparingLong(TensorInfo::byteSize));
    header.checkSpans(tensors);
    Map<String, TensorInfo> byName = LinkedHashMap.newLinkedHashMap(tensors.size());
    tensors.forEach(tensor -> byName.put(tensor.name(), tensor));
    return byName;
  }

  private List<TensorInfo> parse() {
    MemorySegment json = bytes.asSlice(PREFIX, dataStart - PREFIX);
    if (json.byteSize() == 0 || json.get(ValueLayout.JAVA_BYTE, 0) != '{') {
      throw bad("header does not begin with '{'");
    }
    var utf8 =
        StandardCharsets.UTF_8
            .newDecoder()
            .onMalformedInput(CodingErrorAction.REPORT)
            .onUnmappableCharacter(CodingErrorAction.REPORT);
    try (Reader reader =
            new InputStreamReader(new ByteBufferBackedInputStream(json.asByteBuffer()), utf8);
        JsonParser parser = JSON.createParser(reader)) {
      return parseObject(parser);
    } catch (CharacterCodingException e) {
      throw new BadInputException(file + ": header is not valid UTF-8", e);
    } catch (JacksonException e) {
      String problem =
          e.getOriginalMessage().startsWith("Duplicate field")
              ? "header has a key twice: "
              : "header is not valid JSON: ";
      throw new BadInputException(file + ": " + problem + InputJson.reason(e), e);
    } catch (IOException e) {
      throw new BadInputException(
          file + ": header cannot be read: " + Legible.excerpt(String.valueOf(e.getMessage())), e);
    }
  }

  private List<TensorInfo> parseObject(JsonParser parser) throws IOException {
    List<TensorInfo> tensors = new ArrayList<>();
    parser.nextToken();
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String name = parser.currentName();
      parser.nextToken();
      if (name.equals("__metadata__")) {
        checkMetadata(parser);
      } else if (tensors.size() == TableLimits.MAX_TENSORS) {
        throw bad(
            String.format(
                Locale.ROOT,
                "holds more than %d tensors; split it into shards",
                TableLimits.MAX_TENSORS));
      } else if (name.length() > TableLimits.MAX_NAME) {
        throw bad(name, TableLimits.longName(name));
      } else {
        tensors.add(parseTensor(name, parser));
      }
    }
    if (parser.nextToken() != null) {
      throw bad("header has text after its JSON object");
    }
    return tensors;
  }

  private void checkMetadata(JsonParser parser) throws IOException {
    if (!parser.hasToken(JsonToken.START_OBJECT)) {
      throw bad("__metadata__ is not an object");
    }
    int entries = 0;
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String key = parser.currentName();
      if (++entries > MAX_METADATA) {
        throw bad(
            String.format(Locale.ROOT, "__metadata__ has more than %d entries", MAX_METADATA));
      }
      if (key.length() > TableLimits.MAX_NAME) {
        throw bad(
            String.format(
                Locale.ROOT,
                "__metadata__ key '%s': %s",
                Legible.excerpt(key),
                TableLimits.longName(key)));
      }
      if (parser.nextToken() != JsonToken.VALUE_STRING) {
        throw bad(
            String.format(
                Locale.ROOT, "__metadata__ value '%s' is not a string", Legible.excerpt(key)));
      }
    }
  }

  private TensorInfo parseTensor(String name, JsonParser parser) throws IOException {
    if (!parser.hasToken(JsonToken.START_OBJECT)) {
      throw bad(name, "entry is not an object");
    }
    @Nullable StoredType type = null;
    @Nullable List<Long> shape = null;
    @Nullable List<Long> span = null;
    int keys = 0;
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String key = parser.currentName();
      if (++keys > MAX_KEYS) {
        throw bad(name, String.format(Locale.ROOT, "entry has more than %d keys", MAX_KEYS));
      }
      parser.nextToken();
      switch (key) {
        case "dtype" -> type = parseType(name, parser);
        case "shape" -> shape = parseNumbers(name, key, TableLimits.MAX_RANK, parser);
        case "data_offsets" -> span = parseNumbers(name, key, 2, parser);
        default -> requireScalar(name, key, parser);
      }
    }
    if (type == null) {
      throw bad(name, "entry has no dtype");
    }
    if (shape == null) {
      throw bad(name, "entry has no shape");
    }
    if (span == null || span.size() != 2) {
      throw bad(name, "entry has no data_offsets of two numbers");
    }
    return checked(name, type, shape, span.get(0), span.get(1));
  }

  /**
   * Checks the value of a key that only later versions of the format know: it is ignored, and must
   * not be an object or a list.
   */
  private void requireScalar(String name, String key, JsonParser parser) {
    if (!parser.currentToken().isScalarValue()) {
      throw bad(
          name, String.format(Locale.ROOT, "entry has an unknown key '%s'", Legible.excerpt(key)));
    }
  }

  private StoredType parseType(String name, JsonParser parser) throws IOException {
    if (!parser.hasToken(JsonToken.VALUE_STRING)) {
      throw bad(name, "dtype is not a string");
    }
    StoredType type = TYPES.get(parser.getText());
    if (type == null) {
      throw bad(
          name,
          String.format(Locale.ROOT, "dtype '%s' is unknown", Legible.excerpt(parser.getText())));
    }
    return type;
  }

  private List<Long> parseNumbers(String name, String key, int most, JsonParser parser)
      throws IOException {
    if (!parser.hasToken(JsonToken.START_ARRAY)) {
      throw bad(name, key + " is not an array");
    }
    List<Long> numbers = new ArrayList<>();
    while (parser.nextToken() != JsonToken.END_ARRAY) {
      if (!parser.hasToken(JsonToken.VALUE_NUMBER_INT)) {
        throw bad(name, key + " holds something that is not a whole number");
      }
      if (numbers.size() == most) {
        throw bad(name, String.format(Locale.ROOT, "%s holds more than %d numbers", key, most));
      }
      if (parser.getNumberType() == JsonParser.NumberType.BIG_INTEGER) {
        throw bad(name, key + " holds a number beyond 64 bits");
      }
      long number = parser.getLongValue();
      if (number < 0) {
        throw bad(name, String.format(Locale.ROOT, "%s holds %d; negative", key, number));
      }
      numbers.add(number);
    }
    return numbers;
  }

  private TensorInfo checked(String name, StoredType type, List<Long> shape, long begin, long end) {
    if (begin > end) {
      throw bad(
          name,
          String.format(Locale.ROOT, "data_offsets end (%d) before they begin (%d)", end, begin));
    }
    long dataSize = bytes.byteSize() - dataStart;
    if (end > dataSize) {
      throw bad(
          name,
          String.format(
              Locale.ROOT,
              "data_offsets end at byte %d but the file holds %d bytes of data; the file is truncated",
              end,
              dataSize));
    }
    long bits;
    try {
      long elements = shape.stream().mapToLong(Long::longValue).reduce(1, Math::multiplyExact);
      bits = Math.multiplyExact(elements, (long) type.bits());
    } catch (ArithmeticException e) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: tensor '%s': shape %s of %s overflows 64 bits",
              file,
              Legible.excerpt(name),
              shape,
              type),
          e);
    }
    if (bits % 8 != 0 || bits / 8 != end - begin) {
      throw bad(
          name,
          String.format(
              Locale.ROOT,
              "shape %s of %s takes %s bytes but data_offsets span %d",
              shape,
              type,
              bits / 8.0,
              end - begin));
    }
    return new TensorInfo(name, type, shape, dataStart + begin, end - begin);
  }

  /**
   * Checks that each tensor begins where the one before ends, and that the last one ends at the end
   * of the file.
   *
   * @param sorted the tensors by offset
   */
  private void checkSpans(List<TensorInfo> sorted) {
    long expected = dataStart;
    String previous = "the header";
    for (TensorInfo tensor : sorted) {
      if (tensor.offset() < expected) {
        throw bad(
            tensor.name(), String.format(Locale.ROOT, "overlaps '%s'", Legible.excerpt(previous)));
      }
      if (tensor.offset() > expected) {
        throw bad(
            tensor.name(),
            String.format(
                Locale.ROOT,
                "leaves a gap of %d bytes after '%s'",
                tensor.offset() - expected,
                Legible.excerpt(previous)));
      }
      expected = tensor.offset() + tensor.byteSize();
      previous = tensor.name();
    }
    if (expected != bytes.byteSize()) {
      throw bad(
          String.format(
              Locale.ROOT, "holds %d bytes after its last tensor", bytes.byteSize() - expected));
    }
  }

  private BadInputException bad(String name, String rule) {
    return bad(String.format(Locale.ROOT, "tensor '%s': %s", Legible.excerpt(name), rule));
  }

  private BadInputException bad(String rule) {
    return new BadInputException(file + ": " + rule);
  }
}
