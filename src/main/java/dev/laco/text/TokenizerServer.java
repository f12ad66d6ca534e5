package dev.laco.text;

import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.SynchronousQueue;
import org.jspecify.annotations.Nullable;

/**
 * The program that {@link TokenizerProcess} starts: it loads Hugging Face's library and answers
 * requests on standard input, one at a time. A fault of the library ends this program alone. The
 * end of standard input ends the program, whatever the library is doing.
 *
 * <p>A request is a byte that names an operation, the length of the content, and the content. An
 * answer has the same form: a byte that names an outcome, the length of the content, and the
 * content. The first answer comes without a request, once the library is loaded. Lengths and token
 * ids are 32-bit integers, the highest byte first; texts are UTF-8.
 */
final class TokenizerServer {
  /** Operation: loads the content, a {@code tokenizer.json}, in place of the one before. */
  static final int LOAD = 'L';

  /** Operation: gives the ids of the content, a text. */
  static final int ENCODE = 'E';

  /**
   * Operation: gives the ids of the content, a text, with the special tokens that the
   * post-processor adds.
   */
  static final int ENCODE_WITH_SPECIAL = 'S';

  /** Operation: gives the text of the content, ids, without special tokens. */
  static final int DECODE = 'D';

  /** Operation: gives the text of the content, ids, with the texts of special tokens. */
  static final int DECODE_WITH_SPECIAL = 'T';

  /** Outcome: the content is what was asked for. */
  static final int OK = 0;

  /** Outcome: the content says why the library refused the file or the text. */
  static final int REFUSED = 1;

  /** Outcome: the content says which memory, disk or file the process lacked. */
  static final int LACKING = 2;

  /** The name of the library's file in the folder where it is unpacked. */
  static final String UNPACKED = "libtokenizers.so";

  private static final String LIBRARY = "native/lib/linux-x86_64/cpu/libtokenizers.so";

  private final DataOutputStream out =
      new DataOutputStream(
          new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16));
  private long tokenizer;

  private record Request(int what, byte[] content) {}

  private TokenizerServer() {}

  /**
   * Answers requests until standard input ends. The only argument is the folder into which the
   * library is unpacked.
   */
  public static void main(String[] args) throws IOException, InterruptedException {
    TokenizerServer server = new TokenizerServer();
    SynchronousQueue<Request> requests = new SynchronousQueue<>();
    Thread reader = new Thread(() -> read(requests), "requests");
    reader.setDaemon(true);
    reader.start();
    String failure = load(Path.of(args[0]));
    server.answer(failure == null ? OK : LACKING, utf8(String.valueOf(failure)));
    while (true) {
      server.serve(requests.take());
    }
  }

  private static void read(SynchronousQueue<Request> requests) {
    try {
      DataInputStream in =
          new DataInputStream(
              new BufferedInputStream(new FileInputStream(FileDescriptor.in), 1 << 16));
      while (true) {
        int what = in.readUnsignedByte();
        byte[] content = new byte[in.readInt()];
        in.readFully(content);
        requests.put(new Request(what, content));
      }
    } catch (EOFException e) {
      Runtime.getRuntime().halt(0);
    } catch (IOException | InterruptedException | OutOfMemoryError e) {
      System.err.println(e);
      Runtime.getRuntime().halt(1);
    }
  }

  /**
   * Unpacks and loads the library, and leaves no file in the folder. Returns what went wrong, or
   * null.
   */
  private static @Nullable String load(Path folder) throws IOException {
    Path file = folder.resolve(UNPACKED);
    try (InputStream library =
        TokenizerServer.class.getClassLoader().getResourceAsStream(LIBRARY)) {
      if (library == null) {
        throw new FileNotFoundException("no " + LIBRARY + " on the class path");
      }
      Files.copy(library, file);
      System.load(file.toString());
      return null;
    } catch (IOException | UnsatisfiedLinkError e) {
      return String.valueOf(e.getMessage());
    } finally {
      Files.deleteIfExists(file);
      Files.deleteIfExists(folder);
    }
  }

  private void serve(Request request) throws IOException {
    byte[] answer;
    try {
      answer = result(request);
    } catch (OutOfMemoryError e) {
      answer(LACKING, utf8(String.valueOf(e.getMessage())));
      return;
    } catch (RuntimeException e) {
      answer(REFUSED, utf8(String.valueOf(e.getMessage())));
      return;
    }
    answer(OK, answer);
  }

  private byte[] result(Request request) {
    byte[] content = request.content;
    return switch (request.what) {
      case LOAD -> load(new String(content, StandardCharsets.UTF_8));
      case ENCODE -> encode(new String(content, StandardCharsets.UTF_8), false);
      case ENCODE_WITH_SPECIAL -> encode(new String(content, StandardCharsets.UTF_8), true);
      case DECODE -> decode(ByteBuffer.wrap(content), false);
      case DECODE_WITH_SPECIAL -> decode(ByteBuffer.wrap(content), true);
      default -> throw new IllegalArgumentException("unknown request " + request.what);
    };
  }

  private byte[] load(String json) {
    TokenizersLibrary library = TokenizersLibrary.LIB;
    if (tokenizer != 0) {
      library.deleteTokenizer(tokenizer);
      tokenizer = 0;
    }
    tokenizer = library.createTokenizerFromString(json);
    library.disableTruncation(tokenizer);
    library.disablePadding(tokenizer);
    return new byte[0];
  }

  private byte[] encode(String text, boolean addSpecial) {
    TokenizersLibrary library = TokenizersLibrary.LIB;
    long encoding = library.encode(tokenizer, text, addSpecial);
    long[] ids;
    try {
      ids = library.getTokenIds(encoding);
    } finally {
      library.deleteEncoding(encoding);
    }
    ByteBuffer answer = ByteBuffer.allocate(Math.multiplyExact(Integer.BYTES, ids.length));
    for (long id : ids) {
      if (id > Integer.MAX_VALUE) {
        throw new IllegalArgumentException(
            "token id " + id + " is not below 2147483648, as an id must be");
      }
      answer.putInt((int) id);
    }
    return answer.array();
  }

  private byte[] decode(ByteBuffer content, boolean withSpecial) {
    long[] ids = new long[content.remaining() / Integer.BYTES];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = content.getInt();
    }
    return utf8(TokenizersLibrary.LIB.decode(tokenizer, ids, !withSpecial));
  }

  private void answer(int how, byte[] content) throws IOException {
    out.writeByte(how);
    out.writeInt(content.length);
    out.write(content);
    out.flush();
  }

  private static byte[] utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }
}
