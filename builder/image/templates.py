"""Rendering of the templates of a flavor: manifests, entry points, units."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jinja2

from common.errors import UserError


def render(template: Path, values: Mapping[str, object]) -> str:
    """Fill a jinja2 template. A template may include others of its own folder, and nothing from elsewhere.

    Raises `UserError` with the line for a syntax error and for a variable that has no value.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    try:
        return environment.get_template(template.name).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"{error.filename or template}:{error.lineno}: {error.message}") from error
    except jinja2.TemplateNotFound as error:
        raise UserError(f"{template}: no template {error.name} in {template.parent}") from error
    except jinja2.UndefinedError as error:
        line = _line_in(template, error)
        raise UserError(
            f"{template}{line}: {error.message}", hint=f"the values are: {', '.join(sorted(values))}"
        ) from error


def _line_in(template: Path, error: BaseException) -> str:
    """jinja2 rewrites tracebacks so that frames of a template carry its name and line."""
    line = ""
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == str(template):
            line = f":{frame.tb_lineno}"
        frame = frame.tb_next
    return line
