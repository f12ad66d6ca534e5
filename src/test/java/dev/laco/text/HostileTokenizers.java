package dev.laco.text;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ContainerNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;

/**
 * Files that are made to break the library: every normalizer, pre-tokenizer, post-processor,
 * decoder and model that it knows with degenerate parameters, alone and combined, and real files
 * with values and bytes changed. The same ones every time.
 */
final class HostileTokenizers {
  private static final ObjectMapper MAPPER = new ObjectMapper();

  /** Patterns that match nothing, everything, the empty text, or only after ages. */
  private static final List<String> PATTERNS =
      List.of(
          "{'String':''}",
          "{'String':'a'}",
          "{'String':'\\u0000'}",
          "{'Regex':''}",
          "{'Regex':'.*'}",
          "{'Regex':'\\\\\\\\b'}",
          "{'Regex':'^|$'}",
          "{'Regex':'(?=.)'}",
          "{'Regex':'(?<=a)'}",
          "{'Regex':'('}",
          "{'Regex':'(a*)*$'}",
          "{'Regex':'(a|a)*b'}",
          "{'Regex':'((a+)+)+[^a]'}",
          "{'Regex':'(\\\\\\\\w+\\\\\\\\s?)+#'}",
          "{'Regex':'(?<n>a\\\\\\\\g<n>?)'}",
          "{'Regex':'(?:){100000}'}",
          "{'Regex':'(((((a{99}){99}){99}){99}){99})'}",
          "{'Regex':'\\\\\\\\s+(?!\\\\\\\\S)|\\\\\\\\s+'}",
          "{'Regex':'[\\\\\\\\x{110000}]'}",
          "{'Regex':'\\\\\\\\p{L}+|\\\\\\\\p{N}|.'}");

  private HostileTokenizers() {}

  /** So many degenerate files. */
  static List<byte[]> degenerate(int count, long seed) {
    Map<String, List<String>> parts = parts();
    List<byte[]> files = new ArrayList<>();
    parts.forEach(
        (key, values) -> {
          for (String value : values) {
            ObjectNode file = base();
            file.set(key, json(value));
            files.add(bytes(file));
          }
        });
    files.addAll(nested());
    Random random = new Random(seed);
    while (files.size() < count) {
      ObjectNode file = base();
      parts.forEach(
          (key, values) -> {
            if (random.nextInt(3) > 0) {
              file.set(key, json(values.get(random.nextInt(values.size()))));
            }
          });
      files.add(bytes(file));
    }
    return files.subList(0, count);
  }

  /** Small tokenizers like those of Llama 2, Qwen2, BERT and T5: every other part there is. */
  static List<byte[]> wellFormed() {
    String replace = "{'type':'Replace','pattern':{'String':'%s'},'content':'%s'}";
    return List.of(
        file(
            "{'type':'Sequence','normalizers':[{'type':'Prepend','prepend':'▁'},"
                + String.format(Locale.ROOT, replace, " ", "▁")
                + "]}",
            "null",
            "{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'<s>','type_id':0}},{'Sequence':{'id':'A','type_id':0}}],'pair':[{'Sequence':{'id':'A','type_id':0}}],'special_tokens':{'<s>':{'id':'<s>','ids':[0],'tokens':['<s>']}}}",
            "{'type':'Sequence','decoders':["
                + String.format(Locale.ROOT, replace, "▁", " ")
                + ",{'type':'ByteFallback'},{'type':'Fuse'},{'type':'Strip','content':' ','start':1,'stop':0}]}",
            BPE),
        file(
            "{'type':'NFC'}",
            "{'type':'Sequence','pretokenizers':[{'type':'Split','pattern':{'Regex':'[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}|\\\\s+(?!\\\\S)|\\\\s+'},'behavior':'Isolated','invert':false},{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':false,'use_regex':false}]}",
            "{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':false,'use_regex':false}",
            "{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':false,'use_regex':false}",
            BPE),
        file(
            "{'type':'BertNormalizer','clean_text':true,'handle_chinese_chars':true,'strip_accents':null,'lowercase':true}",
            "{'type':'BertPreTokenizer'}",
            "{'type':'BertProcessing','sep':['<s>',0],'cls':['<unk>',1]}",
            "{'type':'WordPiece','prefix':'##','cleanup':true}",
            "{'type':'WordPiece','unk_token':'<unk>','continuing_subword_prefix':'##','max_input_chars_per_word':100,'vocab':"
                + VOCABULARY
                + "}"),
        file(
            "null",
            "{'type':'Metaspace','replacement':'▁','prepend_scheme':'always','split':true}",
            "{'type':'Sequence','processors':[{'type':'ByteLevel','add_prefix_space':true,'trim_offsets':true,'use_regex':true}]}",
            "{'type':'Metaspace','replacement':'▁','prepend_scheme':'always','split':true}",
            "{'type':'Unigram','unk_id':1,'vocab':[['<s>',0],['<unk>',0],['▁',-2],['a',-3],['ab',-3.5],['▁a',-4]],'byte_fallback':false}"));
  }

