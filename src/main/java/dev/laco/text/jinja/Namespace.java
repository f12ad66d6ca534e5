package dev.laco.text.jinja;

import java.util.Map;

/**
 * What {@code namespace()} makes: names that can be set from inside a loop.
 *
 * @param names that are set
 */
record Namespace(Map<String, Object> names) {}
