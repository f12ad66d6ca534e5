/** What a checkpoint and a machine are, for people who want to know before they start a job. */
@NullMarked
package dev.laco.inspect;

import org.jspecify.annotations.NullMarked;
