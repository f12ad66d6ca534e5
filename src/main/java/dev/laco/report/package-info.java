/** What a run found, as JSON and as text. */
@NullMarked
package dev.laco.report;

import org.jspecify.annotations.NullMarked;
