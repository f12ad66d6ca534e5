/** A heal: training of a pruned model by distillation from the original. */
@NullMarked
package dev.laco.heal;

import org.jspecify.annotations.NullMarked;
