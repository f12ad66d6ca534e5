package dev.laco.checkpoint.table;

import dev.laco.model.DType;
import dev.laco.model.ElementType;
import org.jspecify.annotations.Nullable;

/**
 * Element types of the safetensors format, in the order of its library: by ascending alignment. The
 * engine computes only with the three types of {@link DType}; it lists tensors of the others.
 */
public enum StoredType implements ElementType {
  BOOL(8),
  F4(4),
  F6_E2M3(6),
  F6_E3M2(6),
  U8(8),
  I8(8),
  F8_E5M2(8),
  F8_E4M3(8),
  F8_E5M2FNUZ(8),
  F8_E4M3FNUZ(8),
  F8_E8M0(8),
  I16(16),
  U16(16),
  F16(16),
  BF16(16),
  I32(32),
  U32(32),
  F32(32),
  C64(64),
  F64(64),
  I64(64),
  U64(64);

  private final int bits;

  StoredType(int bits) {
    this.bits = bits;
  }

  /** Bits of one element; the elements of 4- and 6-bit types are packed. */
  public int bits() {
    return bits;
  }

  @Override
  public @Nullable DType dtype() {
    return switch (this) {
      case F32 -> DType.F32;
      case F16 -> DType.F16;
      case BF16 -> DType.BF16;
      default -> null;
    };
  }

  @Override
  public boolean isQuantised() {
    return bits <= 8 && this != BOOL;
  }

  /** The stored form of a weight type. */
  public static StoredType of(DType dtype) {
    return valueOf(dtype.name());
  }
}
