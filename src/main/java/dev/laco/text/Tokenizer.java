package dev.laco.text;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.BadInputException;
import dev.laco.LacoException;
import dev.laco.Legible;
import dev.laco.ResourceException;
import dev.laco.text.TokenizerProcess.Failure;
import dev.laco.text.TokenizerProcess.Limits;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.Optional;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The tokenizer of a checkpoint: Hugging Face's own library, called through DJL, runs its {@code
 * tokenizer.json}, offline.
 *
 * <p>The post-processor in the file alone decides which special tokens are added to a text. {@code
 * add_bos_token} and similar keys of {@code tokenizer_config.json} are not read: they say how a
 * post-processor is built, and a published {@code tokenizer.json} has a post-processor. Truncation
 * and padding that the file asks for are switched off, since a measurement needs every token and no
 * other.
 *
 * <p>The library runs in a process of its own ({@link TokenizerProcess}), since a tokenizer or a
 * text can end the process that it runs in, or keep it busy for ever. The process starts with the
 * first use and ends with {@link #rest} or {@link #close}. A tokenizer whose process ended by the
 * tokenizer's fault gives the same error at every later use.
 *
 * <p>Use after {@link #close} is an error. Not for use by several threads at once.
 */
public final class Tokenizer implements AutoCloseable {
  private static final String FILE_NAME = "tokenizer.json";

  /**
   * The least characters of a run without a break that the message about a failed text mentions.
   */
  private static final int LONG_RUN = 10_000;

  private static final Pattern RUN = Pattern.compile("\\s++|\\S++");

  /** Names the tokenizer in errors. */
  private final String file;

  private final Supplier<TokenizerFile> source;
  private final Supplier<TokenizerProcess> start;

  /** Null where the tokenizer has no model. */
  private @Nullable ChatTemplate chats;

  /** The checked file; null once the process has loaded it. */
  private @Nullable TokenizerFile content;

  /** The process that has loaded the file; null while there is none. */
  private @Nullable TokenizerProcess process;

  private String components = "";

  /** Null until it is asked for, as is its text. */
  private int @Nullable [] prefix;

  private @Nullable String prefixText;

  /** Why the tokenizer cannot be used any more; null while it can. */
  private @Nullable LacoException end;

  private boolean closed;

  /** Checks the form of a tokenizer's file; {@code start} gives the process that loads the file. */
  Tokenizer(Path file, Supplier<TokenizerProcess> start) {
    this(file.toString(), () -> TokenizerFile.read(file), start);
    this.content = source.get();
  }

  private Tokenizer(String file, Supplier<TokenizerFile> source, Supplier<TokenizerProcess> start) {
    this.file = file;
    this.source = source;
    this.start = start;
  }

  /**
   * A tokenizer whose content is not in a file of its own.
   *
   * @param name names it in errors
   * @param json gives the content, as {@code tokenizer.json} has it; is called at the first use,
   *     which throws its errors
   */
  public static Tokenizer of(String name, Supplier<String> json) {
    return new Tokenizer(
        name, () -> TokenizerFile.of(name, json.get()), () -> TokenizerProcess.start(Limits.USUAL));
  }

  /**
   * Opens the tokenizer of a checkpoint directory; empty if the directory has no {@code
   * tokenizer.json}. The form of the file is checked at once; faults that only the library finds
   * are errors of the first use.
   *
   * @throws BadInputException if the file cannot be read or has not the form of a tokenizer
   */
  public static Optional<Tokenizer> load(Path modelDirectory) {
    Path file = modelDirectory.resolve(FILE_NAME);
    // A link to nothing, as in a half-downloaded cache, is an error; it does not mean that there is
    // no tokenizer.
    return Files.notExists(file, LinkOption.NOFOLLOW_LINKS)
        ? Optional.empty()
        : Optional.of(new Tokenizer(file, () -> TokenizerProcess.start(Limits.USUAL)));
  }

  /**
   * Token ids of a text with the special tokens that the model's tokenizer adds.
   *
   * @throws BadInputException if the library fails with this tokenizer, or with this text
   * @throws ResourceException if the library cannot be started
   */
  public int[] encode(String text) {
    return encode(text, true);
  }

  /** Token ids of the text itself, without BOS and EOS. Throws the errors of {@link #encode}. */
  public int[] encodeWithoutSpecial(String text) {
    return encode(text, false);
  }

  private int[] encode(String text, boolean addSpecial) {
    TokenizerProcess running = running();
    try {
      return running.encode(text, addSpecial);
    } catch (Failure e) {
      throw failed("a text" + longestRun(text), e);
    }
  }

  /**
   * The text of token ids, special tokens left out. Bytes that are no complete character become
   * U+FFFD; {@link #streamingDecoder} is for text that is printed token by token. Throws the errors
   * of {@link #encode}.
   */
  public String decode(int[] ids) {
    return decode(ids, false);
  }

  private String decode(int[] ids, boolean withSpecial) {
    TokenizerProcess running = running();
    try {
      return running.decode(ids, withSpecial);
    } catch (Failure e) {
      throw failed("token ids", e);
    }
  }

  /** Turns tokens that arrive one by one into text that never shows half a character. */
  public StreamingDecoder streamingDecoder() {
    return new StreamingDecoder(this);
  }

  /**
   * The tokens that the tokenizer's post-processor puts before every text: BOS, several tokens, or
   * none. Throws the errors of {@link #encode}.
   */
  public int[] prefix() {
    if (prefix == null) {
      int[] plain = encodeWithoutSpecial("a");
      int[] full = encode("a");
      int length = 0;
      while (length + plain.length <= full.length
          && !Arrays.equals(full, length, length + plain.length, plain, 0, plain.length)) {
        length++;
      }
      boolean found = plain.length > 0 && length + plain.length <= full.length;
      prefix = Arrays.copyOf(full, found ? length : 0);
    }
    return prefix.clone();
  }

  /**
   * Token ids of a text with the special tokens that the model's tokenizer adds; of one that stands
   * behind those of {@link #prefix}, with these in front. Throws the errors of {@link #encode}.
   */
  public int[] encode(InputText text) {
    return text.behindPrefix()
        ? behindPrefix(encodeWithoutSpecial(text))
        : encode(text.text(), true);
  }

  /**
   * Token ids of the text itself, without those of {@link #prefix}. A text that stands behind these
   * has other ids than one that begins there where the tokenizer puts a blank before every text.
   * Throws the errors of {@link #encode}.
   */
  public int[] encodeWithoutSpecial(InputText text) {
    if (text.behindPrefix()) {
      int[] front = prefix();
      int[] all = encodeWithoutSpecial(prefixText() + text.text());
      if (Arrays.mismatch(front, all) == front.length) {
        return Arrays.copyOfRange(all, front.length, all.length);
      }
    }
    return encodeWithoutSpecial(text.text());
  }

  /** Token ids of a text behind those of {@link #prefix}. Throws the errors of {@link #encode}. */
  public int[] encodeBehindPrefix(String text) {
    return behindPrefix(encodeWithoutSpecial(text));
  }

  /** Token ids behind those of {@link #prefix}. Throws the errors of {@link #encode}. */
  public int[] behindPrefix(int[] ids) {
    int[] front = prefix();
    int[] all = Arrays.copyOf(front, front.length + ids.length);
    System.arraycopy(ids, 0, all, front.length, ids.length);
    return all;
  }

  /** Gives this tokenizer the chat template of its model. */
  public Tokenizer with(ChatTemplate template) {
    chats = template;
    return this;
  }

  /**
   * The text of a chat by the model's chat template, without that of {@link #prefix} in front.
   *
   * @param where names the chat in errors
   * @param chat an object with {@code messages}
   * @throws BadInputException if there is no template, or it refuses the chat; and as {@link
   *     #encode}
   */
  InputText chat(String where, JsonNode chat) {
    String text = chat(where, "lines with \"text\" need", false, chat);
    String front = prefixText();
    return !front.isEmpty() && text.startsWith(front)
        ? new InputText(text.substring(front.length()), true)
        : InputText.of(text);
  }

  /**
   * Token ids of a chat by the model's chat template up to where the model's answer begins, as
   * {@code apply_chat_template(messages, add_generation_prompt=True)} of transformers gives them:
   * special tokens are those that the template writes.
   *
   * @param where names the chat in errors
   * @param without what needs no template, for errors, with its verb, as {@code a prompt needs}
   * @param chat an object with {@code messages}
   * @throws BadInputException as {@link #encode}, or if there is no template, or it refuses the
   *     chat
   */
  public int[] chatPrompt(String where, String without, JsonNode chat) {
    return encodeWithoutSpecial(chat(where, without, true, chat));
  }

  private String chat(String where, String without, boolean answer, JsonNode chat) {
    if (chats == null) {
      throw new BadInputException(
          where + ": a chat needs a chat template; " + without + " no template");
    }
    return chats.render(where, without, answer, chat);
  }

  /** The text that stands for {@link #prefix} in a text with special tokens. */
  private String prefixText() {
    if (prefixText == null) {
      StringBuilder text = new StringBuilder();
      for (int id : prefix()) {
        text.append(decode(new int[] {id}, true));
      }
      prefixText = text.toString();
    }
    return prefixText;
  }

  /** Ends the process; the next use starts it again. */
  public void rest() {
    content = null;
    if (process != null) {
      process.close();
      process = null;
    }
  }

  private TokenizerProcess running() {
    if (closed) {
      throw new IllegalStateException("the tokenizer is closed");
    }
    if (end != null) {
      throw end;
    }
    if (process == null) {
      TokenizerFile checked = content == null ? source.get() : content;
      content = null;
      components = Legible.excerpt(checked.components());
      TokenizerProcess started = start.get();
      process = started;
      try {
        started.load(checked.json());
      } catch (Failure e) {
        end = failed("this tokenizer", e);
        throw end;
      }
    }
    return process;
  }

  private LacoException failed(String subject, Failure e) {
    String reason = Legible.excerpt(String.valueOf(e.getMessage()));
    if (e.kind() == Failure.Kind.REFUSED) {
      return new BadInputException(
          file + ": the Hugging Face library refuses " + subject + ": " + reason, e);
    }
    String gaveUp = file + ": the Hugging Face library gave up on " + subject + " (" + reason;
    if (e.kind() == Failure.Kind.LACKING) {
      end = new ResourceException(gaveUp + "): free memory, or use a shorter text", e);
    } else {
      String where =
          e.component() == null ? "; made of " + components : ", in its " + e.component();
      end =
          new BadInputException(
              gaveUp + where + "): take the file from the model's source, or use another text", e);
    }
    return end;
  }

  /**
   * Describes the longest run of blanks, or of characters that are not blank, if the run is long
   * enough to be the reason of a failure.
   */
  private static String longestRun(String text) {
    int blank = 0;
    int other = 0;
    Matcher run = RUN.matcher(text);
    while (run.find()) {
      int length = run.end() - run.start();
      if (Character.isWhitespace(text.charAt(run.start()))) {
        blank = Math.max(blank, length);
      } else {
        other = Math.max(other, length);
      }
    }
    if (Math.max(blank, other) < LONG_RUN) {
      return "";
    }
    return blank > other
        ? String.format(Locale.ROOT, " with %,d blanks in a row", blank)
        : String.format(Locale.ROOT, " with %,d characters without a blank", other);
  }

  @Override
  public void close() {
    rest();
    closed = true;
  }
}
