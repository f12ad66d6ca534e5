/** Plan and checkpoint in, pruned checkpoint out. */
@NullMarked
package dev.laco.apply;

import org.jspecify.annotations.NullMarked;
