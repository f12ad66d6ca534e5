package dev.laco.checkpoint;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.model.HostTensor;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Stream;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/** Files as torch.save writes them, made without PyTorch by the JDK's zip library. */
public final class TorchFiles {
  private static final String FOLDER = "archive/";

  private TorchFiles() {}

  /**
   * A tensor of a pickle.
   *
   * @param storage the type of its storage in PyTorch, {@code FloatStorage}
   * @param key the name of its storage in the archive
   * @param size elements of its storage
   */
  record Row(
      String name,
      String storage,
      String key,
      long size,
      long offset,
      List<Long> shape,
      List<Long> strides) {
    /** A tensor that has its storage alone and lies in it row by row. */
    static Row whole(String name, String storage, String key, List<Long> shape) {
      List<Long> strides = new ArrayList<>();
      long distance = 1;
      for (long extent : shape.reversed()) {
        strides.addFirst(distance);
        distance *= extent;
      }
      return new Row(name, storage, key, distance, 0, shape, strides);
    }
  }

  /** The pickle of an ordered dictionary of tensors. */
  static byte[] pickle(List<Row> rows) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    write(out, "\u0080\u0002ccollections\nOrderedDict\n)R(");
    for (Row row : rows) {
      string(out, row.name());
      write(out, "ctorch._utils\n_rebuild_tensor_v2\n((");
      string(out, "storage");
      write(out, "ctorch\n" + row.storage() + "\n");
      string(out, row.key());
      string(out, "cpu");
      number(out, row.size());
      write(out, "tQ");
      number(out, row.offset());
      numbers(out, row.shape());
      numbers(out, row.strides());
      write(out, "\u0089ccollections\nOrderedDict\n)RtR");
    }
    write(out, "u.");
    return out.toByteArray();
  }

  private static void write(ByteArrayOutputStream out, String latin) {
    out.writeBytes(latin.getBytes(ISO_8859_1));
  }

  private static void string(ByteArrayOutputStream out, String text) {
    byte[] bytes = text.getBytes(UTF_8);
    write(out, "X");
    out.writeBytes(
        ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(bytes.length).array());
    out.writeBytes(bytes);
  }

  private static void number(ByteArrayOutputStream out, long number) {
    write(out, "\u008a\b");
    out.writeBytes(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(number).array());
  }

  private static void numbers(ByteArrayOutputStream out, List<Long> numbers) {
    write(out, "(");
    numbers.forEach(number -> number(out, number));
    write(out, "t");
  }

  /** An archive of a pickle and its storages by key. */
  public static byte[] archive(byte[] pickle, Map<String, byte[]> storages) {
    Map<String, byte[]> entries = new LinkedHashMap<>();
    entries.put(FOLDER + "data.pkl", pickle);
    entries.put(FOLDER + "byteorder", "little".getBytes(ISO_8859_1));
    storages.forEach((key, data) -> entries.put(FOLDER + "data/" + key, data));
    return zip(entries, ZipEntry.STORED);
  }

  /** An archive of any entries, whose data begin at multiples of 64 bytes as in PyTorch's. */
  static byte[] zip(Map<String, byte[]> entries, int method) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    try (ZipOutputStream zip = new ZipOutputStream(out)) {
      for (Map.Entry<String, byte[]> content : entries.entrySet()) {
        ZipEntry entry = new ZipEntry(content.getKey());
        entry.setMethod(method);
        CRC32 crc = new CRC32();
        crc.update(content.getValue());
        entry.setSize(content.getValue().length);
        entry.setCrc(crc.getValue());
        zip.flush();
        entry.setExtra(padding(out.size() + 30 + content.getKey().length()));
        zip.putNextEntry(entry);
        zip.write(content.getValue());
        zip.closeEntry();
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return out.toByteArray();
  }

  /** The extra field behind a name that ends at a byte. */
  private static byte[] padding(int end) {
    int size = -(end + 4) & 63;
    return ByteBuffer.allocate(4 + size)
        .order(ByteOrder.LITTLE_ENDIAN)
        .put(new byte[] {'F', 'B'})
        .putShort((short) size)
        .array();
  }

  /** The type of a tensor's storage in PyTorch. */
  private static String storage(HostTensor tensor) {
    return switch (tensor.dtype()) {
      case F32 -> "FloatStorage";
      case F16 -> "HalfStorage";
      case BF16 -> "BFloat16Storage";
    };
  }

  /**
   * A copy of a checkpoint with its weights in files of torch.save. A tied head is in the files a
   * second time, as {@code state_dict} has it.
   *
   * @param shards the number of files; several have an index
   */
  public static Path copy(Path model, Path target, int shards) {
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      copyOthers(model, Files.createDirectories(target));
      List<String> names = checkpoint.weightNames();
      Map<String, String> weightMap = new LinkedHashMap<>();
      for (int shard = 0; shard < shards; shard++) {
        String file =
            shards == 1
                ? "pytorch_model.bin"
                : String.format(Locale.ROOT, "pytorch_model-%05d-of-%05d.bin", shard + 1, shards);
        List<Row> rows = new ArrayList<>();
        Map<String, byte[]> storages = new LinkedHashMap<>();
        int end = names.size() * (shard + 1) / shards;
        for (String name : names.subList(names.size() * shard / shards, end)) {
          HostTensor tensor = checkpoint.file(name).tensor(name);
          String key = String.valueOf(storages.size());
          storages.put(key, tensor.data().toArray(ValueLayout.JAVA_BYTE));
          rows.add(Row.whole(name, storage(tensor), key, tensor.shape()));
          if (name.equals("model.embed_tokens.weight") && checkpoint.config().tieWordEmbeddings()) {
            rows.add(Row.whole("lm_head.weight", storage(tensor), key, tensor.shape()));
          }
        }
        rows.forEach(row -> weightMap.put(row.name(), file));
        Files.write(target.resolve(file), archive(pickle(rows), storages));
      }
      if (shards > 1) {
        writeIndex(target, weightMap);
      }
      return target;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Copies the files that hold no weights. */
  private static void copyOthers(Path model, Path target) throws IOException {
    try (Stream<Path> files = Files.list(model)) {
      for (Path file : files.toList()) {
        String name = file.getFileName().toString();
        if (!name.contains(".safetensors")) {
          Files.copy(file, target.resolve(name));
        }
      }
    }
  }

  private static void writeIndex(Path target, Map<String, String> weightMap) throws IOException {
    JsonMapper mapper = new JsonMapper();
    ObjectNode index = mapper.createObjectNode();
    index.putObject("metadata").put("total_size", 1);
    weightMap.forEach(index.putObject("weight_map")::put);
    mapper.writeValue(target.resolve("pytorch_model.bin.index.json").toFile(), index);
  }
}
