"""The graph as text, for graphviz, and for programs."""

from __future__ import annotations

import json
import os

from builder.engine.graph import Graph, Product, Step


def text(graph: Graph) -> str:
    """One line a step, each after those that it needs; then the products."""
    width = max((len(name) for name in graph.steps), default=0)
    lines = []
    for step in graph.order:
        after = f"  (after {', '.join(step.needed)})" if step.needed else ""
        lines.append(f"{step.name.ljust(width)}  {step.summary}{after}")
    lines += [f"bin/{product.name} {_origin(product)}" for product in graph.products]
    return "\n".join(lines)


def _origin(product: Product) -> str:
    return f"-> {product.link}" if product.link else f"<- {product.step}/{product.file}"


def dot(graph: Graph) -> str:
    """A digraph: boxes are steps (bold: heavy), ellipses are products."""
    lines = ["digraph mkstage1 {", "  rankdir=LR;", "  node [shape=box];"]
    for step in graph.order:
        style = ", style=bold" if step.heavy else ""
        label = _quote(f"{step.name}\n{step.summary}")
        lines.append(f"  {_quote(step.name)} [label={label}{style}];")
        lines += [f"  {_quote(need)} -> {_quote(step.name)};" for need in step.needed]
    for product in graph.products:
        name = _quote(f"bin/{product.name}")
        origin = _quote(f"bin/{product.link}" if product.link else product.step)
        lines += [f"  {name} [shape=ellipse];", f"  {origin} -> {name};"]
    return "\n".join([*lines, "}"])


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def as_json(graph: Graph) -> str:
    """All that a step declares, in the order of needs."""
    products = [
        {"name": product.name, "step": product.step, "file": product.file, "link": product.link}
        for product in graph.products
    ]
    return json.dumps({"steps": [_step(step) for step in graph.order], "products": products}, indent=2)


def _step(step: Step) -> dict[str, object]:
    return {
        "name": step.name,
        "label": step.label,
        "summary": step.summary,
        "needs": step.needed,
        "files": [os.fspath(path) for path in step.files],
        "params": dict(step.params),
        "reads": step.reads,
        "tools": step.tools,
        "scope": step.scope.value,
        "resumes": step.resumes,
        "heavy": step.heavy,
    }
