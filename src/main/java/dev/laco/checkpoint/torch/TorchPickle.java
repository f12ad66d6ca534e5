package dev.laco.checkpoint.torch;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.BadInputException;
import dev.laco.Legible;
import dev.laco.checkpoint.table.TableLimits;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;

/**
 * Reads the pickle of a file of weights that {@code torch.save} wrote: a dictionary of tensors by
 * name. A pickle is a program for a machine with a stack and a memo, and in Python it may call
 * whatever it names. This machine knows dictionaries, tuples, strings, whole numbers, truth values,
 * storages and tensors; it calls nothing. Every other operation, and every name that is not one of
 * {@link TorchGlobal}, is an error that says which.
 *
 * <p>A value takes at most some hundred bytes, and their number is limited, so that no pickle needs
 * more than about 100 MB. No step takes more time than the bytes that it reads call for, and no
 * value is walked through to its depth.
 */
final class TorchPickle {
  /** Most bytes of a pickle; a tensor takes about 200. */
  private static final int MAX_BYTES = 16 << 20;

  /** Most values that a pickle may push; a tensor takes about 24. */
  private static final int MAX_VALUES = 1 << 20;

  private static final int MAX_STRING_BYTES = 4 * TableLimits.MAX_NAME;
  private static final int MAX_GLOBAL_BYTES = 128;

  /** The key under which PyTorch keeps the version of each module beside the tensors. */
  private static final String METADATA = "_metadata";

  private final String where;
  private final ByteBuffer bytes;
  private final List<Object> stack = new ArrayList<>();
  private final Deque<Integer> marks = new ArrayDeque<>();
  private final List<Object> memo = new ArrayList<>();
  private int values;

  /** Where the operation that runs begins. */
  private int at;

