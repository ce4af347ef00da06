"""The model of the stages' times: it finds the coefficients of made-up times and predicts from them."""

import pytest

from benchmarks.scaling_model import MODELS, TRAINED, Gpus, Line, fit, predict, table

UPDATE_S, FLOP_S, BYTE_S = 0.004, 1e-10, 1e-9
SEARCH, SKIPS, DATA = (2e-10,), (1.0, 0.02, 1e-11), (2.0, 1e-3)
TOKENS = 50


def _line(rationales: int, size: int, chunks: int, workers: int) -> Line:
    """A point with times by hand; rationales have five steps, so eight chunks leave nothing to search."""
    point = {"rationales": rationales, "num_chunks": chunks, "cpus": [1] * workers, "trains": True}
    item_tokens = 150 * 8 * 2 * TOKENS
    boundaries = (chunks - 1) * rationales if chunks < 5 else 0
    search = SEARCH[0] * 2 * size * TOKENS * boundaries / workers
    train = 150 * UPDATE_S + FLOP_S * 6 * size * item_tokens / workers
    train += BYTE_S * 150 * 4 * size if workers > 1 else 0.0
    made = {"updates": 150, "epochs": 1, "item_tokens": item_tokens, "parameters": size}
    training = {stage: {**made, "seconds": train, "search_seconds": 0.0} for stage in TRAINED}
    search_seconds = search or 0.001  # what an empty search took
    training["cwt"] |= {"seconds": train + search_seconds, "search_seconds": search_seconds}
    decoded, verified = rationales, 2 * rationales * min(chunks, 5)
    seconds = SKIPS[0] + (SKIPS[1] * decoded + SKIPS[2] * 2 * size * TOKENS * (decoded + verified)) / workers
    return {
        "point": point,
        "training": training,
        "tokens": TOKENS,
        "token_bytes": 400.0,
        "searched_boundaries": boundaries,
        "skips": {"seconds": seconds, "verified": verified, "decoded": decoded, "right_share": 0.5},
        "seconds": {"rationales": 5.0, "samples": 5.0},
        "date": "today",
        "machine": "this one",
    }


def _data(rationales: int, cpus: int) -> Line:
    seconds = DATA[0] + DATA[1] * rationales / cpus
    return {
        "point": {"rationales": rationales, "num_chunks": 4, "cpus": [cpus], "trains": False},
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
    numbers = {model.name: len(fit(model, lines)[1]) for model in MODELS}
    assert numbers == {
        **dict.fromkeys((*TRAINED, "skips"), 6),
        "search in cwt": 5,
        "rationales": 3,
        "samples": 3,
    }


def test_a_prediction_by_hand(lines: list[Line]):
    """A student of a million parameters on one GPU of 1 GFLOP/s that exchanges nothing."""
    of = Gpus(flops=1e9, link=1e30, update_s=0.0, cpus=2, parameters=10**6)
    hours = predict(lines, 80, 1, of)
    # 80 rationales of five items with 100 tokens each; three boundaries search 50 tokens each
    flops = 80 * 5 * 100 * 6 * 10**6 + 80 * 3 * 50 * 2 * 10**6
    assert hours["cwt"] == pytest.approx(flops / 1e9 / 3600)
    assert hours["data"] == pytest.approx(80 * (0.001 + 0.001) / 2 / 3600)
    slower = predict(lines, 80, 2, Gpus(flops=1e30, link=8e6, update_s=1.0, cpus=2, parameters=10**6))
    assert slower["stt"] == pytest.approx(80 * 6 / 16 * (1.0 + 1.0) / 3600), (
        "30 updates of 16 items, 2 s each"
    )


def test_every_table_has_a_row_per_point_part_or_prediction(lines: list[Line]):
    rows = {name: table(name, lines).splitlines() for name in ("points", "model", "prediction")}
    numbers = {name: sum(row.startswith("| ") for row in found) - 2 for name, found in rows.items()}
    assert numbers == {"points": len(lines), "model": len(MODELS), "prediction": 6}


def test_a_table_without_the_points_that_it_needs_is_an_error():
    with pytest.raises(ValueError, match="no result has the part 'base'; run python -m benchmarks"):
        table("prediction", [_data(5_000, 2)])
    with pytest.raises(ValueError, match="no results; run"):
        table("points", [])
