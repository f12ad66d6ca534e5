/** Tables of tensors, whatever the format of the file: rows, element types, limits. */
@NullMarked
package dev.laco.checkpoint.table;

import org.jspecify.annotations.NullMarked;
