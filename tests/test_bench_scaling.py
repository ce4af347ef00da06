"""The model of the stages' times: it finds the coefficients of made-up times and predicts from them."""

import math

import pytest

from benchmarks.scaling_model import GIB, MODELS, TRAINED, Gpus, Line, fit, predict, table

UPDATE_S, FLOP_S, BYTE_S = 0.004, 1e-10, 1e-9
SEARCH, SKIPS, DATA = (0.1, 2e-10), (1.0, 3e-3, 1e-11), (2.0, 1e-3)
TOKENS = 50


def _line(rationales: int, size: int, chunks: int, workers: int) -> Line:
    point = {"rationales": rationales, "num_chunks": chunks, "cpus": [1] * workers}
    item_tokens = 150 * 8 * 2 * TOKENS
    search = SEARCH[0] + SEARCH[1] * 2 * size * rationales * TOKENS / workers
    train = 150 * UPDATE_S + FLOP_S * 6 * size * item_tokens / workers
    train += BYTE_S * 150 * 4 * size if workers > 1 else 0.0
    made = {"updates": 150, "epochs": 1, "item_tokens": item_tokens, "parameters": size}
    training = {stage: {**made, "seconds": train, "search_seconds": 0.0} for stage in TRAINED}
    training["cwt"] |= {"seconds": train + search, "search_seconds": search}
    asked = rationales * chunks / workers
    return {
        "point": point,
        "training": training,
        "rationale_tokens": TOKENS,
        "skips_seconds": SKIPS[0] + SKIPS[1] * asked + SKIPS[2] * 2 * size * TOKENS * asked,
        "token_bytes": 400.0,
        "seconds": {"rationales": 5.0, "samples": 5.0},
        "date": "today",
        "machine": "this one",
    }


def _data(rationales: int, cpus: int) -> Line:
    seconds = DATA[0] + DATA[1] * rationales / cpus
    return {
        "point": {"rationales": rationales, "num_chunks": 4, "cpus": [cpus]},
        "token_bytes": 400.0,
        "seconds": {"rationales": seconds, "samples": seconds},
        "date": "today",
        "machine": "this one",
    }


@pytest.fixture
def lines() -> list[Line]:
    settings = [
        (400, 1, 4, 1),
        (800, 1, 4, 1),
        (400, 5, 4, 1),
        (400, 1, 8, 1),
        (400, 1, 4, 2),
        (400, 5, 4, 2),
    ]
    points = [_line(rows, size * 10**6, chunks, workers) for rows, size, chunks, workers in settings]
    return [*points, _data(5_000, 2), _data(20_000, 2), _data(20_000, 1)]


def test_the_fit_finds_the_coefficients_of_each_part(lines: list[Line]):
    expected = {
        **dict.fromkeys(TRAINED, (UPDATE_S, FLOP_S, BYTE_S)),
        "search in cwt": SEARCH,
        "skips": SKIPS,
        "rationales": DATA,
        "samples": DATA,
    }
    for model in MODELS:
        coefficients, ratios = fit(model, lines)
        assert coefficients == pytest.approx(expected[model.name], rel=1e-6), model.name
        assert ratios == pytest.approx([1.0] * len(ratios))


def test_a_prediction_multiplies_items_tokens_and_assumptions(lines: list[Line]):
    of, rationales, gpus = Gpus(), 10**6, 64
    hours = predict(lines, rationales, gpus, of)
    updates = rationales * 5 / (8 * gpus)  # four chunks and an answer, 8 items on each GPU
    exchange = 2 * 4 * of.parameters / of.link
    seconds = updates * (of.update_s + 6 * of.parameters * 8 * 2 * TOKENS / of.flops + exchange)
    search = 2 * of.parameters * TOKENS * rationales / (gpus * of.flops)
    assert hours["cwt"] == pytest.approx((seconds + search) / 3600)
    assert hours["data"] == pytest.approx(2 * DATA[1] * rationales / (of.cpus * gpus) / 3600)
    assert hours["GiB"] == pytest.approx(400 * rationales / GIB)
    assert math.isclose(predict(lines, 10**9, gpus, of)["stt"], 1000 * hours["stt"])


def test_every_table_has_a_row_per_point_part_or_prediction(lines: list[Line]):
    rows = {name: table(name, lines).splitlines() for name in ("points", "model", "prediction")}
    numbers = {name: sum(row.startswith("| ") for row in found) - 2 for name, found in rows.items()}
    assert numbers == {"points": len(lines), "model": len(MODELS), "prediction": 6}
