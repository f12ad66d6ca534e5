package dev.laco.model;

import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.util.DefaultIndenter;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import com.fasterxml.jackson.core.util.JsonGeneratorDelegate;
import com.fasterxml.jackson.core.util.Separators;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.util.Locale;

/**
 * Writes JSON the way Hugging Face's tools do (Python's {@code json.dumps(…, indent=2)}), so that a
 * rewritten config differs from the original only where its meaning does: two spaces, one element a
 * line, floats in the shortest spelling, with an exponent below 1e-4 and from 1e16.
 */
public final class HuggingFaceJson {
  private static final JsonMapper JSON = new JsonMapper();
  private static final DefaultIndenter INDENT = new DefaultIndenter("  ", "\n");

  private HuggingFaceJson() {}

  /** The text of a JSON document, with a newline at its end. */
  public static String write(JsonNode json) {
    StringWriter text = new StringWriter();
    try (JsonGenerator generator = new PythonFloats(JSON.createGenerator(text))) {
      generator.setPrettyPrinter(printer());
      JSON.writeTree(generator, json);
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
    return text.append('\n').toString();
  }

  private static DefaultPrettyPrinter printer() {
    Separators separators =
        Separators.createDefaultInstance()
            .withObjectFieldValueSpacing(Separators.Spacing.AFTER)
            .withObjectEmptySeparator("")
            .withArrayEmptySeparator("");
    DefaultPrettyPrinter printer = new DefaultPrettyPrinter(separators);
    printer.indentObjectsWith(INDENT);
    printer.indentArraysWith(INDENT);
    return printer;
  }

  private static final class PythonFloats extends JsonGeneratorDelegate {
    PythonFloats(JsonGenerator delegate) {
      super(delegate, false);
      // Python writes and reads Infinity and NaN without quotes.
      delegate.disable(
          com.fasterxml.jackson.core.json.JsonWriteFeature.WRITE_NAN_AS_STRINGS.mappedFeature());
    }

    @Override
    public void writeNumber(BigDecimal value) throws IOException {
      writeNumber(spell(value));
    }
  }

  static String spell(BigDecimal value) {
    if (value.signum() == 0) {
      return "0.0";
    }
    long exponent = (long) value.precision() - value.scale() - 1;
    if (exponent >= -4 && exponent < 16) {
      String plain = value.toPlainString();
      return plain.contains(".") ? plain : plain + ".0";
    }
    BigDecimal digits = new BigDecimal(value.unscaledValue()).stripTrailingZeros();
    BigDecimal mantissa = new BigDecimal(digits.unscaledValue(), digits.precision() - 1);
    return String.format(
        Locale.ROOT,
        "%se%s%02d",
        mantissa.toPlainString(),
        exponent < 0 ? "-" : "+",
        Math.abs(exponent));
  }
}
