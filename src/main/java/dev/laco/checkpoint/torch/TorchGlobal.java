package dev.laco.checkpoint.torch;

import dev.laco.checkpoint.table.StoredType;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The names of Python's that a pickle of weights may refer to. None of them stands for code: the
 * reader knows what each of them makes of its arguments.
 */
enum TorchGlobal {
  ORDERED_DICT("collections.OrderedDict"),
  TENSOR("torch._utils._rebuild_tensor_v2"),
  PARAMETER("torch._utils._rebuild_parameter"),
  FLOATS("torch.FloatStorage", StoredType.F32),
  HALVES("torch.HalfStorage", StoredType.F16),
  BFLOATS("torch.BFloat16Storage", StoredType.BF16),
  DOUBLES("torch.DoubleStorage", StoredType.F64),
  LONGS("torch.LongStorage", StoredType.I64),
  INTS("torch.IntStorage", StoredType.I32),
  SHORTS("torch.ShortStorage", StoredType.I16),
  CHARS("torch.CharStorage", StoredType.I8),
  BYTES("torch.ByteStorage", StoredType.U8),
  BOOLS("torch.BoolStorage", StoredType.BOOL);

  private static final Map<String, TorchGlobal> BY_NAME = new HashMap<>();

  static {
    for (TorchGlobal global : values()) {
      BY_NAME.put(global.python, global);
    }
  }

  private final String python;
  private final @Nullable StoredType elements;

  TorchGlobal(String python) {
    this(python, null);
  }

  TorchGlobal(String python, @Nullable StoredType elements) {
    this.python = python;
    this.elements = elements;
  }

  /** The global of a name in Python, module and dot included; null if it is none of these. */
  static @Nullable TorchGlobal of(String python) {
    return BY_NAME.get(python);
  }

  /** The name in Python, module and dot included. */
  String python() {
    return python;
  }

  /** The element type of a storage; null for what is no type of storages. */
  @Nullable StoredType elements() {
    return elements;
  }
}
