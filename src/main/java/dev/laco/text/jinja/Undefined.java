package dev.laco.text.jinja;

/**
 * What a name or key that does not exist gives: it is written as nothing and is false, and most
 * other uses are errors.
 *
 * @param name the name or key
 */
record Undefined(String name) {
  TemplateException error() {
    return TemplateException.of("'%s' is undefined", name);
  }
}
