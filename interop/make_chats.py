#!/usr/bin/env python3
"""Records what transformers makes of templates of chats, which the tests hold the engine's templates to.

    interop/make_chats.py src/test/resources/chats

To be run by hand with the Python of the environment of the checks.
templates.txt has one template after the other, between lines of =====; cases.json gets the text of each, or null where
transformers gives an error, and the text of a few templates for a chat that comes without tools and documents. The templates were written for this purpose; some use all that those of published models do.
"""

import datetime
import json
import pathlib
import sys
import warnings

import jinja2
import transformers
from transformers.utils import chat_template_utils

ARGUMENTS = {"a": 1, "b": [1.5, True, None, 'é"x\n']}
VARIABLES = {
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi \n there"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHo!"},
        {"role": "user", "content": "  2+2?  "},
        {"role": "assistant", "content": "4", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": ARGUMENTS}}]},
        {"role": "tool", "content": [{"type": "text", "text": "é"}, {"type": "image"}]},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "int"}}}}}],
    "bos_token": "<s>",
    "eos_token": "</s>",
    "add_generation_prompt": False,
    "n": 7,
    "x": 1.5,
    "l": [3, 1, 2],
    "d": {"b": 1, "a": "z"},
    "s": "héllo Wörld",
    "nothing": None,
}

# Templates of chats without tools and documents, which are None then.
WITHOUT_TOOLS = [
    "{% if tools is none %}plain{% else %}with tools{% endif %}",
    "{% if tools is not none %}{{ tools | length }} tools{% endif %}{{ messages[0].role }}",
    "{% if not tools is defined %}{% set tools = [] %}{% endif %}{{ tools }}",
    "{{ documents is none }} {{ documents is defined }}",
]


class Fixed(datetime.datetime):
    """The date that the engine tells templates."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, tzinfo=tz)


def text(template):
    try:
        return chat_template_utils._compile_jinja_template(template).render(**json.loads(json.dumps(VARIABLES)))
    except (jinja2.exceptions.TemplateError, TypeError, ZeroDivisionError) as error:
        print(f"{template[:60]!r}: {error}")
        return None


def without_tools(template):
    texts, _ = chat_template_utils.render_jinja_template([VARIABLES["messages"]], chat_template=template)
    return texts[0]


def main(folder):
    warnings.simplefilter("ignore")
    chat_template_utils.datetime = Fixed
    templates = (folder / "templates.txt").read_text().split("\n=====\n")
    made = {
        "transformers": transformers.__version__,
        "jinja2": jinja2.__version__,
        "variables": VARIABLES,
        "cases": [{"template": template, "text": text(template)} for template in templates],
        "without_tools": [{"template": template, "text": without_tools(template)} for template in WITHOUT_TOOLS],
    }
    (folder / "cases.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