  private static byte[] file(
      String normalizer, String preTokenizer, String postProcessor, String decoder, String model) {
    ObjectNode file = base();
    file.set("normalizer", json(normalizer));
    file.set("pre_tokenizer", json(preTokenizer));
    file.set("post_processor", json(postProcessor));
    file.set("decoder", json(decoder));
    file.set("model", json(model));
    return bytes(file);
  }

  /** So many changes of files, by turns of a value and of bytes. */
  static List<byte[]> mutated(List<byte[]> originals, int count, long seed) {
    Random random = new Random(seed);
    List<byte[]> files = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      byte[] original = originals.get(i % originals.size());
      files.add(
          i / originals.size() % 2 == 0
              ? otherValue(original, random)
              : otherBytes(original, random));
    }
    return files;
  }

  private static byte[] otherBytes(byte[] original, Random random) {
    byte[] bytes = original.clone();
    for (int i = random.nextInt(4); i >= 0; i--) {
      // Most of a file is vocabulary; what is in front of it is worth as many changes.
      int end = random.nextBoolean() ? Math.min(bytes.length, 2_000) : bytes.length;
      bytes[random.nextInt(end)] =
          (byte)
              (random.nextBoolean()
                  ? random.nextInt(256)
                  : "{}[]\",:0-e\\".charAt(random.nextInt(11)));
    }
    return bytes;
  }

  private static byte[] otherValue(byte[] original, Random random) {
    JsonNode file = json(new String(original, StandardCharsets.UTF_8));
    ContainerNode<?> at = (ContainerNode<?>) file;
    while (true) {
      List<String> names = new ArrayList<>();
      at.fieldNames().forEachRemaining(names::add);
      if (at.isEmpty()) {
        return bytes(file);
      }
      int index = random.nextInt(Math.min(at.size(), random.nextBoolean() ? 10 : 5_000));
      JsonNode child = at instanceof ArrayNode ? at.get(index) : at.get(names.get(index));
      if (child instanceof ContainerNode<?> deeper && random.nextInt(4) > 0) {
        at = deeper;
        continue;
      }
      JsonNode value = otherValue(child, random);
      if (at instanceof ArrayNode list) {
        list.set(index, value);
      } else if (at instanceof ObjectNode object) {
        if (random.nextInt(4) == 0) {
          object.remove(names.get(index));
        } else {
          object.set(names.get(index), value);
        }
      }
      return bytes(file);
    }
  }

  private static JsonNode otherValue(JsonNode value, Random random) {
    JsonNodeFactory make = JsonNodeFactory.instance;
    return switch (random.nextInt(10)) {
      case 0 -> make.nullNode();
      case 1 -> make.numberNode(-1);
      case 2 -> make.numberNode(4_294_967_295L);
      case 3 -> make.numberNode(2_147_483_648L);
      case 4 -> make.textNode("");
      case 5 -> make.textNode("a");
      case 6 -> make.booleanNode(!value.asBoolean());
      case 7 -> make.arrayNode();
      case 8 -> make.objectNode();
      default -> make.textNode("\u0000😀" + value.asText());
    };
  }

  /** Sequences of sequences, and components in rows. */
  private static List<byte[]> nested() {
    List<byte[]> files = new ArrayList<>();
    for (int depth : new int[] {10, 25, 120, 2_000, 50_000}) {
      for (String[] part :
          new String[][] {
            {"normalizer", "normalizers", "{'type':'NFC'}"},
            {"pre_tokenizer", "pretokenizers", "{'type':'Whitespace'}"},
            {"post_processor", "processors", "{'type':'ByteLevel'}"},
            {"decoder", "decoders", "{'type':'Fuse'}"}
          }) {
        String open = "{'type':'Sequence','" + part[1] + "':[";
        files.add(raw(part[0], open.repeat(depth) + part[2] + "]}".repeat(depth)));
        files.add(raw(part[0], open + (part[2] + ",").repeat(depth) + part[2] + "]}"));
      }
    }
    return files;
  }

  private static byte[] raw(String key, String value) {
    String file = base().toString();
    String changed = file.substring(0, file.length() - 1) + ",\"" + key + "\":" + value + "}";
    return changed.replace('\'', '"').getBytes(StandardCharsets.UTF_8);
  }

  /** A small tokenizer of bytes and a few words. */
  private static ObjectNode base() {
    ObjectNode file = MAPPER.createObjectNode();
    file.put("version", "1.0");
    file.set("added_tokens", json("[{'id':0,'content':'<s>','special':true," + FLAGS + "}]"));
    file.set("model", json(BPE));
    return file;
  }

  private static final String FLAGS =
      "'single_word':false,'lstrip':false,'rstrip':false,'normalized':false";
  private static final String VOCABULARY =
      "{'<s>':0,'<unk>':1,'a':2,'b':3,' ':4,'ab':5,'Ġ':6,'▁':7,'H':8,'e':9,'l':10,'o':11,'##a':12}";
  private static final String BPE =
      "{'type':'BPE','unk_token':'<unk>','vocab':" + VOCABULARY + ",'merges':['a b']}";

  private static Map<String, List<String>> parts() {
    Map<String, List<String>> parts = new LinkedHashMap<>();
    parts.put("normalizer", normalizers());
    parts.put("pre_tokenizer", preTokenizers());
    parts.put("post_processor", postProcessors());
    parts.put("decoder", decoders());
    parts.put("model", models());
    parts.put("added_tokens", addedTokens());
    parts.put("truncation", truncations());
    parts.put("padding", paddings());
    return parts;
  }

  private static List<String> normalizers() {
    List<String> all = new ArrayList<>();
    for (String type :
        List.of(
            "NFC",
            "NFD",
            "NFKC",
            "NFKD",
            "Lowercase",
            "Nmt",
            "StripAccents",
            "ByteLevel",
            "BertNormalizer",
            "Strip",
            "Prepend",
            "Replace",
            "Precompiled",
            "Sequence",
            "None",
            "")) {
      all.add("{'type':'" + type + "'}");
    }
    for (int bits = 0; bits < 16; bits++) {
      all.add(
          String.format(
              Locale.ROOT,
              "{'type':'BertNormalizer','clean_text':%b,'handle_chinese_chars':%b,'strip_accents':%b,'lowercase':%b}",
              (bits & 1) > 0,
              (bits & 2) > 0,
              (bits & 4) > 0,
              (bits & 8) > 0));
    }
    for (String prepend : List.of("", "▁", "a", "\\u0000", "a".repeat(9_999), "e\\u0301")) {
      all.add("{'type':'Prepend','prepend':'" + prepend + "'}");
      all.add(
          "{'type':'Sequence','normalizers':[{'type':'Prepend','prepend':'"
              + prepend
              + "'},{'type':'StripAccents'},{'type':'NFD'},{'type':'Strip','strip_left':true,'strip_right':true}]}");
    }
    for (String content : List.of("", "aa", "a".repeat(9_999))) {
      for (String pattern : PATTERNS) {
        all.add("{'type':'Replace','pattern':" + pattern + ",'content':'" + content + "'}");
      }
      String grow = "{'type':'Replace','pattern':{'String':'a'},'content':'" + content + "'},";
      all.add("{'type':'Sequence','normalizers':[" + grow.repeat(9) + "{'type':'NFC'}]}");
      all.add("{'type':'Sequence','normalizers':[" + grow.repeat(40) + "{'type':'NFC'}]}");
    }
    for (String table :
        List.of(
            "",
            "!",
            "AAAA",
            "AQAAAA==",
            "/////w==",
            "BAAAAP////8=",
            "BAAAAAAAAAA=",
            "CAAAAAEAAAACAAAAAA==")) {
      all.add("{'type':'Precompiled','precompiled_charsmap':'" + table + "'}");
    }
    Random random = new Random(1);
    for (int i = 0; i < 24; i++) {
      byte[] table = new byte[4 + 4 * random.nextInt(300) + random.nextInt(50)];
      random.nextBytes(table);
      int trie = 4 * random.nextInt(Math.max(1, table.length / 4));
      table[0] = (byte) trie;
      table[1] = (byte) (trie >> 8);
      table[2] = 0;
      table[3] = 0;
      all.add(
          "{'type':'Precompiled','precompiled_charsmap':'"
              + Base64.getEncoder().encodeToString(table)
              + "'}");
    }
    return all;
  }

  private static List<String> preTokenizers() {
    List<String> all = new ArrayList<>();
    for (String type :
        List.of(
            "BertPreTokenizer",
            "ByteLevel",
            "CharDelimiterSplit",
            "Delimiter",
            "Metaspace",
            "Whitespace",
            "WhitespaceSplit",
            "Sequence",
            "Split",
            "Punctuation",
            "Digits",
            "UnicodeScripts",
            "FixedLength")) {
      all.add("{'type':'" + type + "'}");
    }
    for (int bits = 0; bits < 8; bits++) {
      all.add(
          String.format(
              Locale.ROOT,
              "{'type':'ByteLevel','add_prefix_space':%b,'trim_offsets':%b,'use_regex':%b}",
              (bits & 1) > 0,
              (bits & 2) > 0,
              (bits & 4) > 0));
    }
    for (String behavior :
        List.of("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")) {
      for (String pattern : PATTERNS) {
        boolean inverted = (pattern.length() + behavior.length()) % 2 == 0;
        all.add(
            String.format(
                Locale.ROOT,
                "{'type':'Split','pattern':%s,'behavior':'%s','invert':%b}",
                pattern,
                behavior,
                inverted));
      }
      all.add("{'type':'Punctuation','behavior':'" + behavior + "'}");
    }
    for (String mark : List.of("", "a", "▁", "\\u0000", "ab", "😀")) {
      for (String scheme : List.of("first", "never", "always", "odd")) {
        all.add(
            String.format(
                Locale.ROOT,
                "{'type':'Metaspace','replacement':'%s','prepend_scheme':'%s','split':%b}",
                mark,
                scheme,
                scheme.length() % 2 == 0));
      }
      all.add("{'type':'CharDelimiterSplit','delimiter':'" + mark + "'}");
    }
    for (String length : List.of("0", "1", "-1", "18446744073709551615", "1.5")) {
      all.add("{'type':'FixedLength','length':" + length + "}");
    }
    all.add("{'type':'Digits','individual_digits':true}");
    all.add(
        "{'type':'Sequence','pretokenizers':[{'type':'Whitespace'},{'type':'FixedLength','length':0}]}");
    return all;
  }

  private static List<String> postProcessors() {
    List<String> all = new ArrayList<>();
    for (String type :
        List.of(
            "BertProcessing", "RobertaProcessing", "ByteLevel", "TemplateProcessing", "Sequence")) {
      all.add("{'type':'" + type + "'}");
    }
    for (String id : List.of("0", "-1", "4294967295", "4294967296", "2147483648", "1e3")) {
      all.add("{'type':'BertProcessing','sep':['<s>'," + id + "],'cls':['x'," + id + "]}");
      all.add(
          "{'type':'RobertaProcessing','sep':['<s>',"
              + id
              + "],'cls':['',0],'trim_offsets':true,'add_prefix_space':true}");
      all.add(
          "{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'x','type_id':"
              + id
              + "}},{'Sequence':{'id':'A','type_id':0}}],'pair':[],'special_tokens':{'x':{'id':'x','ids':["
              + id
              + "],'tokens':['x']}}}");
      all.add(
          "{'type':'TemplateProcessing','single':[{'Sequence':{'id':'B','type_id':0}}],'pair':[],'special_tokens':{'x':{'id':'y','ids':["
              + id
              + ",1],'tokens':['x']}}}");
    }
    for (String single :
        List.of(
            "[]",
            "'$A'",
            "'$B $A'",
            "'$A:4294967295'",
            "'[x] $0 y'",
            "'$'",
            "''",
            "[{'SpecialToken':{'id':'gone','type_id':0}}]")) {
      for (String special :
          List.of(
              "{}",
              "[]",
              "{'x':{'id':'x','ids':[],'tokens':[]}}",
              "{'x':{'id':'x','ids':[1,2,3],'tokens':['x']}}")) {
        all.add(
            "{'type':'TemplateProcessing','single':"
                + single
                + ",'pair':"
                + single
                + ",'special_tokens':"
                + special
                + "}");
      }
    }
    all.add("{'type':'Sequence','processors':[]}");
    return all;
  }

  private static List<String> decoders() {
    List<String> all = new ArrayList<>();
    for (String type :
        List.of(
            "BPEDecoder",
            "ByteLevel",
            "WordPiece",
            "Metaspace",
            "CTC",
            "Sequence",
            "Replace",
            "Fuse",
            "Strip",
            "ByteFallback")) {
      all.add("{'type':'" + type + "'}");
    }
    for (String text : List.of("", "a", "▁", "\\u0000", "##", "a".repeat(9_000))) {
      all.add("{'type':'BPEDecoder','suffix':'" + text + "'}");
      all.add("{'type':'WordPiece','prefix':'" + text + "','cleanup':true}");
      all.add(
          String.format(
              Locale.ROOT,
              "{'type':'CTC','pad_token':'%s','word_delimiter_token':'%s','cleanup':true}",
              text,
              text));
      all.add(
          "{'type':'Metaspace','replacement':'"
              + text
              + "','prepend_scheme':'always','split':true}");
      for (String count : List.of("0", "1", "9", "18446744073709551615")) {
        all.add(
            String.format(
                Locale.ROOT,
                "{'type':'Strip','content':'%s','start':%s,'stop':%s}",
                text,
                count,
                count));
      }
    }
    for (String pattern : PATTERNS) {
      all.add("{'type':'Replace','pattern':" + pattern + ",'content':'aa'}");
    }
    return all;
  }

  private static List<String> models() {
    List<String> all = new ArrayList<>();
    for (String type : List.of("BPE", "WordPiece", "WordLevel", "Unigram", "Odd")) {
      all.add("{'type':'" + type + "'}");
      all.add("{'type':'" + type + "','vocab':{},'merges':[]}");
      all.add("{'type':'" + type + "','vocab':[],'unk_token':'<unk>'}");
      all.add("{'type':'" + type + "','vocab':{'a':0,'b':0,'c':4294967295},'unk_token':'x'}");
      all.add("{'type':'" + type + "','vocab':{'':0},'unk_token':''}");
    }
    for (String merges :
        List.of(
            "[]",
            "['a b']",
            "['a']",
            "['']",
            "[' ']",
            "['a b c']",
            "['x y']",
            "[['a','b']]",
            "[['a']]",
            "[['','']]",
            "['a b','a b','a b']",
            "['ab a']",
            "['#version: 0.2']",
            "{}")) {
      for (String more :
          List.of(
              "",
              ",'dropout':1.0",
              ",'dropout':-1",
              ",'dropout':2",
              ",'continuing_subword_prefix':'##'",
              ",'continuing_subword_prefix':'aaaaaaaa'",
              ",'end_of_word_suffix':'</w>'",
              ",'fuse_unk':true,'unk_token':'<unk>'",
              ",'unk_token':'gone'",
              ",'byte_fallback':true",
              ",'ignore_merges':true")) {
        all.add("{'type':'BPE','vocab':" + VOCABULARY + ",'merges':" + merges + more + "}");
      }
    }
    for (String unk : List.of("null", "0", "1", "99", "-1", "18446744073709551615")) {
      for (String vocab :
          List.of(
              "[]",
              "[['a',0]]",
              "[['',0]]",
              "[['a',-1e308],['a',1e308]]",
              "[['<unk>',0],['a',-1],['ab',-2]]",
              "[['a',1e400]]",
              "[['a',null]]")) {
        all.add(
            "{'type':'Unigram','unk_id':"
                + unk
                + ",'vocab':"
                + vocab
                + ",'byte_fallback':"
                + (vocab.length() % 2 == 0)
                + "}");
      }
    }
    for (String prefix : List.of("", "##", "a", "\\u0000", "😀")) {
      for (String most : List.of("0", "1", "100", "18446744073709551615", "-1")) {
        all.add(
            "{'type':'WordPiece','unk_token':'<unk>','continuing_subword_prefix':'"
                + prefix
                + "','max_input_chars_per_word':"
                + most
                + ",'vocab':"
                + VOCABULARY
                + "}");
      }
    }
    return all;
  }

  private static List<String> addedTokens() {
    List<String> all = new ArrayList<>();
    for (String content :
        List.of("", " ", "a", "aa", "\\u0000", "e\\u0301", "▁", "<unk>", "a".repeat(50_000))) {
      for (int bits = 0; bits < 16; bits += 5) {
        all.add(
            String.format(
                Locale.ROOT,
                "[{'id':%d,'content':'%s','single_word':%b,'lstrip':%b,'rstrip':%b,'normalized':%b,'special':%b}]",
                bits,
                content,
                (bits & 1) > 0,
                (bits & 2) > 0,
                (bits & 4) > 0,
                (bits & 8) > 0,
                bits < 8));
      }
      all.add("[{'id':4294967295,'content':'" + content + "','special':true," + FLAGS + "}]");
    }
    String twice = "{'id':3,'content':'a','special':false," + FLAGS + "},";
    all.add("[" + twice.repeat(2_000) + "{'id':3,'content':'b','special':true," + FLAGS + "}]");
    all.add("[{'id':-1,'content':'a','special':false," + FLAGS + "}]");
    all.add("[{'id':1}]");
    all.add("{}");
    return all;
  }

  private static List<String> truncations() {
    return List.of(
        "{'direction':'Right','max_length':0,'strategy':'LongestFirst','stride':0}",
        "{'direction':'Left','max_length':1,'strategy':'OnlySecond','stride':9}",
        "{'direction':'Left','max_length':18446744073709551615,'strategy':'OnlyFirst','stride':18446744073709551615}",
        "{}");
  }

  private static List<String> paddings() {
    return List.of(
        "{'strategy':{'Fixed':0},'direction':'Right','pad_to_multiple_of':0,'pad_id':0,'pad_type_id':0,'pad_token':''}",
        "{'strategy':{'Fixed':18446744073709551615},'direction':'Left','pad_to_multiple_of':18446744073709551615,'pad_id':4294967295,'pad_type_id':0,'pad_token':'a'}",
        "{}");
  }

  private static JsonNode json(String singleQuoted) {
    try {
      return MAPPER.readTree(
          singleQuoted.startsWith("{\n") ? singleQuoted : singleQuoted.replace('\'', '"'));
    } catch (JsonProcessingException e) {
      throw new AssertionError(singleQuoted, e);
    }
  }

  private static byte[] bytes(JsonNode file) {
    return file.toString().getBytes(StandardCharsets.UTF_8);
  }
}
