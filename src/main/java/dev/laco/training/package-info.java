/** Training of the layers of a pruned model by distillation from the original. */
@NullMarked
package dev.laco.training;

import org.jspecify.annotations.NullMarked;
