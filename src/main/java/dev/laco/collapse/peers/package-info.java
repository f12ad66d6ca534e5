/** Other people's ways to make a model shallower, to compare with. */
@NullMarked
package dev.laco.collapse.peers;

import org.jspecify.annotations.NullMarked;
