from __future__ import annotations

import pytest

from builder.engine.graph import Graph, Plan, Product, Step
from common.errors import UserError
from tests.unit.builder.synthetic import step


def names(steps: tuple[Step, ...]) -> list[str]:
    return [one.name for one in steps]


def test_order_follows_needs() -> None:
    graph = Graph(
        Plan(
            (step("image", needs=("kernel", "units")), step("units"), step("kernel", needs=("source",)), step("source"))
        )
    )
    assert names(graph.order) == ["source", "kernel", "units", "image"]


def test_selection_brings_what_is_needed_and_no_more() -> None:
    graph = Graph(Plan((step("a"), step("b", needs=("a",)), step("c", needs=("b",)), step("d"))))
    assert names(graph.select(["b"])) == ["a", "b"]
    assert names(graph.select([])) == ["a", "b", "c", "d"]


def test_unknown_step_suggests_the_closest() -> None:
    graph = Graph(Plan((step("kernel-compile"),)))
    with pytest.raises(UserError, match="no step named kernel-compil") as caught:
        graph.select(["kernel-compil"])
    assert caught.value.hint == "did you mean kernel-compile?"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((step("a"), step("a")), "two steps are named a"),
        ((step("Kernel"),), "lower case words"),
        ((step("../a"),), "lower case words"),
        ((step("a", needs=("b",)),), "a needs b"),
        ((step("a", needs=("c",)), step("b", needs=("a",)), step("c", needs=("b",))), "a -> c -> b -> a"),
        ((step("a", needs=("a",)),), "a -> a"),
    ],
)
def test_wrong_steps_are_named(steps: tuple[Step, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Graph(Plan(steps))


@pytest.mark.parametrize(
    ("products", "message"),
    [
        ((Product("a", "f", "../x"),), "'../x'"),
        ((Product("a", "f", "x"), Product("a", "g", "x")), "one product only"),
        ((Product("b", "f", "x"),), "no step"),
        ((Product("a", "../f", "x"),), "no path inside"),
        ((Product("a", "/f", "x"),), "no path inside"),
        ((Product(name="x", link="y"),), "link names another product"),
        ((Product(name="x", link="x"),), "link names another product"),
    ],
)
def test_wrong_products_are_named(products: tuple[Product, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Graph(Plan((step("a"),), products))


def test_what_has_most_work_behind_it_ranks_highest() -> None:
    graph = Graph(
        Plan(
            (
                step("small"),
                step("source"),
                step("kernel", needs=("source",), heavy=True),
                step("image", needs=("kernel", "small")),
            )
        )
    )
    ranks = graph.ranks()
    assert ranks["source"] > ranks["kernel"] > ranks["small"] > ranks["image"]