  private TorchPickle(String where, MemorySegment bytes) {
    this.where = where;
    if (bytes.byteSize() > MAX_BYTES) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: is %,d bytes long; at most %,d are read",
              where,
              bytes.byteSize(),
              MAX_BYTES));
    }
    this.bytes = bytes.asByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
  }

  /** A tuple of Python's, which cannot be changed. */
  private record Tuple(List<Object> items) {}

  /** A dictionary of Python's whose keys are strings. */
  private record Dict(SequencedMap<String, Object> items) {
    Dict() {
      this(new LinkedHashMap<>());
    }
  }

  /**
   * The tensors of a pickle by name, in the order in which they were saved.
   *
   * @param where names the pickle in errors
   * @throws BadInputException if the pickle is broken, or holds anything but tensors by name
   */
  static SequencedMap<String, TorchTensor> read(String where, MemorySegment bytes) {
    return new TorchPickle(where, bytes).tensors();
  }

  private SequencedMap<String, TorchTensor> tensors() {
    if (!(run() instanceof Dict saved)) {
      throw bad("holds something else than a dictionary of tensors; save the model's state_dict");
    }
    SequencedMap<String, TorchTensor> tensors = new LinkedHashMap<>();
    for (Map.Entry<String, Object> entry : saved.items().entrySet()) {
      String name = entry.getKey();
      if (name.length() > TableLimits.MAX_NAME) {
        throw bad(
            String.format(
                Locale.ROOT, "tensor '%s': %s", Legible.excerpt(name), TableLimits.longName(name)));
      }
      if (!(entry.getValue() instanceof TorchTensor tensor)) {
        throw bad(
            String.format(
                Locale.ROOT,
                "'%s' is no tensor; save the model's state_dict, with nothing around it",
                Legible.excerpt(name)));
      }
      tensors.put(name, tensor);
    }
    return tensors;
  }

  private Object run() {
    if (bytes.remaining() < 2
        || PickleOp.of(bytes.get()) != PickleOp.PROTO
        || bytes.get() < 2
        || bytes.get(1) > 5) {
      throw bad("does not begin as a pickle of protocol 2 to 5");
    }
    while (true) {
      at = bytes.position();
      byte code = next(1).get();
      PickleOp op = PickleOp.of(code);
      if (op == null) {
        throw damaged(String.format(Locale.ROOT, "%#04x is no operation of pickles", code));
      }
      if (op == PickleOp.STOP) {
        Object result = pop();
        if (!stack.isEmpty() || !marks.isEmpty() || bytes.hasRemaining()) {
          throw damaged("something is left behind its end");
        }
        return result;
      }
      step(op);
    }
  }

  private void step(PickleOp op) {
    switch (op) {
      case FRAME -> {
        long size = next(Long.BYTES).getLong();
        if (size < 0 || size > bytes.remaining()) {
          throw damaged("a frame is longer than the pickle");
        }
      }
      case MARK -> {
        count();
        marks.push(stack.size());
      }
      case EMPTY_DICT -> push(new Dict());
      case EMPTY_TUPLE -> push(new Tuple(List.of()));
      case TUPLE -> push(new Tuple(popToMark()));
      case TUPLE1 -> push(new Tuple(pop(1)));
      case TUPLE2 -> push(new Tuple(pop(2)));
      case TUPLE3 -> push(new Tuple(pop(3)));
      case NEWTRUE -> push(true);
      case NEWFALSE -> push(false);
      case BININT -> push((long) next(Integer.BYTES).getInt());
      case BININT1 -> push((long) u8());
      case BININT2 -> push((long) Short.toUnsignedInt(next(Short.BYTES).getShort()));
      case LONG1 -> push(number(u8()));
      case BINUNICODE -> push(string(next(Integer.BYTES).getInt()));
      case SHORT_BINUNICODE -> push(string(u8()));
      case BINPUT -> remember(u8());
      case LONG_BINPUT -> remember(next(Integer.BYTES).getInt());
      case MEMOIZE -> remember(memo.size());
      case BINGET -> push(remembered(u8()));
      case LONG_BINGET -> push(remembered(next(Integer.BYTES).getInt()));
      case GLOBAL -> push(global(line(), line()));
      case STACK_GLOBAL -> {
        List<Object> names = pop(2);
        push(global(names.get(0), names.get(1)));
      }
      case SETITEM -> set(pop(2));
      case SETITEMS -> set(popToMark());
      case BINPERSID -> push(storage(pop()));
      case REDUCE -> {
        List<Object> call = pop(2);
        push(called(call.get(0), call.get(1)));
      }
      case BUILD -> build(pop(2));
      default ->
          throw refused("the operation " + op + ", which torch.save does not write for weights");
    }
  }

  private void build(List<Object> objectAndState) {
    // What torch.nn.Module.state_dict notes beside the tensors: the versions of modules.
    if (!(objectAndState.get(0) instanceof Dict dict)
        || !(objectAndState.get(1) instanceof Dict state)
        || !state.items().keySet().equals(Set.of(METADATA))) {
      throw refused("the operation BUILD on something else than a state_dict");
    }
    push(dict);
  }

  /** What a call gives. Only what weights are made of can be called. */
  private Object called(Object callee, Object arguments) {
    if (callee instanceof TorchGlobal global && arguments instanceof Tuple tuple) {
      return called(global, tuple.items());
    }
    throw refused("the operation REDUCE on something that is no function");
  }

  private Object called(TorchGlobal global, List<Object> given) {
    switch (global) {
      case ORDERED_DICT -> {
        if (given.isEmpty()) {
          return new Dict();
        }
      }
      case TENSOR -> {
        if (given.size() == 6
            && given.get(0) instanceof TorchTensor.Storage storage
            && given.get(1) instanceof Long offset
            && given.get(2) instanceof Tuple shape
            && given.get(3) instanceof Tuple strides) {
          return new TorchTensor(storage, offset, numbers(shape), numbers(strides));
        }
      }
      case PARAMETER -> {
        if (given.size() == 3 && given.get(0) instanceof TorchTensor tensor) {
          return tensor;
        }
      }
      default -> {}
    }
    throw refused(
        "a call of " + global.python() + " with arguments that torch.save does not write");
  }

  private List<Long> numbers(Tuple tuple) {
    if (tuple.items().size() > TableLimits.MAX_RANK) {
      throw damaged(
          String.format(Locale.ROOT, "a tensor has more than %d dimensions", TableLimits.MAX_RANK));
    }
    List<Long> numbers = new ArrayList<>();
    for (Object item : tuple.items()) {
      if (!(item instanceof Long number)) {
        throw damaged("an extent or stride of a tensor is no whole number");
      }
      numbers.add(number);
    }
    return numbers;
  }

  private TorchTensor.Storage storage(Object id) {
    if (id instanceof Tuple(List<Object> parts)
        && parts.size() == 5
        && "storage".equals(parts.get(0))
        && parts.get(1) instanceof TorchGlobal type
        && type.elements() != null
        && parts.get(2) instanceof String key
        && parts.get(3) instanceof String
        && parts.get(4) instanceof Long elements) {
      return new TorchTensor.Storage(type.elements(), key, elements);
    }
    throw refused("a persistent id that is none of a storage");
  }

  private Object global(Object module, Object name) {
    if (!(module instanceof String) || !(name instanceof String)) {
      throw refused("a name that is no text");
    }
    String python = module + "." + name;
    TorchGlobal global = TorchGlobal.of(python);
    if (global == null) {
      throw refused("the name " + Legible.excerpt(python) + ", which weights are not made of");
    }
    return global;
  }

  private void set(List<Object> keysAndValues) {
    if (!(pop() instanceof Dict dict) || keysAndValues.size() % 2 != 0) {
      throw damaged("something is set that is no entry of a dictionary");
    }
    for (int i = 0; i < keysAndValues.size(); i += 2) {
      if (!(keysAndValues.get(i) instanceof String key)) {
        throw damaged("a key of a dictionary is no text");
      }
      if (dict.items().put(key, keysAndValues.get(i + 1)) != null) {
        throw damaged(String.format(Locale.ROOT, "'%s' is there twice", Legible.excerpt(key)));
      }
    }
    stack.add(dict);
  }

  private void push(Object value) {
    count();
    stack.add(value);
  }

  private void count() {
    if (++values > MAX_VALUES) {
      throw damaged(
          String.format(
              Locale.ROOT,
              "it makes more than %,d values; split the model into shards",
              MAX_VALUES));
    }
  }

  private Object pop() {
    return pop(1).getFirst();
  }

  private List<Object> pop(int count) {
    int begin = stack.size() - count;
    if (begin < (marks.isEmpty() ? 0 : marks.peek())) {
      throw damaged("it takes a value from an empty stack");
    }
    List<Object> top = stack.subList(begin, stack.size());
    List<Object> popped = List.copyOf(top);
    top.clear();
    return popped;
  }

  private List<Object> popToMark() {
    if (marks.isEmpty()) {
      throw damaged("it looks for a mark that is not there");
    }
    int begin = marks.peek();
    List<Object> popped = pop(stack.size() - begin);
    marks.pop();
    return popped;
  }

  /** Notes the value on top of the stack. Python counts its notes from 0, without gaps. */
  private void remember(int index) {
    Object top = pop();
    stack.add(top);
    if (index == memo.size()) {
      count();
      memo.add(top);
    } else {
      throw damaged("a note is not the next");
    }
  }

  private Object remembered(int index) {
    if (index < 0 || index >= memo.size()) {
      throw damaged("it asks for a note that was not made");
    }
    return memo.get(index);
  }

  private ByteBuffer next(int count) {
    if (count > bytes.remaining()) {
      throw damaged("it ends in the middle of an operation");
    }
    ByteBuffer next = bytes.slice(bytes.position(), count).order(ByteOrder.LITTLE_ENDIAN);
    bytes.position(bytes.position() + count);
    return next;
  }

  private int u8() {
    return Byte.toUnsignedInt(next(1).get());
  }

  /** A whole number of little-endian bytes, the highest of which has the sign. */
  private long number(int size) {
    if (size > Long.BYTES) {
      throw damaged("a number has more than 64 bits");
    }
    ByteBuffer digits = next(size);
    long number = size > 0 && digits.get(size - 1) < 0 ? -1 : 0;
    for (int i = size - 1; i >= 0; i--) {
      number = number << 8 | Byte.toUnsignedInt(digits.get(i));
    }
    return number;
  }

  private String string(int size) {
    if (size < 0 || size > MAX_STRING_BYTES) {
      throw damaged(String.format(Locale.ROOT, "a text has more than %d bytes", MAX_STRING_BYTES));
    }
    try {
      return UTF_8.newDecoder().decode(next(size)).toString();
    } catch (CharacterCodingException e) {
      throw new BadInputException(damaged("a text is not valid UTF-8").getMessage(), e);
    }
  }

  /** The text before the next line break. */
  private String line() {
    int begin = bytes.position();
    for (int size = 0; size <= MAX_GLOBAL_BYTES && size < bytes.remaining(); size++) {
      if (bytes.get(begin + size) == '\n') {
        String line = ISO_8859_1.decode(next(size)).toString();
        next(1);
        return line;
      }
    }
    throw damaged(
        String.format(Locale.ROOT, "a name does not end within %d bytes", MAX_GLOBAL_BYTES));
  }

  /** The error for what would be run by Python. */
  private BadInputException refused(String what) {
    return bad(
        String.format(
            Locale.ROOT,
            "has at byte %d %s; nothing of it was run; take the model as safetensors",
            at,
            what));
  }

  private BadInputException damaged(String problem) {
    return bad(String.format(Locale.ROOT, "is no pickle of weights: %s (byte %d)", problem, at));
  }

  private BadInputException bad(String problem) {
    return new BadInputException(where + ": " + problem);
  }
}
