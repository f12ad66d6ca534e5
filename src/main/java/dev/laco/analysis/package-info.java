/** Where a model is redundant: how alike its layers are, and what it costs to remove them. */
@NullMarked
package dev.laco.analysis;

import org.jspecify.annotations.NullMarked;
